"""The client that a request claims to come from is read in exactly one way (B3)."""

import base64
from urllib.parse import quote

import pytest

from ostiary.core.oauth import CLIENT_ASSERTION
from ostiary.http.messages import Headers
from ostiary.http.oauth_error import OAuthError
from ostiary.oauth.clients import Claim, Public, WithAssertion, WithSecret, claimed
from ostiary.oauth.form import Form


def basic(pair: str | bytes, scheme: bytes = b"Basic") -> tuple[bytes, bytes]:
    raw = pair.encode() if isinstance(pair, str) else pair
    return (b"authorization", scheme + b" " + base64.b64encode(raw))


def claim(headers: Headers = (), /, **fields: str) -> Claim:
    return claimed(headers, Form(fields.items()))


ASSERTED = {"client_assertion": "a.b.c", "client_assertion_type": CLIENT_ASSERTION}


def refused(headers: Headers = (), /, **fields: str) -> str:
    with pytest.raises(OAuthError) as caught:
        claim(headers, **fields)
    return f"{caught.value.status} {caught.value.code}"


def test_a_public_client_says_who_it_is_or_not() -> None:
    """RFC 6749 §3.2.1 breaks: a client without a secret is not recognized by its client_id."""
    assert claim() == Public(None)
    assert claim(client_id="app") == Public("app")
    assert claim(client_id="", client_secret="", client_assertion="") == Public(None)


@pytest.mark.parametrize(
    "pair, expected",
    [
        ("ostiary-sa-1:secret_x", ("ostiary-sa-1", "secret_x")),
        ("a:b:c", ("a", "b:c")),
        ("a%3Ab:c%2Bd+e", ("a:b", "c+d e")),
        ("a:100%", ("a", "100%")),
        ("a:1%2+3", ("a", "1%2+3")),
        ("é:ü", ("é", "ü")),
    ],
)
def test_basic_is_read(pair: str, expected: tuple[str, str]) -> None:
    """RFC 6749 §2.3.1 breaks: a client that encodes its id and secret is refused, or a client that does not."""
    assert claim([basic(pair)]) == WithSecret(*expected, "basic")
    assert claim([basic(pair, b"bASIC ")], client_id=expected[0]) == WithSecret(*expected, "basic")


def test_basic_without_a_password_names_a_public_client() -> None:
    """RFC 6749 §3.2.1 breaks: libraries that send a public client's id in Basic get no token."""
    assert claim([basic("a:")]) == Public("a")
    assert claim([basic("a%3A:")], client_id="a:") == Public("a:")
    document = "https://app.example/client%20one.json"
    assert claim([basic(f"{document}:")]) == Public(document)
    assert claim([basic(f"{quote(document, safe='')}:")]) == Public(document)
    assert claim([basic("https://app.example/client.json:x")]) == WithSecret(
        "https", "//app.example/client.json:x", "basic"
    )
    assert refused([basic("a:")], client_id="b") == "400 invalid_request"
    assert refused([basic("a:")], client_id="a", client_secret="x") == "400 invalid_request"
    assert refused([basic("a:")], **ASSERTED) == "400 invalid_request"


def test_post_is_read() -> None:
    """RFC 6749 §2.3.1 breaks: a client that sends its secret in the body is refused."""
    assert claim(client_id="a", client_secret="b") == WithSecret("a", "b", "post")


def test_an_assertion_is_read() -> None:
    """RFC 7523 §2.2 breaks: a client that signs is refused."""
    assert claim((), **ASSERTED) == WithAssertion("a.b.c", None)
    assert claim((), **ASSERTED, client_id="a") == WithAssertion("a.b.c", "a")


@pytest.mark.parametrize(
    "value",
    [
        b"Basic",
        b"Basic ",
        b"Basic !!!!",
        b"Basic YTpi YTpi",
        b"Basic YTpi=",
        b"Basic YTp",
        b"Basic \xff",
        b"Basic " + base64.b64encode(b"no colon"),
        b"Basic " + base64.b64encode(b":no name"),
        b"Basic " + base64.b64encode(b"a:\xff"),
        b"Basic " + base64.b64encode(b"a:%FF"),
        b"Basic " + base64.b64encode(b"a:%00"),
        b"Basic " + base64.b64encode(b"a\n:b"),
    ],
)
def test_an_unreadable_basic_is_an_unknown_client(value: bytes) -> None:
    """B3 breaks: a malformed Authorization header is ignored, and the client is treated as public."""
    assert refused([(b"authorization", value)]) == "401 invalid_client"
    assert refused([(b"authorization", value)], client_id="a") == "401 invalid_client"


@pytest.mark.parametrize("scheme", ["Bearer x", "ApiKey x", "Digest x", "", "Basically YTpi"])
def test_other_schemes_are_left_alone(scheme: str) -> None:
    """B6 breaks: a resource server that sends a key is treated as a client without a credential."""
    headers = [(b"authorization", scheme.encode())]
    assert claim(headers, client_id="a") == Public("a")
    assert claim(headers, client_id="a", client_secret="b") == WithSecret("a", "b", "post")


@pytest.mark.parametrize(
    "headers, fields",
    [
        ([basic("a:b")], {"client_secret": "b"}),
        ([basic("a:b")], {"client_id": "a", "client_secret": "b"}),
        ([basic("a:b")], ASSERTED),
        ([basic("a:b")], {"client_assertion_type": CLIENT_ASSERTION}),
        ([], {"client_id": "a", "client_secret": "b", **ASSERTED}),
        ([basic("a:b")], {"client_id": "c"}),
        ([basic("a:b"), basic("a:b")], {}),
        ([basic("a:b"), (b"authorization", b"Bearer x")], {}),
        ([], {"client_secret": "b"}),
        ([], {"client_assertion": "a.b.c"}),
        ([], {"client_assertion_type": CLIENT_ASSERTION}),
        ([], {"client_assertion": "a.b.c", "client_assertion_type": "urn:x"}),
        ([], {"client_assertion": "a.b.c", "client_assertion_type": CLIENT_ASSERTION.upper()}),
    ],
)
def test_an_unclear_claim_is_refused(headers: Headers, fields: dict[str, str]) -> None:
    """B3 breaks: one of two claims is accepted, while a proxy in front accepted the other."""
    assert refused(headers, **fields) == "400 invalid_request"


@pytest.mark.promise("P7")
def test_a_claim_does_not_print_what_it_shows() -> None:
    """P7 breaks: a client's secret appears in a traceback."""
    assert "hidden" not in repr(claim([basic("a:hidden")]))
    assert "hidden" not in repr(claim(client_assertion="hidden", client_assertion_type=CLIENT_ASSERTION))
