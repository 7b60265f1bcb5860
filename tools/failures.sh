#!/bin/sh
# The lines of a log that say what failed and why: checks, signals, seeds, reports, pytest's summary.
# usage: failures.sh LOG [LINES]      at most so many lines, default 10; the end of a log without any
set -eu
log=$1
lines=${2:-10}
found=$(awk '
    # The first line of what pytest says about an error; of what the C tests say, also the operands.
    { is_told = is_error != ($0 ~ /^E  /) && $0 ~ /^E  /; is_error = $0 ~ /^E  / }
    /check failed:/ { operands = 2; is_told = 1 }
    operands > 0 && /^ +.* = / { operands--; is_told = 1 }
    /^ok / { next }
    /^(FAIL|FAILED|ERROR) / || /[Ss]eed|Falsifying|reproduce_failure/ { is_told = 1 }
    /out of time|left behind|too late each time|tinycoro: panic| is false|not linearizable/ { is_told = 1 }
    /(ERROR|SUMMARY): [A-Za-z]*Sanitizer|WARNING: ThreadSanitizer|runtime error:/ { is_told = 1 }
    /: (error|fatal error|warning): |ninja: build stopped|would reformat|Would reformat/ { is_told = 1 }
    /^~~~ fibers of |^\++ Timeout \++$|Fatal Python error/ { is_told = 1 }
    /\((Failed|Timeout|SEGFAULT|Subprocess .*|Not Run)\)( |$)/ { is_told = 1 }
    is_told && !seen[$0]++ { print substr($0, 1, 200) }
' "$log" | tail -n "$lines")
if [ -n "$found" ]; then
    echo "$found"
else
    tail -n "$lines" "$log" | cut -c 1-200
fi
