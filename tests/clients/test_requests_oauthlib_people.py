"""requests-oauthlib: applications that ask people for access, in a browser and by a device code."""

from typing import Any

import pytest
from oauthlib.oauth2 import DeviceClient
from oauthlib.oauth2.rfc6749.errors import AccessDeniedError, CustomOAuth2Error, InvalidGrantError
from requests_oauthlib import OAuth2Session

from tests.clients.people import CALLBACK, Alice
from tests.devices import GRANT

pytestmark = pytest.mark.full


@pytest.fixture(autouse=True)
def _on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")


def test_a_person_is_asked_and_the_access_is_renewed_by_itself(alice: Alice) -> None:
    """RFC 6749 §4.1 and §6 break: requests-oauthlib gets no access with the requested scope, or cannot refresh it."""
    told, client_id = alice.metadata(), alice.application()
    kept: list[dict[str, Any]] = []
    session = OAuth2Session(
        client_id,
        redirect_uri=CALLBACK,
        scope=["read:agents", "offline_access"],
        pkce="S256",
        auto_refresh_url=told["token_endpoint"],
        auto_refresh_kwargs={"client_id": client_id},
        token_updater=kept.append,
    )
    address, _state = session.authorization_url(told["authorization_endpoint"])
    back = alice.allows(address)
    first = session.fetch_token(told["token_endpoint"], authorization_response=back, include_client_id=True)
    assert alice.capable(first["access_token"]) == ["read:agents"]
    session.token = {**first, "expires_in": -1, "expires_at": 1}
    shown = session.get(f"{alice.issuer}/v1/capabilities")
    assert (shown.status_code, shown.json()["scopes"]) == (200, ["read:agents"])
    assert kept
    assert kept[0]["refresh_token"] != first["refresh_token"]
    _given_back(alice, session, client_id, kept[0])


def test_its_default_is_basic_with_an_empty_password(alice: Alice) -> None:
    """RFC 6749 §2.3.1 breaks: requests-oauthlib, used as in its documentation, gets no token for a public client."""
    told, client_id = alice.metadata(), alice.application()
    session = OAuth2Session(client_id, redirect_uri=CALLBACK, scope=["read:agents"], pkce="S256")
    address, _state = session.authorization_url(told["authorization_endpoint"])
    given = session.fetch_token(told["token_endpoint"], authorization_response=alice.allows(address))
    assert alice.capable(given["access_token"]) == ["read:agents"]


def test_it_is_told_that_a_person_said_no(alice: Alice) -> None:
    """RFC 6749 §4.1.2.1 breaks: requests-oauthlib does not recognize a denial."""
    told = alice.metadata()
    session = OAuth2Session(alice.application(), redirect_uri=CALLBACK, scope=["read:agents"], pkce="S256")
    address, _state = session.authorization_url(told["authorization_endpoint"])
    back = alice.allows(address, decision="deny")
    with pytest.raises(AccessDeniedError):
        session.fetch_token(told["token_endpoint"], authorization_response=back, include_client_id=True)


def test_a_device_waits_for_a_person(alice: Alice) -> None:
    """RFC 8628 §3 breaks: oauthlib's device client gets no access after the person enters its code."""
    told = alice.metadata()
    client_id = alice.application(grant_types=[GRANT, "refresh_token"], redirect_uris=[])
    session = OAuth2Session(client=DeviceClient(client_id, scope=["read:agents", "offline_access"]))
    asked = session.post(
        told["device_authorization_endpoint"],
        data={"client_id": client_id, "scope": "read:agents offline_access"},
        withhold_token=True,
    )
    assert asked.status_code == 200, asked.text
    shown = asked.json()
    alice.approves(shown["verification_uri"], shown["user_code"])
    given = session.fetch_token(
        told["token_endpoint"], device_code=shown["device_code"], include_client_id=True
    )
    assert alice.capable(given["access_token"]) == ["read:agents"]
    renewed = session.refresh_token(told["token_endpoint"], client_id=client_id)
    assert alice.capable(renewed["access_token"]) == ["read:agents"]
    _given_back(alice, session, client_id, renewed)


def test_a_device_is_told_to_wait(alice: Alice) -> None:
    """RFC 8628 §3.5 breaks: oauthlib's device client does not recognize that the decision is pending."""
    told = alice.metadata()
    client_id = alice.application(grant_types=[GRANT], redirect_uris=[])
    session = OAuth2Session(client=DeviceClient(client_id, scope=["read:agents"]))
    asked = session.post(
        told["device_authorization_endpoint"],
        data={"client_id": client_id, "scope": "read:agents"},
        withhold_token=True,
    )
    with pytest.raises(CustomOAuth2Error) as refused:
        session.fetch_token(
            told["token_endpoint"], device_code=asked.json()["device_code"], include_client_id=True
        )
    assert refused.value.error == "authorization_pending"


def _given_back(alice: Alice, session: OAuth2Session, client_id: str, token: dict[str, Any]) -> None:
    """Revoke a token with oauthlib's revocation request. All tokens are refused afterwards."""
    told = alice.metadata()
    address, fields, body = session._client.prepare_token_revocation_request(
        told["revocation_endpoint"], token["refresh_token"], "refresh_token", client_id=client_id
    )
    answer = session.post(address, data=body, headers=fields, withhold_token=True)
    assert answer.status_code == 200, answer.text
    assert alice.capable(token["access_token"]) is None
    with pytest.raises(InvalidGrantError):
        session.refresh_token(
            told["token_endpoint"], refresh_token=token["refresh_token"], client_id=client_id
        )
