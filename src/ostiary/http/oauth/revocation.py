"""`POST /oauth/token/revoke` and `/oauth/revoke`: a token is ended before it expires (RFC 7009).

In form encoding the client that it was issued to authenticates. In the JSON form whoever has the token may end it. To
end what is no token, or somebody else's, is answered like success and ends nothing.
"""

from dataclasses import dataclass, field
from typing import Final

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from ostiary.core import secret
from ostiary.core.problem import Problem
from ostiary.core.verdict import Verdict
from ostiary.http import calling, messages
from ostiary.http.hotpath import HotPath
from ostiary.http.messages import NO_STORE
from ostiary.http.oauth import clients, errors
from ostiary.http.oauth import form as forms
from ostiary.http.oauth.asking import Refused
from ostiary.http.oauth.errors import OAuthError, invalid_request
from ostiary.http.oauth.introspection import authenticate
from ostiary.http.oauth.token import THREADS, Request
from ostiary.http.question import Question
from ostiary.services import tokens
from ostiary.storage.store import Store

_DONE: Final = messages.wire(200, [NO_STORE, (b"pragma", b"no-cache")])


@dataclass(frozen=True, slots=True)
class Revocation:
    """The endpoint of one process."""

    hot: HotPath
    store: Store
    _threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(THREADS))

    async def answer(self, request: Request) -> bytes:
        """The whole answer; what it says is committed."""
        return await run_sync(self._answer, request, limiter=self._threads)

    def _answer(self, request: Request) -> bytes:
        hot = self.hot
        try:
            if not hot.facts.current():
                hot.facts.catch_up()
            self._revoke(request)
        except Refused as refusal:
            hot.note(
                refusal.verdict,
                request.origin.text,
                "revoke",
                hot.judge.clock(),
                refused=refusal.error.reason,
            )
            return errors.wire(refusal.error)
        except OAuthError as error:
            return errors.wire(error)
        except Problem as problem:
            return errors.wire(errors.of_problem(problem))
        return _DONE

    def _revoke(self, request: Request) -> None:
        judge, find = self.hot.judge, self.hot.judge.in_database
        form = forms.read(request.headers, request.query, request.body)
        text = form.get("token")
        if text is None:
            raise invalid_request("token is missing.")
        client: Verdict | None = None
        proven = not isinstance(clients.claimed(request.headers, form), clients.Public)
        if proven or not messages.is_json(request.headers):
            client = authenticate(judge, request.headers, form, request.origin, find)
        if secret.looks_like_secret(text) and not text.startswith(secret.SESSION):
            raise OAuthError(
                "unsupported_token_type", "A key or secret is revoked as a credential, at /v1/credentials."
            )
        # Where it was revoked from, and whom it was meant for, does not matter.
        question = Question(request.origin.address, about_itself=True, whomever=True)
        verdict = judge.key_or_token(text.encode(), question, find)
        if verdict.code == "rate_limited":
            raise Refused(errors.too_many(2), verdict)
        standing, token = verdict.standing, verdict.token
        if standing is None or token is None or token.expires_at <= judge.clock():
            return
        if client is not None and not _issued_to(client, verdict):
            return
        # Who asked is who authenticated; in the JSON form that is whoever has the token.
        asking = verdict if client is None else client
        caller = calling.caller_of(asking, request.origin, request.user_agent, request.request_id)
        self.store.write(tokens.revoke, caller, token)


def _issued_to(client: Verdict, verdict: Verdict) -> bool:
    """Whether the token is this client's: a service account is one client, whichever credential it shows."""
    assert client.standing is not None
    assert verdict.standing is not None
    return client.standing.principal.id == verdict.standing.principal.id
