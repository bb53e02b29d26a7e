"""One keep-alive connection to a running Ostiary, and the page that a full run writes.

The module does not decide whether a response is right. Each test does.
"""

import http.client
import json
import os
import platform
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ostiary.storage.engines import sqlite_module
from tests.cast import Answer
from tests.servers import PATIENCE, Ostiary, wait_until

PROOFS = Path(__file__).parents[2] / "docs" / "proof"


@dataclass(slots=True)
class Line:
    """Sends requests over one connection, in sequence. It opens a new connection if the server closed the old one."""

    port: int
    key: str
    _connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. The next request opens a new one."""
        self._connection.close()

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        key: str | None = None,
        raw: bytes | None = None,
        repeat: str | None = None,
    ) -> Answer:
        """Send a request with the operator key, or another key; `body` as JSON, or `raw` bytes unchanged.

        `repeat` is the `Idempotency-Key` of a request that may be sent again.
        """
        content = raw if body is None else json.dumps(body).encode()
        headers = {"x-api-key": key or self.key}
        if repeat is not None:
            headers["idempotency-key"] = repeat
        if content is not None:
            headers["content-type"] = "application/json"
        return self.send(method, path, content, headers)

    def send(self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Send a request with these headers and no default ones."""
        self._connection.request(method, path, content, headers)
        answer = self._connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())

    def made(self, path: str, body: Any) -> Any:
        """Create a resource and return the JSON of the response."""
        reply = self.ask("POST", path, body)
        assert reply.status == 201, reply.body
        return reply.json()

    def verify(self, credential: str) -> str:
        """Return the code of `/v1/verify` for a credential."""
        reply = self.ask("POST", "/v1/verify", {"credential": credential})
        assert reply.status == 200, reply.body
        return str(reply.json()["code"])


def assert_ended(line: Line, token: str, nodes: int) -> None:
    """Fail unless the token is revoked: at once on a single node, eventually on one of several (P1)."""
    if nodes > 1:
        wait_until("the end of a token", lambda: line.verify(token) != "valid")
    assert line.verify(token) == "revoked"


def lines_to_each(server: Ostiary, stack: ExitStack, of_each: int) -> dict[int, list[Line]]:
    """Open this number of connections to each worker process. Returns them by worker."""
    found: dict[int, list[Line]] = {}
    for worker in server.workers():
        with server.only(worker):
            found[worker] = [stack.enter_context(Line(server.port, server.key)) for _ in range(of_each)]
            for line in found[worker]:
                assert line.ask("GET", "/healthz").status == 200
    return found


def prove(promise: str, title: str, seed: int, figures: Mapping[str, object]) -> None:
    """Write the results of a full run to `docs/proof/`."""
    machine = (
        f"{os.cpu_count()} CPUs, {platform.system()} {platform.machine()}, Python {platform.python_version()},"
        f" SQLite {sqlite_module.sqlite_version}"
    )
    lines = [
        f"# {promise}: {title}",
        "",
        f"Measured on {datetime.now(UTC):%Y-%m-%d} by `make prove P={promise}`. Machine: {machine}. Seed: {seed}.",
        "",
        "| what | figure |",
        "|---|---|",
        *(f"| {what} | {figure:,} |" if isinstance(figure, int) else f"| {what} | {figure} |"
          for what, figure in figures.items()),
        "",
    ]  # fmt: skip
    PROOFS.mkdir(parents=True, exist_ok=True)
    (PROOFS / f"{promise}.md").write_text("\n".join(lines), "utf-8")
