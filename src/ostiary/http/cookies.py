"""Session cookies: which ones are accepted, and how they are set and cleared.

A browser sends a cookie by itself, even for a page of another site. The cookie is refused if the browser says
that another site's page made the request. If a browser's request changes something, the cookie is accepted
only if the browser says that one of this service's pages made the request.
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

Headers = Sequence[tuple[bytes, bytes]]
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class SessionCookie(NamedTuple):
    """The session cookie of an installation, and the origin of the installation's pages."""

    name: bytes
    origin: bytes


def of(issuer: str) -> SessionCookie:
    """Return the session cookie for this issuer. Without https, which is possible on loopback only, browsers
    refuse the `__Host-` name.
    """
    name = b"__Host-ostiary_session" if issuer.startswith("https:") else b"ostiary_session"
    return SessionCookie(name, own_origin(issuer).encode())


def own_origin(issuer: str) -> str:
    """Return scheme, host and port of the public URL, as browsers write them."""
    parts = urlsplit(issuer)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, default) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def of_another_site(headers: Headers, cookie: SessionCookie) -> bool:
    """Return whether a page of another origin may have made the request. A script outside a browser sends no
    such headers.
    """
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
    """Return whether the browser says that one of this service's pages made the request."""
    return not of_another_site(headers, cookie) and any(
        name == b"origin" or (name == b"sec-fetch-site" and value == b"same-origin")
        for name, value in headers
    )


def values(headers: Headers, wanted: bytes) -> set[bytes]:
    """Return the distinct values of the cookies with this name."""
    return {
        text
        for name, value in headers
        if name == b"cookie"
        for part in value.split(b";")
        for key, _, text in [part.strip(b" \t").partition(b"=")]
        if key == wanted
    }


def setting(name: bytes, text: str, seconds: int | None, same_site: Literal["Lax", "Strict"]) -> str:
    """Return a Set-Cookie value for this host only, which scripts cannot read. If `seconds` is None, the
    cookie lasts until the browser is closed.
    """
    secure = " Secure;" if name.startswith(b"__Host-") else ""
    lasting = "" if seconds is None else f"; Max-Age={seconds}"
    return f"{name.decode()}={text}; Path=/;{secure} HttpOnly; SameSite={same_site}{lasting}"


def clearing(name: bytes) -> str:
    """Return the Set-Cookie value that deletes the cookie."""
    return setting(name, "", 0, "Lax")
