"""A real headless Chromium for tests, driven through the DevTools protocol over a pipe: no port, no other library."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from processes import wait_until

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)
# Chromium listens on 3 and speaks on 4, whatever numbers the pipes have here.
_LAUNCH = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
_PATIENCE = 60
# Windows' number of a key, and what it writes.
_KEYS = {
    "Tab": (9, ""),
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    " ": (32, " "),
    "ArrowUp": (38, ""),
    "ArrowDown": (40, ""),
}


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser with a profile of its own; the test is skipped where there is none on the PATH."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip(f"needs a browser on the PATH: {' or '.join(_NAMES)} (apt-get install chromium)")
    (their_input, our_output), (our_input, their_output) = os.pipe(), os.pipe()
    # None of them may be 3 or 4, which the child makes anew.
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (their_input, their_output)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [sys.executable, "-c", _LAUNCH, *map(str, ends), found, *_FLAGS, f"--user-data-dir={profile}"]
        process = subprocess.Popen(command, pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for end in (*ends, their_input, their_output):
            os.close(end)
        try:
            yield Browser(our_input, our_output)
        finally:
            # At the end of its input, Chromium leaves by itself.
            os.close(our_output)
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(our_input)


class Browser:
    def __init__(self, input: int, output: int) -> None:
        self._input, self._output = input, output
        self._number = 0
        self._rest = b""
        self._pages: dict[str, Page] = {}

    def open(self, path: Path | str, *, width: int = 1200, height: int = 900, dark: bool = False) -> Page:
        """The page in the file `path`, or at that URL, loaded, in a window of that size."""
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log"):
            page.call(f"{domain}.enable")
        # Without the bodies of requests, which may be pictures.
        page.call("Network.enable", {"maxPostDataSize": 1})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        page.call("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", {"features": [scheme]})
        page.call("Page.navigate", {"url": path if isinstance(path, str) else path.resolve().as_uri()})
        while not page.is_loaded:
            self._take(self._read())
        return page

    def close(self, session: str) -> None:
        """Ends a page, which would go on asking its server."""
        target = self.call("Target.getTargetInfo", session=session)["targetInfo"]["targetId"]
        self.call("Target.closeTarget", {"targetId": target})
        del self._pages[session]

    def call(self, method: str, parameters: dict[str, Any] | None = None, session: str | None = None) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters or {}}
        if session:
            message["sessionId"] = session
        os.write(self._output, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._take(answer)

    def _take(self, event: dict[str, Any]) -> None:
        page = self._pages.get(event.get("sessionId", ""))
        if page is not None and "method" in event:
            page.note(event["method"], event["params"])

    def _read(self) -> dict[str, Any]:
        deadline = time.monotonic() + _PATIENCE
        while b"\0" not in self._rest:
            if not select.select([self._input], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"Chromium has said nothing for {_PATIENCE} s")
            chunk = os.read(self._input, 1 << 20)
            assert chunk, "Chromium has ended"
            self._rest += chunk
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


@dataclass
class Page:
    browser: Browser
    session: str
    requests: list[str] = field(default_factory=list)
    """Every URL asked for, the page itself first; data: URLs are no requests."""
    problems: list[str] = field(default_factory=list)
    """What the console shows: errors, warnings, and what the page's security policy has stopped."""
    is_loaded: bool = False
    files_asked_for: int = 0
    """How often a dialog for files has been opened, where Page.setInterceptFileChooserDialog is on."""

    def call(self, method: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        return self.browser.call(method, parameters, self.session)

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page; promises are awaited."""
        answer = self.call("Runtime.evaluate", {"expression": script, "returnByValue": True, "awaitPromise": True})
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, script: str, what: str = "") -> Any:
        """The value of `script` as soon as it is truthy; `what` says what is waited for."""
        return wait_until(lambda: self.evaluate(script), what or script, _PATIENCE)

    def choose_files(self, selector: str, *paths: Path) -> None:
        """What a person does with the dialog of a file input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", {"nodeId": root, "selector": selector})["nodeId"]
        self.call("DOM.setFileInputFiles", {"nodeId": node, "files": [str(path) for path in paths]})

    def drop_files(self, x: int, y: int, *paths: Path) -> None:
        """Drags files over the point `x`, `y` of the window, and drops them there."""
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})

    def press(self, key: str) -> None:
        """One press of a key by its name in the DOM: "Tab", "Enter", "ArrowDown", "a"."""
        number, text = _KEYS.get(key, (ord(key[0].upper()), key if len(key) == 1 else ""))
        event = {"key": key, "windowsVirtualKeyCode": number, **({"text": text} if text else {})}
        self.call("Input.dispatchKeyEvent", {"type": "keyDown", **event})
        self.call("Input.dispatchKeyEvent", {"type": "keyUp", "key": key, "windowsVirtualKeyCode": number})

    def close(self) -> None:
        self.browser.close(self.session)

    def note(self, method: str, event: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent" and not event["request"]["url"].startswith("data:"):
            self.requests.append(event["request"]["url"])
        elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.problems.append(json.dumps(event))
        elif method == "Page.loadEventFired":
            self.is_loaded = True
        elif method == "Page.fileChooserOpened":
            self.files_asked_for += 1


def contrast(first: list[float], second: list[float]) -> float:
    """The contrast ratio of two opaque colours, red, green and blue from 0 to 255, as WCAG 2 defines it."""
    assert len(first) == len(second) == 3, "no colour shines through"

    def luminance(colour: list[float]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)
