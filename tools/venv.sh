#!/bin/sh
# Make .venv with the packages of one dependency group of pyproject.toml, or bring it up to date.
# usage: venv.sh GROUP            (environment: TC_VENV, default .venv)
set -eu
cd "$(dirname "$0")/.."
group=${1:?usage: $0 GROUP}
venv=${TC_VENV:-.venv}

if ! "$venv/bin/python" -c '' 2>/dev/null; then
    python=$(sh tools/find_python.sh)
    echo "venv: $("$python" -V) in $venv"
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi
stamp="$venv/.group-$group"
if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ]; then
    # --group needs pip 25.1.
    "$venv/bin/python" -m pip install --quiet --upgrade 'pip>=25.1'
    "$venv/bin/python" -m pip install --quiet --group "$group"
    touch "$stamp"
fi
