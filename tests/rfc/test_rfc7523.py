"""RFC 7523 (JWT profile for client authentication and grants): the clauses that core.assertion checks.

The token endpoint decides the responses, and accepts each `jti` once.
"""

from typing import Any

import pytest

from ostiary.core.assertion import AssertionUse
from ostiary.core.jws import InvalidTokenError
from tests.mutants import GONE, good
from tests.signers import (
    ACCOUNT_ID,
    CHANNEL,
    CLIENT_ID,
    ENDPOINT,
    ISSUER,
    SECONDS,
    claims,
    header,
    key,
    show,
    signed,
    signer,
)

pytestmark = pytest.mark.promise("P14")
EACH = pytest.mark.parametrize("use", ["client", "grant"])


def reason(use: AssertionUse, **changed: Any) -> str:
    with pytest.raises(InvalidTokenError) as caught:
        show(use, signed(use, **changed))
    return str(caught.value)


@EACH
def test_3_1_it_must_contain_an_issuer(use: AssertionUse) -> None:
    """RFC 7523 §3 (1) breaks: an assertion without an issuer, or with another one, is accepted."""
    assert reason(use, iss=GONE) == "iss"
    assert reason(use, iss="another") == "iss"


@EACH
def test_3_1_issuers_are_compared_as_simple_strings(use: AssertionUse) -> None:
    """RFC 7523 §3 (1) breaks: another spelling of an issuer counts as the same."""
    assert reason(use, iss=claims(use)["iss"].upper()) == "iss"


def test_3_2_a_the_subject_of_a_grant_is_its_principal() -> None:
    """RFC 7523 §3 (2) A breaks: a key file works for another subject. A missing one is the issuer: see divergences."""
    for subject in (CHANNEL, ACCOUNT_ID, GONE):
        assert show("grant", signed("grant", sub=subject))
    assert reason("grant", sub="usr_01") == "sub"


def test_3_2_b_the_subject_of_a_client_must_be_its_client_id() -> None:
    """RFC 7523 §3 (2) B breaks: a client authenticates with an assertion about another subject."""
    assert show("client", signed("client", sub=CLIENT_ID))
    for subject in (GONE, CHANNEL, ACCOUNT_ID):
        assert reason("client", sub=subject) == "sub"


@EACH
def test_3_3_its_audience_must_be_this_server(use: AssertionUse) -> None:
    """RFC 7523 §3 (3) breaks: an assertion for another server is accepted here."""
    for audience in (
        ISSUER,
        ENDPOINT,
        [ENDPOINT],
        [ENDPOINT, ISSUER],
        f"{ISSUER}/",
        [ENDPOINT, f"{ISSUER}/"],
    ):
        assert show(use, signed(use, aud=audience))
    for audience in (
        GONE,
        "https://other.test",
        ["https://other.test"],
        f"{ISSUER}//",
        f"{ENDPOINT}/",
        [],
        [ISSUER, "https://other.test"],
        [f"{ISSUER}/", "https://other.test"],
    ):
        assert reason(use, aud=audience) == "aud"


@EACH
def test_3_4_it_must_expire_and_not_have_expired(use: AssertionUse) -> None:
    """RFC 7523 §3 (4) breaks: an assertion never expires."""
    assert reason(use, exp=GONE) == "exp"
    assert reason(use, exp=SECONDS) == "expired"


@EACH
def test_3_4_an_expiry_unreasonably_far_away_may_be_refused(use: AssertionUse) -> None:
    """RFC 7523 §3 (4) breaks: the server must store the `jti` for years."""
    assert reason(use, exp=SECONDS + 365 * 86400, iat=GONE) == "exp"


@EACH
def test_3_5_it_must_not_be_taken_before_its_time(use: AssertionUse) -> None:
    """RFC 7523 §3 (5) breaks: nbf is ignored."""
    assert reason(use, nbf=SECONDS + 60) == "nbf"
    assert show(use, signed(use, nbf=SECONDS))


@EACH
def test_3_6_one_issued_unreasonably_long_ago_may_be_refused(use: AssertionUse) -> None:
    """RFC 7523 §3 (6) breaks: an old assertion with a late expiry is accepted."""
    assert reason(use, iat=SECONDS - 3600, exp=SECONDS + 60) == "lifetime"


@EACH
def test_3_7_a_jti_makes_it_single_use(use: AssertionUse) -> None:
    """RFC 7523 §3 (7) breaks: the same `jti` gives two different digests."""
    first, second = (show(use, signed(use, exp=SECONDS + length)).jti_digest for length in (60, 70))
    assert first == second
    assert reason(use, jti=GONE) == "jti"


@EACH
def test_3_8_other_claims_may_be_there(use: AssertionUse) -> None:
    """RFC 7523 §3 (8) breaks: an unknown claim is refused."""
    assert show(use, signed(use, email="x@y.test", nested={"a": [1, 2]}))


@EACH
def test_3_9_it_must_be_signed_by_the_issuer(use: AssertionUse) -> None:
    """RFC 7523 §3 (9) breaks: an assertion without a signature, or with a foreign one, is accepted."""
    foreign = good(key("RS256"), claims(use), header("RS256"))
    with pytest.raises(InvalidTokenError):
        show(use, foreign, signer("EdDSA"))


@EACH
def test_3_10_it_must_be_a_valid_jwt(use: AssertionUse) -> None:
    """RFC 7523 §3 (10) breaks: text that is not a JWT is accepted."""
    with pytest.raises(InvalidTokenError):
        show(use, signed(use)[:-1])
