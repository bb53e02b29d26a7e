"""RFC 8693 (token exchange), clause by clause: a key or an access token is exchanged for a narrower access token.

Not supported, and refused: actor tokens (§1.1, §4.1 to §4.4), other token types than access tokens (§3).
"""

import pytest

from ostiary.core.instant import HOUR, SECOND
from tests.cast import Front
from tests.machines import (
    ACCESS_TOKEN,
    BY_ASSERTION,
    EXCHANGE,
    RESOURCE,
    TOKEN,
    Machine,
    exchange,
    name_resource,
    post,
    said,
    session_of,
    token_of,
)
from tests.promises.test_p14_tokens import parts

JWT = "urn:ietf:params:oauth:token-type:jwt"


def test_2_1_the_required_parameters(front: Front, robo: Machine) -> None:
    """RFC 8693 §2.1 breaks: a request without a required parameter gets a token."""
    whole = {"grant_type": EXCHANGE, "subject_token": robo.api_key, "subject_token_type": ACCESS_TOKEN}
    token_of(post(front, TOKEN, whole))
    for name in ("subject_token", "subject_token_type"):
        for value in ({}, {name: ""}):
            rest = {each: whole[each] for each in whole if each != name} | value
            assert said(post(front, TOKEN, rest)) == "400 invalid_request"


@pytest.mark.parametrize(
    "kind", [JWT, "access_token", ACCESS_TOKEN.upper(), JWT.replace("jwt", "refresh_token")]
)
def test_2_1_other_token_types_are_refused(front: Front, robo: Machine, kind: str) -> None:
    """RFC 8693 §2.1, §2.2.2 break: a token is accepted as another type than declared, or another type is issued."""
    asked = {"grant_type": EXCHANGE, "subject_token": robo.api_key}
    assert said(post(front, TOKEN, {**asked, "subject_token_type": kind})) == "400 invalid_request"
    answer = post(front, TOKEN, {**asked, "subject_token_type": ACCESS_TOKEN, "requested_token_type": kind})
    assert said(answer) == "400 invalid_request"


def test_2_1_an_actor_token_is_refused(front: Front, robo: Machine) -> None:
    """RFC 8693 §2.1 breaks: a request for delegation is ignored. An actor_token_type alone MUST NOT be sent."""
    for fields in (
        {"actor_token": robo.api_key, "actor_token_type": ACCESS_TOKEN},
        {"actor_token": robo.api_key},
        {"actor_token_type": ACCESS_TOKEN},
    ):
        assert said(robo.exchange(robo.api_key, **fields)) == "400 invalid_request"


def test_2_1_the_subject_token_must_be_valid(front: Front, robo: Machine) -> None:
    """RFC 8693 §2.1, §2.2.2 break: an invalid token is exchanged for a valid one."""
    token = token_of(robo.by_secret())
    for text in (
        "x",
        "a.b.c",
        token[:-4],
        robo.client[1],
        robo.assertion("grant"),
        session_of(front.house, robo.file),
    ):
        answer = robo.exchange(text)
        assert said(answer) in ("400 invalid_grant", "400 invalid_request"), text
        assert said(answer) == "400 invalid_grant"
    front.house.clock.advance(24 * HOUR)
    assert said(robo.exchange(token)) == "400 invalid_grant"


def test_2_1_a_client_that_authenticates_is_its_subject(front: Front, robo: Machine, other: Machine) -> None:
    """RFC 8693 §2.1 breaks: wrong client authentication is ignored, or a client exchanges another one's token."""
    fields = {"grant_type": EXCHANGE, "subject_token": robo.api_key, "subject_token_type": ACCESS_TOKEN}
    token_of(post(front, TOKEN, fields, client=robo.client))
    assert said(post(front, TOKEN, fields, client=(robo.client_id, "x"))) == "401 invalid_client"
    assert said(post(front, TOKEN, fields, client=other.client)) == "400 invalid_grant"
    # An assertion identifies its client by itself.
    signed = {"client_assertion_type": BY_ASSERTION, "client_assertion": other.assertion("client")}
    assert said(post(front, TOKEN, fields | signed)) == "400 invalid_grant"


def test_2_2_1_the_answer(front: Front, robo: Machine) -> None:
    """RFC 8693 §2.2.1 breaks: issued_token_type, or another required member, is missing."""
    answer = robo.exchange(robo.api_key)
    told = answer.json()
    assert set(told) == {"access_token", "issued_token_type", "token_type", "expires_in", "scope"}
    assert (told["issued_token_type"], told["token_type"]) == (ACCESS_TOKEN, "Bearer")
    assert answer.headers["cache-control"] == "no-store"


def test_2_2_1_the_scope_is_no_wider(front: Front, robo: Machine) -> None:
    """RFC 8693 §2.1, P19 break: a narrow token is exchanged for a wider one."""
    narrow = token_of(robo.by_secret(scope="read:agents"))
    assert robo.exchange(narrow).json()["scope"] == "read:agents"
    for wider in ("api", "m2m", "write:agents", "read:agents write:agents"):
        assert said(robo.exchange(narrow, scope=wider)) == "400 invalid_scope"
    wide = token_of(robo.by_secret())
    assert robo.exchange(wide, scope="read:agents").json()["scope"] == "read:agents"


def test_2_2_1_it_lives_no_longer(front: Front, robo: Machine) -> None:
    """RFC 8693 §2.2.1 breaks: repeated exchanges extend the lifetime without limit."""
    token = token_of(robo.by_secret())
    front.house.clock.advance(20 * HOUR)
    told = robo.exchange(token).json()
    assert told["expires_in"] == 4 * HOUR // SECOND
    assert said(robo.exchange(told["access_token"])) == "400 invalid_grant"


def test_2_2_1_it_is_the_same_subjects(front: Front, robo: Machine) -> None:
    """RFC 8693 §1.1 breaks: the new token has another subject than the exchanged one."""
    parent = token_of(robo.by_secret())
    child = parts(token_of(exchange(front, parent)))[1]
    before = parts(parent)[1]
    for name in ("sub", "client_id", "account_id", "ost_cred"):
        assert child[name] == before[name]
    assert child["ost_from"] == before["jti"]


def test_2_2_2_an_unknown_target_is_invalid_target(front: Front, robo: Machine) -> None:
    """RFC 8693 §2.2.2 breaks: a token is issued for an unknown target, or for one beyond the exchanged token."""
    assert said(robo.exchange(robo.api_key, resource="https://unknown.test")) == "400 invalid_target"
    name_resource(front.house)
    token_of(robo.exchange(robo.api_key, resource=RESOURCE))
    elsewhere = token_of(robo.by_secret(resource=RESOURCE))
    assert said(robo.exchange(elsewhere)) == "400 invalid_grant"


def test_2_1_a_logical_audience_is_not_passed_over(front: Front, robo: Machine) -> None:
    """RFC 8693 §2.1 breaks: `audience` should restrict the token, and is ignored."""
    assert said(robo.exchange(robo.api_key, audience="somebody else")) == "400 invalid_target"
