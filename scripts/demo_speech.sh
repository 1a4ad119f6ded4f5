#!/usr/bin/env bash
# Trains a recogniser of spoken digits from scratch, measures it on the official test split and transcribes a file.
set -euo pipefail
cd "$(dirname "$0")/.."

rondo=build/release/bin/rondo
model=models/runs/speech_digits/model
test_ids='*_0,*_1,*_2,*_3,*_4'

say() { printf '\n== %s\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }

scripts/get_speech.sh
say "training (recipes/speech_digits.toml)"
[ -d $model ] || run $rondo train recipes/speech_digits.toml --resume

say "the model"
run $rondo inspect $model

say "errors on the official test split: recordings 0 to 4 of each digit and speaker"
run $rondo eval $model --speech models/speech/fsdd.tsv --ids "$test_ids"

say "one of them: $(grep -P '^7_theo_0\t' models/speech/fsdd.tsv | cut -f2)"
run $rondo transcribe $model tests/data/speech/7_theo_0.flac
