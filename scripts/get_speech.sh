#!/usr/bin/env bash
# Gets the Free Spoken Digit Dataset (3,000 recordings of six speakers, CC BY-SA 4.0) as
# models/speech/fsdd.tar and fsdd.tsv. FSDD=DIR takes both files from a directory instead of GitHub.
set -euo pipefail
cd "$(dirname "$0")/.."

target=models/speech
[ -s $target/fsdd.tar ] && [ -s $target/fsdd.tsv ] && exit 0
mkdir -p $target
if [ -n "${FSDD:-}" ]; then
  cp "$FSDD/fsdd.tar" "$FSDD/fsdd.tsv" $target/
  exit 0
fi
commit=26eb9aaf76e81b692f806f9140c2d2777410d7a1
work=$(mktemp -d $target/.get-XXXXXX)
trap 'rm -rf "$work"' EXIT
echo "== getting the Free Spoken Digit Dataset ($commit)"
git -C "$work" init -q
git -C "$work" fetch -q --depth 1 https://github.com/Jakobovski/free-spoken-digit-dataset $commit
git -C "$work" checkout -q FETCH_HEAD
words=(zero one two three four five six seven eight nine)
for file in "$work"/recordings/*.wav; do
  id=$(basename "$file" .wav)
  printf '%s\t%s\n' "$id" "${words[${id%%_*}]}"
done | sort > "$work/fsdd.tsv"
tar -C "$work" -cf "$work/fsdd.tar" recordings
mv "$work/fsdd.tar" "$work/fsdd.tsv" $target/
