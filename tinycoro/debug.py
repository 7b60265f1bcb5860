"""Whether new loops and servers are in debug mode."""

from __future__ import annotations

import os
import sys

from . import _core

_wanted: bool | None = None  # what set_debug() said


def set_debug(enabled: bool) -> None:
    """Make debug mode the default for what is made from now on, or not.

    It is on by default with `python -X dev` or PYTHONASYNCIODEBUG=1; this decides instead. Loops
    start in it, the loop that runs in this thread switches at once, and native servers remember
    where they were started, for the ResourceWarning.
    """
    global _wanted
    _wanted = bool(enabled)
    _core._trace_servers(_wanted)
    loop = _core._get_running_loop()
    if loop is not None:
        loop.set_debug(_wanted)


def is_default() -> bool:
    """Whether a loop that is made now starts in debug mode."""
    if _wanted is not None:
        return _wanted
    return sys.flags.dev_mode or (
        not sys.flags.ignore_environment and bool(os.environ.get("PYTHONASYNCIODEBUG"))
    )


_core._trace_servers(is_default())


__all__ = ["set_debug"]
