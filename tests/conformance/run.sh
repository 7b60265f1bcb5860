#!/bin/sh
# CPython's own tests of asyncio, on tinycoro; see run.py. On Python 3.13, whose semantics are ours.
# usage: run.sh short|long [MODULE…]     short: about a minute; long: several settings
#
# The tests are those that the interpreter has installed (Lib/test). A Python built from source or by
# pyenv has them; Debian and Ubuntu have them in libpython3.13-testsuite, which is installed if that
# is possible. Without them this says so and returns 75.
# environment: TC_CONFORMANCE_PYTHON, an interpreter with tinycoro and the tests: nothing is installed
set -eu
cd "$(dirname "$0")/../.."
form=${1:?usage: $0 short|long [MODULE…]}
version=3.13
missing=75
venv=$PWD/build/conformance/venv

has_tests() {
    "$1" -c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec("test.test_asyncio"))'
}

if [ -z "${TC_CONFORMANCE_PYTHON:-}" ]; then
    python=$(sh tools/get_python.sh $version) || exit $missing
    if ! has_tests "$python" && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get install -y -qq --no-install-recommends libpython$version-testsuite >&2 || true
    fi
    if ! has_tests "$python"; then
        echo "$python has no test.test_asyncio: install its tests (libpython$version-testsuite)"
        exit $missing
    fi
    if ! "$venv/bin/python" -c '' 2>/dev/null; then
        rm -rf "$venv"
        "$python" -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet --upgrade 'pip>=25.1'
    fi
    "$venv/bin/python" -m pip install --quiet --group build
    "$venv/bin/python" -m pip install --quiet --no-build-isolation .
    TC_CONFORMANCE_PYTHON=$venv/bin/python
fi
exec "$TC_CONFORMANCE_PYTHON" tests/conformance/run.py "$@"
