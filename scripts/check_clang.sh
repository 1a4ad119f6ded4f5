#!/usr/bin/env bash
# Compiles library, programs and benchmarks with clang; a warning is an error. Nothing is run, so nothing is
# optimised. Headers are not precompiled: a source that relies on another's includes does not compile here.
set -euo pipefail
cd "$(dirname "$0")/.."

build=build/clang
echo "== clang: building"
cmake -S . -B $build -G Ninja -DCMAKE_CXX_COMPILER=clang++-14 -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG="-O0 -g0" \
  -DCMAKE_CXX_FLAGS=-Werror -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON -DRONDO_TESTS=OFF -DRONDO_TRAIN=OFF \
  > $build.log 2>&1 || { cat $build.log; exit 1; }
cmake --build $build --target all rondo_benchmarks
