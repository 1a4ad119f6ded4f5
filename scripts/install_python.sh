#!/usr/bin/env bash
# Installs a list of Python packages into .venv, once for each version of the list: the oracles, which the
# tests compare with, or the peers, llama.cpp built for this very machine.
set -euo pipefail
cd "$(dirname "$0")/.."

name=${1:?usage: install_python.sh oracles|peers}
case $name in
  oracles) list=tests/oracles.txt ;;
  peers) list=benchmarks/requirements.txt ;;
  *) echo "unknown list '$name' (expected oracles or peers)" >&2; exit 1 ;;
esac
stamp=.venv/$name.installed
cmp -s "$list" "$stamp" && exit 0

pip=(.venv/bin/python -m pip install -q --disable-pip-version-check)
if [ "$name" = oracles ]; then
  echo "== installing the tests' oracles into .venv ($(grep -cv '^#' "$list") packages)"
  # torch first: later requirements are then content with it.
  scripts/install_torch.sh
  "${pip[@]}" -r "$list"
else
  echo "== building llama.cpp for this machine ($(grep -v '^#' "$list"); a few minutes to half an hour)"
  CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF" "${pip[@]}" --no-binary llama-cpp-python -r "$list"
fi
cp "$list" "$stamp"
