# The two commands of the README, and what they are made of. Everything is idempotent.
SHELL := /bin/bash
BUILD := build/release
RONDO := $(BUILD)/bin/rondo
PYTHON := .venv/bin/python
# CMake may have been asked for by hand with other options; these are the release ones.
RONDO_TRAIN ?= AUTO
CMAKE_FLAGS := -G Ninja -DCMAKE_BUILD_TYPE=Release -DRONDO_TRAIN=$(RONDO_TRAIN)

.PHONY: demo demo-speech test test-slow test-arm test-avx512 bench build packages python torch oracles models sanitize format clean help

help:
	@echo "make demo       install what is missing, build, get SmolLM2, fold it, show the result"
	@echo "make demo-speech  train a recogniser of spoken digits and let it transcribe a file (minutes)"
	@echo "make test       the same set-up, then all fast tests"
	@echo "make test-slow  real models against transformers and llama.cpp (about half an hour)"
	@echo "make bench      speed beside llama.cpp and transformers (about half an hour)"
	@echo "make test-arm   rondo for 64-bit ARM: kernels, sound, speech, run under emulation"
	@echo "make test-avx512  the kernel tests for AVX-512 and its VNNI, run under emulation"
	@echo "make build      build $(RONDO) and, with the LibTorch of .venv, rondo-train"
	@echo "make sanitize   the C++ tests under the address and undefined-behaviour sanitizers"
	@echo "make format     clang-format every C++ file"

demo: build models
	@scripts/demo.sh

demo-speech: build
	@scripts/demo_speech.sh

test: build oracles models
	@scripts/test.sh fast

test-slow: build oracles models
	@scripts/install_packages.sh espeak-ng
	@scripts/get_model.sh whisper-base
	@scripts/test.sh slow

bench: build oracles models
	@scripts/get_model.sh gemma3
	@scripts/install_python.sh peers
	@$(PYTHON) benchmarks/peers.py

test-arm: packages
	@scripts/test_arm.sh

test-avx512: python
	@scripts/test_avx512.sh

build: packages torch
	@echo "== building $(RONDO)"
	@cmake -S . -B $(BUILD) $(CMAKE_FLAGS) > $(BUILD).log 2>&1 || (cat $(BUILD).log; exit 1)
	@cmake --build $(BUILD)

packages:
	@scripts/install_packages.sh
	@mkdir -p build models

# RONDO_TRAIN=OFF builds without LibTorch: everything but rondo-train.
torch: python
	@[ "$(RONDO_TRAIN)" = OFF ] || scripts/install_torch.sh

python: packages
	@test -x $(PYTHON) || { echo "== creating .venv"; python3 -m venv .venv; }

oracles: python
	@scripts/install_python.sh oracles

models: python
	@scripts/get_model.sh smollm2

sanitize: packages
	@cmake -S . -B build/sanitize -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
	  -DRONDO_SANITIZE=address,undefined > /dev/null
	@cmake --build build/sanitize
	@ctest --test-dir build/sanitize --output-on-failure

format:
	@git ls-files '*.h' '*.cc' | xargs clang-format -i

clean:
	rm -rf build
