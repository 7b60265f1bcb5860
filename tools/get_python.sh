#!/bin/sh
# Print a Python of one version, with venv and headers; install it if there is a way.
# usage: get_python.sh 3.12|3.13t          t: free-threaded
# Builds are kept outside the tree, in ${XDG_CACHE_HOME:-~/.cache}/tinycoro-ci.
set -u
cd "$(dirname "$0")/.." || exit 1
version=${1:?usage: $0 VERSION}
pythons=${XDG_CACHE_HOME:-$HOME/.cache}/tinycoro-ci/pythons
number=${version%t}

find_it() {
    for candidate in "python$version" "/usr/bin/python$version" "/usr/local/bin/python$version" \
        "$pythons/python-$version/bin/python$version" \
        "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python; do
        # A shim may answer with another version, or with none.
        path=$(PYTHON=$candidate sh tools/find_python.sh 2>/dev/null) || continue
        said=$("$path" -c 'import sys; print("%d.%d" % sys.version_info[:2] + sys.abiflags)')
        if [ "$said" = "$version" ]; then
            echo "$path"
            return 0
        fi
    done
    return 1
}

install_it() {
    if [ "$(id -u)" = 0 ] && [ "$version" = "$number" ] && command -v apt-get >/dev/null &&
        apt-get install -y -qq --no-install-recommends "python$number" "python$number-dev" \
            "python$number-venv"; then
        return
    fi
    if [ "$version" = "$number" ] && command -v pyenv >/dev/null && pyenv install -s "$number"; then
        return
    fi
    command -v apt-get >/dev/null || return
    if [ "$(id -u)" = 0 ]; then
        apt-get install -y -qq --no-install-recommends gcc libc6-dev make xz-utils libssl-dev \
            zlib1g-dev libbz2-dev liblzma-dev libsqlite3-dev libffi-dev debian-archive-keyring
    fi
    with_gil=1
    [ "$version" = "$number" ] || with_gil=0
    mkdir -p "$pythons"
    TC_FT_GIL=$with_gil TC_FT_PREFER="python$number" sh tools/get-python-freethreaded.sh "$pythons"
}

find_it && exit 0
install_it >&2
find_it && exit 0
echo "no Python $version, and no way found to install one" >&2
exit 1
