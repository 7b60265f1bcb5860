#!/bin/sh
# One target that run.sh has built: its regressions, then SECONDS of fuzzing; prints a line.
# usage: one.sh SECONDS TARGET
set -eu
cd "$(dirname "$0")/../.."
seconds=$1
target=$2
program=build/fuzz/bin/fuzz/$target
log=$(mktemp)
trap 'rm -f "$log"' EXIT

if [ -d "tests/fuzz/regression/$target" ] &&
    ! "$program" "tests/fuzz/regression/$target"/* >"$log" 2>&1; then
    cat "$log"
    echo "FAIL fuzz $target: a regression"
    exit 1
fi
if ! "$program" -max_total_time="$seconds" -max_len=20000 -rss_limit_mb=1024 -timeout=10 \
    -print_final_stats=1 -artifact_prefix=build/fuzz/ \
    "build/fuzz/corpus/$target" "tests/fuzz/corpus/$target" >"$log" 2>&1; then
    tail -n 60 "$log"
    echo "FAIL fuzz $target"
    exit 1
fi
runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
cover=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1)
echo "ok   fuzz $target: $runs runs in $seconds s, $cover"
