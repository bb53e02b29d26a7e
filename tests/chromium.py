"""Chromium itself, driven over its pipe for developers' tools as a person would: it types, clicks, and tells what it complained of.

The commands and events are those of the Chrome DevTools Protocol, a JSON object each, ended by a zero byte.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers import PATIENCE, UnavailableError

OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--remote-debugging-pipe",
)  # fmt: skip
# The browser reads commands at 3 and writes at 4, which Python cannot say by itself without code after fork.
_AS_3_AND_4 = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'


@dataclass
class Chromium:
    """A browser with one page."""

    _reads: int
    _writes: int
    complaints: list[str] = field(default_factory=list)
    """What stood in its console, and what a policy kept it from."""
    _page: str = ""
    _number: int = 0
    _rest: bytes = b""
    _events: list[str] = field(default_factory=list)

    def open(self, address: str) -> None:
        self._loads(lambda: self.call("Page.navigate", url=address))

    def type(self, selector: str, text: str) -> None:
        """Into a field, in the place of what stood there."""
        self.call("DOM.focus", nodeId=self._node(selector))
        self.value(f"document.activeElement.select()")
        self.call("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """On something that stays on the page."""
        node = self._node(selector)
        self.call("DOM.scrollIntoViewIfNeeded", nodeId=node)
        x0, y0, _x1, _y1, x2, y2, *_ = self.call("DOM.getContentQuads", nodeId=node)["quads"][0]
        at = {"x": (x0 + x2) / 2, "y": (y0 + y2) / 2, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **at)

    def follow(self, selector: str) -> None:
        """Click on what leads to another page, and wait for that."""
        self._loads(lambda: self.click(selector))

    @property
    def address(self) -> str:
        return str(self.value("location.href"))

    @property
    def text(self) -> str:
        return str(self.value("document.body.innerText"))

    def value(self, expression: str) -> Any:
        """What an expression is worth on the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def shown_as(self, width: int, dark: bool) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False
        )
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self) -> bytes:
        """The whole page as PNG."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        command: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._page:
            command["sessionId"] = self._page
        os.write(self._writes, json.dumps(command).encode() + b"\0")
        while True:
            told = self._next(method)
            if told.get("id") == self._number:
                assert "error" not in told, (method, told["error"])
                return dict(told["result"])

    def _node(self, selector: str) -> int:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        found = int(self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"])
        assert found, f"no {selector} at {self.address}: {self.text}"
        return found

    def _loads(self, act: Callable[[], Any]) -> None:
        self._events.clear()
        act()
        while "Page.loadEventFired" not in self._events:
            self._next("the page to load")

    def _next(self, awaited: str) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._reads], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"waited in vain for {awaited}; {self.complaints}"
            part = os.read(self._reads, 1 << 20)
            assert part, f"Chromium ended before {awaited}"
            self._rest += part
        raw, _, self._rest = self._rest.partition(b"\0")
        told: dict[str, Any] = json.loads(raw)
        match told.get("method"):
            case "Log.entryAdded":
                self.complaints.append(told["params"]["entry"]["text"])
            case "Audits.issueAdded":
                self.complaints.append(json.dumps(told["params"]["issue"]))
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(told["params"]["exceptionDetails"]))
            case str() as method:
                self._events.append(method)
        return told


@contextmanager
def chromium(script: bool = True) -> Iterator[Chromium]:
    """$CHROMIUM, or `chromium`. Raises UnavailableError. Without `script` no page can run any."""
    name = os.environ.get("CHROMIUM", "chromium")
    program = shutil.which(name)
    if program is None:
        raise UnavailableError(f"{name} is not installed")
    home = Path(tempfile.mkdtemp(prefix="ostiary-chromium-"))
    commands_in, commands_out = os.pipe()
    answers_in, answers_out = os.pipe()
    process = subprocess.Popen(
        ["/bin/sh", "-c", _AS_3_AND_4, "sh", str(commands_in), str(answers_out), program, *OPTIONS]
        + [f"--user-data-dir={home}", "about:blank"],
        pass_fds=(commands_in, answers_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"HOME": str(home)},
    )
    os.close(commands_in)
    os.close(answers_out)
    try:
        browser = Chromium(answers_in, commands_out)
        page = browser.call("Target.createTarget", url="about:blank")["targetId"]
        browser._page = browser.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "DOM", "Runtime", "Log", "Audits"):
            browser.call(f"{domain}.enable")
        if not script:
            browser.call("Emulation.setScriptExecutionDisabled", value=True)
        yield browser
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(commands_out)
        os.close(answers_in)
        shutil.rmtree(home, ignore_errors=True)
