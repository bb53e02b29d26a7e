"""`POST /oauth/register`: an application registers itself (RFC 7591), such as a new MCP client.

Anyone can register, so a registration gives no access: a person must consent first. A registration without a
consent is deleted after a day.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from ostiary.auth.authenticator import Authenticator
from ostiary.core.client_metadata import ClientMetadata, MetadataError, read_registration
from ostiary.core.event import UNKNOWN
from ostiary.core.instant import SECOND
from ostiary.core.model import OAuthClient
from ostiary.core.permission import Caller
from ostiary.core.problem import Problem
from ostiary.http import messages
from ostiary.http.client_documents import ClientDocuments, DocumentError
from ostiary.http.endpoint_request import EndpointRequest
from ostiary.http.oauth_error import OAuthError
from ostiary.oauth.refusal import HEAD, answered
from ostiary.services import clients
from ostiary.services.execute import execute
from ostiary.storage.store import Store

PATH: Final = "/oauth/register"
REGISTRATIONS: Final = 10
REGISTRATIONS_FROM: Final = 30
"""Registrations per minute from one network."""
THREADS: Final = 1


@dataclass(frozen=True, slots=True)
class Registration:
    """The endpoint of one process."""

    authenticator: Authenticator
    store: Store
    documents: ClientDocuments
    _threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(THREADS))

    async def answer(self, request: EndpointRequest) -> bytes:
        """Return the response. The client in it is committed before it is sent."""
        return await run_sync(
            answered, self.authenticator, "registration", request, self._register, limiter=self._threads
        )

    def _register(self, request: EndpointRequest) -> bytes:
        self.authenticator.rates.asked("register", request.origin.address, REGISTRATIONS, REGISTRATIONS_FROM)
        members = _members(request)
        try:
            metadata = read_registration(members)
        except MetadataError as error:
            raise OAuthError(error.code, error.description.replace('"', "'").replace("\\", "/")) from None
        if metadata.jwks_uri is not None:
            try:
                self.documents.check(metadata.jwks_uri)
            except DocumentError as error:
                raise OAuthError("invalid_client_metadata", f"jwks_uri: {error}", error.reason) from None
        caller = Caller(
            UNKNOWN,
            "",
            frozenset(),
            address=request.origin.address,
            user_agent=request.user_agent,
            request_id=request.request_id,
        )
        client = execute(
            self.store, caller, clients.register, metadata, members.get("jwks"), organizations=()
        )
        return messages.wire(201, HEAD, orjson.dumps(_told(client, metadata)))


def _members(request: EndpointRequest) -> dict[str, Any]:
    """Return the metadata as sent. Raises OAuthError if two parsers could read it differently."""
    if request.query:
        raise OAuthError("invalid_client_metadata", "Metadata belongs in the body, not in the address.")
    if not messages.is_json(request.headers):
        raise OAuthError("invalid_client_metadata", "Send the metadata as application/json.")
    try:
        members = messages.read_json(request.body)
        messages.refuse_secrets(members)
    except Problem as problem:
        if problem.status >= 500:
            raise
        holds = problem.errors and problem.errors[0].code == "holds-secret"
        told = (
            "The metadata holds a secret."
            if holds
            else "The body is not JSON that can be read in one way only."
        )
        raise OAuthError("invalid_client_metadata", told) from None
    if not isinstance(members, dict):
        raise OAuthError("invalid_client_metadata", "The body is not a JSON object.")
    return members


def _told(client: OAuthClient, metadata: ClientMetadata) -> dict[str, Any]:
    """Return the metadata as registered, which can differ from the request (RFC 7591 §3.2.1)."""
    told = {
        "client_id": client.id,
        "client_id_issued_at": client.created_at // SECOND,
        "client_name": client.name,
        "redirect_uris": client.redirect_uris,
        "grant_types": client.grant_types,
        "response_types": metadata.response_types,
        "token_endpoint_auth_method": client.auth_method,
        "scope": " ".join(client.scopes) or None,
        "jwks": client.jwks,
        "jwks_uri": client.jwks_uri,
        "client_uri": client.client_uri,
        "application_type": metadata.application_type,
    }
    return {name: value for name, value in told.items() if value is not None}
