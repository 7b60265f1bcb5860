"""A fiber overflows its stack inside a Python process: it is named, and faulthandler is not robbed.

For every stack class, with faulthandler enabled before the workers start, after that, and never.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import lane

FIBERS = 1_000_000 if lane.IS_LONG else 1000
CLASSES = {0: 16, 1: 64, 2: 256}

_PROGRAM = """
import ctypes, faulthandler, resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
module, when, stack_class, fibers = sys.argv[1:]
library = ctypes.CDLL(module)
if when == "before":
    faulthandler.enable()
library.overflow_start()
if when == "after":
    faulthandler.enable()
library.overflow_run(int(stack_class), int(fibers))
"""


def _check(stack_class: int, when: str) -> None:
    result = subprocess.run(
        [
            sys.executable,
            "-P",
            "-c",
            _PROGRAM,
            str(lane.BIN / "overflow_module.so"),
            when,
            str(stack_class),
            str(FIBERS),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    where = f"class {stack_class}, faulthandler {when}: "
    lane.check(result.returncode == -signal.SIGSEGV, f"{where}{result.returncode} {result.stderr}")
    identity = re.search(r"^id (\d+)$", result.stderr, re.MULTILINE)
    lane.check(identity is not None, where + result.stderr)
    assert identity
    report = f'tinycoro: fiber {identity[1]} "deep" overflowed its {CLASSES[stack_class]} KiB stack'
    lane.check(result.stderr.count(report) == 1, f"{where}expected {report!r} in {result.stderr}")
    python = "Fatal Python error: Segmentation fault" in result.stderr
    lane.check(python == (when != "never"), f"{where}faulthandler: {result.stderr}")


def overflow() -> str:
    for stack_class in CLASSES:
        for when in ("before", "after", "never"):
            _check(stack_class, when)
    return (
        f"one of {FIBERS} fibers overflowed in {len(CLASSES)} classes: named each time, with"
        " faulthandler enabled before, after and never"
    )


lane.run(overflow, limit=900 if lane.IS_LONG else 60)
