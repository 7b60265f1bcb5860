"""Generated requests, 200,000 or 2,000,000 of them: our parser beside httptools and h11.

A failure prints the seed of the request: `generate(random.Random(seed))` in tests/py/http_peers.py.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import lane

sys.path.append(str(Path(__file__).resolve().parents[1] / "py"))

COUNT = 2_000_000 if lane.IS_LONG else 200_000


def differential() -> str:
    from http_peers import difference, generate, read_ours

    accepted = 0
    first = lane.SEED * COUNT
    for seed in range(first, first + COUNT):
        data = generate(random.Random(seed))
        found = difference(data)
        lane.check(found is None, f"seed {seed}: {data!r}: {found}")
        accepted += read_ours(data).error is None
    return f"{COUNT} requests, {accepted} of them accepted, no difference"


if __name__ == "__main__":
    lane.run(differential, COUNT / 400)
