"""RFC 8707 (resource indicators), clause by clause, at the token endpoint.

The tests of the authorization endpoint cover §2.1, the authorization request.
"""

from typing import Any

import pytest

from tests.cast import Answer, Front
from tests.devices import CLI
from tests.machines import (
    ACCESS_TOKEN,
    CLIENT_CREDENTIALS,
    EXCHANGE,
    ISSUER,
    JWT_BEARER,
    RESOURCE,
    TOKEN,
    Machine,
    name_resource,
    post,
    said,
    token_of,
)
from tests.promises.test_p14_tokens import parts
from tests.services.questions import events

SECOND_RESOURCE = "https://other.test"


@pytest.fixture(autouse=True)
def resources(front: Front) -> None:
    name_resource(front.house)
    name_resource(front.house, SECOND_RESOURCE, "other")


def asked(robo: Machine, *resources: str, **form: str) -> Answer:
    pairs = [("grant_type", CLIENT_CREDENTIALS), *form.items(), *(("resource", each) for each in resources)]
    return post(robo.front, TOKEN, pairs, client=robo.client)


@pytest.mark.parametrize(
    "resource",
    [
        "api.test",
        "/v1",
        "//api.test/v1",
        "",
        "x",
        f"{RESOURCE}#fragment",
        f"{RESOURCE}#",
        "https://unknown.test",
        f"{RESOURCE}/",
        f"{RESOURCE}/below",
        RESOURCE.upper(),
        f"{RESOURCE}?query",
        f" {RESOURCE}",
        "javascript:alert(1)",
    ],
)
def test_2_a_resource_must_be_an_absolute_uri_that_is_known(robo: Machine, resource: str) -> None:
    """RFC 8707 §2 breaks: a token is issued for a resource that is invalid, has a fragment, or is not registered."""
    answer = asked(robo, resource)
    if resource:
        assert said(answer) == "400 invalid_target"
        assert said(asked(robo, ISSUER, resource)) == "400 invalid_target"
    else:
        token_of(answer)  # an empty value counts as none (RFC 6749 §3.2)


ROOT = "https://Root.test"


@pytest.mark.parametrize(
    "resource",
    [ROOT, "https://root.test", "https://root.test/", "https://root.test:443/", "HTTPS://ROOT.TEST"],
)
def test_2_an_audience_has_several_spellings(front: Front, robo: Machine, resource: str) -> None:
    """RFC 3986 §6.2.3 breaks: a client that writes a URL as browsers do gets no token, or one that nobody accepts."""
    name_resource(front.house, ROOT, "root")
    text = token_of(asked(robo, resource))
    assert parts(text)[1]["aud"] == ROOT, "as it is registered"
    for audience in (ROOT, "https://root.test/", resource):
        assert front.verify(text, audience=audience)["valid"], audience
    assert front.verify(text, audience="https://root.test/x")["code"] == "wrong_audience"
    assert not front.verify(text)["valid"]
    bearer = {"authorization": f"Bearer {text}"}
    assert front.ask("GET", "/v1/authorize/root/x", headers=bearer).status == 200
    assert parts(token_of(asked(robo, f"{ISSUER}/")))[1]["aud"] == ISSUER


def test_2_two_rules_may_spell_one_audience(front: Front, robo: Machine) -> None:
    """RFC 8707 §2.2 breaks: `aud` has another spelling than the one that the service itself checks."""
    for name, audience in (("one", "https://root.test"), ("two", "https://root.test/")):
        name_resource(front.house, audience, name)
    for audience in ("https://root.test", "https://root.test/"):
        assert parts(token_of(asked(robo, audience)))[1]["aud"] == audience


@pytest.mark.parametrize(
    "resource, named",
    [
        ("https://unknown.test", "https://unknown.test"),
        ("https://a:b@unknown.test/x?access_token=eyJ", "https://unknown.test/x"),
        ("https://unknown.test/" + "x" * 300, "https://unknown.test/" + "x" * 179),
        ("eyJhbGciOiJub25lIn0.e30.", "(not an absolute URI without a fragment)"),
        ("https://ünknown.test", "(not an absolute URI without a fragment)"),
    ],
)
def test_2_a_refused_resource_is_named_in_the_log(
    front: Front, robo: Machine, resource: str, named: str
) -> None:
    """The operator cannot see which unknown resource a client requested, or a pasted secret is stored (P7)."""
    assert said(asked(robo, resource)) == "400 invalid_target"
    refused = {"client_id": CLI, "resource": resource}
    assert said(post(front, "/oauth/device/authorize", refused)) == "400 invalid_target"
    front.write_counts()
    machines, devices = [each for each in events(front.house) if each.reason == "unknown resource"]
    assert (machines.action, machines.details["resource"]) == ("credential.refused", named)
    assert machines.actor_id == robo.view.account.id
    assert (devices.actor_type, devices.details["resource"]) == ("unknown", named)


def test_2_2_several_may_be_named(robo: Machine) -> None:
    """RFC 8707 §2, §2.2 break: one of several resources is ignored."""
    claims = parts(token_of(asked(robo, RESOURCE, SECOND_RESOURCE)))[1]
    assert claims["aud"] == [RESOURCE, SECOND_RESOURCE]
    assert parts(token_of(asked(robo, RESOURCE, RESOURCE)))[1]["aud"] == RESOURCE


def test_2_2_this_service_is_named_alone(robo: Machine) -> None:
    """RFC 8707 §3 breaks: a resource server can replay a token at this service, which manages credentials."""
    for resources in ((ISSUER, RESOURCE), (RESOURCE, ISSUER), (f"{ISSUER}/", RESOURCE)):
        assert said(asked(robo, *resources)) == "400 invalid_target"
    assert parts(token_of(asked(robo, ISSUER, f"{ISSUER}/")))[1]["aud"] == ISSUER


def test_2_2_a_token_is_good_where_it_was_asked_for_and_nowhere_else(front: Front, robo: Machine) -> None:
    """RFC 8707 §2.2, §3 break: a resource server can replay a token at another resource server."""
    at = {
        RESOURCE: token_of(asked(robo, RESOURCE)),
        SECOND_RESOURCE: token_of(asked(robo, SECOND_RESOURCE)),
        ISSUER: token_of(asked(robo)),
    }
    for meant, text in at.items():
        for audience in at:
            named: dict[str, Any] = {} if audience == ISSUER else {"audience": audience}
            assert front.verify(text, **named)["valid"] is (meant == audience), (meant, audience)
        bearer = {"authorization": f"Bearer {text}"}
        assert (front.ask("GET", "/v1/capabilities", headers=bearer).status == 200) is (meant == ISSUER)
        assert (front.ask("GET", "/v1/authorize/elsewhere/x", headers=bearer).status == 200) is (
            meant == RESOURCE
        )


@pytest.mark.parametrize("grant", ["client_credentials", "jwt-bearer", "token-exchange"])
def test_2_2_it_holds_for_every_grant(front: Front, robo: Machine, grant: str) -> None:
    """RFC 8707 §2.2 breaks: some grant ignores the resource."""
    fields = {
        "client_credentials": {"grant_type": CLIENT_CREDENTIALS},
        "jwt-bearer": {"grant_type": JWT_BEARER, "assertion": robo.assertion("grant")},
        "token-exchange": {
            "grant_type": EXCHANGE,
            "subject_token": robo.api_key,
            "subject_token_type": ACCESS_TOKEN,
        },
    }[grant]
    client = robo.client if grant == "client_credentials" else None
    assert (
        said(post(front, TOKEN, {**fields, "resource": "https://unknown.test"}, client=client))
        == "400 invalid_target"
    )
    text = token_of(post(front, TOKEN, {**fields, "resource": RESOURCE}, client=client))
    assert parts(text)[1]["aud"] == RESOURCE


def test_2_the_scope_is_within_what_is_held(robo: Machine) -> None:
    """RFC 8707 §2 breaks: a resource widens the scope."""
    assert said(asked(robo, RESOURCE, scope="read:nothing")) == "400 invalid_scope"
    assert asked(robo, RESOURCE, scope="read:agents").json()["scope"] == "read:agents"


def test_3_a_resource_that_is_named_no_more_is_unknown(front: Front, robo: Machine) -> None:
    """RFC 8707 §2 breaks: tokens are issued for a service that the operator removed."""
    token_of(asked(robo, RESOURCE))
    assert front.ask("DELETE", "/v1/access-rules/elsewhere", key=front.house.alice_key).status == 204
    assert said(asked(robo, RESOURCE)) == "400 invalid_target"
