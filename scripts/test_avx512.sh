#!/usr/bin/env bash
# Runs the kernel tests of the AVX-512 instruction sets on an emulated CPU: those kernels without such
# hardware. Takes a few minutes. Arguments go to the test program, in place of the choice made here.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(uname -m)" != x86_64 ]; then
  echo "test_avx512.sh needs an x86-64 machine: the tests are built for the one they are built on" >&2
  exit 1
fi
scripts/install_python.sh emulator
echo "== building the kernel tests"
cmake -S . -B build/release -G Ninja -DCMAKE_BUILD_TYPE=Release -DRONDO_TESTS=ON > build/release.log 2>&1 ||
  { cat build/release.log; exit 1; }
cmake --build build/release --target rondo_kernels_test

run() { .venv/bin/python scripts/run_avx512.py build/release/bin/rondo_kernels_test "$@"; }
if [ $# -gt 0 ]; then
  run "$@"
  exit
fi

# VNNI matters to quantised weights alone. A part for each CPU of this machine.
filter='*/avx512:*QuantMatMulTest*/avx512_vnni:FusedInstructionSets.*:*SimdTarget*'
names=$(run --gtest_list_tests --gtest_filter="$filter")
for set in avx512 avx512_vnni; do
  grep -q "/$set " <<< "$names" || { echo "the emulated CPU has no $set" >&2; exit 1; }
done
parts=$(nproc)
echo "== running $(grep -c '^  ' <<< "$names") tests on an emulated CPU, in $parts parts"
mkdir -p build/avx512
pids=()
for ((part = 0; part < parts; ++part)); do
  GTEST_TOTAL_SHARDS=$parts GTEST_SHARD_INDEX=$part \
    run --gtest_brief=1 --gtest_filter="$filter" > "build/avx512/part_$part.log" 2>&1 &
  pids+=($!)
done
failed=0
for ((part = 0; part < parts; ++part)); do
  wait "${pids[part]}" || failed=1
  cat "build/avx512/part_$part.log"
  # Instruction sets are compared with each other here or nowhere.
  if grep -q SKIPPED "build/avx512/part_$part.log"; then
    echo "the emulated CPU must run every test" >&2
    failed=1
  fi
done
exit $failed
