"""run.py idle: server memory per connection that has said something once and then rests."""

import argparse
import resource
import socket
import time

from harness.build import Builder, Unavailable
from harness.process import free_port, serving, status_bytes
from harness.report import Limit, Row, quartiles, save
from harness.servers import Server, find_servers

MESSAGE = bytes(range(106))
# Server → bytes that a connection may cost; a connection of streams is a task that waits in read().
LIMIT_BYTES = {"tinycoro": 512, "tinycoro-c": 512, "tinycoro-streams": 2500}
METRICS = ("bytes_per_connection",)


def _talk(port: int) -> socket.socket:
    """A connection after one echo."""
    client = socket.create_connection(("127.0.0.1", port), 10)
    try:
        client.sendall(MESSAGE)
        reply = b""
        while len(reply) < len(MESSAGE):
            part = client.recv(len(MESSAGE) - len(reply))
            if not part:
                raise Unavailable("closed the connection")
            reply += part
        if reply != MESSAGE:
            raise Unavailable("sent something else back")
    except BaseException:
        client.close()
        raise
    return client


def measure(server: Server, conns: int, workers: int) -> dict[str, float]:
    port = free_port()
    with serving(server.command(port, workers), port, None) as pids:
        clients = [_talk(port)]  # what the first connection allocates is no connection's
        try:
            time.sleep(0.3)
            before = status_bytes(pids, "VmRSS")
            for _ in range(conns):
                clients.append(_talk(port))
            time.sleep(0.5)
            after = status_bytes(pids, "VmRSS")
        finally:
            for client in clients:
                client.close()
    return {"bytes_per_connection": (after - before) / conns}


def run_idle(arguments: argparse.Namespace, builder: Builder) -> list[Limit]:
    # Servers inherit the limit. A quarter more, because tinycoro keeps a fifth of it free.
    needed = arguments.conns * 5 // 4 + 100
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise Unavailable(f"{needed} descriptors are needed, the limit is {hard} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    servers = find_servers(arguments.servers, builder, arguments.python, arguments.workers)
    case = f"{arguments.conns} connections, {arguments.workers} worker(s)"
    rows = {server.name: Row(server.name, case) for server in servers}
    for _ in range(arguments.rounds):
        for server in servers:
            try:
                values = measure(server, arguments.conns, arguments.workers)
            except (Unavailable, OSError) as error:
                print(f"note: {server.name}: {error}")
                rows[server.name].add(None, METRICS)
                continue
            rows[server.name].add(values, METRICS)

    print(f"\n# {case}, after one echo of {len(MESSAGE)} bytes each; server RSS per connection")
    limits = []
    for row in rows.values():
        if row.is_empty:
            print(f"{row.name:16}failed")
            continue
        print(f"{row.name:16}{row.median('bytes_per_connection'):8.0f} B")
        if row.name in LIMIT_BYTES:
            measured = quartiles(row.values("bytes_per_connection"))
            what = f"{row.name}, bytes per idle connection"
            limits.append(Limit(what, measured, LIMIT_BYTES[row.name]))
    for limit in limits:
        print(limit)
    parameters = {name: getattr(arguments, name) for name in ("conns", "workers", "rounds")}
    save("idle", parameters, list(rows.values()), limits, builder, arguments.python, arguments.out)
    return limits
