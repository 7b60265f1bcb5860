"""Numbers from rounds: medians, ratios within a round, tables, files."""

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.build import BENCHMARKS, Builder
from harness.machine import describe_commit, describe_machine, describe_versions

FORMAT = 1


@dataclass(frozen=True)
class Quartiles:
    q1: float
    median: float
    q3: float

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.q1:.3f} {self.q3:.3f}]"


def quartiles(values: Sequence[float]) -> Quartiles:
    if len(values) == 1:
        return Quartiles(values[0], values[0], values[0])
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return Quartiles(q1, median, q3)


@dataclass
class Row:
    """One program under one load: a list per metric, one value per round (None: it failed)."""

    name: str
    case: str
    metrics: dict[str, list[float | None]] = field(default_factory=dict)

    def add(self, values: dict[str, float] | None, names: Sequence[str]) -> None:
        for name in names:
            self.metrics.setdefault(name, []).append(None if values is None else values[name])

    def values(self, metric: str) -> list[float]:
        return [value for value in self.metrics.get(metric, []) if value is not None]

    def median(self, metric: str) -> float:
        return statistics.median(self.values(metric))

    @property
    def failures(self) -> int:
        return sum(value is None for value in next(iter(self.metrics.values()), []))

    @property
    def is_empty(self) -> bool:
        return not any(self.values(metric) for metric in self.metrics)


def ratio(row: Row, base: Row, metric: str, base_metric: str | None = None) -> Quartiles | None:
    """Quartiles over the rounds of the ratio within each round, which drift does not touch."""
    pairs = zip(
        row.metrics.get(metric, []), base.metrics.get(base_metric or metric, []), strict=False
    )
    ratios = [a / b for a, b in pairs if a is not None and b]
    return quartiles(ratios) if ratios else None


@dataclass
class Limit:
    """A ratio that the project promises."""

    what: str
    measured: Quartiles
    bound: float
    at_most: bool = True

    @property
    def holds(self) -> bool:
        if self.at_most:
            return self.measured.median <= self.bound
        return self.measured.median >= self.bound

    def __str__(self) -> str:
        sign = "≤" if self.at_most else "≥"
        verdict = "holds" if self.holds else "FAILS"
        return f"{verdict}  {self.measured} {sign} {self.bound:.2f}  {self.what}"


def save(
    kind: str,
    parameters: dict[str, Any],
    rows: Sequence[Row],
    limits: Sequence[Limit],
    builder: Builder,
    python: str,
    out: Path | None,
) -> None:
    """Write the result as JSON; `out` None names it by the time, in results/."""
    path = out or BENCHMARKS / "results" / f"{kind}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    result = {
        "format": FORMAT,
        "kind": kind,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": describe_machine(),
        "commit": describe_commit(),
        "versions": describe_versions(builder, python),
        "parameters": parameters,
        "rows": [asdict(row) for row in rows],
        "limits": [{**asdict(limit), "holds": limit.holds} for limit in limits],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(f"\nwritten: {path.name}")
