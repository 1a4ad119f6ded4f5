#!/usr/bin/env bash
# Installs a list of Python packages into .venv, once for each version of the list: the oracles, which the
# tests compare with, the peers, llama.cpp built for this very machine, or the emulator of AVX-512.
set -euo pipefail
cd "$(dirname "$0")/.."

name=${1:?usage: install_python.sh oracles|peers|emulator}
case $name in
  oracles) list=tests/oracles.txt ;;
  peers) list=benchmarks/requirements.txt ;;
  emulator) list=tests/emulator.txt ;;
  *) echo "unknown list '$name' (expected oracles, peers or emulator)" >&2; exit 1 ;;
esac
stamp=.venv/$name.installed
cmp -s "$list" "$stamp" && exit 0

pip=(.venv/bin/python -m pip install -q --disable-pip-version-check)
case $name in
  oracles)
    echo "== installing the tests' oracles into .venv ($(grep -cv '^#' "$list") packages)"
    # torch first: later requirements are then content with it.
    scripts/install_torch.sh
    "${pip[@]}" -r "$list"
    ;;
  peers)
    echo "== building llama.cpp for this machine ($(grep -v '^#' "$list"); a few minutes to half an hour)"
    CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF" "${pip[@]}" --no-binary llama-cpp-python -r "$list"
    ;;
  emulator)
    # What it names as dependencies is for building it.
    echo "== installing the emulated CPU into .venv ($(grep -v '^#' "$list"))"
    "${pip[@]}" --no-deps -r "$list"
    ;;
esac
cp "$list" "$stamp"
