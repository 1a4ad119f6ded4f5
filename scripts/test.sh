#!/usr/bin/env bash
# Runs the fast or the slow group of tests; every test of the group runs even if an earlier one fails.
set -uo pipefail
cd "$(dirname "$0")/.."

group=${1:?usage: test.sh fast|slow}
failed=0
# Tests run beside each other: threads that wait leave their core to them.
export OMP_WAIT_POLICY=passive
if [ "$group" = fast ]; then
  echo "== C++ tests"
  ctest --test-dir build/release --output-on-failure --parallel "$(nproc)" --progress || failed=1
  marker="not slow"
else
  marker="slow"
fi
echo "== tests against transformers, tokenizers, sentencepiece, llama.cpp"
.venv/bin/python -m pytest tests -m "$marker" --durations=8 || failed=1
exit $failed
