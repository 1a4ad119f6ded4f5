#!/usr/bin/env bash
# Builds rondo for 64-bit ARM and runs it under emulation: the tests of kernels, sound and speech, and, where `make demo-speech` has left
# its model, `rondo transcribe` beside this machine's. Takes a quarter of an hour the first time. Arguments go to the kernel tests.
set -euo pipefail
cd "$(dirname "$0")/.."

build=$PWD/build/arm
scripts/install_packages.sh libgtest-dev libgmock-dev g++-aarch64-linux-gnu qemu-user-static

# The libraries of the build for ARM, with all that they need, unpacked beside it; the system stays as it is.
export RONDO_SYSROOT=$build/sysroot
if [ ! -e "$RONDO_SYSROOT/done" ]; then
  echo "== unpacking Debian's libraries for ARM"
  mkdir -p "$build/lists/partial" "$build/cache/archives/partial" "$RONDO_SYSROOT"
  : > "$build/status"
  apt=(apt-get -qq -oAPT::Architecture=arm64 -oAPT::Architectures=arm64 -oAPT::Sandbox::User=root -oDebug::NoLocking=1
       -oDir::State::Lists="$build/lists" -oDir::State::status="$build/status" -oDir::Cache="$build/cache")
  "${apt[@]}" update
  "${apt[@]}" install --download-only --no-install-recommends -y nlohmann-json3-dev libcli11-dev libpcre2-dev libutf8proc-dev libhwy-dev libtomlplusplus-dev liblzma-dev libzstd-dev zlib1g-dev libbz2-dev libxxhash-dev libeigen3-dev libopenblas-dev \
    liblapacke-dev libsndfile1-dev libmpg123-dev libsoxr-dev libkissfft-dev libedit-dev libgtest-dev libgmock-dev > /dev/null
  for package in "$build"/cache/archives/*.deb; do dpkg -x "$package" "$RONDO_SYSROOT"; done
  # The C library that programs link is the cross compiler's.
  rm -f "$RONDO_SYSROOT"/usr/lib/aarch64-linux-gnu/lib{c,m}.{so,a}
  # What Debian's alternatives choose when packages are installed.
  (cd "$RONDO_SYSROOT/usr/lib/aarch64-linux-gnu" && ln -sf openblas-pthread/lib*.so* . && cd pkgconfig &&
    ln -sf ../openblas-pthread/pkgconfig/openblas.pc . && ln -sf ../openblas-pthread/pkgconfig/lapack-openblas.pc lapack.pc &&
    ln -sf ../openblas-pthread/pkgconfig/blas-openblas.pc blas.pc)
  touch "$RONDO_SYSROOT/done"
fi

tests=(rondo_kernels_test rondo_audio_test rondo_speech_test)
cmake -S . -B "$build" -G Ninja -DCMAKE_TOOLCHAIN_FILE=cmake/arm64.cmake -DRONDO_TRAIN=OFF > /dev/null
cmake --build "$build" --target rondo "${tests[@]}"

library=$RONDO_SYSROOT/usr/lib/aarch64-linux-gnu
emulated() { qemu-aarch64-static -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH="$library" "$@"; }
emulated "$build/bin/rondo_kernels_test" --gtest_brief=1 "$@"
for test in rondo_audio_test rondo_speech_test; do emulated "$build/bin/$test" --gtest_brief=1; done

model=models/runs/speech_digits/model
if [ -e "$model" ] && [ -x build/release/bin/rondo ]; then
  echo "== one recording, here and on ARM"
  file=tests/data/speech/7_theo_0.flac
  say() { "$@" transcribe "$model" "$file" --json --quiet --threads 1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["files"][0]["text"])'; }
  here=$(say build/release/bin/rondo)
  there=$(say emulated "$build/bin/rondo")
  echo "here: $here; ARM: $there"
  [ "$here" = "$there" ]
fi
