"""Echo on a loop of Python: asyncio, uvloop, zuvloop or tinycoro.

usage: py_echo.py PORT LOOP MODE     MODE: streams | protocol (tinycoro: streams only)
"""

import asyncio
import contextlib
import importlib
import sys
from typing import Any, cast


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # All of them set TCP_NODELAY themselves.
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(102400):
            writer.write(data)
            await writer.drain()
    writer.close()


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def main(library: Any, port: int, mode: str) -> None:  # noqa: ANN401  # a module
    if mode == "streams":
        server = await library.start_server(serve, "127.0.0.1", port, backlog=1024)
    else:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    port, loop, mode = int(sys.argv[1]), importlib.import_module(sys.argv[2]), sys.argv[3]
    loop.run(main(loop if sys.argv[2] == "tinycoro" else asyncio, port, mode))
