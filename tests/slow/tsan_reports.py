"""Which of ThreadSanitizer's reports are about our code. Usage: tsan_reports.py FOLDER

The interpreter has races of its own: nothing suppresses them, and they are not ours. A report is
ours if a frame of our module is on top of one of the stacks that it compares, the sanitizer's own
aside.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

_FRAME = re.compile(r"^ +#\d+ .*\((\S+)\+0x[0-9a-f]+\)$")
# Where the report begins to tell how what it names came to be.
_ORIGINS = re.compile(r"^  (?:Location is|(?:Thread|Mutex) \S+ \(.*created)", re.MULTILINE)
_RULE = "=" * 18 + "\n"


def tops(report: str) -> set[str]:
    """The modules on top of the stacks that are compared: program, library or extension."""
    found = set()
    is_new = True
    for line in _ORIGINS.split(report)[0].splitlines():
        match = _FRAME.match(line)
        if match is None:
            is_new = True
        elif is_new and not match[1].startswith("libtsan"):
            found.add(match[1])
            is_new = False
    return found


def is_ours(report: str) -> bool:
    return any(module.startswith("_core.") for module in tops(report))


def main(folder: Path) -> int:
    reports = [
        report
        for file in sorted(folder.iterdir())
        for report in file.read_text(errors="replace").split(_RULE)
        if "WARNING: ThreadSanitizer" in report
    ]
    ours = [report for report in reports if is_ours(report)]
    for report in ours:
        print(report)
    print(f"{len(reports)} reports, of which {len(ours)} ours")
    return 1 if ours else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
