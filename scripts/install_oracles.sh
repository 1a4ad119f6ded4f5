#!/usr/bin/env bash
# Installs the programs that the tests compare with into .venv, once for each version of the list.
set -euo pipefail
cd "$(dirname "$0")/.."

list=tests/oracles.txt
stamp=.venv/oracles.installed
cmp -s "$list" "$stamp" && exit 0
echo "== installing the tests' oracles into .venv ($(grep -cv '^#' "$list") packages)"
# torch first: later requirements are then content with it.
scripts/install_torch.sh
.venv/bin/python -m pip install -q --disable-pip-version-check -r "$list"
cp "$list" "$stamp"
