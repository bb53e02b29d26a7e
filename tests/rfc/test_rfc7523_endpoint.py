"""RFC 7523 at the token endpoint: assertions as grants and as client authentication (and RFC 7521 §4, §5).

`test_rfc7523` covers the content of an assertion. These tests check that the endpoint applies it, and its responses.
"""

from typing import Any

import pytest

from ostiary.auth.rates import FAILURES
from ostiary.core import jws, key_file
from ostiary.core.instant import HOUR, MINUTE
from ostiary.services import credentials, rotation
from ostiary.services.credentials import Created
from ostiary.services.issuance import CredentialSpec
from tests.cast import Answer, Front
from tests.machines import (
    ALIAS_TOKEN,
    BY_ASSERTION,
    CLIENT_CREDENTIALS,
    ISSUER,
    JWT_BEARER,
    TOKEN,
    Machine,
    machine,
    post,
    said,
    token_of,
)
from tests.mutants import GONE, good, other_key

pytestmark = pytest.mark.promise("P14")


def shown(robo: Machine, use: Any, text: str) -> Answer:
    return robo.by_grant(text) if use == "grant" else robo.by_key(text)


ERRORS = {"grant": "400 invalid_grant", "client": "401 invalid_client"}
EACH = pytest.mark.parametrize("use", ERRORS)


def test_2_1_a_grant_has_one_assertion(front: Front, robo: Machine) -> None:
    """RFC 7523 §2.1 breaks: a request without an assertion, or with two, gets a token."""
    token_of(robo.by_grant())
    assert said(post(front, TOKEN, {"grant_type": JWT_BEARER})) == "400 invalid_request"
    two = [("grant_type", JWT_BEARER), *(("assertion", robo.assertion("grant")) for _ in range(2))]
    assert said(post(front, TOKEN, two)) == "400 invalid_request"
    both = f"{robo.assertion('grant')} {robo.assertion('grant')}"
    assert said(robo.by_grant(both)) == "400 invalid_grant"


def test_2_1_the_scope_may_be_asked_for(robo: Machine) -> None:
    """RFC 7523 §2.1 breaks: scope is ignored, or the token exceeds the permissions of the account."""
    assert robo.by_grant(scope="read:agents").json()["scope"] == "read:agents"
    assert said(robo.by_grant(scope="read:nothing")) == "400 invalid_scope"


def test_2_1_client_authentication_is_optional(front: Front, robo: Machine, other: Machine) -> None:
    """RFC 7523 §2.1, §3.1 break: client authentication beside an assertion is ignored, or is another account's."""
    asked = {"grant_type": JWT_BEARER, "assertion": robo.assertion("grant")}
    wrong = post(front, TOKEN, asked, client=(robo.client_id, "x"))
    assert said(wrong) == "401 invalid_client"
    assert said(post(front, TOKEN, asked, client=other.client)) == "400 invalid_grant"
    token_of(post(front, TOKEN, asked, client=robo.client))


@pytest.mark.parametrize(
    "kind", ["", "jwt", BY_ASSERTION.upper(), JWT_BEARER, BY_ASSERTION.replace("jwt", "saml2")]
)
def test_2_2_the_assertion_type_must_be_this(front: Front, robo: Machine, kind: str) -> None:
    """RFC 7523 §2.2 breaks: an assertion of another type authenticates a client."""
    fields = {
        "grant_type": CLIENT_CREDENTIALS,
        "client_assertion_type": kind,
        "client_assertion": robo.assertion("client"),
    }
    assert said(post(front, TOKEN, fields)) == "400 invalid_request"


def test_2_2_there_must_be_one_assertion(front: Front, robo: Machine) -> None:
    """RFC 7523 §2.2 breaks: two assertions authenticate a client."""
    fields = [
        ("grant_type", CLIENT_CREDENTIALS),
        ("client_assertion_type", BY_ASSERTION),
        *(("client_assertion", robo.assertion("client")) for _ in range(2)),
    ]
    assert said(post(front, TOKEN, fields)) == "400 invalid_request"


def test_2_2_a_client_id_beside_it_must_be_the_same(robo: Machine, other: Machine) -> None:
    """RFC 7521 §4.2 breaks: client_id names another client than the assertion."""
    token_of(robo.by_key(client_id=robo.client_id))
    assert said(robo.by_key(client_id=other.client_id)) == "401 invalid_client"


@EACH
@pytest.mark.parametrize(
    "changed",
    [
        {"iss": GONE},
        {"iss": "nobody"},
        {"sub": "nobody"},
        {"aud": GONE},
        {"aud": "https://other.test"},
        {"aud": [ISSUER + "/", "https://other.test"]},
        {"aud": ISSUER + TOKEN + "/"},
        {"aud": ISSUER + ALIAS_TOKEN},
        {"aud": f"{ISSUER}/oauth/introspect"},
        {"exp": GONE},
        {"exp": 0},
        {"jti": GONE},
        {"nbf": 4_000_000_000},
        {"iat": 4_000_000_000},
    ],
    ids=str,
)
def test_3_what_a_jwt_has_to_say(robo: Machine, use: Any, changed: dict[str, Any]) -> None:
    """RFC 7523 §3 breaks: the endpoint does not apply the checks of core.assertion."""
    token_of(shown(robo, use, robo.assertion(use)))
    assert said(shown(robo, use, robo.assertion(use, **changed))) == ERRORS[use]


@EACH
@pytest.mark.parametrize(
    "audience", [ISSUER, ISSUER + "/", ISSUER + TOKEN, [ISSUER], [ISSUER + "/", ISSUER + TOKEN]]
)
def test_3_3_its_audience_is_the_issuer_or_the_token_endpoint(robo: Machine, use: Any, audience: Any) -> None:
    """RFC 7523 §3 (3) breaks: a client that names us as the RFC says is refused."""
    token_of(shown(robo, use, robo.assertion(use, aud=audience)))


def unnamed(robo: Machine, use: Any, **changed: Any) -> str:
    """An assertion without `kid`, as many libraries create."""
    return good(robo.private, robo.claims(use, **changed), robo.header(kid=GONE))


def second_file(robo: Machine) -> Created:
    spec = CredentialSpec(kind="key_file", algorithm="EdDSA", key_pair=key_file.generate("EdDSA"))
    house = robo.front.house
    return house.store.write(credentials.create, house.alice, robo.view.account.id, spec)


@EACH
def test_3_the_only_key_need_not_be_named(robo: Machine, use: Any) -> None:
    """RFC 7515 §4.1.4 breaks: a client whose library sends no `kid` gets no token with its only key file."""
    house = robo.front.house
    text = unnamed(robo, use, jti="once")
    token_of(shown(robo, use, text))
    assert said(shown(robo, use, text)) == ERRORS[use]  # P8
    named = good(robo.private, robo.claims(use, jti="once"), robo.header())
    assert said(shown(robo, use, named)) == ERRORS[use]
    stranger = good(other_key(robo.private), robo.claims(use), robo.header(kid=GONE))
    assert said(shown(robo, use, stranger)) == ERRORS[use]
    for changed in ({"iss": GONE}, {"iss": "nobody"}, {"iss": 1}, {"aud": "https://other.test"}):
        assert said(shown(robo, use, unnamed(robo, use, **changed))) == ERRORS[use], changed
    house.store.write(credentials.revoke, house.alice, robo.file.listed.credential.id)
    assert said(shown(robo, use, unnamed(robo, use))) == ERRORS[use]


@EACH
def test_3_of_several_keys_one_is_named(robo: Machine, use: Any) -> None:
    """RFC 7515 §4.1.4, P14 break: a second key file breaks a program, and the error does not say what to do."""
    second = second_file(robo)
    answer = shown(robo, use, unnamed(robo, use))
    assert said(answer) == ERRORS[use]
    assert "kid" in answer.json()["error_description"]
    stranger = good(other_key(robo.private), robo.claims(use), robo.header(kid=GONE))
    told = shown(robo, use, stranger).json()["error_description"]
    assert "kid" not in told, "it is told to those who have one of the keys"
    token_of(shown(robo, use, robo.assertion(use)))
    house = robo.front.house
    house.store.write(credentials.deactivate, house.alice, second.listed.credential.id)
    token_of(shown(robo, use, unnamed(robo, use)))


@EACH
def test_3_a_rotated_key_file_is_one(robo: Machine, use: Any) -> None:
    """A rotation without interruption breaks: a program that sends no `kid` is refused when the rotation starts."""
    house, credential = robo.front.house, robo.file.listed.credential
    pair = key_file.generate("EdDSA")
    new = house.store.write(rotation.rotate, house.alice, credential.id, HOUR, None, pair)
    token_of(shown(robo, use, unnamed(robo, use)))
    private = jws.private_key("EdDSA", new.secret.reveal().encode())
    token_of(shown(robo, use, good(private, robo.claims(use), robo.header(kid=GONE))))
    house.clock.advance(HOUR)
    assert said(shown(robo, use, unnamed(robo, use))) == ERRORS[use]


def test_3_guesses_without_a_key_are_limited(front: Front, robo: Machine) -> None:
    """R15 breaks: forged assertions are not charged to an address, or lock out a neighbour with a known key."""
    forged = [
        good(other_key(robo.private), robo.claims("grant"), robo.header(kid=GONE)) for _ in range(FAILURES)
    ]
    assert {said(robo.by_grant(each)) for each in forged} == {"400 invalid_grant"}
    assert robo.by_grant(forged[0]).status == 429
    front.house.clock.advance(MINUTE)
    token_of(robo.by_grant(unnamed(robo, "grant")))
    other = machine(front, "Other")
    strange = [good(robo.private, other.claims("grant"), robo.header(kid=GONE)) for _ in range(FAILURES + 1)]
    assert [robo.by_grant(each).status for each in strange][-1] == 429
    token_of(robo.by_grant(unnamed(robo, "grant")))


@EACH
def test_3_7_a_jti_is_taken_once(robo: Machine, use: Any) -> None:
    """RFC 7523 §3 (7), P8 break: a thief of an assertion can use it again."""
    text = robo.assertion(use, jti="once")
    token_of(shown(robo, use, text))
    for again in (text, text, robo.assertion(use, jti="once", extra=1)):
        assert said(shown(robo, use, again)) == ERRORS[use]


def test_3_7_a_refused_request_uses_nothing_up(robo: Machine) -> None:
    """RFC 7523 §3 (7) breaks: a request with a wrong scope uses up its assertion, or leaves a used one valid."""
    text = robo.assertion("grant")
    assert said(robo.by_grant(text, scope="read:nothing")) == "400 invalid_scope"
    token_of(robo.by_grant(text))
    assert said(robo.by_grant(text)) == "400 invalid_grant"


@EACH
def test_3_9_it_must_be_signed_by_the_issuer(robo: Machine, other: Machine, use: Any) -> None:
    """RFC 7523 §3 (9) breaks: a client without the key acts for its account."""
    claims = robo.claims(use)
    for text in (
        good(other_key(robo.private), claims, robo.header()),
        good(other.private, claims, other.header()),
        good(other.private, claims, robo.header()),
        good(robo.private, claims, other.header()),
        good(robo.private, other.claims(use), robo.header()),
    ):
        assert said(shown(robo, use, text)) == ERRORS[use]


def test_3_1_a_refused_grant_is_invalid_grant(front: Front, robo: Machine) -> None:
    """RFC 7523 §3.1 breaks: the error for a wrong assertion is not invalid_grant."""
    for text in ("x", "a.b.c", robo.assertion("grant")[:-4], robo.api_key, token_of(robo.by_secret())):
        answer = robo.by_grant(text)
        assert said(answer) == "400 invalid_grant"
        assert answer.headers["cache-control"] == "no-store"


def test_3_2_a_refused_client_is_invalid_client(front: Front, robo: Machine) -> None:
    """RFC 7523 §3.2 breaks: the error for a failed client authentication is not invalid_client."""
    for text in ("x", "a.b.c", robo.assertion("client")[:-4], robo.api_key, token_of(robo.by_secret())):
        answer = robo.by_key(text)
        assert said(answer) == "401 invalid_client"
        assert answer.headers["www-authenticate"].startswith("Basic")


def test_4_at_the_alias_its_own_names_count(front: Front, robo: Machine) -> None:
    """RFC 7523 §3 (3) breaks: an assertion for one issuer is accepted by the other."""
    alias = f"{ISSUER}/oauth2/ostiary"
    for audience, taken in (
        (alias, True),
        (ISSUER + ALIAS_TOKEN, True),
        (ISSUER, False),
        (ISSUER + TOKEN, False),
    ):
        answer = robo.by_key(robo.assertion("client", aud=audience), ALIAS_TOKEN)
        assert (answer.status == 200) is taken, audience
    for grant in (JWT_BEARER, "x"):
        answer = post(front, ALIAS_TOKEN, {"grant_type": grant, "assertion": robo.assertion("grant")})
        assert said(answer) == "400 unsupported_grant_type"
