#!/usr/bin/env bash
# Builds llama.cpp for this very machine, through its Python package, into .venv; once for each version of the list.
set -euo pipefail
cd "$(dirname "$0")/.."

list=benchmarks/requirements.txt
stamp=.venv/peers.installed
cmp -s "$list" "$stamp" && exit 0
echo "== building llama.cpp for this machine ($(grep -v '^#' "$list"); a few minutes to half an hour)"
CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF" .venv/bin/python -m pip install -q \
  --disable-pip-version-check --no-binary llama-cpp-python -r "$list"
cp "$list" "$stamp"
