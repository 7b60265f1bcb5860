"""The ASGI application that granian and uvicorn serve: the same answer to any path."""

from typing import Any

_BODY = b"Hello, world!"
_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain"), (b"content-length", b"13")],
}
_REST = {"type": "http.response.body", "body": _BODY}


async def app(_scope: dict[str, Any], _receive: Any, send: Any) -> None:  # noqa: ANN401
    await send(_START)
    await send(_REST)
