#!/bin/sh
# The slow lanes: what a server must survive, from outside, at full size.
# usage: run.sh short|long [LANE…]    short: for every change, about 5 minutes; long: about 20; and 5
# or 25 of fuzzing, on two processors
#
# Each lane is a program of its own that prints one line with what it saw. What is tested is the
# package installed in .venv and C programs built from this tree (presets dev, asan and tsan).
# environment: TC_SLOW_PYTHON, an interpreter with the package, and TC_SLOW_BUILD, a folder with
# builds called dev, asan and tsan; with both set, nothing is installed or built. TC_SLOW_SKIP, lanes
# that are run elsewhere.
set -eu
cd "$(dirname "$0")/../.."
form=${1:?usage: $0 short|long [LANE…]}
shift
case $form in
short) fuzz=120 storms=20 crowd=10 parked=100000 others=1000 stalls=5 histories=10000 ;;
long) fuzz=600 storms=200 crowd=50 parked=1000000 others=1000000 stalls=25 histories=200000 ;;
*) echo "usage: $0 short|long [LANE…]" >&2 && exit 2 ;;
esac
if [ -z "${TC_SLOW_PYTHON:-}" ] || [ -z "${TC_SLOW_BUILD:-}" ]; then
    sh tools/venv.sh dev
    .venv/bin/python -m pip install --quiet --no-build-isolation .
    sh tools/ctest.sh --build-only dev asan tsan
    TC_SLOW_PYTHON=$PWD/.venv/bin/python
    TC_SLOW_BUILD=$PWD/build
fi
export TC_SLOW_BIN="$TC_SLOW_BUILD/dev/bin/slow" PYTHONDONTWRITEBYTECODE=1
export ASAN_OPTIONS=detect_stack_use_after_return=1:detect_leaks=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:history_size=4
chosen=" $* "
failed=
began=$(date +%s)

# lane NAME COMMAND…
lane() {
    name=$1
    shift
    if [ "$chosen" != "  " ] && [ "${chosen#* "$name" }" = "$chosen" ]; then
        return 0
    fi
    case " ${TC_SLOW_SKIP:-} " in *" $name "*) return 0 ;; esac
    "$@" || failed="$failed $name"
}

python_lane() {
    lane "$1" "$TC_SLOW_PYTHON" "tests/slow/$1.py" "$form"
}

# faults PRESET TEST
faults() {
    log=$(mktemp)
    if TC_SLOW=$form "$TC_SLOW_BUILD/$1/bin/$2" --timeout 300 >"$log" 2>&1; then
        echo "ok   faults ($1, $2): $(tail -n 1 "$log"); $(grep -c ' places$' "$log") sweeps of" \
            "$(awk '/ places$/ { n += $2 } END { print n + 0 }' "$log") places"
        rm -f "$log"
    else
        cat "$log"
        rm -f "$log"
        return 1
    fi
}

# The model programs with larger bounds than ctest's; channel takes a minute.
explore() {
    log=$(mktemp)
    for program in "$TC_SLOW_BUILD"/dev/bin/model/model_explore_*_0; do
        delays=2
        case $program in *channel_0) delays=1 ;; esac
        "$program" 2 "$delays" >>"$log" || return 1
    done
    awk '{ n += $2 } END { print "ok   explore: " n " executions of " NR " models" }' "$log"
    rm -f "$log"
}

# asyncio's streams and ours give the same: 2,000 and 1,000 generated sessions.
sessions() {
    log=$(mktemp)
    if TC_SLOW=$form "$TC_SLOW_PYTHON" -P -m pytest -q tests/py/test_stream_sessions.py >"$log" 2>&1; then
        echo "ok   sessions: $(tail -n 1 "$log")"
        rm -f "$log"
    else
        cat "$log"
        rm -f "$log"
        return 1
    fi
}

# Two loops in two threads want an interpreter without the GIL.
parallel() {
    venv=$PWD/build/slow/venv-3.13t
    if ! python=$(sh tools/get_python.sh 3.13t 2>/dev/null); then
        echo "none parallel: no free-threaded Python 3.13"
        return 0
    fi
    PYTHON=$python TC_VENV=$venv sh tools/venv.sh build >/dev/null &&
        "$venv/bin/python" -m pip install --quiet --no-build-isolation . &&
        "$venv/bin/python" tests/slow/parallel.py "$form"
}

tsan_interpreter() {
    status=0
    sh tests/slow/tsan_interpreter.sh "$form" || status=$?
    [ $status = 0 ] || [ $status = 75 ] # what it wants cannot be had, as it has said
}

storm=$TC_SLOW_BIN/storm
python_lane storms
lane storm_c "$TC_SLOW_BIN/storm_c" "$storm" "$storms" 1000
lane storm_asan "$TC_SLOW_BUILD/asan/bin/slow/storm_c" "$storm" "$crowd" 1000
lane storm_tsan "$TC_SLOW_BUILD/tsan/bin/slow/storm_c" "$storm" "$crowd" 1000
python_lane nofile
python_lane idle
lane faults faults dev net/test_faults
lane faults_asan faults asan net/test_faults
lane http_faults faults dev http/test_http_faults
python_lane restart
python_lane forks
python_lane exits
lane million "$TC_SLOW_BIN/million" "$parked" "$others"
python_lane overflow
python_lane idle_memory
lane stall "$TC_SLOW_BIN/stall" "$storm" "$stalls"
lane histories "$TC_SLOW_BUILD/dev/bin/stress/history" "$histories"
[ "$form" = short ] || lane explore explore
python_lane http_differential
python_lane hostile
python_lane handover
python_lane upload
python_lane traversal
python_lane clients
python_lane browser
lane fuzz sh tests/fuzz/run.sh "$fuzz"
python_lane channels
python_lane streams
lane sessions sessions
lane parallel parallel
[ "$form" = short ] || lane tsan_interpreter tsan_interpreter
python_lane soak

echo "slow lanes, $form: $(($(date +%s) - began)) s; failed:${failed:- none}"
[ -z "$failed" ]
