"""Tasks of two loops, two threads and a C fiber exchange numbers over channels and select.

None is lost, duplicated or reordered per sender and way (tests/py/exchange.py says how).
"""

from __future__ import annotations

import sys
import time

import lane

sys.path.insert(0, str(lane.HERE.parent / "py"))

import exchange  # it lies in the folder that was just added

ITEMS = 10_000_000 if lane.IS_LONG else 1_000_000


def main() -> str:
    begun = time.monotonic()
    wrong = exchange.run(exchange.Exchange(ITEMS))
    lane.check(not wrong, "; ".join(wrong))
    return f"{ITEMS} items, {(time.monotonic() - begun) / ITEMS * 1e6:.2f} µs each"


if __name__ == "__main__":
    lane.run(main, 900.0)
