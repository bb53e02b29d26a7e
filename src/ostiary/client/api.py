"""Calls to the management API, and what can go wrong with them."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ostiary.core.address import parse_address

TIMEOUT_SECONDS = 15.0


class NotReachableError(Exception):
    """The service does not answer at this URL."""


class InsecureUrlError(Exception):
    """A credential would be sent in clear to another machine."""


@dataclass(slots=True)
class RefusedError(Exception):
    """An answer other than success, as the service worded it (RFC 9457)."""

    status: int
    title: str
    detail: str
    code: str
    body: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.title}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Client:
    """One service, one credential. `credential` is an API key or an access token, never logged or printed."""

    url: str
    credential: str | None = field(default=None, repr=False)

    def request(self, method: str, path: str, json: Any = None, params: dict[str, Any] | None = None) -> Any:
        """Send a request; the parsed JSON answer, None if it is empty. Raises the errors above."""
        import httpx2

        if self.credential is not None and not is_safe(self.url):
            raise InsecureUrlError(
                f"{self.url} is neither https nor on this machine: a credential would travel in clear."
            )
        headers = {"accept": "application/json", "user-agent": "ostiary-cli"}
        if self.credential is not None:
            # The prefix tells a key from a token, so one header takes both.
            headers["authorization"] = f"Bearer {self.credential}"
        try:
            answer = httpx2.request(
                method,
                self.url.rstrip("/") + path,
                json=json,
                params=params,
                headers=headers,
                timeout=TIMEOUT_SECONDS,
                follow_redirects=False,
            )
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise NotReachableError(f"{self.url} does not answer ({type(error).__name__}).") from None
        if answer.is_success:
            return answer.json() if answer.content else None
        try:
            body = answer.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            body = {}
        raise RefusedError(
            answer.status_code,
            str(body.get("title", f"HTTP {answer.status_code}")),
            str(body.get("detail", "This does not look like an Ostiary service.")),
            str(body.get("code", "")),
            body,
        )

    def pages(self, path: str, params: dict[str, Any] | None = None) -> Any:
        """Every row of a list, page after page."""
        asked = dict(params or {})
        while True:
            page = self.request("GET", path, params=asked)
            yield from page["data"]
            if page["next_cursor"] is None:
                return
            asked["cursor"] = page["next_cursor"]


def is_safe(url: str) -> bool:
    """Whether a credential may be sent there: https, or loopback."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return True
    host = parts.hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return parse_address(host).is_loopback
    except ValueError:
        return False
