"""RFC 9207, clause by clause: the issuer in the authorization response."""

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from ostiary.core.model import OAuthClient
from tests.applications import application, request
from tests.cast import Front, House
from tests.machines import ISSUER
from tests.visitors import Browser, browser

METADATA = "/.well-known/oauth-authorization-server"


@pytest.mark.parametrize("decision", ["allow", "deny"])
def test_2_the_issuer_is_in_every_answer(alice: Browser, reports: OAuthClient, decision: str) -> None:
    """RFC 9207 §2 breaks: a client of several servers cannot tell which one responded, on success or on an error."""
    page = alice.submit(alice.get(request(reports)), "/oauth/authorize", decision=decision)
    pairs = parse_qsl(urlsplit(page.location).query)
    assert [value for name, value in pairs if name == "iss"] == [ISSUER]
    assert ("code" in page.answer) == (decision == "allow")


@pytest.mark.parametrize(
    "wrong",
    [
        {"response_type": "token"},
        {"scope": "fly:moon"},
        {"code_challenge": None},
        {"prompt": "none"},
        {"request": "x"},
        {"resource": "https://nobody.example"},
        {"state": None, "scope": ""},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_2_1_and_in_every_error(front: Front, reports: OAuthClient, wrong: dict[str, str | None]) -> None:
    """RFC 9207 §2.1 breaks: an error response has no issuer."""
    page = browser(front).get(request(reports, **wrong))
    pairs = parse_qsl(urlsplit(page.location).query)
    assert page.status == 303
    assert [value for name, value in pairs if name == "iss"] == [ISSUER]
    assert "error" in page.answer


def test_2_the_issuer_is_a_url_without_query_and_fragment(sqlite_house: House, tmp_path: Path) -> None:
    """RFC 9207 §2 breaks: the issuer in the response differs from the metadata, or depends on the request."""
    front = Front(sqlite_house, tmp_path)
    try:
        client = application(sqlite_house)
        named = front.ask("GET", METADATA).json()["issuer"]
        answer = front.ask(
            "GET",
            request(client, scope=""),
            headers={"host": "localhost:8080", "x-forwarded-host": "evil.example"},
        )
        found = dict(parse_qsl(urlsplit(answer.headers["location"]).query))["iss"]
    finally:
        front.close()
    assert found == named == ISSUER
    assert not urlsplit(found).query
    assert not urlsplit(found).fragment


def test_2_4_what_the_client_sends_is_not_believed(front: Front, reports: OAuthClient) -> None:
    """RFC 9207 §2.4 breaks: a parameter of the request sets the issuer of its response."""
    page = browser(front).get(request(reports, iss="https://evil.example", scope=""))
    assert page.location.count("iss=") == 1
    assert page.answer["iss"] == ISSUER


def test_3_the_metadata_says_so(front: Front) -> None:
    """RFC 9207 §3 breaks: the metadata does not tell clients to check the issuer."""
    assert front.ask("GET", METADATA).json()["authorization_response_iss_parameter_supported"] is True
