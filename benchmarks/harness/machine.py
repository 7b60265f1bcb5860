"""What a result must say about where it was made. Names no path and no host."""

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from harness.build import PROJECT, Builder


def first_line(command: list[str], cwd: Path | None = None) -> str:
    """The first line that a command prints, empty if it cannot be run."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout else ""


def describe_machine() -> dict[str, Any]:
    """What two results must have in common to be compared."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "CPU part")):
            model = line.split(":", 1)[1].strip()
            break
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30),
        "kernel": platform.release(),
        "governor": governor.read_text().strip() if governor.exists() else None,
    }


def congestion_control() -> str:
    """TCP's, of this network namespace."""
    return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()


def describe_commit() -> str:
    """The commit, with "+" for local changes; "unknown" outside of a clone."""
    commit = first_line(["git", "rev-parse", "--short=12", "HEAD"], PROJECT)
    if not commit:
        return "unknown"
    return commit + ("+" if first_line(["git", "status", "--porcelain"], PROJECT) else "")


def _complaint(command: list[str]) -> str:
    """The first line of output, error or not, for programs that know no better."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return ((done.stdout + done.stderr).splitlines() or [""])[0].strip()


def _crate_version(folder: Path, crate: str) -> str:
    lock = folder / "Cargo.lock"
    text = lock.read_text() if lock.exists() else ""
    found = re.search(rf'name = "{crate}"\nversion = "([^"]+)"', text)
    return found.group(1) if found else ""


def describe_versions(builder: Builder, python: str) -> dict[str, str]:
    """Compilers and peers, as far as they are installed."""
    cargo = builder.folder / "cargo"
    show = "import importlib.metadata as m; print(m.version('{}'))"
    versions = {
        "cc": first_line([os.environ.get("CC", "cc"), "--version"]),
        "go": first_line(["go", "version"]).removeprefix("go version "),
        "rustc": first_line(["rustc", "--version"]),
        "tokio": _crate_version(cargo / "tokio_echo", "tokio"),
        "axum": _crate_version(cargo / "axum_http", "axum"),
        "hyper": _crate_version(cargo / "axum_http", "hyper"),
        "nginx": _complaint(["nginx", "-v"]).rpartition("/")[2],
        "wrk": _complaint(["wrk", "-v"]).partition(" [")[0].removeprefix("wrk "),
        "python": first_line([python, "--version"]),
        "uvloop": first_line([python, "-P", "-c", show.format("uvloop")]),
        "zuvloop": first_line([python, "-P", "-c", show.format("zuvloop")]),
        "tonio": first_line([python, "-P", "-c", show.format("tonio")]),
        "tinycoro": first_line([python, "-P", "-c", show.format("tinycoro")]),
    }
    for own in builder.folder.glob("asgi-*/bin/python"):
        if first_line([str(own), "--version"]) == versions["python"]:
            for name in ("granian", "uvicorn", "uvloop", "httptools"):
                versions[name] = first_line([str(own), "-P", "-c", show.format(name)])
    return {name: version for name, version in versions.items() if version}
