"""Refusals of the OAuth endpoints have the form of RFC 6749 §5.2, whatever their cause."""

import json
import re

import pytest

from ostiary.core.problem import CODES as PROBLEMS
from ostiary.core.problem import Problem, invalid
from ostiary.http import oauth_error
from ostiary.http.messages import unwire
from ostiary.http.oauth_error import CODES, OAuthError, of_problem, too_many, wire

ALLOWED = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+")


@pytest.mark.parametrize("code", CODES)
def test_each_code_goes_over_the_wire(code: str) -> None:
    """RFC 6749 §5.2 breaks: a client library cannot read the refusal, or a cache stores it."""
    status, fields, body = unwire(wire(OAuthError(code)))
    headers = dict(fields)
    assert status == CODES[code][0]
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"pragma"] == b"no-cache"
    assert (headers.get(b"www-authenticate") == b'Basic realm="ostiary", charset="UTF-8"') is (status == 401)
    assert (b"retry-after" in headers) is (status == 503)
    told = json.loads(body)
    assert told == {"error": code, "error_description": CODES[code][1]}
    assert ALLOWED.fullmatch(told["error_description"])


def test_statuses_are_these() -> None:
    """RFC 6749 §5.2 breaks: a code has a different status than the RFC specifies."""
    statuses = {code: OAuthError(code).status for code in CODES}
    assert statuses.pop("invalid_client") == 401
    assert statuses.pop("temporarily_unavailable") == 503
    assert set(statuses.values()) == {400}


def test_too_many_is_told_with_when_to_come_back() -> None:
    """P10 breaks: a client over its limit does not learn when to retry."""
    status, fields, body = unwire(wire(too_many(7)))
    assert (status, dict(fields)[b"retry-after"]) == (429, b"7")
    assert json.loads(body)["error"] == "temporarily_unavailable"


@pytest.mark.parametrize("code", PROBLEMS)
def test_each_problem_has_its_words(code: str) -> None:
    """B3 breaks: a problem from another module gets a response in the wrong form, or none."""
    error = of_problem(Problem(code, "Is it 2⁵³?", members={"retry_after": 9}, reason="exactly this"))
    assert error.reason == "exactly this"
    expected = {401: 401, 403: 400, 429: 429, 500: 503, 503: 503, 507: 503}
    assert error.status == expected.get(PROBLEMS[code][0], 400)
    words = {401: "invalid_client", 403: "unauthorized_client", 400: "invalid_request"}
    assert error.code == words.get(
        PROBLEMS[code][0], "invalid_request" if error.status == 400 else error.code
    )
    assert unwire(wire(error))[0] == error.status
    assert "²" not in error.description


@pytest.mark.promise("P7")
def test_nothing_that_was_sent_is_told() -> None:
    """P7 breaks: a refusal repeats values from the request."""
    error = of_problem(invalid("/sent-by-somebody", "invalid-text", "must not hold NUL"))
    assert b"somebody" not in wire(error)
    assert b"log only" not in wire(oauth_error.invalid_client("log only"))


@pytest.mark.parametrize("description", ['a "quote"', "a \\ backslash", "a\nline", "é", "\x7f"])
def test_a_description_keeps_to_its_characters(description: str) -> None:
    """RFC 6749 §5.2 breaks: error_description contains a character that is not allowed."""
    with pytest.raises(ValueError, match="RFC 6749"):
        OAuthError("invalid_request", description)


def test_the_list_of_codes_is_closed() -> None:
    """RFC 6749 §5.2 breaks: the service returns a code that no client knows."""
    with pytest.raises(ValueError, match="list"):
        OAuthError("whatever")
