#!/usr/bin/env bash
# The main job on a real model: inspect, fold by several plans, perplexity before and after, generate.
set -euo pipefail
cd "$(dirname "$0")/.."

rondo=build/release/bin/rondo
model=models/smollm2.gguf
work=models/demo
text=$work/wikitext2-valid.txt
calibration=$work/enwiki.txt
prompt="The capital of France is"
tokens=4096

mkdir -p "$work"
xz -dc tests/data/wikitext-2/valid.raw.xz > "$text"
xz -dc tests/data/enwiki/excerpt.txt.xz > "$calibration"

say() { printf '\n== %s\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }
perplexity() { "$rondo" eval "$1" --text "$text" --max-tokens $tokens --quiet --json |
  .venv/bin/python -c 'import json,sys; print("{:,.2f}".format(json.load(sys.stdin)["perplexity"] or float("inf")))'; }
parameters() { "$rondo" inspect "$1" --json |
  .venv/bin/python -c 'import json,sys; print("{:.1f}M".format(json.load(sys.stdin)["parameters_non_embedding"]/1e6))'; }

say "this machine"
run $rondo doctor

say "the model: SmolLM2-135M-Instruct"
run $rondo inspect $model

fold() { # name, explanation, flags…
  local name=$1 what=$2; shift 2
  say "fold: $what"
  run $rondo fold $model --out "$work/$name" "$@"
}
fold full-rank "two loops over half the layers, full-rank residuals: the same function" --rank 576
fold data-free "neighbours share, rank 64, from the weights alone" --order sequence --rank 64
fold calibrated "the same plan fitted to activations of real text (a few minutes)" \
  --order sequence --rank 64 --calibrate "$calibration" --calibrate-tokens 8192

say "how that plan looks"
run $rondo inspect "$work/calibrated"

say "perplexity on WikiText-2 validation (first $tokens tokens, windows of 1024)"
printf '%-34s %14s %14s\n' model parameters perplexity
for entry in "original:$model" "full rank:$work/full-rank" "rank 64, weights alone:$work/data-free" \
             "rank 64, calibrated:$work/calibrated"; do
  printf '%-34s %14s %14s\n' "${entry%%:*}" "$(parameters "${entry#*:}")" "$(perplexity "${entry#*:}")"
done
echo "(non-embedding parameters; folding is a starting point, training brings the quality back)"

say "generate: original, then the full-rank fold"
run $rondo generate $model --prompt "$prompt" --max-tokens 24
run $rondo generate "$work/full-rank" --prompt "$prompt" --max-tokens 24
