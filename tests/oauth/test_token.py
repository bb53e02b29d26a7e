"""The token endpoint, introspection and revocation, through the whole application."""

import base64
from urllib.parse import urlencode

from ostiary.core.instant import DAY, HOUR, MINUTE, SECOND
from tests.cast import Answer, Front
from tests.services.questions import events


def post(
    front: Front, path: str, form: dict[str, str], *, basic: tuple[str, str] | None = None, **fields: str
) -> Answer:
    headers = {"content-type": "application/x-www-form-urlencoded", **fields}
    if basic is not None:
        headers["authorization"] = "Basic " + base64.b64encode(":".join(basic).encode()).decode()
    return front.ask("POST", path, raw=urlencode(form).encode(), headers=headers)


def test_a_secret_is_traded(front: Front) -> None:
    """System 5 breaks: a service account gets no token for its client secret, or an unusable token."""
    house = front.house
    house.sign()
    robo = house.account()
    client = robo.account.client_id, house.key(robo, kind="client_secret").secret.reveal()
    answer = post(front, "/oauth/token", {"grant_type": "client_credentials", "scope": "api"}, basic=client)
    told = answer.json()
    assert {**told, "access_token": ""} == {
        "access_token": "",
        "token_type": "Bearer",
        "expires_in": 86400,
        "scope": "api",
    }
    bearer = {"authorization": f"Bearer {told['access_token']}"}
    assert front.verify(told["access_token"])["kind"] == "access_token"
    assert front.ask("GET", "/v1/capabilities", headers=bearer).status == 200
    assert front.ask("GET", "/v1/service-accounts", headers=bearer).status == 200
    assert front.ask("GET", "/v1/authorize/-", headers=bearer).headers["x-auth-kind"] == "access_token"
    told = front.ask("POST", "/oauth/introspect", {"token": told["access_token"]}).json()
    assert told == {"active": True, "scope": "api", "expires_at": house.clock.now // SECOND + 86400}


def test_a_clock_set_back_stops_no_token_and_readiness_tells_when_something_does(front: Front) -> None:
    """OAuth breaks: tokens are refused with 503 because of the clock or a key, while `/readyz` reports no problem."""
    house = front.house

    def issued() -> Answer:
        robo = house.account()
        client = robo.account.client_id, house.key(robo, kind="client_secret").secret.reveal()
        return post(front, "/oauth/token", {"grant_type": "client_credentials"}, basic=client)

    assert issued().status == 503
    told = front.ask("GET", "/readyz")
    assert (told.status, told.json()["reasons"][0]) == (503, "no signing key for access_token can be used")
    house.sign()
    house.clock.advance(-400 * DAY)
    assert issued().status == 429, "a limit that was used by a later clock counts as used up, for a minute"
    house.clock.advance(2 * MINUTE)
    assert issued().status == 200
    assert front.ask("GET", "/readyz").status == 200


def test_a_token_that_is_revoked_is_dead(front: Front) -> None:
    """P1 breaks: a token that its client revoked is accepted."""
    house = front.house
    house.sign()
    robo = house.account()
    client = robo.account.client_id, house.key(robo, kind="client_secret").secret.reveal()
    told = post(front, "/oauth/token", {"grant_type": "client_credentials"}, basic=client).json()
    assert front.verify(told["access_token"])["valid"]
    assert post(front, "/oauth/revoke", {"token": told["access_token"]}, basic=client).status == 200
    assert front.verify(told["access_token"])["code"] == "revoked"
    front.write_counts()
    assert ("credential.refused", "revoked", "Robo (API key)") in {
        (each.action, each.reason, each.actor_display) for each in events(house)
    }


def test_an_old_secret_is_told_that_there_is_a_new_one(front: Front) -> None:
    """System 2 breaks: a client that still uses the old secret is not told about the rotation."""
    house = front.house
    house.sign()
    robo = house.account()
    made = house.key(robo, kind="client_secret")
    front.ask(
        "POST", f"/v1/credentials/{made.listed.credential.id}/rotate", {"overlap": "1h"}, key=house.alice_key
    )
    client = robo.account.client_id, made.secret.reveal()
    answer = post(front, "/oauth/token", {"grant_type": "client_credentials"}, basic=client)
    assert answer.status == 200
    assert answer.headers["x-credential-superseded"].startswith("until=")
    token = answer.json()["access_token"]
    # The token belongs to the credential, and outlives the secret that was exchanged for it.
    house.clock.advance(2 * HOUR)
    assert post(front, "/oauth/token", {"grant_type": "client_credentials"}, basic=client).status == 401
    assert front.verify(token)["valid"]
    front.write_counts()
    rotation = front.ask(
        "GET", f"/v1/credentials/{made.listed.credential.id}/rotation", key=house.alice_key
    ).json()
    assert rotation["new"]["last_used_at"] is None  # its use is no use of the new secret
    assert rotation["old"]["last_used_at"] is not None
    actions = [each.action for each in events(house)]
    assert "credential.used_after_rotation" in actions


def test_the_rate_limit_of_a_secret_holds_for_its_tokens(front: Front) -> None:
    """P10 breaks: a client that exchanges a secret for many tokens, or uses them, is not limited."""
    house = front.house
    house.sign()
    robo = house.account()
    client = robo.account.client_id, house.key(robo, kind="client_secret", rate_limit=3).secret.reveal()
    answers = [
        post(front, "/oauth/token", {"grant_type": "client_credentials"}, basic=client) for _ in range(2)
    ]
    assert [answer.status for answer in answers] == [200, 200]
    bearer = {"authorization": f"Bearer {answers[0].json()['access_token']}"}
    assert front.ask("GET", "/v1/authorize/-", headers=bearer).status == 200
    refused = post(front, "/oauth/token", {"grant_type": "client_credentials"}, basic=client)
    assert (refused.status, refused.json()["error"]) == (429, "temporarily_unavailable")
    assert int(refused.headers["retry-after"]) > 0
    assert front.ask("GET", "/v1/authorize/-", headers=bearer).status == 429


def test_what_is_issued_and_refused_is_recorded(front: Front) -> None:
    """P5 breaks: a token was issued or a client refused, and the audit log has no event."""
    house = front.house
    house.sign()
    robo = house.account()
    made = house.key(robo, kind="client_secret")
    client = robo.account.client_id, made.secret.reveal()
    post(front, "/oauth/token", {"grant_type": "client_credentials", "scope": "read:agents"}, basic=client)
    issued = [each for each in events(house) if each.action == "token.issued"]
    assert [each.actor_display for each in issued] == ["Robo (API key)"]
    assert issued[0].details["scope"] == "read:agents"
    assert issued[0].details["grant_type"] == "client_credentials"
    post(front, "/oauth/token", {"grant_type": "client_credentials", "scope": "read:audit"}, basic=client)
    post(front, "/oauth/token", {"grant_type": "client_credentials"}, basic=(client[0] + "x", client[1]))
    front.write_counts()
    refused = [each for each in events(house) if each.action == "credential.refused"]
    assert {(each.reason, each.target_id) for each in refused} == {
        ("not held", made.listed.credential.id),
        ("secret of another client", made.listed.credential.id),
    }


def test_nothing_is_issued_that_cannot_be_recorded(front: Front) -> None:
    """P5 breaks: a token is sent without an event in the audit log."""
    house = front.house
    house.sign()
    robo = house.account()
    client = robo.account.client_id, house.key(robo, kind="client_secret").secret.reveal()
    with house.store.engines.writer.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE audit_events RENAME TO elsewhere")
    answer = post(front, "/oauth/token", {"grant_type": "client_credentials"}, basic=client)
    assert (answer.status, answer.json()["error"]) == (503, "temporarily_unavailable")
    assert "access_token" not in answer.json()
