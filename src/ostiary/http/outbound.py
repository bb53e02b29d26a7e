"""The one client with which this service asks others: client documents and keys whose address a stranger chose.

It cannot be made to reach inside (R16 in docs/promises.md). A name is resolved once, every address that it has must be
a global one, and the connection goes to one of those addresses. There are no redirects, cookies, proxies or encodings,
and all of it together takes `SECONDS` at most. What an operator allowed by name may be anywhere.

It does not know of networks that are inside although their addresses are global, such as the operator's own.
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
"""The addresses of a name, best first, as text. OSError where it has none."""
Clock = Callable[[], float]
"""Seconds that never go back."""

SECONDS: Final = 5.0
MOST_ADDRESSES: Final = 4
"""So many addresses of a name are tried, one after the other."""
MOST_LOOKUPS: Final = 32
"""So many names are looked up at once. A resolver cannot be interrupted, so one that hangs would pile up threads."""

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

# The special-purpose registries of IANA, and what leads to IPv4 addresses by way of another. `is_global` of `ipaddress`
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
# Nothing else of IPv6 was ever given out, so new kinds of addresses are inside until this line says otherwise.
_GIVEN_OUT: Final = IPv6Network("2000::/3")
_NOT_PUBLIC_EITHER: Final = tuple(
    # Protocols and Teredo, documentation (twice), 6to4, name servers for addresses of nobody
    map(IPv6Network, ("2001::/23", "2001:db8::/32", "3fff::/20", "2002::/16", "2620:4f:8000::/48"))
)
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})

_lookups = BoundedSemaphore(MOST_LOOKUPS)


class OutboundError(Exception):
    """Why nothing was fetched. It says nothing of the URL, nor of what is inside."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(REASONS[reason])
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer with status 200."""

    body: bytes
    content_type: str
    """The media type in lower case, without parameters; empty if there is none."""
    cache_control: str = ""


def system_resolve(host: str, port: int) -> Sequence[str]:
    """What the machine's resolver says, in its order (RFC 6724)."""
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
    """GET this URL. Raises OutboundError. It blocks, for `SECONDS` at most: for threads, never for an event loop.

    `allowed` are the hosts with their ports (`Url.place`), such as `idp.internal:8443`, that may be inside, have another
    port than 443, and be spoken to over http. `accept` goes into the request; what the answer is has to be checked by
    whoever asked.
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
            raise OutboundError("certificate" if _is_of_certificate(error) else "connection") from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError):
            raise OutboundError("answer") from None


def check(url: str, *, allowed: frozenset[str], resolve: Resolve = system_resolve) -> None:
    """Raise the OutboundError with which `fetch` would refuse this URL before it connects. It blocks likewise."""
    try:
        place = read_url(url)
    except ValueError:
        raise OutboundError("url") from None
    _addresses(place, allowed, resolve, _Deadline(time.monotonic, time.monotonic() + SECONDS))


def is_public(address: Address) -> bool:
    """Whether an address is one machine's on the public Internet, as far as the address says."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC)
    return (
        address in _GIVEN_OUT
        and not any(address in network for network in _NOT_PUBLIC_EITHER)
        and (int(address) >> 32) & 0xFFFFFFFF not in _ISATAP
    )


def _addresses(place: Url, allowed: frozenset[str], resolve: Resolve, deadline: "_Deadline") -> list[Address]:
    """Where to connect to. All addresses are judged, and no other is asked for afterwards."""
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
            raise OutboundError("inside")  # what a resolver completes with the machine's own domain
        found = _looked_up(place, resolve, deadline)
    if not may_be_inside and not all(map(is_public, found)):
        raise OutboundError("inside")
    return found[:MOST_ADDRESSES]


def _looked_up(place: Url, resolve: Resolve, deadline: "_Deadline") -> list[Address]:
    """Ask the resolver, once. It has no time limit of its own, so a thread waits for it."""
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
        raise OutboundError("inside") from None  # an address with a zone is one of this network


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
    if int(fields.get(b"content-length", b"0")) > max_bytes:  # the library knows it for a number
        raise OutboundError("size")
    body = bytearray()
    for part in answer.iter_stream():
        body += part
        if len(body) > max_bytes:
            raise OutboundError("size")
    kind = fields.get(b"content-type", b"").decode("latin-1").partition(";")[0]
    caching = fields.get(b"cache-control", b"").decode("latin-1")
    return Fetched(bytes(body), kind.strip().lower(), caching)


def _is_of_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


@lru_cache(maxsize=1)
def _trust(file: str | None, directory: str | None) -> ssl.SSLContext:
    """Whom the machine trusts. OpenSSL reads both variables itself; here they say when to read again."""
    return ssl.create_default_context()


# The network


@dataclass(frozen=True, slots=True)
class _Deadline:
    clock: Clock
    at: float

    def remaining(self) -> float:
        """Seconds that are left, always more than none: 0 would mean not to wait, and to a socket something else."""
        left = self.at - self.clock()
        if left <= 0:
            raise httpcore2.ReadTimeout
        return left


class _Pinned(NetworkBackend):
    """Connects to the addresses that were judged, whatever host the library asks for."""

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
        """One address after the other; each has its share of the time that is left."""
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
    """A connection of which every wait ends with the deadline, so that no drip of bytes draws it out."""

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
        """The time limit of a handshake is for all of it."""
        try:
            stream = self._stream.start_tls(ssl_context, server_hostname, self._deadline.remaining())
        except BaseException:
            self._stream.close()
            raise
        return _Timed(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
