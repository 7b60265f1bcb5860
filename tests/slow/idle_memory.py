"""What an idle echo connection costs: RSS of the server for each of 9,000 after one echo."""

from __future__ import annotations

import lane

CLIENTS = 9000
LIMIT_BYTES = 512


def idle_memory() -> str:
    limit = lane.raise_descriptor_limit()
    lane.check(limit * 0.8 > CLIENTS, f"{limit} descriptors are too few for {CLIENTS} clients")
    with lane.Server(runtime_workers=2) as server:
        baseline = server.baseline()
        clients = []

        def talk() -> None:
            client = server.connect()
            client.sendall(b"x" * 106)
            lane.check(lane.receive(client, 106) == b"x" * 106, "a wrong echo")
            clients.append(client)

        talk()  # what the first connection allocates is no connection's
        lane.check(lane.wait_until(lambda: server.ask("statistics")["resting"] == 1), "no rest")
        before = lane.status_bytes(server.pid, "VmRSS")
        for _ in range(CLIENTS):
            talk()
        lane.check(
            lane.wait_until(lambda: server.ask("statistics")["resting"] == CLIENTS + 1),
            "not every connection rests",
        )
        each = (lane.status_bytes(server.pid, "VmRSS") - before) / CLIENTS
        lane.check(each <= LIMIT_BYTES, f"{each:.0f} B of RSS per connection, limit {LIMIT_BYTES}")
        for client in clients:
            client.close()
        took = server.settle(baseline, lane.SETTLE_SECONDS)
    return f"{each:.0f} B of RSS for each of {CLIENTS} idle connections; gone after {took:.2f} s"


lane.run(idle_memory, limit=60)
