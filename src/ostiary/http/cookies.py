"""Cookies that carry a session: which of them count, and how they are set and taken away.

A browser sends a cookie by itself, whoever's page made it. It counts unless the browser says that another site's page
did; where a request of a browser changes something, it counts only if the browser says that ours did.
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

Headers = Sequence[tuple[bytes, bytes]]
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class SessionCookie(NamedTuple):
    """The cookie of an installation, and the origin of its own pages."""

    name: bytes
    origin: bytes


def of(issuer: str) -> SessionCookie:
    """The cookie of this issuer. Without https, which is on loopback only, a browser would not take the first name."""
    name = b"__Host-ostiary_session" if issuer.startswith("https:") else b"ostiary_session"
    return SessionCookie(name, own_origin(issuer).encode())


def own_origin(issuer: str) -> str:
    """Scheme, host and port of the public URL, as browsers write it."""
    parts = urlsplit(issuer)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, default) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def of_another_site(headers: Headers, cookie: SessionCookie) -> bool:
    """Whether a page of another origin may have made the request. A script says nothing of origins."""
    return any(
        (name == b"origin" and value != cookie.origin)
        or (name == b"sec-fetch-site" and value not in (b"same-origin", b"none"))
        for name, value in headers
    )


def of_other_address(headers: Headers, cookie: SessionCookie) -> bool:
    """Return whether the page was opened under another name of this service: its origin is the Host, but not ours.

    A page of another site has an origin that differs from the Host.
    """
    fields = dict(headers)
    origin, host = fields.get(b"origin", b""), fields.get(b"host", b"")
    return origin != cookie.origin and bool(host) and origin.partition(b"://")[2] == host


def of_our_page(headers: Headers, cookie: SessionCookie) -> bool:
    """Whether the browser says that a page of ours made the request."""
    return not of_another_site(headers, cookie) and any(
        name == b"origin" or (name == b"sec-fetch-site" and value == b"same-origin")
        for name, value in headers
    )


def values(headers: Headers, wanted: bytes) -> set[bytes]:
    """The values that differ of the cookies of this name."""
    return {
        text
        for name, value in headers
        if name == b"cookie"
        for part in value.split(b";")
        for key, _, text in [part.strip(b" \t").partition(b"=")]
        if key == wanted
    }


def setting(name: bytes, text: str, seconds: int | None, same_site: Literal["Lax", "Strict"]) -> str:
    """A Set-Cookie field for this host alone, which no script reads. None: until the browser is closed."""
    secure = " Secure;" if name.startswith(b"__Host-") else ""
    lasting = "" if seconds is None else f"; Max-Age={seconds}"
    return f"{name.decode()}={text}; Path=/;{secure} HttpOnly; SameSite={same_site}{lasting}"


def clearing(name: bytes) -> str:
    """The same that takes it away."""
    return setting(name, "", 0, "Lax")
