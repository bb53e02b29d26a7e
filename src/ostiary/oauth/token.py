"""`POST /oauth/token`: one pipeline for all grants (RFC 6749 §3.2, §4.4, §5; RFC 8707; RFC 9068).

    1 form           strict: only one way to read it
    2 client         by secret or by assertion; every failure gets the same response
    3 grant          known, and this client may use it
    4 subject        the grant's own checks: what is exchanged, and the limits of the token
    5 rate limit     a token counts as a use of its credential
    6 scopes         within the scopes that are held on some target
    7 audience       this service, or a known resource
    8 token          signed
    9 record         the event, and what was used up, are committed
   10 response

Steps 1 to 8 are one synchronous function over cached facts. Facts that are not in memory are read in a thread. Tokens
are not stored. Each use of a token is judged with the credential or session that it was issued from.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from ostiary.auth.authenticator import Authenticator
from ostiary.auth.caller import actor_of
from ostiary.auth.key_files import channel_of
from ostiary.auth.lookup import CacheMiss, Lookup
from ostiary.core import access_token, identifier
from ostiary.core.access_token import ALIAS
from ostiary.core.event import Event, Target
from ostiary.core.instant import HOUR, SECOND, Instant, to_text
from ostiary.core.model import Standing, Token
from ostiary.core.oauth import (
    CLIENT_CREDENTIALS,
    NO_SCOPE,
    OFFLINE_ACCESS,
    TOKEN_PATH,
    known_scopes,
    scope_names,
)
from ostiary.core.permission import EVERYTHING, Catalogue, Scopes
from ostiary.core.problem import Problem
from ostiary.core.rate import Permit
from ostiary.core.signing import LONGEST_TOKEN
from ostiary.core.url import normalized_audience
from ostiary.core.verdict import Verdict, scopes_anywhere, scopes_on
from ostiary.http import messages, oauth_error, verdict_response
from ostiary.http.authorization_request import known_audiences
from ostiary.http.endpoint_request import EndpointRequest, PendingResponse
from ostiary.http.messages import Headers
from ostiary.http.oauth_error import OAuthError, invalid_request
from ostiary.oauth import clients
from ostiary.oauth import form as forms
from ostiary.oauth.authentication import authenticated
from ostiary.oauth.form import Form
from ostiary.oauth.grants import GRANTS
from ostiary.oauth.refusal import HEAD, THREADS, refusal
from ostiary.oauth.token_request import GrantResult, KeysOf, RefusedGrant, TokenRequest
from ostiary.storage.journal import Entry, Journal
from ostiary.storage.store import Store

ALIAS_PATH: Final = f"{ALIAS}/v1/token"
LIFETIMES: Final = {"service_account": LONGEST_TOKEN, "user": HOUR}
"""Maximum lifetime of a token, by the kind of its owner."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A signed token. It can be sent once its record is written."""

    body: dict[str, Any]
    entry: Entry
    verdict: Verdict
    lost: str
    """OAuth error code for an assertion that was used before."""
    fields: Headers
    """Headers about the credential: a newer secret that replaces it, and its remaining rate limit."""


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """The endpoint of one process."""

    authenticator: Authenticator
    journal: Journal
    store: Store
    keys_of: KeysOf
    _threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(THREADS))

    async def answer(self, request: EndpointRequest) -> bytes:
        """Return the response. It is recorded before it is sent."""
        begun = self.begin(request)
        if begun is None:
            begun = await self._begin_cold(request)
            if isinstance(begun, PendingResponse) and begun.may_retry:
                await asyncio.wait((begun.recorded,))
                if begun.recorded.exception() is None and not begun.recorded.result():
                    # A concurrent request redeemed it first. Run this request again. It is then either a
                    # reuse, which ends the session of a code, or a refresh within the grace period.
                    begun = await self._begin_cold(request)
        if isinstance(begun, bytes):
            return begun
        await asyncio.wait((begun.recorded,))
        return begun.finish()

    async def _begin_cold(self, request: EndpointRequest) -> bytes | PendingResponse:
        try:
            issued = await run_sync(self._issue_cold, request, limiter=self._threads)
            return self._recording(request, issued)
        except (RefusedGrant, OAuthError, Problem) as error:
            return refusal(self.authenticator, "token", request, error)

    def begin(self, request: EndpointRequest) -> bytes | PendingResponse | None:
        """Return a refusal, or a response that waits for its record. Return None if facts must be read first.

        This function never blocks, so it can run on the event loop.
        """
        lookup = self.authenticator.from_cache()
        if lookup is None:
            return None
        try:
            issued = self.issue(request, lookup)
            return self._recording(request, issued)
        except CacheMiss:
            return None
        except (RefusedGrant, OAuthError, Problem) as error:
            return refusal(self.authenticator, "token", request, error)

    def _recording(self, request: EndpointRequest, issued: Issued) -> PendingResponse:
        recorded = self.journal.record(issued.entry)
        return PendingResponse(
            recorded, lambda: self._finish(request, issued, recorded), issued.entry.apply is not None
        )

    def _finish(self, request: EndpointRequest, issued: Issued, recorded: asyncio.Future[bool]) -> bytes:
        """Return the response after its record was written, or could not be written."""
        try:
            if not recorded.result():
                # The client used its assertion twice. Only the client could have signed it, so nothing has to end:
                # tokens issued for it are judged with the credential that signed it.
                used = OAuthError(issued.lost, reason="used before")
                raise RefusedGrant(used, Verdict("unknown", issued.verdict.standing))
        except (RefusedGrant, Problem) as error:
            return refusal(self.authenticator, "token", request, error)
        self.authenticator.note(issued.verdict, request.origin.text, "token", self.authenticator.clock())
        return messages.wire(200, [*HEAD, *issued.fields], orjson.dumps(issued.body))

    def _issue_cold(self, request: EndpointRequest) -> Issued:
        return self.issue(request, self.authenticator.from_database())

    def issue(self, request: EndpointRequest, lookup: Lookup) -> Issued:
        """Run steps 1 to 8.

        Raises OAuthError, RefusedGrant or Problem, or CacheMiss if a fact is not in memory.
        """
        form = forms.read(request.headers, request.query, request.body)
        authenticator = self.authenticator
        asked = TokenRequest(
            form,
            request.origin,
            authenticator,
            lookup,
            self._addressed(request.path),
            self.store,
            self.keys_of,
        )
        client = authenticated(clients.claimed(request.headers, form), asked)
        try:
            grant_type = _grant_type(form, request.path)
            subject = GRANTS[grant_type](asked, client)
        except OAuthError as error:
            if client is None or client.standing is None:
                raise
            raise RefusedGrant(error, Verdict("valid", client.standing)) from None
        standing = subject.standing
        # The verdict is valid for use here. Steps 6 and 7 check the access that is requested.
        verdict = Verdict("valid", standing, scopes_on(standing, standing.project_id))
        now = self.authenticator.clock()
        fields = [
            *verdict_response.superseded(standing),
            *verdict_response.rate_limit_fields(self._charge(verdict, now)),
        ]
        try:
            scopes = granted(subject, form, self.authenticator.facts.catalogue() or Catalogue(frozenset()))
            audiences = self._audiences(form, subject)
        except OAuthError as error:
            raise RefusedGrant(error, verdict) from None
        body, event = self._sign(request, grant_type, subject, scopes, audiences, now)
        body["scope"] = told(subject, form, body["scope"])
        proofs = (client and client.used, subject.used)
        used = tuple(each for each in proofs if each)
        entry = Entry(standing.organization.id, event, used, subject.redeem)
        lost = "invalid_client" if subject.used is None and subject.redeem is None else "invalid_grant"
        return Issued(body, entry, verdict, lost, fields)

    def _addressed(self, path: str) -> frozenset[str]:
        issuer = self.authenticator.issuer
        return frozenset({issuer + path, issuer + (ALIAS_PATH if path else TOKEN_PATH)})

    def _charge(self, verdict: Verdict, now: Instant) -> Permit | None:
        """Step 5: charge the rate limit. Raises RefusedGrant if the limit is exceeded."""
        charged, permit = self.authenticator.charge(verdict, now)
        if not charged.valid:
            raise RefusedGrant(oauth_error.too_many(permit.wait if permit else 1), charged)
        return permit

    def _audiences(self, form: Form, subject: GrantResult) -> tuple[str, ...]:
        """Step 7 (RFC 8707 §2): return the audiences. Each resource must be known. The default is this
        service.

        If a person consented to certain resources, only those can be requested (RFC 8707 §2.2).
        """
        resources = form.all("resource") or subject.audiences
        if not resources:
            return (self.authenticator.issuer,)
        consented = set(map(normalized_audience, subject.audiences))
        for resource in resources:
            if consented and normalized_audience(resource) not in consented:
                raise oauth_error.invalid_target(resource, "resource not consented to")
        return known_audiences(self.authenticator, resources)

    def _sign(
        self,
        request: EndpointRequest,
        grant_type: str,
        subject: GrantResult,
        scopes: Scopes,
        audiences: tuple[str, ...],
        now: Instant,
    ) -> tuple[dict[str, Any], Event]:
        """Step 8: sign the token. Also return the event for step 9."""
        authenticator, standing = self.authenticator, subject.standing
        ends = [now + LIFETIMES[standing.principal.kind], subject.ends_at, standing.expires_at]
        token = Token(
            kind="access_token",
            id=identifier.make("tok", now, self.store.entropy(identifier.ENTROPY)),
            origin_id=standing.credential_id,
            scopes=scopes,
            audiences=audiences,
            client_id=access_token.client_id_of_principal(standing),
            issued_at=now // SECOND * SECOND,
            expires_at=min(each for each in ends if each is not None) // SECOND * SECOND,
            exchanged_from=subject.exchanged_from,
        )
        keys = self.authenticator.facts.keys()
        signer = keys and keys.signer(access_token.PURPOSES[request.path], now)
        if not signer:
            raise OAuthError("temporarily_unavailable", "There is no key to sign with.", "no signing key")
        claims = access_token.claims_of(token, standing, authenticator.issuer + request.path)
        if request.path:
            claims["m2mProfile"] = _profile(standing, channel_of(standing), authenticator.issuer)
        body: dict[str, Any] = {
            "access_token": signer.sign(access_token.TYPE, claims),
            "token_type": "Bearer",
            "expires_in": (token.expires_at - token.issued_at) // SECOND,
            "scope": claims["scope"],
        }
        body |= subject.members
        return body, _event(request, grant_type, standing, token)


def _grant_type(form: Form, path: str) -> str:
    """Step 3: return the grant type."""
    grant_type = form.get("grant_type")
    if grant_type is None:
        raise invalid_request("grant_type is missing.", "no grant_type")
    if grant_type not in GRANTS or (path and grant_type != CLIENT_CREDENTIALS):
        raise OAuthError("unsupported_grant_type", reason="unknown grant_type")
    return grant_type


def granted(subject: GrantResult, form: Form, catalogue: Catalogue) -> Scopes:
    """Step 6 (RFC 6749 §3.3): return the requested scopes, or the default ones. Raises OAuthError
    (invalid_scope).

    Every client can request `api`. It means everything that is allowed at the time of use, which may be
    nothing. Scopes that do not exist are removed from a consent, as they were on the consent page.
    """
    named = forms.scopes(form)
    if named is None:
        named = ("api",) if subject.default is None else scope_names(subject.default)
    if subject.consented:
        named = known_scopes(named, catalogue)
    if not named:
        raise OAuthError("invalid_scope", NO_SCOPE, "empty")
    asked = frozenset(named)
    held = scopes_anywhere(subject.standing) | EVERYTHING
    if subject.consented:
        # A consent to everything includes each of its parts.
        consented = subject.scopes | held if subject.scopes & EVERYTHING else subject.scopes
        if not asked <= consented:
            raise OAuthError("invalid_scope", reason="not consented to")
        # Limit a consent to the scopes held now: a token never exceeds them.
        asked &= held
        if not asked:
            raise OAuthError("invalid_scope", reason="none of it held")
        return asked
    if not subject.scopes & EVERYTHING:
        held &= subject.scopes
    if not asked <= held:
        raise OAuthError("invalid_scope", reason="not held")
    return asked


def told(subject: GrantResult, form: Form, scope: str) -> str:
    """Return the `scope` of the response (RFC 6749 §5.1), which clients compare with their request.

    It has the token's scopes, and `offline_access` if a refresh token is issued.
    """
    asked = forms.scopes(form) or subject.scopes
    if OFFLINE_ACCESS in asked and "refresh_token" in subject.members:
        return " ".join(sorted([*scope.split(" "), OFFLINE_ACCESS]))
    return scope


def _profile(standing: Standing, channel: str, issuer: str) -> dict[str, str]:
    """Return the profile of the account, for clients that use the configuration TOML."""
    return {
        "user": channel,
        "organization": standing.organization.slug,
        "environment": issuer.partition("://")[2].partition("/")[0],
    }


def _event(request: EndpointRequest, grant_type: str, standing: Standing, token: Token) -> Event:
    return Event(
        "token.issued",
        actor_of(standing),
        Target(standing.origin, standing.credential_id, standing.label),
        address=request.origin.text,
        user_agent=request.user_agent,
        request_id=request.request_id,
        details={
            "token": token.id,
            "grant_type": grant_type,
            "client_id": token.client_id,
            "scope": " ".join(sorted(token.scopes)),
            "audience": list(token.audiences),
            "expires_at": to_text(token.expires_at),
        },
    )
