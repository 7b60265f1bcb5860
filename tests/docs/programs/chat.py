"""A chat server: what a client says reaches everybody else in its room.

usage: chat.py          a short conversation over real connections
       chat.py serve    serve until the program is ended; the first line printed is the port

A client sends "ROOM NICK" on a line of its own, and after that what it wants to say, a line each.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

HOST = "127.0.0.1"
BACKLOG = 1024
JOIN_SECONDS = 10
# Lines that wait for a member who does not read; one more, and that member is out.
OUTBOX_LINES = 256

Room = dict[str, "Member"]
rooms: dict[str, Room] = {}


class Member:
    """Somebody in a room, and what is still to be sent to them."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.outbox: asyncio.Queue[bytes] = asyncio.Queue(OUTBOX_LINES)

    def tell(self, line: bytes) -> None:
        """Queue a line; nobody waits for a slow reader."""
        try:
            self.outbox.put_nowait(line)
        except asyncio.QueueFull:
            self.writer.transport.abort()

    async def send_outbox(self) -> None:
        """Send what is queued, as fast as the connection takes it."""
        with contextlib.suppress(ConnectionError):
            while True:
                self.writer.write(await self.outbox.get())
                await self.writer.drain()


def tell_others(room: Room, nick: str, text: bytes) -> None:
    """Tell everybody in the room but `nick`."""
    for other, member in room.items():
        if other != nick:
            member.tell(nick.encode() + b" " + text)


async def stay(
    room: Room, nick: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Be in the room until the connection ends."""
    member = room[nick] = Member(writer)
    member.tell(b"welcome, %d here\n" % len(room))
    tell_others(room, nick, b"joins\n")
    sender = asyncio.create_task(member.send_outbox())
    try:
        async for line in reader:
            tell_others(room, nick, b"says " + line)
    finally:
        del room[nick]
        tell_others(room, nick, b"leaves\n")
        sender.cancel()


async def serve_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, from its first line to its end."""
    try:
        async with asyncio.timeout(JOIN_SECONDS):
            words = (await reader.readline()).decode().split()
        if len(words) != 2 or words[1] in rooms.get(words[0], {}):
            writer.write(b"expected a room and a nick that is free\n")
        else:
            await stay(rooms.setdefault(words[0], {}), words[1], reader, writer)
    except (ConnectionError, TimeoutError, ValueError):
        pass  # gone, too slow, or a line that is too long
    finally:
        writer.close()


async def converse(port: int) -> None:
    """Three clients; each line is printed once everybody concerned has it."""
    clients = {}
    for nick in ("ada", "bob", "eve"):
        clients[nick] = await asyncio.open_connection(HOST, port)
        room = "lobby" if nick != "eve" else "cellar"
        clients[nick][1].write(f"{room} {nick}\n".encode())
        print(nick, "reads:", (await clients[nick][0].readline()).decode().strip())
    print("ada reads:", (await clients["ada"][0].readline()).decode().strip())
    clients["ada"][1].write("hello, Bob — all well?\n".encode())
    print("bob reads:", (await clients["bob"][0].readline()).decode().strip())
    clients["bob"][1].write_eof()
    print("ada reads:", (await clients["ada"][0].readline()).decode().strip())
    for reader, writer in clients.values():
        writer.write_eof()
        await reader.read()  # until the server closes
        writer.close()


async def main() -> None:
    """Serve, for ever or for as long as the conversation lasts."""
    server = await asyncio.start_server(serve_client, HOST, 0, backlog=BACKLOG)
    port = server.sockets[0].getsockname()[1]
    async with server:
        if sys.argv[1:] == ["serve"]:
            print(port, flush=True)
            await server.serve_forever()
        await converse(port)
        server.close()
    await server.wait_closed()


asyncio.run(main())
