#!/bin/sh
# Fuzz the HTTP parsers: usage: run.sh SECONDS [TARGET…]     (SECONDS for each target)
# As many targets at a time as there are processors.
#
# Starts from the committed corpus and the requests of tests/http, replays tests/fuzz/regression
# first, and prints one line per target. What is found new lies in build/fuzz/corpus; a crash is left in
# build/fuzz/crash-… and belongs into regression/TARGET once it is understood. Needs clang with its
# libFuzzer, in any version; without it says so and succeeds.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:?usage: $0 SECONDS [TARGET…]}
shift
clang=
for name in clang $(seq -f 'clang-%g' 25 -1 11); do
    if command -v "$name" >/dev/null && echo 'int LLVMFuzzerTestOneInput(const unsigned char *d,
        unsigned long n) { return n > 9 && d[0]; }' |
        "$name" -x c -fsanitize=fuzzer,address,undefined -o /dev/null - 2>/dev/null; then
        clang=$name
        break
    fi
done
if [ -z "$clang" ]; then
    echo "skip fuzz: no clang with libFuzzer (on Debian: clang and libclang-rt-dev of its version)"
    exit 0
fi
export ASAN_OPTIONS=detect_stack_use_after_return=1:detect_leaks=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
mkdir -p build
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { cmake --preset fuzz -DCMAKE_C_COMPILER="$clang" && cmake --build build/fuzz; } >"$log" 2>&1; then
    cat "$log" >&2
    echo "FAIL fuzz: the build failed" >&2
    exit 1
fi
python3 tests/fuzz/seeds.py build/fuzz/corpus
# shellcheck disable=SC2086 # the default is a list
printf '%s\n' ${*:-parser chunked path range multipart} |
    xargs -P "$(nproc)" -n 1 sh tests/fuzz/one.sh "$seconds"
