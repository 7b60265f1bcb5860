#!/bin/sh
# `make test`: lint, the C tests plain and under ASan+UBSan, and pytest over the installed package.
set -eu
cd "$(dirname "$0")/.."
start=$(date +%s)
sh tools/venv.sh dev
sh tools/lint.sh
sh tools/ctest.sh dev asan
.venv/bin/python -m pip install --quiet --no-build-isolation .
.venv/bin/python -P -m pytest -q
echo "make test: all passed in $(($(date +%s) - start)) s"
