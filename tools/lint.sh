#!/bin/sh
# Formatting, Python style, types and the house rules of tests/lint.
# usage: lint.sh [--fix]          --fix rewrites what can be rewritten, and then checks
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/${TC_VENV:-.venv}/bin:$PATH"

c_files() {
    find csrc tests benchmarks -name '*.[ch]' 2>/dev/null | sort
}

if [ "${1:-}" = --fix ]; then
    c_files | xargs -r clang-format -i
    ruff check --quiet --fix . || true
    ruff format --quiet .
fi
c_files | xargs -r clang-format --dry-run -Werror
echo "lint: clang-format ok"
ruff check --quiet .
ruff format --quiet --check .
echo "lint: ruff ok"
mypy --no-error-summary
echo "lint: mypy ok"
# What needs the installed package runs with the other tests, in tools/test.sh.
python -P -m pytest -q tests/lint --ignore=tests/lint/test_exports.py \
    --ignore=tests/lint/test_types.py
