"""Drives a real Chromium over its remote debugging pipe: it types and clicks as people do, and reports console errors.

Commands and events follow the Chrome DevTools Protocol: one JSON object each, terminated by a zero byte.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
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
NAMES = ["chromium", "chromium-browser", "google-chrome"]
"""The program's names on Debian, on other distributions and in Google's packages."""
COMMANDS, ANSWERS = 3, 4
"""The file descriptors from which the browser reads commands and to which it writes responses."""
ABOVE = 10
"""The lowest descriptor for the pipe's ends, so that none of them collides with the two above."""


@dataclass
class Chromium:
    """A browser with one page."""

    _reads: int
    _writes: int
    complaints: list[str] = field(default_factory=list)
    """Console messages, and every request or script that a policy blocked."""
    _page: str = ""
    _number: int = 0
    _rest: bytes = b""
    _events: list[str] = field(default_factory=list)

    def open(self, address: str) -> None:
        self._loads(lambda: self.call("Page.navigate", url=address))

    def type(self, selector: str, text: str) -> None:
        """Replace the content of a field."""
        self.call("DOM.focus", nodeId=self._node(selector))
        self.value("document.activeElement.select()")
        self.call("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Click on an element that stays on the same page."""
        node = self._node(selector)
        self.call("DOM.scrollIntoViewIfNeeded", nodeId=node)
        x0, y0, _x1, _y1, x2, y2, *_ = self.call("DOM.getContentQuads", nodeId=node)["quads"][0]
        at = {"x": (x0 + x2) / 2, "y": (y0 + y2) / 2, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **at)

    def follow(self, selector: str) -> None:
        """Click on a link or button, and wait until the next page has loaded."""
        self._loads(lambda: self.click(selector))

    @property
    def address(self) -> str:
        return str(self.value("location.href"))

    @property
    def text(self) -> str:
        return str(self.value("document.body.innerText"))

    def value(self, expression: str) -> Any:
        """Evaluate an expression on the page and return its value."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until a script makes an expression true on the page."""
        deadline = time.monotonic() + PATIENCE
        while not self.value(f"!!({expression})"):
            assert time.monotonic() < deadline, f"waited in vain for {expression}; {self.complaints}"

    def shown_as(self, width: int, dark: bool) -> None:
        preferred = {"color-scheme": "dark" if dark else "light", "reduced-motion": "reduce"}
        features = [{"name": f"prefers-{name}", "value": value} for name, value in preferred.items()]
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False
        )
        self.call("Emulation.setEmulatedMedia", features=features)

    def picture(self) -> bytes:
        """Return a PNG of the whole page."""
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
    """Start $CHROMIUM, or a browser from the PATH. Raises UnavailableError. `script=False` disables scripts."""
    names = [os.environ["CHROMIUM"]] if "CHROMIUM" in os.environ else NAMES
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        raise UnavailableError(
            f"{' or '.join(names)} is not installed: `make setup`, or apt-get install chromium"
        )
    home = Path(tempfile.mkdtemp(prefix="ostiary-chromium-"))
    commands_in, commands_out = os.pipe()
    answers_in, answers_out = os.pipe()
    reads = fcntl.fcntl(commands_in, fcntl.F_DUPFD_CLOEXEC, ABOVE)
    writes = fcntl.fcntl(answers_out, fcntl.F_DUPFD_CLOEXEC, ABOVE)
    process = os.posix_spawn(
        program,
        [program, *OPTIONS, f"--user-data-dir={home}", "about:blank"],
        os.environ | {"HOME": str(home)},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            (os.POSIX_SPAWN_DUP2, reads, COMMANDS),
            (os.POSIX_SPAWN_DUP2, writes, ANSWERS),
        ],
    )
    for each in (commands_in, answers_out, reads, writes):
        os.close(each)
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
        os.kill(process, signal.SIGTERM)
        os.waitpid(process, 0)
        os.close(commands_out)
        os.close(answers_in)
        shutil.rmtree(home, ignore_errors=True)
