"""The server of streams.py: connections that echo, time out, or flood who reads slowly.

usage: serve_streams.py     prints its port; for every line on its input a line of figures, as JSON

The first byte of a connection says what becomes of it: `e` echo, `t` a read that gives up, `f` a
flood that ends with the connection.
"""

from __future__ import annotations

import json
import os
import sys

import tinycoro

HOST = "127.0.0.1"
BACKLOG = 1024
BLOCK_BYTES = 64 * 1024
READ_SECONDS = 0.1

figures = {"served": 0, "timeouts": 0, "resets": 0, "blocks": 0, "unsent_most": 0}


async def echo(reader: tinycoro.StreamReader, writer: tinycoro.StreamWriter) -> None:
    while data := await reader.read(64 * 1024):
        writer.write(data)
        await writer.drain()


async def give_up(reader: tinycoro.StreamReader) -> None:
    try:
        async with tinycoro.timeout(READ_SECONDS):
            await reader.readuntil(b"never")
    except TimeoutError:
        figures["timeouts"] += 1


async def flood(writer: tinycoro.StreamWriter) -> None:
    while True:
        writer.write(b"x" * BLOCK_BYTES)
        figures["blocks"] += 1
        unsent = writer.transport.get_write_buffer_size()
        figures["unsent_most"] = max(figures["unsent_most"], unsent)
        await writer.drain()


async def serve(reader: tinycoro.StreamReader, writer: tinycoro.StreamWriter) -> None:
    try:
        kind = await reader.readexactly(1)
        if kind == b"e":
            await echo(reader, writer)
        elif kind == b"t":
            await give_up(reader)
        else:
            await flood(writer)
    except ConnectionError:
        figures["resets"] += 1
    except tinycoro.IncompleteReadError:
        pass
    finally:
        figures["served"] += 1
        writer.close()


async def main() -> None:
    loop = tinycoro.get_running_loop()
    stop = loop.create_future()

    def ask() -> None:
        if not os.read(sys.stdin.fileno(), 100):
            stop.set_result(None)
            return
        print(json.dumps({**figures, "tasks": len(tinycoro.all_tasks())}), flush=True)

    server = await tinycoro.start_server(serve, HOST, 0, backlog=BACKLOG)
    loop.add_reader(sys.stdin.fileno(), ask)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await stop


tinycoro.run(main())
