#!/usr/bin/env bash
# Builds in build/release. `program` is rondo alone; `core` everything that needs no LibTorch; AUTO, ON and OFF are
# everything, with rondo-train where LibTorch is found, always and never.
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:?usage: build.sh program|core|AUTO|ON|OFF}
build=build/release
options=()
targets=(all)
case $what in
  program)
    targets=(rondo)
    # A tree that is already configured for more stays so.
    [ -e $build/build.ninja ] || options=(-DRONDO_TESTS=OFF -DRONDO_TRAIN=OFF)
    ;;
  core)
    # With LibTorch there is nothing to wait for.
    compgen -G ".venv/lib/python3*/site-packages/torch/lib/libtorch_cpu.so" > /dev/null && exit 0
    options=(-DRONDO_TESTS=ON -DRONDO_TRAIN=OFF)
    ;;
  AUTO | ON | OFF) options=(-DRONDO_TESTS=ON "-DRONDO_TRAIN=$what") ;;
  *) echo "unknown '$what' (expected program, core, AUTO, ON or OFF)" >&2; exit 1 ;;
esac

echo "== building $build (${targets[*]})"
mkdir -p build
cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=Release "${options[@]}" > $build.log 2>&1 ||
  { cat $build.log; exit 1; }
cmake --build $build --target "${targets[@]}"
