"""Strict parsing of http and https URLs. What is checked here is what a browser or our own client will request.

Parsers differ: `urlsplit` drops tabs and newlines, resolvers accept `127.1` and `0x7f000001`, browsers turn
backslashes into slashes. A text that any of them could read differently is refused, not repaired.
"""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from typing import Final, Literal

from ostiary.core.address import Address, parse_address

MAX_URL: Final = 2_048
_CHARACTER: Final = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})"
_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9.-]{1,253})(?::(?P<port>[1-9][0-9]{0,4}))?"
    rf"(?P<path>(?:/{_CHARACTER}*)?)(?:\?(?P<query>(?:{_CHARACTER}|\?)*))?"
)
_WEB: Final = re.compile(
    r"(?P<scheme>https?)://(?P<authority>(?:(?![/?#@])[!-~])+)(?P<rest>(?:[/?#].*)?)",
    re.IGNORECASE | re.DOTALL | re.ASCII,
)
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# If the last label looks like this, browsers parse the whole host as an IPv4 address.
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DOTS: Final = frozenset({".", ".."})


@dataclass(frozen=True, slots=True)
class Url:
    """The parts of an http or https URL without userinfo and fragment."""

    scheme: Literal["http", "https"]
    host: str
    """A DNS name in lower case, or an IP address in its canonical form, IPv6 without brackets."""
    port: int
    path: str
    query: str | None

    @property
    def address(self) -> Address | None:
        """Return the host if it is an IP address, else None."""
        try:
            return parse_address(self.host)
        except ValueError:
            return None

    @property
    def place(self) -> str:
        """Return `host:port`, always with the port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        """Return host and port as a Host header or an origin has them: without the scheme's default port (RFC 6454
        §6.2)."""
        return self.place.removesuffix(f":{_default_port(self.scheme)}")

    @property
    def target(self) -> str:
        """Return the request target in origin form (RFC 9112 §3.2.1)."""
        return (self.path or "/") + ("" if self.query is None else f"?{self.query}")


def read_url(text: str) -> Url:
    """Parse an absolute http or https URL. Raises ValueError with the reason, which never contains the URL."""
    if len(text) > MAX_URL:
        raise ValueError(f"must have at most {MAX_URL} characters")
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError("must be a plain http or https URL without user, fragment or unusual characters")
    scheme: Literal["http", "https"] = "https" if match["scheme"] == "https" else "http"
    port = _default_port(scheme) if match["port"] is None else int(match["port"])
    if port > 65535:
        raise ValueError("has a port over 65535")
    if any(_segment(each) in _DOTS for each in match["path"].split("/")):
        raise ValueError("must not contain the path segments . and ..")
    return Url(scheme, read_host(match["host"]), port, match["path"], match["query"])


def read_host_and_port(text: str) -> str:
    """Return a host with an optional port (default 443) in the form of `Url.place`. Raises ValueError."""
    try:
        url = read_url(f"https://{text}")
    except ValueError:
        url = None
    if url is None or url.path or url.query is not None:
        raise ValueError("is not a host such as idp.internal, idp.internal:8443, 10.0.0.7 or [fd00::7]:8443")
    return url.place


def read_host(text: str) -> str:
    """Parse a host as in a URL: a DNS name, an IPv4 address, or an IPv6 address in brackets. Raises ValueError."""
    host = text.lower()
    if host.startswith("["):
        try:
            address = IPv6Address(host[1:-1])
        except AddressValueError:
            raise ValueError("has a host that is not an IP address") from None
        if address.ipv4_mapped is not None or address.scope_id is not None or host != f"[{address}]":
            raise ValueError("has an IP address that is not in its canonical form")
        return str(address)
    labels = host.split(".")
    if len(host) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("has a host that is not a DNS name")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(parse_address(host))
        except ValueError:
            raise ValueError("has an IP address that is not in its canonical form") from None
    return host


def normalized_audience(uri: str) -> str:
    """Return the spelling of an audience that is used to compare it with others.

    For http and https: scheme and host in lower case, no default port, and `/` for an empty path (RFC 3986 §6.2.2.1,
    §6.2.3). Many clients rewrite URLs in this way before they send them. Any other URI is returned unchanged.
    """
    match = _WEB.fullmatch(uri)
    if match is None:
        return uri
    scheme = match["scheme"].lower()
    authority = match["authority"].lower().removesuffix(":443" if scheme == "https" else ":80")
    rest = match["rest"]
    return f"{scheme}://{authority}{rest if rest.startswith('/') else '/' + rest}"


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def _segment(text: str) -> str:
    """Return a path segment as browsers compare it with `.` and `..`."""
    return text.lower().replace("%2e", ".")


def check_userinfo(url: str) -> None:
    """Raise ValueError if the user or password in a database URL contains a character that ends it there.

    A parser would read the rest as host, port, path or query, so the character must be percent-encoded.
    """
    rest = url.partition("://")[2].partition("?")[0]
    userinfo, at, _ = rest.rpartition("@")
    _, colon, port = rest.partition("/")[0].rpartition(":")
    found = next((character for character in "@/#[]" if at and character in userinfo), None)
    if not at and "@" in url and colon and not port.isdecimal():
        found = "?"
    if found is not None:
        raise ValueError(
            f"has a {found} in its user or password; percent-encode it there, as %{ord(found):02X}"
        )
