"""A browser in which somebody has signed in, as rows and a cookie."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from urllib.parse import urlencode

from ostiary.core.permission import Caller
from tests.cast import Answer, Front
from tests.servers import PATIENCE
from tests.visitors import session_of

FORM = "application/x-www-form-urlencoded"
COOKIE = "ostiary_session"
_TOKEN = re.compile(rb'name="form_token" value="([^"]*)"')


@dataclass(slots=True)
class Browser:
    """Somebody's browser; of nobody, without a session."""

    front: Front | Wire
    session: str | None = None
    peer: str = "192.0.2.1"

    def get(self, target: str) -> Answer:
        return self.front.ask("GET", target, headers=self._fields({}), peer=self.peer)

    def post(self, target: str, fields: Mapping[str, str], token: str | None = None) -> Answer:
        """Send a form as a page of ours does, or with another token than its own."""
        if token is None:
            token = self.token(target)
        port = self.front.url.rpartition(":")[2] if isinstance(self.front, Wire) else "8080"
        headers = self._fields({"content-type": FORM, "origin": f"http://localhost:{port}"})
        body = urlencode({**fields, "form_token": token}).encode()
        return self.front.ask("POST", target, raw=body, headers=headers, peer=self.peer)

    def token(self, target: str) -> str:
        """That of the form at this address."""
        found = _TOKEN.search(self.get(target).body)
        assert found is not None
        return found[1].decode()

    def _fields(self, more: Mapping[str, str]) -> dict[str, str]:
        return dict(more) if self.session is None else {"cookie": f"{COOKIE}={self.session}", **more}


@dataclass(frozen=True, slots=True)
class Wire:
    """A real service over its socket, asked as `Front` is."""

    url: str

    def ask(
        self,
        method: str,
        target: str,
        raw: bytes = b"",
        headers: Mapping[str, str] | None = None,
        peer: str = "",
    ) -> Answer:
        connection = HTTPConnection(self.url.partition("://")[2], timeout=PATIENCE)
        try:
            connection.request(method, target, raw, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()


def browser(front: Front, person: Caller | None, peer: str = "192.0.2.1") -> Browser:
    session = None if person is None else session_of(front.house, person)
    return Browser(front, session, peer)
