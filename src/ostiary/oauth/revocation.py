"""`POST /oauth/token/revoke` and `/oauth/revoke`: end a token before it expires (RFC 7009).

In form encoding, the client that received the token authenticates. In the JSON form, anyone who has the token
can end it. A request to revoke an unknown token, or another client's token, gets a success response and ends
nothing.
"""

from dataclasses import dataclass, field
from typing import Final

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from ostiary.auth.access_request import AccessRequest
from ostiary.auth.authenticator import Authenticator
from ostiary.auth.caller import actor_of, caller_of
from ostiary.core import secret
from ostiary.core.oauth import TOKEN_PATH
from ostiary.core.permission import Caller
from ostiary.core.verdict import Verdict
from ostiary.http import messages, oauth_error
from ostiary.http.endpoint_request import EndpointRequest
from ostiary.http.messages import NO_STORE
from ostiary.http.oauth_error import OAuthError, invalid_request
from ostiary.oauth import clients
from ostiary.oauth import form as forms
from ostiary.oauth.authentication import authenticated_once, names_client_of_people
from ostiary.oauth.form import Form
from ostiary.oauth.introspection import authenticate
from ostiary.oauth.refusal import THREADS, answered
from ostiary.oauth.token_request import AuthenticatedClient, KeysOf, RefusedGrant, TokenRequest
from ostiary.services import sessions, tokens
from ostiary.services.callers import holder
from ostiary.services.execute import execute
from ostiary.storage.store import Store

_BODY: Final = b"{}"
"""RFC 7009 §2.2 ignores the body, but some clients parse every response body."""
_DONE: Final = messages.wire(
    200, [(b"content-type", b"application/json"), NO_STORE, (b"pragma", b"no-cache")], _BODY
)


@dataclass(frozen=True, slots=True)
class Revocation:
    """The endpoint of one process."""

    authenticator: Authenticator
    store: Store
    keys_of: KeysOf
    _threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(THREADS))

    async def answer(self, request: EndpointRequest) -> bytes:
        """Return the response. The revocation is committed before it is sent."""
        return await run_sync(
            answered, self.authenticator, "revoke", request, self._done, limiter=self._threads
        )

    def _done(self, request: EndpointRequest) -> bytes:
        self._revoke(request)
        return _DONE

    def _revoke(self, request: EndpointRequest) -> None:
        authenticator, lookup = self.authenticator, self.authenticator.from_database()
        form = forms.read(request.headers, request.query, request.body)
        text = form.get("token")
        if text is None:
            raise invalid_request("token is missing.")
        claim = clients.claimed(request.headers, form)
        people = self._client_of_people(claim, request, form)
        client: Verdict | None = None
        proven = not isinstance(claim, clients.Public)
        if people is None and (proven or not messages.is_json(request.headers)):
            client = authenticate(authenticator, request.headers, form, request.origin, lookup)
        if text.startswith(secret.REFRESH):
            self._end_family(request, text, people, client)
            return
        if secret.looks_like_secret(text) and not text.startswith(secret.SESSION):
            raise OAuthError(
                "unsupported_token_type", "This is a key or secret. Revoke its credential at /v1/credentials."
            )
        # The sender's IP address and the token's audience do not matter for revocation.
        asked = AccessRequest(request.origin.address, about_itself=True, whomever=True)
        verdict = authenticator.key_or_token(text.encode(), asked, lookup)
        if verdict.code == "rate_limited":
            raise RefusedGrant(oauth_error.too_many(2), verdict)
        standing, token = verdict.standing, verdict.token
        if standing is None or token is None or token.expires_at <= authenticator.clock():
            return
        if client is not None and not _issued_to(client, verdict):
            return
        if people is not None and token.client_id != people.id:
            return
        # The caller is the client that authenticated. In the JSON form and for people's clients, it is the token's holder.
        asking = verdict if client is None else client
        caller = caller_of(asking, request.origin.address, request.user_agent, request.request_id)
        if client is None:
            caller = holder(caller)
        execute(self.store, caller, tokens.revoke, token, confirmed=False)

    def _client_of_people(
        self, claim: clients.Claim, request: EndpointRequest, form: Form
    ) -> AuthenticatedClient | None:
        """Return the client that people consented to, if the request names one. Its assertion is used up."""
        if isinstance(claim, clients.WithSecret):
            return None
        authenticator = self.authenticator
        addressed = frozenset({authenticator.issuer, authenticator.issuer + TOKEN_PATH})
        asked = TokenRequest(
            form,
            request.origin,
            authenticator,
            authenticator.from_database(),
            addressed,
            self.store,
            self.keys_of,
        )
        if isinstance(claim, clients.WithAssertion) and not names_client_of_people(claim):
            return None
        return authenticated_once(claim, asked)

    def _end_family(
        self, request: EndpointRequest, text: str, people: AuthenticatedClient | None, client: Verdict | None
    ) -> None:
        """RFC 7009 §2.1: revoking a refresh token ends its session and everything that is based on it."""
        found = self.store.read(sessions.find_by_refresh_token, text.encode())
        if found is None or client is not None or (people is not None and found.client_id != people.id):
            return
        standing = self.authenticator.from_database().standing(found.id)
        assert standing is not None  # the standing exists as long as the session does
        caller = Caller(
            actor_of(standing),
            found.organization_id,
            frozenset(),
            address=request.origin.address,
            user_agent=request.user_agent,
            request_id=request.request_id,
        )
        execute(self.store, caller, sessions.end, found.id, "its refresh token was revoked")


def _issued_to(client: Verdict, verdict: Verdict) -> bool:
    """Return whether the token belongs to this client.

    A service account is one client, with any of its credentials.
    """
    assert client.standing is not None
    assert verdict.standing is not None
    return client.standing.principal.id == verdict.standing.principal.id
