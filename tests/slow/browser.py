"""The pages in a real browser: text, pictures, a download of 50 MB, uploads by script and by form.

Wants a Chromium, and says so where there is none. Screenshots go to build/slow/, for people.
"""

from __future__ import annotations

import hashlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import chromium
import lane
from chromium import Chromium
from tinycoro._cli import samples

LARGE_BYTES = 50_000_000
SHOTS = lane.HERE.parents[1] / "build" / "slow"
# Every picture has come, none is broken.
ALL_PICTURES = (
    "Array.from(document.images).every(i => i.complete && i.naturalWidth === 320) && "
    "document.images.length"
)
# The colour of a picture's first pixel and of one in its middle, as it was decoded.
PIXELS = """(function (image) {
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  return [[0, 0], [160, 60]].map(at => Array.from(context.getImageData(at[0], at[1], 1, 1).data));
})(document.querySelector("img[src$='png']"))"""

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Ein Prüfstück</title>
<style>body { font: 18px/1.5 sans-serif; margin: 2rem; }</style>
<h1>Text, pictures, a download</h1>
<p>Grüße, 漢字, emoji: \U0001f642. The quick brown fox jumps over the lazy dog.</p>
<p><img src="picture.svg" alt="lines"> <img src="sub%20folder/gradient.png" alt="gradient"></p>
<p><a id="large" href="large.bin" download>50 MB to download</a></p>
</html>
"""


@contextmanager
def _serving(command: str, *arguments: str) -> Iterator[str]:
    """A command of `python -m tinycoro`, by its address; it must end well."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-W", "error", "-m", "tinycoro", command, "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        match = re.search(r"listening on (http://\S+)", process.stdout.readline())
        lane.check(match is not None, f"{command} does not start")
        assert match is not None
        yield match[1]
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=lane.PATIENCE)
        lane.check(process.returncode == 0, f"{command} ended with {process.returncode}")
        lane.check(" 0 errors" in out, f"{command}: {out}")
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _static(browser: Chromium, folder: Path) -> str:
    site = folder / "site"
    (site / "sub folder").mkdir(parents=True)
    (site / "index.html").write_text(PAGE, encoding="utf-8")
    (site / "picture.svg").write_text(samples.PICTURE, encoding="utf-8")
    (site / "sub folder" / "gradient.png").write_bytes(samples.gradient())
    (site / "large.bin").write_bytes(random.randbytes(LARGE_BYTES))
    with _serving("static", str(site)) as url:
        browser.open(f"{url}/")
        text = browser.evaluate("document.title + document.body.innerText")
        lane.check("Ein Prüfstück" in text and "漢字, emoji: \U0001f642" in text, f"text: {text}")
        lane.check(browser.evaluate(ALL_PICTURES) == 2, "not all pictures are there")
        pixels = browser.evaluate(PIXELS)
        lane.check(pixels == [[40, 40, 150, 255], [140, 120, 150, 255]], f"pixels: {pixels}")
        browser.screenshot(SHOTS / "browser-static.png")
        browser.open(f"{url}/")  # again: from the browser's memory, or by 304
        lane.check(browser.evaluate(ALL_PICTURES) == 2, "the second time pictures are missing")
        browser.download("document.getElementById('large').click()", folder)
        lane.check(
            _sha256(folder / "large.bin") == _sha256(site / "large.bin"), "the download differs"
        )
        browser.open(f"{url}/sub%20folder/")
        listed = browser.evaluate("document.querySelector('a[href*=gradient]').textContent")
        lane.check(listed == "gradient.png", f"the listing has {listed!r}")
        browser.screenshot(SHOTS / "browser-listing.png")
    return f"a page with text and 2 pictures, {LARGE_BYTES:,} bytes downloaded"


def _upload(browser: Chromium, folder: Path) -> str:
    inbox = folder / "inbox"
    inbox.mkdir()
    (inbox / "there.bin").write_bytes(b"was there")
    names = ["ä b?#.bin", "there.bin", "empty", "large.bin"]
    sources = [folder / name for name in names]
    for source, length in zip(sources, (3_000_000, 9, 0, 8_000_000), strict=True):
        source.write_bytes(random.randbytes(length))
    with _serving("upload", str(inbox), "--max-size", "4M") as url:
        browser.open(f"{url}/")
        browser.complaints.clear()
        browser.choose_files("#files", sources)
        browser.wait_until("document.querySelectorAll('li.good, li.bad').length === 4")
        shown = browser.evaluate("Array.from(document.querySelectorAll('li'), i => i.innerText)")
        browser.screenshot(SHOTS / "browser-upload.png")
        expected = ["2.9 MiB stored", "exists already", "0 B stored", "too large"]
        lane.check([line.split("\n")[-1] for line in shown] == expected, f"shown: {shown}")
        stored = {path.name for path in inbox.iterdir()}
        lane.check(stored == {"ä b?#.bin", "there.bin", "empty"}, f"stored: {stored}")
        lane.check(_sha256(inbox / names[0]) == _sha256(sources[0]), "the upload differs")
        # Chromium complains of the answer 409, and of nothing else.
        rest = [text for text in browser.complaints if "409" not in text]
        lane.check(not rest, f"complaints: {rest}")
        browser.call("Emulation.setScriptExecutionDisabled", value=True)
        browser.open(f"{url}/")
        browser.choose_files("#files", sources[:1])
        browser.evaluate("document.querySelector('button').click()")
        browser.wait_for("Page.loadEventFired")
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
        browser.screenshot(SHOTS / "browser-form.png")
        (new,) = {path.name for path in inbox.iterdir()} - stored
        answer = browser.evaluate("document.body.innerText")
        lane.check(new in answer, f"the answer {answer!r} does not name {new}")
        lane.check(_sha256(inbox / new) == _sha256(sources[0]), "what the form has sent differs")
    return "uploads by script and by form"


def _demo(browser: Chromium) -> str:
    with _serving("http") as url:
        browser.complaints.clear()
        browser.open(f"{url}/")
        lane.check(browser.evaluate(ALL_PICTURES) == 2, "the demonstration lacks pictures")
        browser.screenshot(SHOTS / "browser-http.png")
        greeting = browser.evaluate("fetch('/hello/browser').then(r => r.text())")
        lane.check(greeting == "Hello, browser!\n", f"greeting: {greeting!r}")
        rest = [text for text in browser.complaints if "favicon" not in text]
        lane.check(not rest, f"complaints: {rest}")
    return "the demonstration"


def browser(window: Chromium) -> str:
    folder = Path(tempfile.mkdtemp(prefix="tinycoro-browser-lane-"))
    try:
        return "; ".join((_static(window, folder), _upload(window, folder), _demo(window)))
    finally:
        shutil.rmtree(folder)


def main() -> None:
    program = chromium.find()
    if program is None:
        print("none browser: there is no Chromium", flush=True)
        return
    try:
        window = Chromium(program)
    except lane.Failure as failure:  # nothing of ours has been asked yet
        print(f"none browser: {failure}", flush=True)
        return
    with window:
        lane.run(partial(browser, window), limit=120)


main()
