#!/usr/bin/env bash
# Installs the version of torch that tests/oracles.txt names into .venv: the trainer is built with the
# LibTorch inside it. Without it everything but rondo-train is built all the same.
set -euo pipefail
cd "$(dirname "$0")/.."

compgen -G ".venv/lib/python3*/site-packages/torch/share/cmake/Torch" > /dev/null && exit 0
wanted=$(grep '^torch==' tests/oracles.txt)
echo "== installing $wanted into .venv (for rondo-train; RONDO_TRAIN=OFF leaves it out)"
.venv/bin/python -m pip install -q --disable-pip-version-check "$wanted" ||
  echo "== $wanted could not be installed: rondo-train will not be built" >&2
