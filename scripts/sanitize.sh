#!/usr/bin/env bash
# Builds the C++ tests under the address and undefined-behaviour sanitizers and runs them: all of them, or those of
# everything that reads outside files (`inputs`: formats, text, tokenizers, sound, manifests, …).
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:?usage: sanitize.sh all|inputs}
case $what in
  all) build=build/sanitize choice=() ;;
  inputs) build=build/fuzz choice=(--label-regex inputs) ;;
  *) echo "unknown '$what' (expected all or inputs)" >&2; exit 1 ;;
esac
if [ "$what" = inputs ]; then
  scripts/build_fuzz.sh rondo_input_tests
else
  echo "== sanitizers: building all"
  # -O1 -g1: half the time to compile, and reports still name lines. Without NDEBUG, so that assertions hold as well.
  cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g1" -DRONDO_TRAIN=OFF \
    -DRONDO_SANITIZE=address,undefined -DRONDO_TESTS=ON > $build.log 2>&1 || { cat $build.log; exit 1; }
  cmake --build $build
fi
echo "== sanitizers: running"
ctest --test-dir $build "${choice[@]}" --output-on-failure --parallel "$(nproc)"
