#!/bin/sh
# Configure, build and run the C tests of the named presets.
# usage: ctest.sh [--build-only] PRESET [PRESET…]     (environment: CTEST_ARGS)
set -eu
cd "$(dirname "$0")/.."
export VIRTUAL_ENV="$PWD/${TC_VENV:-.venv}" # CMake looks for Python there first
PATH="$VIRTUAL_ENV/bin:$PATH"
build_only=
if [ "${1:-}" = --build-only ]; then
    build_only=1
    shift
fi

# The end of what each test that failed has said itself, without what went well. ctest says it too, but
# far above its summary.
say_failures() {
    awk '
        function tell(   i) {
            print "---- " name ":"
            for (i = count > 15 ? count - 14 : 1; i <= count; i++) print line[i]
        }
        /^[0-9]+\/[0-9]+ Test: / { name = $3; count = 0; is_output = 0 }
        /^Output:$/ { is_output = 1; getline; next }
        /^<end of output>$/ { is_output = 0 }
        is_output && !/^ok / { line[++count] = $0 }
        /^Test Failed\.$/ { tell() }
    ' "build/$1/Testing/Temporary/LastTest.log"
}

for preset in "$@"; do
    start=$(date +%s)
    log="build/$preset/ctest-script.log"
    mkdir -p "build/$preset"
    if ! { cmake --preset "$preset" && cmake --build --preset "$preset"; } >"$log" 2>&1; then
        cat "$log" >&2
        echo "C tests, $preset: the build failed" >&2
        exit 1
    fi
    [ -z "$build_only" ] || continue
    # shellcheck disable=SC2086 # CTEST_ARGS is a list of words
    if ! ctest --preset "$preset" --progress ${CTEST_ARGS:-} >"$log" 2>&1; then
        cat "$log" >&2
        say_failures "$preset" >&2
        echo "C tests, $preset: FAILED" >&2
        exit 1
    fi
    echo "C tests, $preset: $(grep 'tests passed' "$log") ($(($(date +%s) - start)) s)"
done
