#!/bin/sh
# Build the core for aarch64; run the C tests of arch, base, sched and the HTTP parsers under qemu-user.
#
#   tests/aarch64.sh [BUILD_DIRECTORY]      default: build/aarch64
#
# It proves the ABI of the switch and that nothing depends on x86-64.  It proves nothing about
# memory order: qemu runs the program with the order of the machine it runs on.
# Exit status: that of the tests, 2 when the tools are missing and cannot be installed.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$root/build/aarch64}
packages="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static"

if ! command -v aarch64-linux-gnu-gcc >/dev/null || ! command -v qemu-aarch64-static >/dev/null ||
    ! [ -e /usr/aarch64-linux-gnu/lib/libc.so.6 ]; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "tests/aarch64.sh needs: $packages" >&2
        echo "on Debian and Ubuntu, as root: apt-get install $packages" >&2
        exit 2
    fi
    # Word splitting is meant: a list of packages.
    # shellcheck disable=SC2086
    if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages; }; then
        echo "tests/aarch64.sh: could not install $packages" >&2
        exit 2
    fi
fi

generator=
if command -v ninja >/dev/null; then
    generator="-G Ninja"
fi
jobs=${TC_JOBS:-$(nproc)}
# shellcheck disable=SC2086
cmake -S "$root" -B "$build" $generator -DCMAKE_BUILD_TYPE=RelWithDebInfo -DTC_PYTHON=OFF \
    -DCMAKE_TOOLCHAIN_FILE="$root/tests/aarch64-toolchain.cmake" >/dev/null
cmake --build "$build" --parallel "$jobs"
ctest --test-dir "$build" --output-on-failure --parallel "$jobs" -L '^(arch|base|sched)$'
ctest --test-dir "$build" --output-on-failure --parallel "$jobs" \
    -R '^http/test_(chars|chunked|date|multipart|parser|path|range)$'
