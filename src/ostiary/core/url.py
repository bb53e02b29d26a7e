"""URLs of the web, read in one strict way: what is checked here is what a browser or our own client will ask for.

`urlsplit` drops tabs and newlines, resolvers take `127.1` and `0x7f000001`, browsers turn backslashes round. A text
that any of them could read in another way is refused here, not repaired.
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
# What browsers take for the end of an IPv4 address, whatever stands before it.
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DOTS: Final = frozenset({".", ".."})


@dataclass(frozen=True, slots=True)
class Url:
    """The parts of an http or https URL without userinfo and fragment."""

    scheme: Literal["http", "https"]
    host: str
    """A name in lower case, or an address in its canonical form, IPv6 without brackets."""
    port: int
    path: str
    query: str | None

    @property
    def address(self) -> Address | None:
        """The host, where it is an address and no name."""
        try:
            return parse_address(self.host)
        except ValueError:
            return None

    @property
    def place(self) -> str:
        """Host and port, always both."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        """Host and port as a Host header or an origin has them: the scheme's own port is left out (RFC 6454 §6.2)."""
        return self.place.removesuffix(f":{_default_port(self.scheme)}")

    @property
    def target(self) -> str:
        """What a request line asks for (RFC 9112 §3.2.1)."""
        return (self.path or "/") + ("" if self.query is None else f"?{self.query}")


def read_url(text: str) -> Url:
    """Read an absolute http or https URL. ValueError says what is wrong with it, and never holds it."""
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
        raise ValueError("must not hold the path segments . and ..")
    return Url(scheme, read_host(match["host"]), port, match["path"], match["query"])


def read_place(text: str) -> str:
    """A host with a port or without, which is 443 then, as `Url.place` writes it. ValueError otherwise."""
    try:
        url = read_url(f"https://{text}")
    except ValueError:
        url = None
    if url is None or url.path or url.query is not None:
        raise ValueError("is not a host such as idp.internal, idp.internal:8443, 10.0.0.7 or [fd00::7]:8443")
    return url.place


def read_host(text: str) -> str:
    """A host as URLs write it: a DNS name, an IPv4 address, an IPv6 address in brackets. ValueError otherwise."""
    host = text.lower()
    if host.startswith("["):
        try:
            address = IPv6Address(host[1:-1])
        except AddressValueError:
            raise ValueError("has a host that is not an address") from None
        if address.ipv4_mapped is not None or address.scope_id is not None or host != f"[{address}]":
            raise ValueError("has an address that is not written in its canonical form")
        return str(address)
    labels = host.split(".")
    if len(host) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("has a host that is not a DNS name")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(parse_address(host))
        except ValueError:
            raise ValueError("has an address that is not written in its canonical form") from None
    return host


def comparable(uri: str) -> str:
    """Return the spelling of an audience in which it is compared with others.

    For http and https: scheme and host in lower case, no default port, and `/` for an empty path (RFC 3986 §6.2.2.1,
    §6.2.3). Many clients rewrite URLs in this way before they send them. Any other URI is returned as it is.
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
    """A path segment as browsers compare it with the two that move."""
    return text.lower().replace("%2e", ".")


def check_userinfo(url: str) -> None:
    """Raise ValueError if the user or password in a database's URL has a character that ends it there.

    The rest would be read as host, port, path or query, so the character must be percent-encoded.
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
