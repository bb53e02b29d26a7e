"""What the outbound client fetches, and how it handles responses (R16, R21)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from threading import Event

import pytest

from ostiary.config import Settings
from ostiary.core.url import read_url
from ostiary.http import outbound
from ostiary.http.outbound import Fetched, OutboundError, fetch
from tests.far_side import Authority, FarSide, answer, authority, dialled, far_side
from tests.servers import PATIENCE

HOST = "app.example.com"


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    """A certificate authority that this machine trusts while the module's tests run."""
    found = authority(tmp_path_factory.mktemp("authority"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", str(found.file))
        yield found


@pytest.fixture
def app(trusted: Authority, tmp_path: Path) -> Iterator[FarSide]:
    """The host in the clients' URLs."""
    with far_side(trusted.context(tmp_path, HOST)) as found:
        yield found


def here(_host: str, _port: int) -> Sequence[str]:
    return ["127.0.0.1"]


def get(
    app: FarSide,
    path: str = "/client.json",
    host: str = HOST,
    scheme: str = "https",
    max_bytes: int = 5_120,
    resolve: outbound.Resolve = here,
    clock: outbound.Clock = lambda: 0.0,
) -> Fetched:
    """Fetch from a host that the operator allowed."""
    place = f"{host}:{app.port}"
    return fetch(
        f"{scheme}://{place}{path}", max_bytes=max_bytes, accept="application/json", allowed=frozenset({place}),
        resolve=resolve, clock=clock,
    )  # fmt: skip


def refused(app: FarSide, **how: object) -> str:
    with pytest.raises(OutboundError) as caught:
        get(app, **how)  # type: ignore[arg-type]
    assert str(caught.value) == outbound.REASONS[caught.value.reason]
    return caught.value.reason


def test_what_is_asked_and_what_comes_back(app: FarSide) -> None:
    """Client documents break: the request path differs from the client id, or the request reveals more than
    necessary.
    """
    app.answer = answer(b'{"a":1}', content_type="Application/JSON; charset=utf-8")
    assert get(app, "/a/b.json?c=%2F%20d") == Fetched(b'{"a":1}', "application/json")
    lines = app.requests[0].decode().split("\r\n")
    assert lines[0] == "GET /a/b.json?c=%2F%20d HTTP/1.1"
    assert sorted(line.lower() for line in lines[1:] if line) == [
        "accept-encoding: identity",
        "accept: application/json",
        "connection: close",
        f"host: {HOST}:{app.port}",
        "user-agent: ostiary",
    ]


def test_nothing_is_kept_between_two_fetches(app: FarSide) -> None:
    """P18 breaks: a cookie or connection of one host is reused for the next request."""
    app.answer = answer(set_cookie="a=b; Path=/")
    get(app)
    get(app)
    assert app.connections == 2
    assert b"cookie" not in app.requests[1].lower()


def test_the_environment_names_no_proxy(app: FarSide, monkeypatch: pytest.MonkeyPatch) -> None:
    """P18 breaks: a proxy makes the connection, to an address that was not checked."""
    with far_side() as proxy:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "http_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        get(app)
        assert (app.connections, proxy.connections) == (1, 0)


def test_an_allowed_host_may_be_asked_over_http() -> None:
    """The setting breaks: an internal host without a certificate cannot be reached."""
    with far_side() as inside:
        assert get(inside, scheme="http", host="idp").body == b"{}"
        assert get(inside, scheme="http", host="127.0.0.1").body == b"{}"


@pytest.mark.parametrize(
    "value, places",
    [
        ("none", ()),
        ("", ()),
        ("idp.internal", ("idp.internal:443",)),
        ("IDP.internal:8443, localhost:80\n10.0.0.7", ("idp.internal:8443", "localhost:80", "10.0.0.7:443")),
        (["[fd00::7]", "[fd00::7]:443", "[fd00::7]:1"], ("[fd00::7]:443", "[fd00::7]:1")),
    ],
)
def test_the_hosts_that_an_operator_allows(value: object, places: tuple[str, ...]) -> None:
    """The setting breaks: a host is not recognized in the form that a URL has."""
    assert Settings.model_validate({"outbound_hosts": value}).outbound_hosts == places
    for place in places:
        assert read_url(f"https://{place}/").place == place


def test_every_address_is_tried(app: FarSide) -> None:
    """Client documents break: a host is not reached although one of its addresses responds."""
    with dialled() as places:
        assert get(app, resolve=lambda *_: ["127.0.0.9", "127.0.0.1"]).body == b"{}"
    assert places == ["127.0.0.9", "127.0.0.1"]
    with dialled() as places:
        assert refused(app, resolve=lambda *_: [f"127.0.0.{n}" for n in range(9, 30)]) == "connection"
    assert len(places) == outbound.MOST_ADDRESSES


def test_a_name_without_an_address(app: FarSide) -> None:
    """P20 breaks: an unknown host name is reported as an internal error."""

    def nobody(_host: str, _port: int) -> Sequence[str]:
        raise OSError("no such host")

    def too_long(_host: str, _port: int) -> Sequence[str]:
        raise UnicodeError("label too long")

    def nothing(_host: str, _port: int) -> Sequence[str]:
        return []

    for resolve in (nobody, too_long, nothing):
        assert refused(app, resolve=resolve) == "name"


@pytest.mark.promise("P18")
@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
)
def test_redirects_are_not_followed(app: FarSide, trusted: Authority, tmp_path: Path, status: str) -> None:
    """P18 breaks: an external host redirects to an internal one."""
    with far_side(trusted.context(tmp_path, "localhost")) as inside:
        for place in (f"https://localhost:{inside.port}/", f"https://{HOST}:{app.port}/other"):
            app.answer = answer(b"", status, location=place)
            assert refused(app) == "status"
        assert (app.connections, inside.connections) == (2, 0)


@pytest.mark.parametrize(
    "status", ["201 Created", "204 No Content", "304 Not Modified", "404 Not Found", "500 Oops"]
)
def test_only_200_is_an_answer(app: FarSide, status: str) -> None:
    """Client documents break: an error page is read as the document."""
    app.answer = answer(b"", status)
    assert refused(app) == "status"


@pytest.mark.promise("P18")
def test_the_certificate_is_the_names(app: FarSide, trusted: Authority, tmp_path: Path) -> None:
    """P18 breaks: a server without the certificate for the name is believed."""
    for names in (("evil.example.com",), ("example.com",), ("127.0.0.1",)):
        with far_side(trusted.context(tmp_path, *names)) as other:
            assert refused(other) == "certificate"
            assert (other.connections, other.requests) == (1, [])
    stranger = authority(tmp_path)
    with far_side(stranger.context(tmp_path, HOST)) as other:
        assert refused(other) == "certificate"
    with far_side(trusted.context(tmp_path, "127.0.0.1")) as other:
        assert get(other, host="127.0.0.1").body == b"{}"


def test_whom_the_machine_trusts_is_read_again(
    app: FarSide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE breaks: the operator's own certificate authority is refused."""
    assert get(app).body == b"{}"
    monkeypatch.setenv("SSL_CERT_FILE", str(authority(tmp_path).file))
    assert refused(app) == "certificate"


def test_a_body_has_at_most_so_many_bytes(app: FarSide) -> None:
    """P20 breaks: an untrusted server fills the memory."""
    app.answer = answer(b"a" * 100)
    assert get(app, max_bytes=100).body == b"a" * 100
    assert refused(app, max_bytes=99) == "size"
    app.answer = answer(b"", content_length=str(10**18))
    assert refused(app, max_bytes=99) == "size"
    sent = 0

    def endless(_request: bytes) -> Iterable[bytes]:
        nonlocal sent
        yield b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        while True:
            sent += 1
            yield b"1000\r\n" + b"a" * 4096 + b"\r\n"

    app.answer = endless
    assert refused(app) == "size"
    assert sent * 4096 < 50_000_000


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip", "x-unknown", ""])
def test_an_encoded_answer_is_refused(app: FarSide, encoding: str) -> None:
    """P20 breaks: a few bytes decompress to many, or an encoded body is read without decoding."""
    app.answer = answer(content_encoding=encoding)
    assert refused(app) == "encoding"
    app.answer = answer(content_encoding=f"{encoding}\r\ncontent-encoding: identity")
    assert refused(app) == "encoding"
    app.answer = answer(content_encoding="Identity")
    assert get(app).body == b"{}"


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\na: " + b"b" * 200_000,
        b"HTTP/1.1 101 Switching\r\nupgrade: websocket\r\n\r\n",
        b"\0" * 100,
    ],
    ids=range(10),
)
def test_what_is_no_answer(app: FarSide, sent: bytes) -> None:
    """P20 breaks: a malformed response is reported as an internal error."""
    app.answer = lambda _request: [sent]
    assert refused(app) in {"answer", "status"}


# Time


class Hand:
    """A clock that the test advances, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def dripping(clock: Hand, parts: Iterable[bytes], sent: list[bytes]) -> Callable[[bytes], Iterable[bytes]]:
    """Yield the parts, one second apart."""

    def drip(_request: bytes) -> Iterable[bytes]:
        for part in parts:
            clock.now += 1.0
            sent.append(part)
            yield part

    return drip


@pytest.mark.parametrize("where", ["head", "interim", "body"])
def test_a_drip_does_not_draw_it_out(app: FarSide, where: str) -> None:
    """R21 breaks: a server that sends a byte now and then occupies a thread without a time limit."""
    clock, sent = Hand(), list[bytes]()
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n"
    parts = {
        "head": [b"HTTP/1.1 200 OK\r\n", *(f"x-{n}: a\r\n".encode() for n in range(1000))],
        "interim": [b"HTTP/1.1 102 Processing\r\n\r\n"] * 1000,
        "body": [head, *[b"a"] * 1000],
    }
    app.answer = dripping(clock, parts[where], sent)
    assert refused(app, clock=clock, max_bytes=10_000_000) == "time"


def test_time_that_is_over_before_the_connection(app: FarSide) -> None:
    """R21 breaks: a slow resolver does not shorten the time for the rest."""
    clock = Hand()

    def slow(_host: str, _port: int) -> Sequence[str]:
        clock.now += outbound.SECONDS
        return ["127.0.0.1"]

    assert refused(app, clock=clock, resolve=slow) == "time"
    assert app.connections == 0


def test_resolvers_that_hang_are_left_behind(app: FarSide) -> None:
    """R21 breaks: a hanging resolver blocks the request, or occupies more and more threads."""
    go, begun = Event(), list[str]()

    def hangs(host: str, _port: int) -> Sequence[str]:
        begun.append(host)
        go.wait(PATIENCE)
        return []

    def hurried() -> Callable[[], float]:
        times = iter([0.0])
        return lambda: next(times, outbound.SECONDS - 0.01)

    try:
        for _ in range(outbound.MOST_LOOKUPS):
            assert refused(app, resolve=hangs, clock=hurried()) == "time"
        assert refused(app, resolve=hangs) == "busy"
        assert len(begun) == outbound.MOST_LOOKUPS
    finally:
        go.set()
    assert outbound._lookups.acquire(timeout=PATIENCE)
    outbound._lookups.release()
    assert get(app).body == b"{}"
