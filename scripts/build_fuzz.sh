#!/usr/bin/env bash
# Builds the named targets in build/fuzz: clang, the address and undefined-behaviour sanitizers, coverage for the
# fuzzers, and the standard library's own checks. One build for the fuzzers and for the tests of `make sanitize-inputs`.
set -euo pipefail
cd "$(dirname "$0")/.."

build=build/fuzz
mkdir -p $build
echo "== sanitizers: building $*"
# -O1 -g1: half the time to compile, and reports still name lines. Without NDEBUG, so that assertions hold as well.
cmake -S . -B $build -G Ninja -DCMAKE_CXX_COMPILER=clang++-14 -DCMAKE_BUILD_TYPE=Debug \
  -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g1 -D_GLIBCXX_ASSERTIONS" -DRONDO_TRAIN=OFF -DRONDO_TESTS=ON -DRONDO_FUZZ=ON \
  -DRONDO_SANITIZE=address,undefined,float-cast-overflow > $build/configure.log 2>&1 ||
  { cat $build/configure.log; exit 1; }
cmake --build $build --target "$@"
