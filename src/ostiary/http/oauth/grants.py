"""The grants of the token endpoint: each fills in what is its own, from a request to what a token may stand for.

All that they have in common (who the client is, scopes, audience, signing, recording) is the pipeline's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ostiary.core.instant import Instant
from ostiary.core.model import Standing
from ostiary.core.permission import EVERYTHING, Scopes
from ostiary.core.secret import CLIENT_SECRET as SECRET
from ostiary.core.verdict import MALFORMED, UNKNOWN, Verdict
from ostiary.http.finding import Find
from ostiary.http.judging import SESSION, Judge
from ostiary.http.messages import Origin
from ostiary.http.oauth.errors import OAuthError, invalid_client, invalid_request, too_many
from ostiary.http.oauth.form import Form
from ostiary.http.question import Question
from ostiary.http.rates import FAILURE_WAIT
from ostiary.storage.journal import Used

CLIENT_SECRET: Final = (SECRET.encode(),)
CLIENT_CREDENTIALS: Final = "client_credentials"
JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - RFC 8693's name
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - likewise


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks, once that was proven: a service account, by one of its credentials."""

    id: str
    standing: Standing
    used: Used | None = None
    """What its proof used up."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to the token endpoint, and how its facts are found."""

    form: Form
    origin: Origin
    judge: Judge
    find: Find
    audiences: frozenset[str]
    """Whom an assertion may be addressed to: this server, by its issuer or its token endpoint."""

    @property
    def question(self) -> Question:
        """What is asked about a credential that shall be traded: whether it may act, from where the request comes."""
        return Question(self.origin.address, about_itself=True)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a token is to stand for: the credential that it comes from, and how far it may reach at most."""

    standing: Standing
    scopes: Scopes = EVERYTHING
    default: str | None = None
    """The scope that was asked for elsewhere than in the parameter; None: nowhere."""
    ends_at: Instant | None = None
    exchanged_from: str | None = None
    used: Used | None = None
    issued_type: str | None = None


class Refused(Exception):  # noqa: N818 - it carries the error, and what is known of whom it refuses
    """A refusal with the verdict that it follows from: that is counted."""

    def __init__(self, error: OAuthError, verdict: Verdict) -> None:
        super().__init__(error.code)
        self.error = error
        self.verdict = verdict


def refused(code: str, verdict: Verdict, reason: str = "") -> Refused:
    """The refusal of what was presented: of a client (`invalid_client`), or of what it trades (`invalid_grant`)."""
    if verdict.code == "rate_limited":
        return Refused(too_many(FAILURE_WAIT), verdict)
    return Refused(OAuthError(code, reason=reason or verdict.code), verdict)


def client_credentials(asked: Asked, client: Client | None) -> Subject:
    """RFC 6749 §4.4: the client's own credential, traded for a token of its own."""
    if client is None:
        raise Refused(invalid_client("no authentication"), UNKNOWN)
    return Subject(client.standing)


def jwt_bearer(asked: Asked, client: Client | None) -> Subject:
    """RFC 7523 §2.1: an assertion that a key file signed. A client may authenticate beside it, and is its account."""
    text = asked.form.get("assertion")
    if text is None:
        raise invalid_request("assertion is missing.")
    verdict, checked, reason = asked.judge.assertion(
        "grant", text.encode(), asked.question, asked.find, asked.audiences
    )
    standing = verdict.standing
    if not verdict.valid or standing is None or checked is None:
        raise refused("invalid_grant", verdict, reason)
    if client is not None and client.standing.principal.id != standing.principal.id:
        raise Refused(OAuthError("invalid_grant", reason="assertion of another client"), verdict)
    used = Used(checked.jti_digest, checked.expires_at)
    if checked.scope is None:
        return Subject(standing, used=used)
    # What was signed is as far as it goes, whatever the form asks for.
    return Subject(standing, frozenset(checked.scope.split(" ")), checked.scope, used=used)


def token_exchange(asked: Asked, client: Client | None) -> Subject:
    """RFC 8693: a key or a token, traded by whoever holds it for a token that may do less."""
    form = asked.form
    text, kind = form.get("subject_token"), form.get("subject_token_type")
    if text is None or kind is None:
        raise invalid_request("subject_token and subject_token_type are needed.")
    if kind != ACCESS_TOKEN or form.get("requested_token_type") not in (None, ACCESS_TOKEN):
        raise invalid_request("Only access tokens are exchanged, for access tokens.", "token type")
    if "actor_token" in form or "actor_token_type" in form:
        raise invalid_request("A token for an actor is not issued here.", "actor_token")
    if "audience" in form:
        # To pass over it would be to issue a token that is meant for somebody else than was asked.
        raise OAuthError("invalid_target", "Name the target by its URI, as resource.", "audience")
    presented = text.encode()
    if presented.startswith(SESSION):
        error = OAuthError("invalid_grant", "A session is not exchanged. Use the key file again.", "session")
        raise Refused(error, MALFORMED)
    verdict = asked.judge.key_or_token(presented, asked.question, asked.find)
    standing, token = verdict.standing, verdict.token
    if not verdict.valid or standing is None:
        raise refused("invalid_grant", verdict)
    if client is not None and client.standing.principal.id != standing.principal.id:
        raise Refused(OAuthError("invalid_grant", reason="subject of another client"), verdict)
    if token is None:
        return Subject(standing, issued_type=ACCESS_TOKEN)
    if token.exchanged_from is not None:
        text = "An exchanged token is not exchanged again. Use what it came from."
        raise Refused(OAuthError("invalid_grant", text, "exchanged before"), verdict)
    return Subject(
        standing,
        token.scopes,
        " ".join(sorted(token.scopes)),
        token.expires_at,
        exchanged_from=token.id,
        issued_type=ACCESS_TOKEN,
    )


GRANTS: Final[Mapping[str, Callable[[Asked, Client | None], Subject]]] = {
    CLIENT_CREDENTIALS: client_credentials,
    JWT_BEARER: jwt_bearer,
    TOKEN_EXCHANGE: token_exchange,
}
