#!/usr/bin/env bash
# Installs the Debian packages that rondo's build needs, and those named as arguments, as far as they are missing. As
# root, or with sudo.
set -euo pipefail

packages=(g++ make cmake ninja-build pkg-config git xz-utils python3 python3-venv
          nlohmann-json3-dev libcli11-dev libpcre2-dev libutf8proc-dev libhwy-dev libtomlplusplus-dev
          liblzma-dev libzstd-dev zlib1g-dev libbz2-dev libxxhash-dev libeigen3-dev libopenblas-dev liblapacke-dev libsndfile1-dev libmpg123-dev libsoxr-dev libkissfft-dev libedit-dev "$@")

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "== installing Debian packages: ${missing[*]}"
sudo=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo > /dev/null || { echo "need root or sudo to install: ${missing[*]}" >&2; exit 1; }
  sudo=(sudo)
fi
install=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}")
# Lists that are old, or absent as in a fresh container, do not know the packages.
"${install[@]}" > /dev/null 2>&1 || { "${sudo[@]}" apt-get update -qq && "${install[@]}" > /dev/null; }
