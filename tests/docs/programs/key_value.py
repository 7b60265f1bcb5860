"""A key-value server with a protocol of lines, and a client of it.

usage: key_value.py          a short session over a real connection
       key_value.py serve    serve until the program is ended; the first line printed is the port

    SET key size, a newline and size bytes    OK
    GET key                                   VALUE size, a newline and size bytes; or NONE
    ADD key number                            VALUE, as GET gives it; a missing key is 0
    DEL key                                   OK or NONE

A client may send the next request before it has the answer; answers come in order.
"""

from __future__ import annotations

import asyncio
import sys

HOST = "127.0.0.1"
BACKLOG = 1024
VALUE_BYTES = 1 << 20
IDLE_SECONDS = 300

store: dict[bytes, bytes] = {}


class Refused(Exception):
    """What a client asked for and cannot have."""


def value(key: bytes) -> bytes:
    """The answer that carries a value."""
    if key not in store:
        return b"NONE\n"
    return b"VALUE %d\n%b" % (len(store[key]), store[key])


async def answer(words: list[bytes], reader: asyncio.StreamReader) -> bytes:
    """Carry one request out."""
    match words:
        case [b"SET", key, size]:
            if not 0 <= int(size) <= VALUE_BYTES:
                raise Refused("a value of that size")
            store[key] = await reader.readexactly(int(size))
            return b"OK\n"
        case [b"GET", key]:
            return value(key)
        case [b"ADD", key, number]:
            store[key] = b"%d" % (int(store.get(key, b"0")) + int(number))
            return value(key)
        case [b"DEL", key]:
            return b"NONE\n" if store.pop(key, None) is None else b"OK\n"
    raise Refused("no such request")


async def serve_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one client until it leaves, errs or falls silent."""
    try:
        while line := await asyncio.wait_for(reader.readline(), IDLE_SECONDS):
            writer.write(await answer(line.split(), reader))
            await writer.drain()
    except (Refused, ValueError) as error:
        writer.write(f"ERROR {type(error).__name__}\n".encode())
    except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def session(port: int) -> None:
    """Requests that are all sent at once, and their answers."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"GET colour\nSET colour 4\nblueGET colour\nADD visits 41\nADD visits 1\n")
    writer.write(b"DEL colour\nDEL colour\nSET large 100000\n" + b"x" * 100_000)
    writer.write(b"GET large\nADD colour red\n")
    writer.write_eof()
    while line := (await reader.readline()).split():
        print(*(word.decode() for word in line))
        if line[0] == b"VALUE":
            data = await reader.readexactly(int(line[1]))
            print("   ", data.decode() if len(data) < 80 else f"{len(data)} bytes")
    writer.close()
    await writer.wait_closed()


async def main() -> None:
    """Serve, for ever or for one session."""
    server = await asyncio.start_server(serve_client, HOST, 0, backlog=BACKLOG)
    port = server.sockets[0].getsockname()[1]
    async with server:
        if sys.argv[1:] == ["serve"]:
            print(port, flush=True)
            await server.serve_forever()
        await session(port)


asyncio.run(main())
