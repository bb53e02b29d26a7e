"""requests-oauthlib: machine clients."""

import pytest
from oauthlib.oauth2 import BackendApplicationClient
from oauthlib.oauth2.rfc6749.errors import InvalidClientError, InvalidScopeError
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

from tests.clients.conftest import Robo

pytestmark = pytest.mark.full


@pytest.fixture(autouse=True)
def _on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")


def session(robo: Robo, scope: str = "read:agents") -> OAuth2Session:
    return OAuth2Session(client=BackendApplicationClient(robo.client_id, scope=scope.split(" ")))


@pytest.mark.parametrize("include", [None, True])
def test_it_gets_a_token_by_basic(robo: Robo, include: bool | None) -> None:
    """RFC 6749 §2.3.1 breaks: requests-oauthlib gets no token, with or without its client id in the form."""
    client = session(robo)
    told = client.fetch_token(
        robo.token_endpoint,
        auth=HTTPBasicAuth(robo.client_id, robo.secret),
        include_client_id=include,
    )
    assert told["scope"] == ["read:agents"]
    assert robo.capable(told["access_token"]) == ["read:agents"]
    assert client.get(f"{robo.issuer}/v1/capabilities").status_code == 200


def test_it_gets_a_token_by_post(robo: Robo) -> None:
    """RFC 6749 §2.3.1 breaks: requests-oauthlib gets no token with its secret in the form."""
    told = session(robo).fetch_token(robo.token_endpoint, client_secret=robo.secret, include_client_id=True)
    assert robo.good(told["access_token"])


def test_it_raises_what_was_refused(robo: Robo) -> None:
    """RFC 6749 §5.2 breaks: requests-oauthlib does not recognize an error response."""
    with pytest.raises(InvalidClientError):
        session(robo).fetch_token(robo.token_endpoint, auth=HTTPBasicAuth(robo.client_id, "wrong"))
    with pytest.raises(InvalidScopeError):
        session(robo, "write:everything").fetch_token(
            robo.token_endpoint, auth=HTTPBasicAuth(robo.client_id, robo.secret)
        )
