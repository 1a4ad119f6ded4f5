# The two commands of the README, and what they are made of. Every target installs what it needs (as root or with sudo),
# says so, and may be run again.
SHELL := /bin/bash
BUILD := build/release
RONDO := $(BUILD)/bin/rondo
PYTHON := .venv/bin/python
# AUTO: rondo-train is built where LibTorch is found; OFF: everything else, without LibTorch.
RONDO_TRAIN ?= AUTO
# Of the tests and the trainer alone; the demonstration does without.
FULL_PACKAGES := libgtest-dev libgmock-dev libsentencepiece-dev
# Whose warnings and whose layout count.
CLANG := clang-14 clang-format-14
# The runtime of its sanitizers and of its fuzzer.
FUZZ := clang-14 libclang-rt-14-dev

.PHONY: demo demo-speech test test-slow test-arm test-avx512 bench build program core packages full-packages clang-packages \
  fuzz-packages python torch oracles models slow-models peers sanitize sanitize-inputs fuzz fuzz-ci \
  checks downloads check-clang check-format format clean help

help:
	@echo "make demo       install what is missing, build rondo, get SmolLM2, fold it, show the result (five minutes)"
	@echo "make demo-speech  train a recogniser of spoken digits and let it transcribe a file (minutes)"
	@echo "make test       everything that the tests need, then all fast tests (20 minutes on a new machine)"
	@echo "make test-slow  the same set-up and more models, then real models against transformers and llama.cpp (hours)"
	@echo "make bench      speed beside llama.cpp and transformers (about half an hour)"
	@echo "make test-arm   rondo for 64-bit ARM: kernels, sound, speech, run under emulation"
	@echo "make test-avx512  the kernel tests for AVX-512 and its VNNI, run under emulation"
	@echo "make build      build $(RONDO), the tests and, with the LibTorch of .venv, rondo-train"
	@echo "make sanitize   all C++ tests under the address and undefined-behaviour sanitizers"
	@echo "make sanitize-inputs  of these the tests of everything that reads outside files"
	@echo "make fuzz       fuzz every parser of outside files, 10 minutes each (FUZZ_SECONDS); goes on where it ended"
	@echo "make fuzz-ci    the kept inputs of the fuzzers, then 10 seconds each"
	@echo "make check-clang  compile everything with clang; a warning is an error"
	@echo "make check-format  fail where clang-format would change a C++ file"
	@echo "make checks     check-format, check-clang, sanitize-inputs and fuzz-ci: what CI runs before make test"
	@echo "make format     clang-format every C++ file"

# Downloads run beside the compiler.
demo:
	@$(MAKE) --no-print-directory -j2 program models
	@scripts/demo.py

demo-speech: build
	@scripts/demo_speech.sh

test:
	@$(MAKE) --no-print-directory -j2 core oracles models
	@$(MAKE) --no-print-directory build
	@scripts/test.sh fast

test-slow:
	@$(MAKE) --no-print-directory -j2 core oracles models slow-models
	@$(MAKE) --no-print-directory build peers
	@scripts/test.sh slow

bench: build oracles models peers
	@scripts/get_model.sh gemma3
	@$(PYTHON) benchmarks/peers.py

test-arm:
	@scripts/test_arm.sh

test-avx512: full-packages python
	@scripts/test_avx512.sh

build: full-packages torch
	@scripts/build.sh $(RONDO_TRAIN)

# rondo alone: neither tests nor trainer.
program: packages
	@scripts/build.sh program

# What can be compiled while LibTorch is still on its way.
core: full-packages
	@scripts/build.sh core

packages:
	@scripts/install_packages.sh
	@mkdir -p build models

full-packages: packages
	@scripts/install_packages.sh $(FULL_PACKAGES)

clang-packages: full-packages
	@scripts/install_packages.sh $(CLANG)

fuzz-packages: full-packages
	@scripts/install_packages.sh $(FUZZ)

torch: python
	@[ "$(RONDO_TRAIN)" = OFF ] || scripts/install_torch.sh

python: packages
	@test -x $(PYTHON) || { echo "== creating .venv"; python3 -m venv .venv; }

oracles: python
	@scripts/install_python.sh oracles

models: python
	@scripts/get_model.sh smollm2

slow-models: full-packages python
	@scripts/install_packages.sh espeak-ng
	@scripts/get_model.sh gemma3
	@scripts/get_model.sh whisper-base

peers: oracles
	@scripts/install_python.sh peers

sanitize: full-packages
	@scripts/sanitize.sh all

sanitize-inputs: fuzz-packages
	@scripts/sanitize.sh inputs

fuzz: fuzz-packages
	@scripts/fuzz.sh long

fuzz-ci: fuzz-packages
	@scripts/fuzz.sh ci

# What CI does before the tests; one after another, since each uses all cores.
checks:
	@$(MAKE) --no-print-directory check-format
	@$(MAKE) --no-print-directory check-clang
	@$(MAKE) --no-print-directory sanitize-inputs
	@$(MAKE) --no-print-directory fuzz-ci

downloads: oracles models

check-clang: clang-packages
	@scripts/check_clang.sh

check-format: clang-packages
	@echo "== clang-format"
	@git ls-files '*.h' '*.cc' | xargs clang-format-14 --dry-run -Werror

format: clang-packages
	@git ls-files '*.h' '*.cc' | xargs clang-format-14 -i

clean:
	rm -rf build
