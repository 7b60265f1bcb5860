#!/bin/sh
# Build the pages of docs/ from the installed package and the headers; a warning is an error.
# usage: docs.sh            (environment: TC_VENV, default .venv)
set -eu
cd "$(dirname "$0")/.."
venv=${TC_VENV:-.venv}
sh tools/venv.sh docs
"$venv/bin/python" -m pip install --quiet --no-build-isolation .
"$venv/bin/python" -P -m sphinx -W --keep-going -q -b html -d build/docs-cache docs build/docs
echo "docs: build/docs/index.html"
