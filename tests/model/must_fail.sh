#!/bin/sh
# A model program that was weakened on purpose must be caught. usage: must_fail.sh PROGRAM [ARGUMENT…]
ulimit -c 0
if said=$("$@" 2>&1); then
    echo "not caught: $said"
    exit 1
fi
echo "$said" | head -n 3
echo "$said" | grep -q -e 'is false' -e 'ThreadSanitizer' # and not for another reason
