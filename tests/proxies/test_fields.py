"""Headers that a client forges: its identity, its address, and the request that it claims to send.

The service behind sees the identity that Ostiary sets, or none. It never sees the credential.
"""

import re
from itertools import product

import pytest

from tests.conftest import PROVE
from tests.proxies.stage import Door, Message, request

pytestmark = pytest.mark.full

MARK = "admin-of-all"
NAMES = ["Subject", "Kind", "Organization", "Credential", "Scopes", "Assertion", "Error"]
TOKEN = "-_.~!#$%&'*+^`|"
"""The characters that RFC 9110 §5.6.2 allows in a field name besides letters and digits."""

LEGAL = [
    *(f"X{a}Auth{b}{name}" for (a, b), name in product(product(TOKEN, TOKEN), NAMES)),
    *(f"x{a}AUTH{b}{name.lower()}" for (a, b), name in product(product("-_", "-_"), NAMES)),
    *(f"X-{auth}-{name.upper()}" for auth, name in product(("Auth", "auth", "AUTH", "aUTH"), NAMES)),
    *(f"X-Auth-{name}{end}" for end, name in product(TOKEN, NAMES)),
    *(f"{start}X-Auth-{name}" for start, name in product(TOKEN, NAMES)),
    "X--Auth--Subject", "X__Auth__Subject", "X-Auth", "X_Auth", "X-Auth-", "X-Auth-User", "X-Auth-Roles", "x-auth-x",
    "HTTP_X_AUTH_SUBJECT", "HTTP-X-Auth-Subject",
]  # fmt: skip
ILLEGAL = [
    "X-Auth-Subject ", "X-Auth-Subject\t", " X-Auth-Subject", "\tX-Auth-Subject", "X Auth Subject", "X-Auth Subject",
    "X-Auth-Subject\x00", "X-Auth-Subject\x0b", "\x0bX-Auth-Subject", "\x00X-Auth-Subject", "X\x00Auth\x00Subject",
    "X-Auth-Subject\xa0", "X\xadAuth-Subject", "X\xe2\x80\x90Auth\xe2\x80\x90Subject", "\xef\xbc\xb8-Auth-Subject",
    "X/Auth/Subject", "X\\Auth\\Subject", "X(Auth)Subject", "X,Auth,Subject", "X;Auth;Subject", "X@Auth@Subject",
    '"X-Auth-Subject"', "[X-Auth-Subject]", "{X-Auth-Subject}", "X=Auth=Subject", "X?Auth?Subject", ":X-Auth-Subject",
    "X-Auth-Subject\r", "\rX-Auth-Subject", "X-Auth-\rSubject", "X-Auth-\nSubject", "Host\r\n X-Auth-Subject",
    "A: b\nX-Auth-Subject", "A: b\rX-Auth-Subject", "A: b\r\n\tX-Auth-Subject", "A\nX-Auth-Subject", "A\rX-Auth-Subject",
    "A: b\x00\nX-Auth-Subject", "A: b\x85X-Auth-Subject", "", " ", "X-Auth-Subject\x7f",
]  # fmt: skip


IDENTITY = {f"x_auth_{name.lower()}" for name in NAMES}


def folded(name: bytes) -> str:
    """Return the variable that CGI, WSGI and similar interfaces make of a field name, at their most lenient."""
    return re.sub(r"[^a-z0-9]", "_", name.decode("latin-1").lower())


def check_identity(message: Message, account: str, scopes: str = "read:agents") -> None:
    """Check that the service received the identity fields of Ostiary, and no other, under any name."""
    told = [(folded(name), value.decode("latin-1")) for name, value in message.fields]
    identity = [(name, value) for name, value in told if name in IDENTITY]
    found = dict(identity)
    assert all(re.fullmatch(rb"[A-Za-z0-9-]+", name) for name, _ in message.fields), message.fields
    assert len(found) == len(identity), identity
    assert found.pop("x_auth_subject") == account
    assert found.pop("x_auth_kind") == "api_key"
    assert found.pop("x_auth_organization").startswith("org_")
    assert found.pop("x_auth_credential").startswith("cred_")
    assert found.pop("x_auth_scopes") == scopes
    assert found.pop("x_auth_assertion", "") == ""
    assert found == {}
    nominated = ",".join(message.values("connection")).lower()
    assert "auth" not in nominated, "the service behind is asked to drop what it was told"


@pytest.mark.promise("P15")
def test_identity_comes_from_ostiary_or_not_at_all(door: Door, robo: tuple[str, str]) -> None:
    """P15 breaks: a client can set its own identity at the service behind."""
    account, key = robo
    for start in range(0, len(LEGAL), 40):
        names = LEGAL[start : start + 40]
        answer, seen = door.ask("/v1/agents", key, "GET", *(f"{name}: {MARK}" for name in names))
        assert answer.status in {200, 400}, answer.raw
        assert len(seen) == (answer.status == 200)
        for message in seen:
            check_identity(message, account)
    served = refused = 0
    alone = [*(name for name in LEGAL if PROVE or "subject" in name.lower()), *ILLEGAL]
    for name in alone:
        answer, seen = door.ask("/v1/agents", key, "GET", f"{name}: {MARK}")
        assert (answer.status == 200) == (len(seen) == 1)
        for message in seen:
            check_identity(message, account)
        served, refused = served + len(seen), refused + (not seen)
    door.record("spellings of identity fields", len(LEGAL) + len(ILLEGAL))
    door.record("of them sent alone", len(alone))
    door.record("of those served, and none of them seen by the service", served)
    door.record("of those refused", refused)
    assert served > len(NAMES) * 4


MANY = {
    "twice": ("X-Auth-Subject: " + MARK,) * 2,
    "empty first": ("X-Auth-Subject:", "X-Auth-Subject: " + MARK),
    "empty last": ("X-Auth-Subject: " + MARK, "X-Auth-Subject:"),
    "empty": ("X-Auth-Subject:", "X-Auth-Kind: ", "X-Auth-Scopes: \t"),
    "ninety": ("X-Auth-Subject: " + MARK,) * 80,
    "thousands": ("X-Auth-Subject: " + MARK,) * 3000,
    "long": ("X-Auth-Subject: " + MARK * 500,),
    "very long": ("X-Auth-Subject: " + MARK * 5000,),
    "listed": (f"X-Auth-Scopes: {MARK}, write:agents", f"X-Auth-Scopes: {MARK};q=1"),
    "folded": (f"X-Auth-Subject: a\r\n {MARK}",),
    "before the host": (f"X-Auth-Subject: {MARK}", "Host: agents.test"),
    "expecting": ("Expect: 100-continue", f"X-Auth-Subject: {MARK}"),
}


@pytest.mark.promise("P15")
@pytest.mark.parametrize("case", MANY)
def test_repeating_a_field_does_not_help(door: Door, robo: tuple[str, str], case: str) -> None:
    """P15 breaks: a client can set its own identity by a repeated, long or folded field."""
    answer, seen = door.ask("/v1/agents", robo[1], "GET", *MANY[case])
    assert (answer.status == 200) == (len(seen) == 1)
    for message in seen:
        check_identity(message, robo[0])


NOMINATIONS = [
    "Connection: X-Auth-Subject",
    "Connection: x-auth-subject, x-auth-kind, x-auth-scopes",
    "Connection: close, X-Auth-Subject",
    "Connection: keep-alive, X-Auth-Subject, X-Forwarded-For",
    "Connection: X-Forwarded-Method, X-Forwarded-Uri, X-Forwarded-For, X-Original-URI, X-Original-Method",
    "Connection: X-Auth-Subject\r\nConnection: keep-alive",
    "Connection: keep-alive\r\nConnection: X_Auth_Subject, X-Auth-Subject",
    "Connection: upgrade, X-Auth-Subject\r\nUpgrade: websocket",
    "Connection: Host, X-Auth-Subject",
    "Connection: ,,X-Auth-Subject,,",
    "Connection: te, X-Auth-Subject\r\nTE: trailers",
    "Proxy-Connection: X-Auth-Subject",
    "Keep-Alive: X-Auth-Subject",
    "Trailer: X-Auth-Subject",
    "Vary: X-Auth-Subject",
]


@pytest.mark.promise("P15")
@pytest.mark.parametrize("lines", NOMINATIONS)
def test_identity_cannot_be_made_to_fall_off(door: Door, robo: tuple[str, str], lines: str) -> None:
    """P15 breaks: a client names an identity field in Connection, and the proxy drops the field that it has just set."""
    answer, seen = door.ask("/v1/agents", robo[1], "GET", lines, "X-Auth-Subject: " + MARK)
    assert (answer.status == 200) == (len(seen) == 1), answer.raw
    for message in seen:
        check_identity(message, robo[0])


CREDENTIALS = [
    "X-API-Key: {}",
    "API-Key: {}",
    "Authorization: ApiKey {}",
    "Authorization: Bearer {}",
    "authorization: bearer {}",
    "X-API-Key: {0}\r\nAPI-Key: {0}\r\nAuthorization: ApiKey {0}",
    "X-API-Key: {0}\r\nx-api-key: {0}",
    "X-API-Key: {0}\r\nX_API_Key: {0}\r\nX.API.Key: {0}",
    "X-API-Key: {0}\r\nConnection: Authorization, API-Key\r\nAuthorization: {0}\r\nAPI-Key: {0}",
]


@pytest.mark.promise("P17")
@pytest.mark.parametrize("lines", CREDENTIALS)
def test_the_key_stays_at_the_door(door: Door, robo: tuple[str, str], lines: str) -> None:
    """P17 breaks: the service behind sees the caller's credential."""
    answer, seen = door.ask("/v1/agents", "", "GET", lines.format(robo[1]))
    assert answer.status in ({200} if lines in CREDENTIALS[:6] else {200, 400, 401, 403})
    assert len(seen) == (answer.status == 200)
    for message in seen:
        assert robo[1].encode() not in message.raw
        assert robo[1][-40:].encode() not in message.raw
        check_identity(message, robo[0])


ADDRESSES = [
    "X-Forwarded-For: {}",
    "x-forwarded-for: {0}, {0}",
    "X-Forwarded-For: {0}\r\nX-Forwarded-For: {0}",
    "X-Forwarded-For: {}, 127.0.0.1",
    "X-Forwarded-For: {}, 127.0.0.1, 127.0.0.1",
    "X-Forwarded-For: {},",
    "X-Forwarded-For: ,{}",
    "X-Forwarded-For: unknown, {}",
    "X_Forwarded_For: {}",
    "X.Forwarded.For: {}",
    "X-Forwarded-For : {}",
    "X-Forwarded-For:\r\n {}",
    "X-Real-IP: {}",
    "Forwarded: for={}",
    'Forwarded: for="{}";by=127.0.0.1;host=agents.test',
    "X-Client-IP: {}",
    "True-Client-IP: {}",
    "CF-Connecting-IP: {}",
    "X-Cluster-Client-IP: {}",
    "X-Original-Forwarded-For: {}",
    "X-Envoy-External-Address: {}",
    "Client-IP: {}",
    "Fastly-Client-IP: {}",
    "CF-Connecting-IPv6: {}",
    "Connection: X-Forwarded-For\r\nX-Forwarded-For: {}",
]


@pytest.mark.promise("P16")
def test_the_clients_address_is_what_the_proxy_saw(door: Door) -> None:
    """P16 breaks: a client bypasses the IP allowlist with a header."""
    robo = door.account("Robo elsewhere")
    here = door.key(robo, allowed_ips=["127.0.0.2"])
    there = door.key(robo, allowed_ips=["203.0.113.7", "127.0.0.1"])
    assert door.ask("/v1/agents", here)[0].status == 200
    answer, seen = door.ask("/v1/agents", there)
    assert (answer.status, seen) == (403, [])
    for lines in ADDRESSES:
        for address in ("203.0.113.7", "127.0.0.1", "::ffff:203.0.113.7", "127.0.0.1:80", "localhost", ""):
            answer, seen = door.ask("/v1/agents", there, "GET", lines.format(address))
            assert answer.status in {400, 403}, (lines, address)
            assert seen == []
            answer, seen = door.ask("/v1/agents", here, "GET", lines.format(address))
            assert answer.status in {200, 400}, (lines, address)
            for message in seen:
                assert message.value("x-forwarded-for") in {"", "127.0.0.2"}
                assert not message.values("forwarded")
                assert not message.values("x-real-ip")
                assert b"203.0.113.7" not in message.raw


METHODS = ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "Get",
           "GETS", "X", "GET,POST", "", "G" * 40, "PRI"]  # fmt: skip


@pytest.mark.promise("P15")
@pytest.mark.parametrize("method", METHODS)
def test_the_method_that_is_judged_is_served(door: Door, robo: tuple[str, str], method: str) -> None:
    """P15 breaks: the service behind gets a method that the rule does not admit."""
    answer, seen = door.ask("/v1/agents", robo[1], method)
    assert seen == []
    assert answer.status != 200


LATER = [
    "X-Forwarded-Method", "X-Original-Method", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override",
    "x-http-method-override", "X_HTTP_Method_Override", "X.HTTP.Method.Override",
]  # fmt: skip
ELSEWHERE = [
    "X-Forwarded-Uri", "X-Original-URI", "X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Forwarded-Host",
    "x-rewrite-url", "X_Rewrite_URL", "X_Original_URI", "X_Forwarded_Uri",
]  # fmt: skip
ITS_OWN = {"envoy": ["X-Envoy-Original-Path", "X-Envoy-Decorator-Operation", "X-Envoy-Original-Host"]}
"""Headers with which a proxy passes the original request to another component."""


@pytest.mark.promise("P15")
def test_no_field_changes_what_is_judged_or_served(door: Door, robo: tuple[str, str]) -> None:
    """P15 breaks: a header of the client changes the request that is checked."""
    key = robo[1]
    for name in LATER:
        for twice in (1, 2):
            # A refused request stays refused, whatever a header claims …
            answer, seen = door.ask("/v1/agents", key, "DELETE", *[f"{name}: GET"] * twice)
            assert (answer.status, seen) == (403, []), name
            # … and an admitted request reaches the service unchanged.
            answer, seen = door.ask("/v1/agents", key, "GET", *[f"{name}: DELETE"] * twice)
            assert [(message.method, message.target) for message in seen] == [("GET", "/v1/agents")], name
            assert b"DELETE" not in seen[0].raw
    for name in [*ELSEWHERE, *ITS_OWN.get(door.name, [])]:
        for twice in (1, 2):
            answer, seen = door.ask("/v1/secrets", key, "GET", *[f"{name}: /v1/agents"] * twice)
            assert (answer.status, seen) == (403, []), name
            answer, seen = door.ask("/v1/agents", key, "GET", *[f"{name}: /v1/secrets"] * twice)
            assert [(message.method, message.target) for message in seen] == [("GET", "/v1/agents")], name
            assert b"secrets" not in seen[0].raw, (name, seen[0].raw)


FRAMES = {
    "length and chunks": "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "chunks and length": "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n2f\r\n{}\r\n0\r\n\r\n",
    "length then smuggled": "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    "two lengths": "Content-Length: 0\r\nContent-Length: 44\r\n\r\n{}",
    "two lengths in one": "Content-Length: 0, 44\r\n\r\n{}",
    "length with a sign": "Content-Length: +0\r\n\r\n{}",
    "length of minus one": "Content-Length: -1\r\n\r\n{}",
    "length in hexadecimal": "Content-Length: 0x0\r\n\r\n{}",
    "length with a space": "Content-Length : 0\r\nContent-Length: 44\r\n\r\n{}",
    "length with an underscore": "Content_Length: 44\r\nContent-Length: 0\r\n\r\n{}",
    "length of 2^64": "Content-Length: 18446744073709551616\r\n\r\n{}",
    "chunked twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{}",
    "chunked and identity": "Transfer-Encoding: chunked, identity\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{}",
    "identity": "Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n{}",
    "xchunked": "Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n\r\n{}",
    "chunked with a space": "Transfer-Encoding : chunked\r\nContent-Length: 0\r\n\r\n{}",
    "chunked with a tab": "Transfer-Encoding:\tchunked\r\nContent-Length: 0\r\n\r\n{}",
    "chunked with a vertical tab": "Transfer-Encoding: \x0bchunked\r\nContent-Length: 0\r\n\r\n{}",
    "chunked folded": "Transfer-Encoding:\r\n chunked\r\nContent-Length: 0\r\n\r\n{}",
    "chunked in capitals": "Transfer-Encoding: CHUNKED\r\nContent-Length: 0\r\n\r\n{}",
    "chunked in quotes": 'Transfer-Encoding: "chunked"\r\nContent-Length: 0\r\n\r\n{}',
    "chunked with an underscore": "Transfer_Encoding: chunked\r\nContent-Length: 0\r\n\r\n{}",
    "chunked behind a bare line feed": "X: y\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n{}",
    "chunked behind a bare return": "X: y\rTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n{}",
    "head that ends in line feeds": "Content-Length: 44\n\n{}",
    "bare line feeds in chunks": "Transfer-Encoding: chunked\r\n\r\n0\n\n{}",
    "chunk with a sign": "Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n{}",
    "chunk in hexadecimal": "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n{}",
    "chunk too large": "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n{}",
    "chunk with an extension": "Transfer-Encoding: chunked\r\n\r\n1;a=\n0\r\nA\r\n0\r\n\r\n{}",
    "chunk without its end": "Transfer-Encoding: chunked\r\n\r\n1\r\nA0\r\n\r\n{}",
    "length that Connection names": "Connection: Content-Length\r\nContent-Length: 44\r\n\r\n{}",
    "chunked that Connection names": "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "asked to upgrade": "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n{}",
    "asked for h2c": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n{}",
    "old protocol": "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{}",
}
SMUGGLED = "GET /v1/secrets HTTP/1.1\r\nHost: agents.test\r\n\r\n"


@pytest.mark.promise("P15")
@pytest.mark.parametrize("case", FRAMES)
@pytest.mark.parametrize("target", ["POST /v1/agents", "GET /v1/agents"])
def test_nothing_rides_behind_a_judged_request(door: Door, case: str, target: str) -> None:
    """P15 breaks: a second request in the body of the first is served without a check."""
    key = _writer(door)
    version = "1.0" if case == "old protocol" else "1.1"
    head = f"{target} HTTP/{version}\r\nHost: agents.test\r\nX-API-Key: {key}\r\n"
    _, seen = door.send((head + FRAMES[case].replace("{}", SMUGGLED)).encode("latin-1"))
    # Bytes left in a connection to the service would precede the next request.
    _, after = door.ask("/v1/agents/next", key)
    for message in [*seen, *after, *door.service.broken]:
        assert "secrets" not in message.target
        assert message.target in {"/v1/agents", "/v1/agents/next"}, message.raw
        assert not (message.values("content-length") and message.values("transfer-encoding")), message.raw
        assert len(message.values("content-length")) < 2
        assert message.values("transfer-encoding") in ([], ["chunked"])
        assert message.value("x-auth-subject").startswith("sa_")
    assert [message.target for message in after] == ["/v1/agents/next"]
    assert len(seen) < 2


_writers: dict[str, str] = {}


def _writer(door: Door) -> str:
    """Return a key that may read and write agents; one for each proxy."""
    if door.name not in _writers:
        _writers[door.name] = door.key(door.account("Robo writes"), scopes=["read:agents", "write:agents"])
    return _writers[door.name]


@pytest.mark.promise("P15")
@pytest.mark.parametrize("announced", [(), ("Trailer: X-Auth-Subject",)])
def test_what_follows_a_chunked_body_is_no_identity(door: Door, announced: tuple[str, ...]) -> None:
    """P15 breaks: a client can set its own identity in trailers."""
    raw = request("/v1/agents", _writer(door), "POST", "Transfer-Encoding: chunked", *announced)
    plain, seen = door.send(raw + b"4\r\nbody\r\n0\r\n\r\n")
    assert plain.status == (411 if door.name == "haproxy" else 200)
    answer, more = door.send(raw + f"4\r\nbody\r\n0\r\nX-Auth-Subject: {MARK}\r\n\r\n".encode())
    assert (answer.status == 200) == (len(more) == 1)
    for message in [*seen, *more]:
        assert message.body == b"body"
        assert MARK.encode() not in message.raw


@pytest.mark.parametrize(
    "lines", [(), ("Expect: 100-continue",), ("Content-Encoding: gzip",), ("Content-Type: text/plain",)]
)
def test_a_body_reaches_the_service(door: Door, lines: tuple[str, ...]) -> None:
    """P15 breaks: the check of a request consumes its body, or reads the body as its own input."""
    body = b"x" * 100_000
    answer, seen = door.ask("/v1/agents", _writer(door), "POST", *lines, body=body)
    assert answer.status == 200, answer.raw
    assert [(message.method, message.body) for message in seen] == [("POST", body)]
