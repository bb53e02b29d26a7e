"""`POST /oauth/device/authorize`: a device without a browser asks for access (RFC 8628 §3.1, §3.2)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import orjson
from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from ostiary.core.address import neighbourhood
from ostiary.core.instant import SECOND
from ostiary.core.model import Client
from ostiary.core.oauth import DEVICE_CODE, DEVICE_CODE_LIFETIME, OFFLINE_ACCESS, POLLING_INTERVAL
from ostiary.core.problem import Problem
from ostiary.core.verdict import MALFORMED
from ostiary.http import messages
from ostiary.http.hotpath import HotPath
from ostiary.http.oauth import clients, errors
from ostiary.http.oauth import form as forms
from ostiary.http.oauth.errors import OAuthError, invalid_client
from ostiary.http.oauth.form import Form
from ostiary.http.oauth.token import HEAD, THREADS, Request
from ostiary.services import devices
from ostiary.storage import clients as client_rows
from ostiary.storage.store import Store

VERIFICATION: Final = "/oauth/device/verify"
QUESTIONS: Final = 30
"""How often a minute the devices of one address may ask."""

Authenticate = Callable[[Request, Form, Client], None]
"""Proves that a request comes from this client, which has keys. Raises OAuthError."""


def not_proven(_request: Request, _form: Form, _client: Client) -> None:
    """Nobody who has to prove themselves can."""
    raise invalid_client("no authentication")


@dataclass(frozen=True, slots=True)
class DeviceAuthorization:
    """The endpoint of one process."""

    hot: HotPath
    store: Store
    authenticate: Authenticate = not_proven
    _threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(THREADS))

    async def answer(self, request: Request) -> bytes:
        """The whole answer; what it promises is committed."""
        return await run_sync(self._answer, request, limiter=self._threads)

    def _answer(self, request: Request) -> bytes:
        hot = self.hot
        try:
            if not hot.facts.current():
                hot.facts.catch_up()
            return messages.wire(200, HEAD, orjson.dumps(self._begin(request)))
        except OAuthError as error:
            if error.status == 401:
                hot.note(MALFORMED, request.origin.text, "device", hot.judge.clock(), refused=error.reason)
            return errors.wire(error)
        except Problem as problem:
            return errors.wire(errors.of_problem(problem))

    def _begin(self, request: Request) -> dict[str, object]:
        form = forms.read(request.headers, request.query, request.body)
        payer = f"devices of {neighbourhood(request.origin.address)}"
        permit = self.hot.limits.attempt(payer, QUESTIONS)
        if not permit.allowed:
            raise errors.too_many(permit.wait)
        client = self._client(request, form)
        asked = devices.Request(
            client.id,
            self._scopes(form, client),
            self._audiences(form),
            request.origin.text,
            request.user_agent,
        )
        begun = self.store.write_on((), devices.begin, asked)
        address = f"{self.hot.judge.issuer}{VERIFICATION}"
        return {
            "device_code": begun.device_code.reveal(),
            "user_code": begun.user_code,
            "verification_uri": address,
            "verification_uri_complete": f"{address}?user_code={begun.user_code}",
            "expires_in": DEVICE_CODE_LIFETIME // SECOND,
            "interval": POLLING_INTERVAL,
        }

    def _client(self, request: Request, form: Form) -> Client:
        """Who asks (RFC 8628 §3.1: as at the token endpoint)."""
        claim = clients.claimed(request.headers, form)
        if claim.client_id is None and isinstance(claim, clients.Public):
            raise errors.invalid_request("client_id is missing.", "no client_id")
        client = None if claim.client_id is None else client_rows.find(self.store, claim.client_id)
        if client is None or client.disabled_at is not None:
            raise invalid_client("unknown client" if client is None else "client disabled")
        if client.auth_method != "none":
            self.authenticate(request, form, client)
        elif not isinstance(claim, clients.Public):
            raise invalid_client("a client that has nothing to prove itself with")
        # What gets an account of its own needs projects to be chosen, for which there is /oauth/authorize.
        if DEVICE_CODE not in client.grant_types or client.access != "user":
            raise OAuthError("unauthorized_client", reason="not a client of devices")
        return client

    def _scopes(self, form: Form, client: Client) -> tuple[str, ...]:
        """What is asked for, each once; of what exists, and what the client may ask for."""
        text = form.get("scope")
        if text is None:
            if form.sent("scope"):
                raise OAuthError("invalid_scope", "The scope is empty.", "empty")
            return client.scopes or ("api",)
        catalogue = self.hot.facts.catalogue()
        asked = tuple(dict.fromkeys(text.split(" ")))
        for scope in asked:
            known = catalogue is not None and catalogue.knows(scope)
            if scope != OFFLINE_ACCESS and not (known and (not client.scopes or scope in client.scopes)):
                raise OAuthError("invalid_scope", "A scope is unknown, or is not this client's.", "not held")
        if not set(asked) - {OFFLINE_ACCESS}:
            raise OAuthError("invalid_scope", "offline_access alone opens nothing.", "nothing but a refresh")
        return asked

    def _audiences(self, form: Form) -> tuple[str, ...]:
        """RFC 8707 §2: each named resource must be known; without one the tokens are meant for us."""
        known = self.hot.facts.audiences()
        resources = form.all("resource")
        for resource in resources:
            if resource != self.hot.judge.issuer and resource not in known:
                raise OAuthError("invalid_target", reason="unknown resource")
        return tuple(dict.fromkeys(resources))
