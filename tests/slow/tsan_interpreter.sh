#!/bin/sh
# Python tests that use several threads, on a free-threaded interpreter that is built with
# ThreadSanitizer, as the module is then: nothing that it reports may be ours (tsan_reports.py).
# usage: tsan_interpreter.sh short|long
#
# The interpreter is kept outside the tree, in ${XDG_CACHE_HOME:-~/.cache}/tinycoro-ci/pythons-tsan.
# Where it is not there, the long form builds it, which takes ten minutes and more, and the short one
# says so and returns 75. So do both where there is no way to build it.
set -eu
cd "$(dirname "$0")/../.."
form=${1:?usage: $0 short|long}
missing=75
pythons=${XDG_CACHE_HOME:-$HOME/.cache}/tinycoro-ci/pythons-tsan
python=$pythons/python-3.13t/bin/python3.13t
venv=$PWD/build/slow/venv-3.13t
site=$PWD/build/slow/tsan-site
reports=$PWD/build/slow/tsan-reports
log=$PWD/build/slow/tsan_interpreter.log
tests="free_threading threads from_thread channel_exchange executor futures queues"
mkdir -p build/slow
export TSAN_OPTIONS=report_bugs=0 # until the tests

none() {
    echo "none tsan_interpreter: $1"
    exit $missing
}

if ! "$python" -c '' 2>/dev/null; then
    [ "$form" = long ] || none "no interpreter with ThreadSanitizer; \`make soak\` builds one"
fi
# Its venv has pytest, and its headers are those of the other build.
plain=$(sh tools/get_python.sh 3.13t 2>"$log") || none "no free-threaded Python 3.13"
if ! "$python" -c '' 2>/dev/null; then
    mkdir -p "$pythons"
    TC_FT_PREFER=python3.13 sh tools/get-python-freethreaded.sh "$pythons" \
        --with-thread-sanitizer >"$log" 2>&1 || none "the interpreter could not be built: see $log"
fi
PYTHON=$plain TC_VENV=$venv sh tools/venv.sh build >"$log"
PYTHON=$plain TC_VENV=$venv sh tools/venv.sh test >>"$log"
rm -rf "$site" "$reports"
mkdir "$reports"
TC_SANITIZE=thread TC_DEBUG=1 "$venv/bin/python" -m pip install --quiet --no-build-isolation \
    --no-deps --target "$site" "-Cbuild-dir=build/slow/tsan-{wheel_tag}" \
    -Ccmake.build-type=RelWithDebInfo .
packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
files=
for name in $tests; do
    files="$files tests/py/test_$name.py"
done
status=0
# shellcheck disable=SC2086 # a list of words
PYTHONPATH=$site:$packages \
    TSAN_OPTIONS="log_path=$reports/report exitcode=0 history_size=4" \
    "$python" -P -m pytest --color=no -q -p no:cacheprovider $files >"$log" 2>&1 || status=$?
if [ $status != 0 ] || ! "$venv/bin/python" tests/slow/tsan_reports.py "$reports" >>"$log"; then
    tail -n 80 "$log"
    echo "FAIL tsan_interpreter: see $log"
    exit 1
fi
echo "ok   tsan_interpreter: $(tail -n 2 "$log" | tr '\n' ' ')"
