#!/usr/bin/env bash
# Runs the fast or the slow group of tests; every test of the group runs even if an earlier one fails.
set -uo pipefail
cd "$(dirname "$0")/.."

group=${1:?usage: test.sh fast|slow}
failed=0
jobs=$(nproc)
# Tests run beside each other: threads that wait leave their core to them.
export OMP_WAIT_POLICY=passive
if [ "$group" = fast ]; then
  echo "== C++ tests"
  ctest --test-dir build/release --output-on-failure --parallel "$jobs" || failed=1
  grep -oE '\[  PASSED  \] [0-9]+' build/release/Testing/Temporary/LastTest.log |
    awk '{cases += $4} END {print "== " cases " cases passed in these programs"}'
  marker="not slow"
  # A worker for each core, each with one thread of LibTorch; the tests of a file share its models and stay together.
  parallel=(-n "$((jobs < 8 ? jobs : 8))" --dist loadfile)
  export OMP_NUM_THREADS=1
else
  marker="slow"
  # Real models fill the memory, and some of these tests compare speeds: one after another.
  parallel=()
fi
echo "== tests against transformers, tokenizers, sentencepiece, llama.cpp"
.venv/bin/python -m pytest tests -m "$marker" "${parallel[@]}" --durations=8 || failed=1
exit $failed
