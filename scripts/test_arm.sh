#!/usr/bin/env bash
# Builds the kernel tests for 64-bit ARM and runs them under emulation: the NEON kernels without ARM
# hardware. Arguments go to the test program. Takes some minutes the first time.
set -euo pipefail
cd "$(dirname "$0")/.."

build=$PWD/build/arm
packages=(g++-aarch64-linux-gnu qemu-user-static)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "== installing Debian packages: ${missing[*]}"
  sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    "${missing[@]}" > /dev/null
fi

# ARM builds of Highway and GoogleTest, unpacked beside the build; the system stays as it is.
if [ ! -e "$build/sysroot/done" ]; then
  mkdir -p "$build/lists/partial" "$build/sysroot"
  apt=(apt-get -qq -oAPT::Architecture=arm64 -oAPT::Architectures=arm64
       -oDir::State::Lists="$build/lists" -oAPT::Sandbox::User=root)
  "${apt[@]}" update
  (cd "$build" && "${apt[@]}" download libhwy1 libhwy-dev libgtest-dev libgmock-dev)
  for package in "$build"/*.deb; do dpkg -x "$package" "$build/sysroot"; done
  touch "$build/sysroot/done"
fi

library=$build/sysroot/usr/lib/aarch64-linux-gnu
cat > "$build/build.ninja" <<NINJA
cxx = $(command -v ccache || true) aarch64-linux-gnu-g++
flags = -std=c++20 -O2 -march=armv8-a+crypto -Wall -Wextra -Wshadow -Wno-missing-field-initializers -fno-math-errno $
  -ffp-contract=off -Iinclude -Isrc -Itests -isystem $build/include
rule cxx
  command = \$cxx \$flags -MMD -MF \$out.d -c \$in -o \$out
  depfile = \$out.d
  description = \$in
rule link
  command = aarch64-linux-gnu-g++ \$in -L$library -lgmock -lgtest -lgtest_main -lhwy -lpthread -o \$out
NINJA
# Headers that are the same on every machine come from the host.
mkdir -p "$build/include"
for header in hwy gtest gmock nlohmann; do ln -sfn "/usr/include/$header" "$build/include/$header"; done
objects=()
# Kernels need no packed files, whose libraries are not here.
for source in $(ls src/base/*.cc | grep -v byte_source) src/tensor/*.cc src/kernels/*.cc tests/kernels/*_test.cc; do
  object=$build/${source%.cc}.o
  mkdir -p "$(dirname "$object")"
  objects+=("$object")
  echo "build $object: cxx $source" >> "$build/build.ninja"
done
echo "build $build/kernels_test: link ${objects[*]}" >> "$build/build.ninja"
ninja -f "$build/build.ninja" "$build/kernels_test"

exec qemu-aarch64-static -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH="$library" \
  "$build/kernels_test" --gtest_brief=1 "$@"
