"""Subprocesses: asyncio's signatures, until they have an issue of their own."""

from __future__ import annotations

from typing import NoReturn

_WAY_ROUND = (
    "{}() is not supported yet: use subprocess.Popen, and await "
    "tinycoro.to_thread(process.wait) or tinycoro.to_thread(process.communicate)"
)


async def create_subprocess_exec(
    program: object,
    *args: object,
    stdin: object = None,
    stdout: object = None,
    stderr: object = None,
    limit: int = 2**16,
    **kwds: object,
) -> NoReturn:
    """Raise NotImplementedError; use subprocess.Popen and to_thread()."""
    raise NotImplementedError(_WAY_ROUND.format("create_subprocess_exec"))


async def create_subprocess_shell(
    cmd: object,
    stdin: object = None,
    stdout: object = None,
    stderr: object = None,
    limit: int = 2**16,
    **kwds: object,
) -> NoReturn:
    """Raise NotImplementedError; use subprocess.Popen and to_thread()."""
    raise NotImplementedError(_WAY_ROUND.format("create_subprocess_shell"))


__all__ = ["create_subprocess_exec", "create_subprocess_shell"]
