#!/bin/sh
# Build a free-threaded CPython from Debian's *source* packages (no other network needed).
# usage: get-python-freethreaded.sh PREFIX_BASE [EXTRA configure args...]
# env:   TC_FT_PREFER="python3.14 python3.13"  TC_FT_SUITES="trixie sid"  JOBS=2
#        TC_FT_GIL=1 builds with the GIL instead, for a version that the distribution lacks
set -eu
BASE=${1:?usage: $0 PREFIX_BASE [configure args]}; shift
PREFER=${TC_FT_PREFER:-"python3.14 python3.13"}; SUITES=${TC_FT_SUITES:-"trixie sid"}
GIL_OPTION=--disable-gil SUFFIX=t TESTS=--disable-test-modules
# The build with the GIL keeps Lib/test, which tests/conformance runs.
if [ "${TC_FT_GIL:-0}" = 1 ]; then GIL_OPTION=--disable-shared SUFFIX= TESTS=--enable-test-modules; fi
W=$(mktemp -d); trap 'rm -rf "$W"' EXIT
# the mirror this machine is already configured for; no host name in this file
MIRROR=$(apt-get indextargets --format '$(SITE)|$(ORIGIN)|$(LABEL)' 'Created-By: Packages' | awk -F'|' '$2=="Debian" && $3=="Debian"{print $1; exit}')
KEY=/usr/share/keyrings/debian-archive-keyring.gpg
mkdir -p "$W/lists/partial" "$W/cache/archives/partial" "$W/src"; chmod 755 "$W"
for s in $SUITES; do echo "deb-src [signed-by=$KEY] $MIRROR $s main"; done > "$W/src.list"
cat > "$W/apt.conf" <<EOF
Dir::Etc::sourcelist "$W/src.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "$W/lists";
Dir::Cache "$W/cache";
EOF
export APT_CONFIG="$W/apt.conf"
apt-get update -qq
cd "$W/src"; found=
for p in $PREFER; do
  for v in $(apt-cache madison "$p" | awk -F'|' '/Sources/{gsub(/ /,"",$2); print $2}'); do
    if apt-get source -qq --download-only "$p=$v" >/dev/null 2>&1; then found="$p=$v"; break 2; fi
  done
done
[ -n "$found" ] || { echo "no CPython source could be fetched" >&2; exit 1; }
unset APT_CONFIG
echo "building $found"
tar xf python3.*.orig.tar.xz
cd "$(find . -mindepth 1 -maxdepth 1 -type d | head -1)"
XY=$(sed -n 's/^m4_define(\[*PYTHON_VERSION\]*, *\[*\([0-9.]*\)\]*.*/\1/p' configure.ac | head -1); [ -n "$XY" ] || XY=${found#python}; XY=${XY%%=*}
PREFIX="$BASE/python-${XY}$SUFFIX"
mkdir -p b && cd b
nice -n 10 ../configure -q --prefix="$PREFIX" "$GIL_OPTION" --with-ensurepip=install "$TESTS" CFLAGS="-O2 -g1" "$@"
nice -n 10 make -s -j"${JOBS:-2}"
nice -n 10 make -s install >/dev/null
"$PREFIX/bin/python${XY}$SUFFIX" -c 'import sys, ssl, ctypes, sqlite3, zlib, lzma, bz2; print(sys.version, ssl.OPENSSL_VERSION)'
[ -z "$SUFFIX" ] || "$PREFIX/bin/python${XY}t" -c 'import sys; assert not sys._is_gil_enabled()'
"$PREFIX/bin/python${XY}$SUFFIX" -m pip --version
