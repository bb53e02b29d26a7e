"""The token endpoint, introspection and revocation, through the whole application."""

import base64
from urllib.parse import urlencode

from ostiary.core.instant import SECOND
from tests.cast import Answer, Front


def post(
    front: Front, path: str, form: dict[str, str], *, basic: tuple[str, str] | None = None, **fields: str
) -> Answer:
    headers = {"content-type": "application/x-www-form-urlencoded", **fields}
    if basic is not None:
        headers["authorization"] = "Basic " + base64.b64encode(":".join(basic).encode()).decode()
    return front.ask("POST", path, raw=urlencode(form).encode(), headers=headers)


def test_a_secret_is_traded(front: Front) -> None:
    """System 5 breaks: a service account gets no token for its client secret, or one that is good for nothing."""
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


def test_a_token_that_is_revoked_is_dead(front: Front) -> None:
    """P1 breaks: a token that its client revoked is accepted."""
    house = front.house
    house.sign()
    robo = house.account()
    client = robo.account.client_id, house.key(robo, kind="client_secret").secret.reveal()
    told = post(front, "/oauth/token", {"grant_type": "client_credentials"}, basic=client).json()
    assert front.verify(told["access_token"])["valid"]
    assert post(front, "/oauth/revoke", {"token": told["access_token"]}, basic=client).status == 200
    assert front.verify(told["access_token"])["code"] == "unknown"
