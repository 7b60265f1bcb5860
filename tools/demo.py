"""`make run`, first part: the echo server under load, with every byte checked.

Starts an EchoServer through the public API, drives min(1000, 0.7 × descriptor limit) connections
from a second process, and prints throughput and the census before, during and after. Exits with 0
only if every byte came back and the census is where it was.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, fields

import tinycoro

MESSAGES = 20  # for each connection
SIZES = (1, 106, 1000, 4096, 16384, 65536)
OPEN_AT_A_TIME = 100  # connects in flight, so that the listen queue does not overflow
PATIENCE = 60.0


# ---- the load, in a process of its own ---------------------------------------------------------


@dataclass
class Tally:
    """What the clients did; sent to the parent as JSON."""

    connections: int = 0
    messages: int = 0
    bytes_back: int = 0
    half_closed: int = 0
    reset: int = 0
    failures: int = 0
    seconds: float = 0.0


class Client:
    """One connection. Every tenth half-closes after a last message, every tenth is reset."""

    def __init__(self, number: int, tally: Tally) -> None:
        self.number = number
        self.tally = tally
        self.random = random.Random(number)
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def open(self, host: str, port: int, gate: asyncio.Semaphore) -> None:
        async with gate:
            self.reader, self.writer = await asyncio.open_connection(host, port)
        self.tally.connections += 1

    async def exchange(self) -> None:
        payload = self.random.randbytes(self.random.choice(SIZES))
        self.writer.write(payload)
        if await self.reader.readexactly(len(payload)) != payload:
            raise ValueError("the echo differs")
        self.tally.messages += 1
        self.tally.bytes_back += len(payload)

    async def talk(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                for _ in range(MESSAGES):
                    await self.exchange()
                await self.end()
        except (OSError, EOFError, ValueError) as error:
            self.tally.failures += 1
            print(f"connection {self.number}: {error!r}", file=sys.stderr)

    async def end(self) -> None:
        if self.number % 10 == 1:
            last = self.random.randbytes(10_000)
            self.writer.write(last)
            self.writer.write_eof()
            if await self.reader.read(-1) != last:
                raise ValueError("the end of the echo differs")
            self.tally.half_closed += 1
        elif self.number % 10 == 2:
            self.writer.write(b"never read" * 1000)
            self.writer.transport.abort()
            self.tally.reset += 1
            return
        self.writer.close()
        await self.writer.wait_closed()


async def load(host: str, port: int, connections: int) -> Tally:
    tally = Tally()
    gate = asyncio.Semaphore(OPEN_AT_A_TIME)
    clients = [Client(number, tally) for number in range(connections)]
    await asyncio.gather(*(client.open(host, port, gate) for client in clients))
    # The parent takes the census while all are open, then says go.
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    begun = time.perf_counter()
    await asyncio.gather(*(client.talk() for client in clients))
    tally.seconds = time.perf_counter() - begun
    return tally


# ---- the server, and what is alive in it -------------------------------------------------------


@dataclass(frozen=True)
class Census:
    """What is alive in this process."""

    connections: int
    at_rest: int
    fibers: int
    stacks: int
    timers: int
    descriptors: int
    threads: int
    heap_bytes: int
    pooled_bytes: int

    @classmethod
    def take(cls, server: tinycoro.EchoServer | tinycoro.HTTPServer) -> Census:
        mine, runtime = server.statistics(), tinycoro.statistics()
        return cls(
            connections=mine.connections,
            at_rest=mine.resting,
            fibers=runtime.fibers,
            stacks=runtime.stacks_in_use,
            timers=runtime.timers,
            descriptors=len(os.listdir("/proc/self/fd")),
            # Those of the blocking pool come and go by themselves.
            threads=len(os.listdir("/proc/self/task")) - runtime.blocking_threads,
            heap_bytes=runtime.bytes_in_use - runtime.bytes_reserved,
            pooled_bytes=runtime.bytes_reserved,
        )

    def is_back_at(self, before: Census) -> bool:
        """Pools and queues keep their size while the workers run; everything else returns."""
        names = {field.name for field in fields(self)} - {"heap_bytes", "pooled_bytes"}
        return all(getattr(self, name) <= getattr(before, name) for name in names)


def heap_bytes() -> int:
    """Heap memory beyond the pools, which live as long as the process."""
    now = tinycoro.statistics()
    return now.bytes_in_use - now.bytes_reserved


def settle(server: tinycoro.EchoServer | tinycoro.HTTPServer, before: Census) -> Census:
    """The census as soon as it is back where it was, or after a second as it is."""
    deadline = time.monotonic() + 1.0
    now = Census.take(server)
    while not now.is_back_at(before) and time.monotonic() < deadline:
        time.sleep(0.01)
        now = Census.take(server)
    return now


def show(columns: dict[str, Census]) -> None:
    print(f"{'census':14}" + "".join(f"{title:>16}" for title in columns))
    for name in asdict(next(iter(columns.values()))):
        values = "".join(f"{getattr(census, name):>16,}" for census in columns.values())
        print(f"  {name:12}{values}")


def start_clients(host: str, port: int, connections: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", __file__, host, str(port), str(connections)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def drive(server: tinycoro.EchoServer, connections: int) -> tuple[Tally, Census]:
    """Let the clients run; returns what they did, and the census while all of them were open."""
    with start_clients(*server.address, connections) as clients:
        assert clients.stdin is not None
        assert clients.stdout is not None
        if clients.stdout.readline() != "open\n":
            sys.exit("demo: the clients could not connect")
        during = Census.take(server)
        clients.stdin.write("go\n")
        clients.stdin.flush()
        tally = Tally(**json.loads(clients.stdout.readline()))
    return tally, during


def report(tally: Tally) -> None:
    rate = 2 * tally.bytes_back / tally.seconds / 1e6
    print(
        f"{tally.connections} connections, {tally.messages:,} messages, "
        f"{tally.bytes_back:,} bytes back and checked in {tally.seconds:.2f} s: "
        f"{tally.messages / tally.seconds:,.0f} messages/s, {rate:,.0f} MB/s in and out\n"
        f"{tally.half_closed} half-closed, {tally.reset} reset, {tally.failures} failed "
        "(the clients are asyncio: they are what limits this, see `make bench`)"
    )


def demonstrate() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    connections = min(1000, int(0.7 * hard))
    heap_before = heap_bytes()
    with tinycoro.EchoServer() as server:
        host, port = server.address
        workers = tinycoro.statistics().workers
        print(f"tinycoro {tinycoro.__version__} echo on {host}:{port}, {workers} workers\n")
        before = Census.take(server)
        tally, during = drive(server, connections)
        after = settle(server, before)
        report(tally)
        print()
        show({"before": before, "all open": during, "after": after})
    heap_left = heap_bytes() - heap_before
    print(f"  after the server has stopped: {heap_left} bytes of heap more than at the start")
    is_complete = (
        tally.failures == 0
        and tally.connections == connections
        and tally.messages == connections * MESSAGES
        and during.connections == connections
    )
    if not is_complete:
        print("\nFAILED: not every byte came back")
    elif heap_left or not after.is_back_at(before):
        print("\nFAILED: something was left behind")
    else:
        print("\nevery byte came back, nothing was left behind")
        return 0
    return 1


def main(arguments: list[str]) -> int:
    if not arguments:
        return demonstrate()
    host, port, connections = arguments
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    print(json.dumps(asdict(asyncio.run(load(host, int(port), int(connections))))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
