#!/usr/bin/env python3
"""Compare two results of run.py: the ratio B / A of every figure, with its spread.

The rounds of two runs are not paired, so the spread is taken from the quartiles of both: from
(lower B / upper A) to (upper B / lower A). A ratio whose spread includes 1 is marked "~".
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for python -P

from harness.report import FORMAT, quartiles

SAME = ("cpu", "cores", "kernel", "governor")
SHOWN = ("rps", "server_us", "p50_us", "p99_us", "median", "cpu", "bytes_per_connection")


def load(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(path.read_text())
    if result.get("format") != FORMAT:
        raise SystemExit(f"compare.py: {path.name} is no result of this version of run.py")
    return result


def refuse_difference(a: dict[str, Any], b: dict[str, Any]) -> None:
    """End the program unless the two can be compared."""
    if a["kind"] != b["kind"]:
        raise SystemExit(f"compare.py: one is {a['kind']}, the other {b['kind']}")
    for name in SAME:
        left, right = a["machine"].get(name), b["machine"].get(name)
        if left != right:
            raise SystemExit(f"compare.py: different machines: {name} is {left!r} and {right!r}")


def figures(result: dict[str, Any], every: bool) -> dict[tuple[str, str, str], list[float]]:
    found = {}
    for row in result["rows"]:
        for metric, values in row["metrics"].items():
            numbers = [value for value in values if value is not None]
            if numbers and (every or metric in SHOWN):
                found[row["case"], row["name"], metric] = numbers
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Ratio B / A of two results of run.py.")
    parser.add_argument("a", type=Path)
    parser.add_argument("b", type=Path)
    parser.add_argument("--all", action="store_true", help="every figure, not the main ones")
    arguments = parser.parse_args()
    a, b = load(arguments.a), load(arguments.b)
    refuse_difference(a, b)
    print(f"# {a['kind']}: A {a['commit']}, B {b['commit']}; B / A: median [spread]")
    left, right = figures(a, arguments.all), figures(b, arguments.all)
    case_shown = ""
    for key in [key for key in left if key in right]:
        case, name, metric = key
        if case != case_shown:
            print(f"\n# {case}")
            case_shown = case
        old, new = quartiles(left[key]), quartiles(right[key])
        if min(old.q1, new.q1) <= 0:
            continue
        low, high = new.q1 / old.q3, new.q3 / old.q1
        mark = "~" if low <= 1 <= high else " "
        ratio = new.median / old.median
        print(
            f"{name:20}{metric:22}{old.median:12.2f} -> {new.median:12.2f}  "
            f"{ratio:6.3f} [{low:.3f} {high:.3f}] {mark}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
