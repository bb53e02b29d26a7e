"""P14 and P8: a JWT from a key file is accepted for one use, for a limited time, and has one mark."""

from typing import Any, get_args

import pytest

from ostiary.core.assertion import GOOGLE_AUDIENCE, RULES, AssertionUse
from ostiary.core.instant import MINUTE, SECOND
from ostiary.core.jws import Algorithm, InvalidTokenError
from tests.cast import NOON
from tests.mutants import GONE, good, mutants
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

DOORS: tuple[AssertionUse, ...] = get_args(AssertionUse)
HOUR = 3600
BOTH: tuple[AssertionUse, ...] = ("client", "grant")


# A `grant` without `sub` means its issuer. Without `kid`, `login` finds the key by `sub`, the others by the issuer.
MAY_BE_LEFT_OUT: dict[AssertionUse, list[str]] = {
    "client": ["header: kid missing"],
    "grant": ["header: kid missing", "claim: sub missing"],
    "login": ["header: kid missing"],
}


def refused(door: AssertionUse, text: str, **how: Any) -> str:
    with pytest.raises(InvalidTokenError) as caught:
        show(door, text, **how)
    return str(caught.value)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("algorithm", get_args(Algorithm))
def test_a_good_one_is_taken(door: AssertionUse, algorithm: Algorithm) -> None:
    """Issue 5 breaks: a valid JWT of a key file is refused. (Partners sign with RS256 or EdDSA only.)"""
    text = signed(door, algorithm)
    if (door, algorithm) == ("login", "ES256"):
        assert refused(door, text, by=signer(algorithm)) == "algorithm"
    else:
        assert show(door, text, signer(algorithm)).scope is None


@pytest.mark.promise("P14")
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
def test_no_mutant_is_taken(door: AssertionUse, algorithm: Algorithm) -> None:
    """P14 breaks: a JWT is accepted that the key file did not sign, or whose claims were changed."""
    changed = mutants(key(algorithm), claims(door), header(algorithm))
    assert len({name for name, _ in changed}) == len(changed) >= 60
    assert len({text for _, text in changed}) == len(changed)
    taken = []
    for name, text in changed:
        try:
            show(door, text, signer(algorithm))
        except InvalidTokenError:
            continue
        taken.append(name)
    assert taken == MAY_BE_LEFT_OUT[door]


@pytest.mark.promise("P14")
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("shown_at", DOORS)
def test_one_door_only(door: AssertionUse, shown_at: AssertionUse) -> None:
    """P14 breaks: a JWT for a partner's login is accepted for a token request, or the other way round."""
    account: dict[str, Any] = {"sub": CLIENT_ID, "iss": CLIENT_ID} if door == "grant" else {}
    if {door, shown_at} == {"client", "grant"} or door == shown_at:
        assert show(shown_at, signed(door, **account))
    else:
        refused(shown_at, signed(door, **account))


TAKEN: list[tuple[AssertionUse, dict[str, Any]]] = [
    *((door, {"aud": [ENDPOINT]}) for door in BOTH),
    *((door, {"aud": [ENDPOINT, ISSUER]}) for door in BOTH),
    *((door, {"exp": SECONDS + 1}) for door in BOTH),
    *((door, {"exp": SECONDS + 0.5}) for door in BOTH),
    *((door, {"exp": SECONDS + HOUR}) for door in BOTH),
    *((door, {"exp": SECONDS + HOUR + 30, "iat": GONE}) for door in BOTH),
    *((door, {"exp": SECONDS + HOUR + 30, "iat": SECONDS + 30}) for door in BOTH),
    *((door, {"iat": SECONDS - HOUR + 60, "exp": SECONDS + 60}) for door in BOTH),
    *((door, {"iat": SECONDS + 0.25}) for door in BOTH),
    *((door, {"nbf": SECONDS + 30}) for door in DOORS),
    *((door, {"nbf": 0}) for door in DOORS),
    *((door, {"jti": "é" * 256}) for door in DOORS),
    *((door, {"jti": "\0"}) for door in DOORS),
    *((door, {"typ": GONE}) for door in DOORS),
    *((door, {"typ": "jwt"}) for door in DOORS),
    *((door, {"unknown": {"x": [1]}}) for door in DOORS),
    ("grant", {"sub": GONE}),
    ("grant", {"sub": ACCOUNT_ID}),
    ("grant", {"iss": CLIENT_ID, "sub": CLIENT_ID}),
    ("grant", {"iss": CLIENT_ID, "sub": ACCOUNT_ID}),
    *((door, {"kid": GONE}) for door in DOORS),
    ("login", {"iss": "anything"}),
    ("login", {"iat": SECONDS - 300}),
    ("login", {"iat": SECONDS + 300}),
    ("login", {"exp": SECONDS + 1}),
]
REFUSED: list[tuple[AssertionUse, dict[str, Any], str]] = [
    *((door, {"exp": SECONDS}, "expired") for door in BOTH),
    *((door, {"exp": SECONDS - 1, "iat": GONE}, "expired") for door in BOTH),
    *((door, {"exp": SECONDS + HOUR + 31, "iat": GONE}, "exp") for door in BOTH),
    *((door, {"exp": SECONDS + HOUR + 1}, "lifetime") for door in BOTH),
    *((door, {"iat": SECONDS + 31}, "iat") for door in BOTH),
    *((door, {"nbf": SECONDS + 31}, "nbf") for door in DOORS),
    *((door, {"typ": "at+jwt"}, "type") for door in DOORS),
    *((door, {"aud": []}, "aud") for door in DOORS),
    *((door, {"aud": ["https://other.test", ISSUER]}, "aud") for door in DOORS),
    *((door, {"aud": ["https://other.test", f"{ISSUER}/"]}, "aud") for door in DOORS),
    *((door, {"aud": GOOGLE_AUDIENCE}, "aud") for door in DOORS),
    *((door, {"kid": "another"}, "kid") for door in DOORS),
    ("client", {"iss": CHANNEL}, "iss"),
    ("client", {"sub": CHANNEL}, "sub"),
    ("client", {"sub": ACCOUNT_ID}, "sub"),
    ("grant", {"iss": ACCOUNT_ID, "sub": ACCOUNT_ID}, "iss"),
    ("grant", {"sub": CLIENT_ID}, "sub"),
    ("grant", {"sub": None}, "sub"),
    ("grant", {"scope": ["a"]}, "scope"),
    ("grant", {"scope": None}, "scope"),
    ("grant", {"scope": "\ud800"}, "scope"),
    ("grant", {"jti": GONE}, "jti"),
    ("login", {"sub": CLIENT_ID}, "sub"),
    ("login", {"aud": ISSUER}, "aud"),
    ("login", {"aud": None}, "aud"),
    ("login", {"iat": SECONDS - 301}, "iat"),
    ("login", {"iat": SECONDS + 301}, "iat"),
    ("login", {"iat": GONE}, "iat"),
    ("login", {"exp": SECONDS}, "expired"),
    ("login", {"exp": "tomorrow"}, "exp"),
]


@pytest.mark.parametrize("door, changed", TAKEN)
def test_what_is_taken(door: AssertionUse, changed: dict[str, Any]) -> None:
    """Issue 5 breaks: a client that follows the rules is refused."""
    assert show(door, signed(door, **changed))


@pytest.mark.promise("P14")
@pytest.mark.parametrize("door, changed, reason", REFUSED)
def test_what_is_refused_and_why(door: AssertionUse, changed: dict[str, Any], reason: str) -> None:
    """P14 breaks: a claim that is wrong for this use is ignored, or the audit log has another reason."""
    assert refused(door, signed(door, **changed)) == reason


def test_a_grant_may_say_its_scope() -> None:
    """Issue 5 breaks: the scope in a key file's assertion is ignored, so that the token may do more than requested."""
    assert show("grant", signed("grant", scope="read:agents")).scope == "read:agents"
    assert show("grant", signed("grant", scope="")).scope == ""
    assert show("client", signed("client", scope=["anything"])).scope is None


GOOGLE = {"sub": GONE, "jti": GONE, "aud": GOOGLE_AUDIENCE}


def test_what_googles_libraries_sign() -> None:
    """Files break: an unmodified google-auth gets no token."""
    by = signer("RS256", google=True)
    first = show("grant", signed("grant", "RS256", **GOOGLE), by)
    later = signed("grant", "RS256", **GOOGLE, iat=SECONDS + 1, exp=SECONDS + 1 + HOUR)
    second = show("grant", later, by)
    assert first.expires_at == NOON + HOUR * SECOND
    assert first.jti_digest != second.jti_digest
    assert show("grant", later, by).jti_digest == second.jti_digest
    assert show("grant", signed("grant", "RS256", aud=ISSUER), by)


@pytest.mark.promise("P14")
@pytest.mark.parametrize("changed", [{"aud": GOOGLE_AUDIENCE}, {"jti": GONE}])
def test_google_is_for_keys_that_were_made_for_it(changed: dict[str, Any]) -> None:
    """P14 breaks: an assertion that was signed for another service is accepted here."""
    refused("grant", signed("grant", "RS256", **changed), by=signer("RS256"))
    refused("client", signed("client", "RS256", **changed), by=signer("RS256", google=True))


@pytest.mark.promise("P14")
def test_google_bends_no_other_rule() -> None:
    """P14 breaks: keys made for Google's libraries are exempt from more rules than necessary."""
    by = signer("RS256", google=True)
    for changed in (
        {"aud": "https://www.googleapis.com/oauth2/v4/token"},
        {"exp": SECONDS + HOUR + 1},
        {"jti": ""},
        {"sub": "somebody@acme.test"},
        {"iss": "somebody@acme.test"},
        {"exp": GONE},
    ):
        refused("grant", signed("grant", "RS256", **{**GOOGLE, **changed}), by=by)


@pytest.mark.promise("P8")
def test_a_mark_is_of_door_key_and_jti() -> None:
    """P8 breaks: one assertion has two marks, or two unrelated assertions have the same mark."""
    digests = {door: show(door, signed(door)).jti_digest for door in DOORS}
    # `client` and `grant` share their marks: the token endpoint accepts a JWT once.
    assert digests["client"] == digests["grant"] != digests["login"]
    assert show("grant", signed("grant", exp=SECONDS + 9)).jti_digest == digests["grant"]
    assert show("grant", signed("grant", jti="two")).jti_digest != digests["grant"]
    assert show("grant", signed("grant", "RS256"), signer("RS256")).jti_digest == digests["grant"]
    google = signer("RS256", google=True)
    assert show("grant", signed("grant", "RS256"), google).jti_digest == digests["grant"]
    assert len(digests["grant"]) == 32


@pytest.mark.promise("P8")
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("changed", [{}, {"exp": SECONDS + 60.0000004}])
def test_a_mark_lives_as_long_as_what_it_guards(door: AssertionUse, changed: dict[str, Any]) -> None:
    """P8 breaks: a mark is deleted while its assertion would still be accepted."""
    text = signed(door, **changed)
    until = show(door, text).expires_at
    refused(door, text, now=until + 1)
    assert NOON < until <= NOON + 61 * MINUTE


def test_each_door_has_its_rules() -> None:
    """P14 breaks: a use has no rules."""
    assert RULES.keys() == set(DOORS)


def test_the_signature_is_checked_first() -> None:
    """P14 breaks: a caller without a key can find out which claims are right."""
    forged = good(key("RS256"), claims("grant", iss="wrong"), header("RS256"))
    assert refused("grant", forged[:-8] + "AAAAAAAA", by=signer("RS256")) == "signature"
