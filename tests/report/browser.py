"""A headless Chromium by the WebDriver protocol (W3C), without a client library.

`python tests/report/browser.py SITE OUT` writes pictures of the pages of a report: light, dark, and on a phone.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


def missing() -> str:
    """Why no browser can be driven here, "" where one can."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"not installed: {' and '.join(absent)} (Debian: apt-get install chromium-driver)" if absent else ""


class Browser:
    """One session; every method speaks to the page that `open` loaded."""

    def __init__(self, url: str, dark: bool, width: int, height: int) -> None:
        flags = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", f"--window-size={width},{height}"]
        flags += ["--no-sandbox"] if os.geteuid() == 0 else []
        flags += ["--blink-settings=preferredColorScheme=0"] if dark else []
        chrome = {"binary": shutil.which("chromium"), "args": flags}
        wanted = {"goog:chromeOptions": chrome, "goog:loggingPrefs": {"browser": "ALL"}}
        answer = _call(f"{url}/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"{url}/session/{answer['sessionId']}"

    def open(self, page: Path, fragment: str = "") -> None:
        for url in ("about:blank", page.resolve().as_uri() + fragment):  # never the same document again
            _call(f"{self.session}/url", {"url": url})
        deadline = time.monotonic() + 60
        while self.run("return document.readyState") != "complete":
            assert time.monotonic() < deadline, f"{page} does not load"

    def run(self, script: str, *args: Any) -> Any:
        """What the function body `script` returns."""
        return _call(f"{self.session}/execute/sync", {"script": script, "args": list(args)})

    def find(self, selector: str) -> str:
        found = _call(f"{self.session}/element", {"using": "css selector", "value": selector})
        return str(found[ELEMENT])

    def click(self, selector: str) -> None:
        _call(f"{self.session}/element/{self.find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        _call(f"{self.session}/element/{self.find(selector)}/value", {"text": text})

    def clear(self, selector: str) -> None:
        _call(f"{self.session}/element/{self.find(selector)}/clear", {})

    def devtools(self, command: str, **params: Any) -> Any:
        return _call(f"{self.session}/goog/cdp/execute", {"cmd": command, "params": params})

    def phone(self, width: int = 390, height: int = 844) -> None:
        """The screen of a phone."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": True}
        self.devtools("Emulation.setDeviceMetricsOverride", **screen)

    def colours(self, scheme: str) -> None:
        """Prefer "dark" or "light"."""
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def errors(self) -> list[str]:
        """What the console reported since the last call."""
        entries = _call(f"{self.session}/se/log", {"type": "browser"})
        return [e["message"] for e in entries if e["level"] in ("SEVERE", "WARNING")]

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(_call(f"{self.session}/screenshot")))

    def whole(self, path: Path, most: int = 6000) -> None:
        """A picture of the page from its head to its foot, or of its first `most` pixels."""
        tall = min(int(self.run("return document.documentElement.scrollHeight")), most)
        area = {"x": 0, "y": 0, "width": self.run("return innerWidth"), "height": tall, "scale": 1}
        found = self.devtools("Page.captureScreenshot", captureBeyondViewport=True, clip=area)
        path.write_bytes(base64.b64decode(found["data"]))

    def quit(self) -> None:
        _call(self.session, method="DELETE")


@contextmanager
def browser(dark: bool = False, width: int = 1280, height: int = 900) -> Iterator[Browser]:
    """A browser that ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["chromedriver", f"--port={port}", "--silent"]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url)
        session = Browser(url, dark, width, height)
        try:
            yield session
        finally:
            session.quit()
    finally:
        driver.terminate()
        driver.wait(timeout=30)


def _wait(url: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            _call(f"{url}/status")
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def _call(url: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{url}: {error.read().decode()[:500]}") from None


def pictures(site: Path, out: Path) -> list[Path]:
    """One picture of every kind of page in light and dark, and on a phone."""
    out.mkdir(parents=True, exist_ok=True)
    pages = [*sorted(site.glob("*.html")), *sorted((site / "cells").glob("*.html"))[:1]]
    written = []
    for kind in ("light", "dark", "phone"):
        with browser() as chrome:
            if kind == "phone":
                chrome.phone()
            chrome.colours("dark" if kind == "dark" else "light")
            for page in pages:
                chrome.open(page)
                written.append(out / f"{page.stem}-{kind}.png")
                chrome.whole(written[-1])
    return written


if __name__ == "__main__":
    print(*pictures(Path(sys.argv[1]), Path(sys.argv[2])), sep="\n")
