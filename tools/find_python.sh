#!/bin/sh
# Print a Python interpreter that can build tinycoro: 3.11 or newer, with venv, ensurepip and
# Python.h, beside a working C compiler.  Each candidate is judged by running it, because a name
# on PATH may be a shim with nothing behind it.  When nothing serves, say what to install.
# usage: find_python.sh          (environment: PYTHON=… is tried first, and alone)
set -u

if command -v dnf >/dev/null 2>&1; then
    install="dnf install"
    compiler_package="gcc glibc-devel" python_package="python3" venv_package="python3-pip"
    headers_package="python3-devel"
else
    install="apt-get install"
    compiler_package="gcc libc6-dev" python_package="python3" venv_package="python3-venv"
    headers_package="python3-dev"
fi

probe='
import sys
if sys.version_info < (3, 11):
    sys.exit("is Python %d.%d; 3.11 or newer is needed" % sys.version_info[:2])
try:
    import ensurepip, venv
except ImportError:
    sys.exit("cannot make virtual environments (no venv or no ensurepip)")
import os, sysconfig
include = sysconfig.get_path("include")
if not os.path.exists(os.path.join(include, "Python.h")):
    sys.exit("has no Python.h in " + include)
print(sys.executable)
'

if ! printf '#include <stdio.h>\nint main(void) { return 0; }\n' |
    ${CC:-cc} -x c -o /dev/null - 2>/dev/null; then
    echo "No working C compiler (${CC:-cc}). Install one: $install $compiler_package" >&2
    exit 1
fi

complaints=
for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 \
                 /usr/bin/python3 /usr/local/bin/python3}; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    if found=$("$candidate" -I -c "$probe" 2>&1); then
        echo "$found"
        exit 0
    fi
    complaints="$complaints  $candidate $(printf '%s' "$found" | tail -n 1)
"
done

{
    echo "No usable Python. Needed: 3.11 or newer with venv, ensurepip and Python.h."
    printf '%s' "${complaints:-  no python3 on PATH
}"
    echo "Install: $install $python_package $venv_package $headers_package"
    echo "(a version beside the system's has its own: python3.N-venv and python3.N-dev)"
} >&2
exit 1
