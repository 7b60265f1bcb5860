"""`python -m tinycoro --version`: what a bug report needs."""

import platform
import sys
import sysconfig

from .. import __version__, _core


def gil_state() -> str:
    """Whether this interpreter has a global lock, and whether it is in use."""
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "GIL"
    enabled: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
    return "free-threaded, GIL switched on" if enabled else "free-threaded"


def describe() -> str:
    build = _core._build
    python = f"{platform.python_implementation()} {platform.python_version()}, {gil_state()}"
    extras = [f"{name}={build[name]}" for name in ("debug", "chaos", "sanitizer") if build[name]]
    return "\n".join(
        (
            f"tinycoro {__version__}",
            f"poller   {build['poller']}, context switch {build['context']}",
            f"workers  {_core._workers()}",
            f"python   {python}",
            f"compiler {' '.join((str(build['compiler']), *extras))}",
            f"system   {platform.system()} {platform.release()} {platform.machine()}",
        )
    )


def run() -> int:
    try:
        print(describe())
    except ValueError as error:  # TINYCORO_WORKERS
        print(f"tinycoro: {error}", file=sys.stderr)
        return 3
    return 0
