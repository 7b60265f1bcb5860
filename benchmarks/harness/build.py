"""Builds the programs of this folder. What cannot be built here is skipped with a sentence."""

import os
import shutil
import subprocess
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1]
PROJECT = BENCHMARKS.parent


class Unavailable(Exception):
    """A program cannot be had on this machine; the message says why."""


class Builder:
    """Programs by name, built on first use into one folder outside the source tree's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._configured = False
        self._programs: dict[str, Path | Unavailable] = {}

    def get(self, name: str) -> Path:
        """The program's path. Raises Unavailable, the second time too."""
        if name not in self._programs:
            print(f"building {name}", flush=True)
            try:
                self._programs[name] = self._build(name)
            except Unavailable as error:
                self._programs[name] = error
        program = self._programs[name]
        if isinstance(program, Unavailable):
            raise program
        return program

    def _build(self, name: str) -> Path:
        if name == "go_micro":
            return self._go(BENCHMARKS / "micro" / "go", name)
        if name in ("go_echo", "go_http"):
            return self._go(BENCHMARKS / name.removeprefix("go_") / "peers" / name, name)
        if name in ("tokio_echo", "axum_http"):
            return self._cargo(BENCHMARKS / name.partition("_")[2] / "peers" / name, name)
        return self._cmake(name)

    def _cmake(self, target: str) -> Path:
        folder = self.folder / "cmake"
        if not self._configured:
            generator = ["-G", "Ninja"] if shutil.which("ninja") else []
            release = ["-DCMAKE_BUILD_TYPE=Release", "-DTC_DEBUG=0", "-DTC_SANITIZE="]
            targets = ["-DTC_BENCH=ON", "-DTC_TESTS=OFF", "-DTC_PYTHON=OFF", "-DTC_WERROR=OFF"]
            where = ["-S", str(PROJECT), "-B", str(folder)]
            run_command(["cmake", *where, *generator, *release, *targets])
            self._configured = True
        run_command(["cmake", "--build", str(folder), "--target", target, "--parallel", "2"])
        return folder / "bench" / target.removeprefix("micro_")

    def _go(self, source: Path, name: str) -> Path:
        program = self.folder / name
        run_command(["go", "build", "-o", str(program), "."], cwd=source)
        return program

    def _cargo(self, source: Path, name: str) -> Path:
        # A copy, because cargo writes its lock file beside the sources.
        copy = self.folder / "cargo" / name
        shutil.copytree(source, copy, dirs_exist_ok=True)
        run_command(["cargo", "build", "--release", "--quiet"], cwd=copy)
        return copy / "target" / "release" / name


def run_command(command: list[str], cwd: Path | None = None) -> None:
    """Run what builds something. Raises Unavailable with the reason if it fails."""
    if shutil.which(command[0]) is None:
        raise Unavailable(f"{command[0]} is not installed")
    environment = {k: v for k, v in os.environ.items() if k != "CARGO_TARGET_DIR"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()
        reasons = [line for line in lines if "error" in line.lower()] or lines[-1:]
        raise Unavailable(
            f"{command[0]} failed: {' '.join(reasons[:1])}".replace(str(PROJECT), ".")
        )
