"""An OAuth request is read in exactly one way, or refused (R14, B3)."""

import json

import pytest

from ostiary.http.oauth_error import OAuthError
from ostiary.oauth.form import MAX_FIELD, MAX_FIELDS, Form, read

FORM = b"application/x-www-form-urlencoded"
JSON = b"application/json"
PAIR = "\ud83d\ude00"


def of(body: bytes | str, kind: bytes = FORM) -> Form:
    content = body.encode() if isinstance(body, str) else body
    return read([(b"host", b"x"), (b"content-type", kind)], b"", content)


def of_json(value: object) -> Form:
    return of(json.dumps(value), JSON)


def values(form: Form, *names: str) -> list[str | None]:
    return [form.get(name) for name in names]


@pytest.mark.parametrize(
    "body, expected",
    [
        ("grant_type=client_credentials&scope=api", ["client_credentials", "api"]),
        ("scope=read%3Aplugins+write%3Aagents", [None, "read:plugins write:agents"]),
        ("scope=a b", [None, "a b"]),
        ("scope=a%20b&grant_type=%C3%A9", ["é", "a b"]),
        ("grant_type=é", ["é", None]),
        ("grant_type=a=b&scope==", ["a=b", "="]),
        ("grant_type=a;scope=b", ["a;scope=b", None]),
        ("grant_type=%26scope%3Db", ["&scope=b", None]),
        ("gr%61nt_type=x", ["x", None]),
        ("grant_type=%2b%25+", ["+% ", None]),
        ("grant_type=x&scope=", ["x", None]),
        ("grant_type&scope=x", [None, "x"]),
        ("grant_type=x&unknown=%F0%9F%98%80", ["x", None]),
        ("", [None, None]),
    ],
)
def test_a_form_is_read(body: str, expected: list[str | None]) -> None:
    """R14 breaks: a parameter is decoded to a different value than the sender encoded (RFC 6749, appendix B)."""
    assert values(of(body), "grant_type", "scope") == expected


@pytest.mark.parametrize(
    "body",
    [
        b"scope=a&scope=b",
        b"scope=a&scope=a",
        b"scope=&scope=a",
        b"scope=a&scope",
        b"scope=a&sc%6Fpe=b",
        b"unknown=1&unknown=2",
        b"scope=%",
        b"scope=%4",
        b"scope=%zz",
        b"scope=%u0041",
        b"sco%pe=a",
        b"scope=%00",
        b"scope=%0A",
        b"scope=a%1Fb",
        b"scope=%7F",
        b"scope=%C2%85",
        b"scope=a\x00",
        b"scope=a\n",
        b"sc\tope=a",
        b"scope=\xc2\x85",
        b"scope=%FF",
        b"scope=\xff",
        b"scope=%C0%80",
        b"scope=%ED%A0%80",
        b"scope=%C3&x=%A9",
        b"=a",
        b"scope=a&",
        b"&scope=a",
        b"scope=a&&x=b",
        b"&" * 70,
        b"&".join(b"p%d=1" % number for number in range(MAX_FIELDS + 1)),
        b"scope=" + b"a" * (MAX_FIELD + 1),
        b"a" * (MAX_FIELD + 1) + b"=x",
        b"scope=" + b"%61" * (MAX_FIELD + 1),
        b"scope=" + "é".encode() * (MAX_FIELD // 2 + 1),
    ],
)
def test_a_crooked_form_is_refused(body: bytes) -> None:
    """R14 breaks: a form that a proxy reads differently is accepted."""
    with pytest.raises(OAuthError) as caught:
        of(body)
    assert (caught.value.code, caught.value.status) == ("invalid_request", 400)


def test_the_longest_form_that_is_taken() -> None:
    """R14 breaks: a token of the maximum accepted length is refused."""
    longest = "a" * MAX_FIELD
    assert of(f"token={longest}")["token"] == longest
    assert of(f"token={'%61' * MAX_FIELD}")["token"] == longest
    assert of_json({"token": longest})["token"] == longest
    assert of("&".join(f"p{number}=1" for number in range(MAX_FIELDS)))["p63"] == "1"


def test_an_empty_value_counts_as_omitted_but_was_sent() -> None:
    """RFC 6749 §3.2 breaks: an empty scope is treated as omitted, and gives the default scope."""
    for form in (of("scope=&grant_type=x"), of("scope&grant_type=x"), of_json({"scope": ""})):
        assert form.get("scope") is None
        assert "scope" not in form
        assert form.sent("scope")
        assert form.all("scope") == ()
    assert not of("grant_type=x").sent("scope")


def test_resource_alone_may_repeat() -> None:
    """RFC 8707 §2 breaks: one of several resources is lost, and the token is valid for another target."""
    several = of("resource=https%3A%2F%2Fa.test&resource=&resource=https://b.test&scope=api")
    assert several.all("resource") == ("https://a.test", "https://b.test")
    assert several.get("resource") is None
    assert several.all("scope") == ("api",)
    assert of("resource=https://a.test").all("resource") == ("https://a.test",)
    assert of("resource=").all("resource") == ()
    assert of("resource=").sent("resource")
    assert of_json({"resource": "https://a.test"}).all("resource") == ("https://a.test",)
    assert of_json({"resource": ["https://a.test", "https://b.test"]}).all("resource") == (
        "https://a.test",
        "https://b.test",
    )
    assert of_json({"resource": []}).all("resource") == ()


def test_json_is_read() -> None:
    """B3 breaks: the documented examples, which send JSON, do not work."""
    form = of_json({"grant_type": "client_credentials", "scope": "a b", "client_id": f"é{PAIR}"})
    assert values(form, "grant_type", "scope", "client_id") == ["client_credentials", "a b", "é😀"]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        '"x"',
        "null",
        "{",
        '{"scope":"a","scope":"b"}',
        '{"scope":null}',
        '{"scope":true}',
        '{"scope":1}',
        '{"scope":NaN}',
        '{"scope":["a"]}',
        '{"scope":{}}',
        '{"resource":[["a"]]}',
        '{"resource":[1]}',
        '{"resource":null}',
        '{"scope":"\\u0000"}',
        '{"scope":"\\u000a"}',
        '{"scope":"a\\u0085"}',
        '{"scope":"\\ud800"}',
        '{"sc\\u0001":"a"}',
        '{"":"a"}',
        json.dumps({f"p{number}": "1" for number in range(MAX_FIELDS + 1)}),
        json.dumps({"resource": ["a"] * (MAX_FIELDS + 1)}),
        json.dumps({"scope": "a" * (MAX_FIELD + 1)}),
        "[" * 40,
        "grant_type=client_credentials",
    ],
)
def test_crooked_json_is_refused(body: str) -> None:
    """R14 breaks: a JSON body is accepted where the same form would be refused."""
    with pytest.raises(OAuthError) as caught:
        of(body, JSON)
    assert caught.value.code == "invalid_request"


@pytest.mark.parametrize(
    "kind",
    [
        b"application/x-www-form-urlencoded; charset=UTF-8",
        b'Application/X-WWW-Form-URLEncoded;charset="utf-8"',
        b"application/x-www-form-urlencoded ; x=y; charset=utf-8",
        b"application/x-www-form-urlencoded;",
    ],
)
def test_a_content_type_may_have_parameters(kind: bytes) -> None:
    """B3 breaks: clients that name the character set are refused."""
    assert of("scope=api", kind)["scope"] == "api"


@pytest.mark.parametrize(
    "kinds",
    [
        [],
        [b""],
        [FORM, FORM],
        [FORM, JSON],
        [b"application/x-www-form-urlencoded, application/json"],
        [b"text/plain"],
        [b"multipart/form-data; boundary=x"],
        [b"application/x-www-form-urlencodedx"],
        [b"application/x-www-form-urlencoded charset=utf-8"],
        [b"application/x-www-form-urlencoded; charset=iso-8859-1"],
        [b"application/x-www-form-urlencoded; charset=utf-8; charset=utf-16"],
        [b"application/x-www-form-urlencoded; charset=UTF-7"],
        [b"application/json; charset=latin1"],
        [b"application/x-www-form-urlencoded" + b";  " * 4000 + b"\xff"],
    ],
)
def test_another_content_type_is_refused(kinds: list[bytes]) -> None:
    """B3 breaks: a body is read with another content type than the declared one."""
    with pytest.raises(OAuthError) as caught:
        read([(b"content-type", kind) for kind in kinds], b"", b"scope=api")
    assert caught.value.code == "invalid_request"


@pytest.mark.parametrize("query", [b"scope=api", b"x", b"access_token=x", b"&"])
def test_nothing_is_read_from_the_address(query: bytes) -> None:
    """R14 breaks: a secret or a parameter is read from the URL, which logs contain."""
    with pytest.raises(OAuthError) as caught:
        read([(b"content-type", FORM)], query, b"scope=api")
    assert caught.value.code == "invalid_request"


@pytest.mark.promise("P7")
def test_a_form_does_not_print_what_it_holds() -> None:
    """P7 breaks: a client's secret appears in a traceback."""
    assert "hidden" not in repr(of("client_secret=hidden&hidden=1"))
