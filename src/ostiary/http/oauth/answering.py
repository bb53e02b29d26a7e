"""What the OAuth endpoints that are not hot have in common: what arrived, and how a refusal goes back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ostiary.auth.authenticator import Authenticator
from ostiary.core.problem import Problem
from ostiary.core.verdict import MALFORMED
from ostiary.http.messages import NO_STORE, Headers, Origin
from ostiary.http.oauth import errors
from ostiary.http.oauth.asking import Refused
from ostiary.http.oauth.errors import OAuthError

HEAD: Final = ((b"content-type", b"application/json"), NO_STORE, (b"pragma", b"no-cache"))
"""Of an answer that may hold a secret (RFC 6749 §5.1)."""
THREADS: Final = 4
"""Of one endpoint."""


@dataclass(frozen=True, slots=True)
class Request:
    """What arrived, and where: `path` is what the issuer of that address has behind ours."""

    headers: Headers
    query: bytes
    body: bytes
    origin: Origin
    path: str
    request_id: str
    user_agent: str


def answered(
    authenticator: Authenticator, kind: str, request: Request, work: Callable[[Request], bytes]
) -> bytes:
    """What `work` answers to a request, over facts that are current; or its refusal."""
    try:
        authenticator.current_facts()
        return work(request)
    except (Refused, OAuthError, Problem) as error:
        return refusal(authenticator, kind, request, error)


def refusal(
    authenticator: Authenticator, kind: str, request: Request, error: Refused | OAuthError | Problem
) -> bytes:
    """What is told of a refusal. Those of a credential or a client that was presented are counted, as of this kind."""
    now = authenticator.clock()
    if isinstance(error, Refused):
        refused = error.error
        authenticator.note(
            error.verdict, request.origin.text, kind, now, refused=refused.reason, resource=refused.resource
        )
        error = refused
    elif isinstance(error, Problem):
        error = errors.of_problem(error)
    elif error.status == 401 or error.resource:
        authenticator.note(
            MALFORMED, request.origin.text, kind, now, refused=error.reason, resource=error.resource
        )
    return errors.wire(error)
