"""Echo on asyncio or uvloop.

usage: py_echo.py PORT LOOP MODE     LOOP: asyncio | uvloop     MODE: streams | protocol
"""

import asyncio
import contextlib
import importlib
import sys
from collections.abc import Callable, Coroutine
from typing import Any, cast


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # Both loops set TCP_NODELAY themselves.
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(102400):
            writer.write(data)
    writer.close()


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def main(port: int, mode: str) -> None:
    if mode == "streams":
        server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=1024)
    else:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    run: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run
    if sys.argv[2] == "uvloop":
        run = importlib.import_module("uvloop").run
    run(main(int(sys.argv[1]), sys.argv[3]))
