"""A headless Chromium, led through its debugging pipe: JSON messages that end with a NUL."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import lane

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find() -> str | None:
    """The program, if there is one."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


def _pipe() -> tuple[int, int]:
    """A pipe whose ends are not 3 or 4, which Chromium wants to be its own."""
    ends = os.pipe()
    moved = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return moved[0], moved[1]


class Chromium(AbstractContextManager["Chromium"]):
    """One window of it. Functions fail the lane if something does not come in time.

    Raises lane.Failure if it does not come up, in a container without rights for example.
    """

    def __init__(self, program: str, width: int = 1000, height: int = 700) -> None:
        self._profile = tempfile.mkdtemp(prefix="tinycoro-chromium-")
        theirs_in, self._out = _pipe()
        self._in, theirs_out = _pipe()
        command = [
            *(program, "--headless", "--remote-debugging-pipe", "--no-first-run"),
            *(f"--user-data-dir={self._profile}", f"--window-size={width},{height}"),
            *("--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"),
            *("--no-proxy-server", "--hide-scrollbars", "about:blank"),
        ]
        if os.geteuid() == 0:
            command.insert(1, "--no-sandbox")
        self.process = subprocess.Popen(
            command,
            close_fds=False,
            preexec_fn=lambda: (os.dup2(theirs_in, 3), os.dup2(theirs_out, 4)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer = b""
        self._count = 0
        self._events: list[dict[str, Any]] = []
        self.complaints: list[str] = []  # what the console of a page has said
        self._session = ""
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            session = self.call("Target.attachToTarget", targetId=target, flatten=True)
            self._session = session["sessionId"]
            for domain in ("Page", "Runtime", "Log", "DOM"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.__exit__()
            raise

    # ---- messages ------------------------------------------------------------------------------

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0, deadline - time.monotonic()))
            lane.check(bool(ready), "Chromium does not answer")
            data = os.read(self._in, 1 << 16)
            lane.check(bool(data), "Chromium has ended")
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        decoded: dict[str, Any] = json.loads(message)
        self._listen(decoded)
        return decoded

    def _listen(self, message: dict[str, Any]) -> None:
        if message.get("method") == "Log.entryAdded":
            entry = message["params"]["entry"]
            self.complaints.append(f"{entry['text']} {entry.get('url', '')}")
        elif message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(message["params"]["exceptionDetails"].get("exception")))

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Ask for something, and return the result."""
        self._count += 1
        message: dict[str, object] = {"id": self._count, "method": method, "params": params}
        if self._session and not method.startswith(("Target.", "Browser.")):
            message["sessionId"] = self._session
        try:
            os.write(self._out, json.dumps(message).encode() + b"\0")
        except BrokenPipeError as error:
            raise lane.Failure(f"Chromium ended with {self.process.wait()}") from error
        deadline = time.monotonic() + lane.PATIENCE
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == self._count:
                lane.check("error" not in answer, f"{method}: {answer.get('error')}")
                result: dict[str, Any] = answer["result"]
                return result
            self._events.append(answer)

    def wait_for(self, method: str, **expected: object) -> dict[str, Any]:
        """Wait for an event with these parameters, and return them all."""
        deadline = time.monotonic() + lane.PATIENCE
        while True:
            message = self._events.pop(0) if self._events else self._receive(deadline)
            params: dict[str, Any] = message.get("params", {})
            if message.get("method") == method and expected.items() <= params.items():
                return params

    # ---- pages ---------------------------------------------------------------------------------

    def open(self, url: str) -> None:
        """Go to a page, and wait until it and its pictures are there."""
        self._events.clear()
        result = self.call("Page.navigate", url=url)
        lane.check("errorText" not in result, f"{url}: {result.get('errorText')}")
        self.wait_for("Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:  # noqa: ANN401 what JavaScript says
        """What an expression of JavaScript is, awaited if it is a promise."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        lane.check("exceptionDetails" not in answer, f"{expression}: {answer}")
        return answer["result"].get("value")

    def wait_until(self, expression: str) -> None:
        """Wait until an expression is true."""
        is_true = lane.wait_until(lambda: bool(self.evaluate(expression)))
        lane.check(is_true, f"never true in the page: {expression}")

    def choose_files(self, selector: str, paths: list[Path]) -> None:
        """What a user does with <input type=file>."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path) for path in paths], nodeId=node)

    def download(self, click: str, folder: Path) -> None:
        """Let an expression start a download into `folder`, and wait until it is complete."""
        self.call(
            "Browser.setDownloadBehavior",
            behavior="allow",
            downloadPath=str(folder),
            eventsEnabled=True,
        )
        self.evaluate(click)
        self.wait_for("Browser.downloadProgress", state="completed")

    def screenshot(self, path: Path) -> None:
        """A picture of the page, for people."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def __exit__(self, *exception: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self._in)
        os.close(self._out)
        shutil.rmtree(self._profile, ignore_errors=True)
