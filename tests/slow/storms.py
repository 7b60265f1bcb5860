"""Storms of 1000 clients that reset, half-close, vanish or are killed: nothing of them stays.

After each the census (bytes in use, fibers, timers, descriptors, threads) is at its baseline again,
within a second if the machine is ours, and a steady client beside the storms sees nothing of them.
"""

from __future__ import annotations

import lane

CLIENTS = 1000
STORMS = 200 if lane.IS_LONG else 20
MODES = ("reset", "half", "vanish", "kill", "mixed")


def storms() -> str:
    lane.raise_descriptor_limit()
    slowest = 0.0
    with lane.Server(runtime_workers=2, idle_timeout=60) as server:
        lane.storm(server.port, "mixed", CLIENTS)  # fills the pools, which stay
        baseline = server.baseline()
        for number in range(STORMS):
            mode = MODES[number % len(MODES)]
            lane.storm(server.port, mode, CLIENTS, seed=lane.SEED + number)
            try:
                slowest = max(slowest, server.settle(baseline, lane.SETTLE_SECONDS))
            except lane.Failure as failure:
                raise lane.Failure(f"storm {number} ({mode}): {failure}") from None
        seen = server.ask("statistics")
        lane.check(seen["errors"] == 0, f"{seen['errors']} errors of our side")
        lane.check(seen["accepted"] >= STORMS * CLIENTS, f"{seen['accepted']} accepted")
        with lane.Steady(server.port) as steady:
            for number in range(STORMS // 4):
                lane.storm(server.port, "mixed", CLIENTS, seed=lane.SEED - number)
        slowest = max(slowest, server.settle(baseline, lane.SETTLE_SECONDS))
    return (
        f"{STORMS} storms of {CLIENTS} clients, baseline again after at most {slowest * 1e3:.0f} ms"
        f" ({baseline}); beside {STORMS // 4} more, {steady.requests} steady requests, none lost"
    )


lane.run(storms, limit=900 if lane.IS_LONG else 120)
