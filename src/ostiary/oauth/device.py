"""`POST /oauth/device/authorize`: a device without a browser requests access (RFC 8628 §3.1, §3.2)."""

from dataclasses import dataclass, field
from typing import Final

import orjson
from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from ostiary.auth.authenticator import Authenticator
from ostiary.core.instant import SECOND
from ostiary.core.model import OAuthClient
from ostiary.core.oauth import (
    DEVICE_CODE,
    DEVICE_CODE_LIFETIME,
    DEVICE_PAGE,
    NO_SCOPE,
    OFFLINE_ACCESS,
    POLLING_INTERVAL,
    TOKEN_PATH,
    default_scopes,
    known_scopes,
)
from ostiary.core.permission import Catalogue
from ostiary.http import messages
from ostiary.http.authorization_request import known_audiences
from ostiary.http.endpoint_request import EndpointRequest
from ostiary.http.oauth_error import OAuthError, invalid_client, invalid_request
from ostiary.oauth import clients
from ostiary.oauth import form as forms
from ostiary.oauth.authentication import authenticated_once
from ostiary.oauth.form import Form
from ostiary.oauth.metadata import DEVICE_AUTHORIZATION
from ostiary.oauth.refusal import HEAD, THREADS, answered
from ostiary.oauth.token_request import KeysOf, TokenRequest
from ostiary.services import devices
from ostiary.storage.store import Store

QUESTIONS: Final = 30
QUESTIONS_FROM: Final = 90
"""Requests per minute from the devices of one network."""


@dataclass(frozen=True, slots=True)
class DeviceAuthorization:
    """The endpoint of one process."""

    authenticator: Authenticator
    store: Store
    keys_of: KeysOf
    _threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(THREADS))

    async def answer(self, request: EndpointRequest) -> bytes:
        """Return the response. The codes in it are committed before it is sent."""
        return await run_sync(
            answered, self.authenticator, "device", request, self._begin, limiter=self._threads
        )

    def _begin(self, request: EndpointRequest) -> bytes:
        form = forms.read(request.headers, request.query, request.body)
        self.authenticator.rates.asked("devices of", request.origin.address, QUESTIONS, QUESTIONS_FROM)
        client = self._client(request, form)
        asked = devices.DeviceRequest(
            client.id,
            self._scopes(form, client),
            self._audiences(form),
            request.origin.text,
            request.user_agent,
        )
        begun = self.store.write_on((), devices.begin, asked)
        address = f"{self.authenticator.issuer}{DEVICE_PAGE}"
        told = {
            "device_code": begun.device_code.reveal(),
            "user_code": begun.user_code,
            "verification_uri": address,
            "verification_uri_complete": f"{address}?user_code={begun.user_code}",
            "expires_in": DEVICE_CODE_LIFETIME // SECOND,
            "interval": POLLING_INTERVAL,
        }
        return messages.wire(200, HEAD, orjson.dumps(told))

    def _client(self, request: EndpointRequest, form: Form) -> OAuthClient:
        """Authenticate the client as the token endpoint does (RFC 8628 §3.1). Its assertion is used up."""
        authenticator = self.authenticator
        addressed = frozenset(
            {
                authenticator.issuer,
                *(authenticator.issuer + path for path in (TOKEN_PATH, DEVICE_AUTHORIZATION)),
            }
        )
        asked = TokenRequest(
            form,
            request.origin,
            authenticator,
            authenticator.from_database(),
            addressed,
            self.store,
            self.keys_of,
        )
        claim = clients.claimed(request.headers, form)
        client = authenticated_once(claim, asked)
        if client is None:
            raise (
                invalid_client("unknown client")
                if claim.client_id is not None
                else invalid_request("client_id is missing.")
            )
        # A client that gets a service account needs a choice of projects, which only /oauth/authorize offers.
        facts = client.facts
        if facts is None or DEVICE_CODE not in facts.grant_types or facts.access != "user":
            raise OAuthError("unauthorized_client", reason="not a client of devices")
        return facts

    def _scopes(self, form: Form, client: OAuthClient) -> tuple[str, ...]:
        """The requested scopes that exist, each once. Raises OAuthError for a scope that the client may not request."""
        named = forms.scopes(form)
        if named is None:
            named = default_scopes(client)
        asked = known_scopes(named, self.authenticator.facts.catalogue() or Catalogue(frozenset()))
        if not asked:
            raise OAuthError("invalid_scope", NO_SCOPE, "nothing but unknown scopes")
        if client.scopes and not set(asked) <= {*client.scopes, OFFLINE_ACCESS}:
            raise OAuthError("invalid_scope", "The client may not request one of the scopes.", "not held")
        return asked

    def _audiences(self, form: Form) -> tuple[str, ...]:
        """Return the audiences of the tokens (RFC 8707 §2). Without a resource, tokens are for this service."""
        return known_audiences(self.authenticator, form.all("resource"))
