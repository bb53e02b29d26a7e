"""The only client with which this service fetches URLs that an untrusted party chose: client documents and
keys.

It cannot be made to reach internal networks (R16 in docs/promises.md). A name is resolved once. All its
addresses must be public, and the connection goes to one of them. There are no redirects, cookies, proxies or
encodings, and a fetch takes `SECONDS` at most. Hosts that the operator allowed by name may be internal.

It does not know of internal networks with public addresses, such as an operator may have.
"""

import os
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from queue import Empty, SimpleQueue
from threading import BoundedSemaphore, Thread
from typing import Any, Final, Literal

import httpcore2
from httpcore2 import SOCKET_OPTION, NetworkBackend, NetworkStream, SyncBackend

from ostiary.core.address import Address, parse_address
from ostiary.core.url import Url, read_url

Reason = Literal[
    "url", "port", "inside", "name", "busy", "connection", "certificate", "time", "status", "encoding", "size", "answer"
]  # fmt: skip
Resolve = Callable[[str, int], Sequence[str]]
"""Returns the addresses of a name as text, best first. Raises OSError if the name has none."""
Clock = Callable[[], float]
"""Returns monotonic time in seconds."""

SECONDS: Final = 5.0
MOST_ADDRESSES: Final = 4
"""How many addresses of a name are tried, one after the other."""
MOST_LOOKUPS: Final = 32
"""How many names are looked up at once. A resolver cannot be interrupted, so hanging lookups would use up
threads.
"""

REASONS: Final[dict[Reason, str]] = {
    "url": "the URL is not a plain https URL",
    "port": "the port is not 443, and the operator did not allow it",
    "inside": "the host has an address that is not on the public Internet, and the operator did not allow it",
    "name": "the host has no address",
    "busy": "too many names are being looked up",
    "connection": "no connection could be made",
    "certificate": "the certificate is not one for this host, or nobody vouches for it",
    "time": f"it took longer than {SECONDS:.0f} seconds",
    "status": "the answer is not 200",
    "encoding": "the answer is encoded, which was not asked for",
    "size": "the answer is too long",
    "answer": "the answer is not HTTP, or ended too soon",
}

# IANA's special-purpose registries, and networks that lead to IPv4 addresses indirectly. `is_global` of
# `ipaddress`
# differs between Python's versions, and is true of multicast, NAT64 and site-local addresses.
_NOT_PUBLIC: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
            "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
            "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        ),
    )
)  # fmt: skip
# Nothing else of IPv6 was ever allocated, so new kinds of addresses are refused until this line allows them.
_ALLOCATED: Final = IPv6Network("2000::/3")
_NOT_PUBLIC_IPV6: Final = tuple(
    # Protocols and Teredo, documentation (twice), 6to4, anycast name servers (AS112)
    map(IPv6Network, ("2001::/23", "2001:db8::/32", "3fff::/20", "2002::/16", "2620:4f:8000::/48"))
)
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})

_lookups = BoundedSemaphore(MOST_LOOKUPS)


class OutboundError(Exception):
    """Why nothing was fetched. It reveals neither the URL nor anything about internal networks."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(REASONS[reason])
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Fetched:
    """A response with status 200."""

    body: bytes
    content_type: str
    """The media type in lower case, without parameters; empty if missing."""
    cache_control: str = ""


def system_resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses from the machine's resolver, in its order (RFC 6724)."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(each[4][0]) for each in found]


def fetch(
    url: str,
    *,
    max_bytes: int,
    accept: str,
    allowed: frozenset[str],
    resolve: Resolve = system_resolve,
    clock: Clock = time.monotonic,
) -> Fetched:
    """GET this URL. Raises OutboundError. It blocks for at most `SECONDS`, so call it in a thread, never on
    an event loop.

    `allowed` lists hosts with their ports (`Url.place`), such as `idp.internal:8443`, that may be internal,
    use a port other than 443, and use http. `accept` is sent in the request. The caller must check the
    content type of the response.
    """
    try:
        place = read_url(url)
    except ValueError:
        raise OutboundError("url") from None
    deadline = _Deadline(clock, clock() + SECONDS)
    addresses = _addresses(place, allowed, resolve, deadline)
    with httpcore2.HTTPConnection(
        httpcore2.Origin(place.scheme.encode(), place.host.encode(), place.port),
        ssl_context=_trust(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")),
        network_backend=_Pinned(addresses, deadline),
    ) as connection:
        try:
            return _exchange(connection, place, accept, max_bytes)
        except httpcore2.TimeoutException:
            raise OutboundError("time") from None
        except httpcore2.ConnectError as error:
            raise OutboundError("certificate" if _is_certificate_error(error) else "connection") from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError):
            raise OutboundError("answer") from None


def check(url: str, *, allowed: frozenset[str], resolve: Resolve = system_resolve) -> None:
    """Raise the OutboundError with which `fetch` would refuse this URL before connecting. It blocks too."""
    try:
        place = read_url(url)
    except ValueError:
        raise OutboundError("url") from None
    _addresses(place, allowed, resolve, _Deadline(time.monotonic, time.monotonic() + SECONDS))


def is_public(address: Address) -> bool:
    """Return whether an address belongs to one host on the public Internet, as far as the address shows."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC)
    return (
        address in _ALLOCATED
        and not any(address in network for network in _NOT_PUBLIC_IPV6)
        and (int(address) >> 32) & 0xFFFFFFFF not in _ISATAP
    )


def _addresses(place: Url, allowed: frozenset[str], resolve: Resolve, deadline: "_Deadline") -> list[Address]:
    """Return the addresses to connect to. All are checked, and the name is not resolved again."""
    may_be_inside = place.place in allowed
    if not may_be_inside:
        if place.scheme != "https":
            raise OutboundError("url")
        if place.port != 443:
            raise OutboundError("port")
    if place.address is not None:
        found = [place.address]
    else:
        if "." not in place.host and not may_be_inside:
            raise OutboundError("inside")  # a resolver could complete it with the machine's own domain
        found = _resolve_once(place, resolve, deadline)
    if not may_be_inside and not all(map(is_public, found)):
        raise OutboundError("inside")
    return found[:MOST_ADDRESSES]


def _resolve_once(place: Url, resolve: Resolve, deadline: "_Deadline") -> list[Address]:
    """Resolve the name, once. The resolver has no time limit of its own, so a
    separate thread waits for it.
    """
    answers: SimpleQueue[Sequence[str] | None] = SimpleQueue()

    def ask() -> None:
        found: Sequence[str] | None = None
        try:
            found = resolve(place.host, place.port)
        except (OSError, UnicodeError):
            pass
        finally:
            _lookups.release()
            answers.put(found)

    if not _lookups.acquire(blocking=False):
        raise OutboundError("busy")
    Thread(target=ask, name="outbound look-up", daemon=True).start()
    try:
        found = answers.get(timeout=deadline.remaining())
    except (Empty, httpcore2.TimeoutException):
        raise OutboundError("time") from None
    if not found:
        raise OutboundError("name")
    try:
        return list(dict.fromkeys(map(parse_address, found)))
    except ValueError:
        raise OutboundError("inside") from None  # an address with a zone belongs to a local network


def _exchange(connection: httpcore2.HTTPConnection, place: Url, accept: str, max_bytes: int) -> Fetched:
    request = httpcore2.Request(
        b"GET",
        httpcore2.URL(
            scheme=place.scheme.encode(),
            host=place.host.encode(),
            port=place.port,
            target=place.target.encode(),
        ),
        headers=[
            (b"host", place.authority.encode()),
            (b"accept", accept.encode()),
            (b"accept-encoding", b"identity"),
            (b"user-agent", b"ostiary"),
            (b"connection", b"close"),
        ],
    )
    answer = connection.handle_request(request)
    if answer.status != 200:
        raise OutboundError("status")
    fields = {name.lower(): value for name, value in answer.headers}
    if any(
        name.lower() == b"content-encoding" and value.lower() != b"identity" for name, value in answer.headers
    ):
        raise OutboundError("encoding")
    if int(fields.get(b"content-length", b"0")) > max_bytes:  # the library has checked that it is a number
        raise OutboundError("size")
    body = bytearray()
    for part in answer.iter_stream():
        body += part
        if len(body) > max_bytes:
            raise OutboundError("size")
    kind = fields.get(b"content-type", b"").decode("latin-1").partition(";")[0]
    caching = fields.get(b"cache-control", b"").decode("latin-1")
    return Fetched(bytes(body), kind.strip().lower(), caching)


def _is_certificate_error(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


@lru_cache(maxsize=1)
def _trust(file: str | None, directory: str | None) -> ssl.SSLContext:
    """Return the machine's trusted authorities. OpenSSL reads both variables itself. Here they are the cache
    key.
    """
    return ssl.create_default_context()


# The network


@dataclass(frozen=True, slots=True)
class _Deadline:
    clock: Clock
    at: float

    def remaining(self) -> float:
        """Return the seconds left, always more than 0: a timeout of 0 would make a socket non-blocking."""
        left = self.at - self.clock()
        if left <= 0:
            raise httpcore2.ReadTimeout
        return left


class _Pinned(NetworkBackend):
    """Connects to the checked addresses only, whatever host the library requests."""

    def __init__(self, addresses: Sequence[Address], deadline: _Deadline) -> None:
        self._addresses = addresses
        self._deadline = deadline
        self._network = SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> NetworkStream:
        """Try the addresses one after the other. Each gets an equal share of the time left."""
        for number, address in enumerate(self._addresses):
            share = self._deadline.remaining() / (len(self._addresses) - number)
            try:
                stream = self._network.connect_tcp(str(address), port, share, None, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if number == len(self._addresses) - 1:
                    raise
            else:
                return _Timed(stream, self._deadline)
        raise httpcore2.ConnectError


class _Timed(NetworkStream):
    """A connection on which every wait ends at the deadline, so a slow sender cannot prolong it."""

    def __init__(self, stream: NetworkStream, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.remaining())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.remaining())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> NetworkStream:
        """Start TLS. The deadline covers the whole handshake."""
        try:
            stream = self._stream.start_tls(ssl_context, server_hostname, self._deadline.remaining())
        except BaseException:
            self._stream.close()
            raise
        return _Timed(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
