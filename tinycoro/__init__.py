"""tinycoro: an M:N runtime in C behind asyncio's words.

with tinycoro.EchoServer(port=8000) as server:
    print(server.address)
    server.wait()
"""

try:
    from ._core import (
        EchoServer,
        RuntimeStatistics,
        ServerStatistics,
        TinycoroError,
        configure,
        statistics,
    )
    from ._core import version as __version__
except ModuleNotFoundError as error:
    if error.name != f"{__name__}._core":
        raise
    raise ImportError(
        f"this is tinycoro's source tree ({__file__}), which has no compiled module: run "
        "`pip install .` in it, then leave that directory or start with `python -P`, "
        "so that the installed package is found"
    ) from None

__all__ = [
    "EchoServer",
    "RuntimeStatistics",
    "ServerStatistics",
    "TinycoroError",
    "__version__",
    "configure",
    "statistics",
]
