"""What the OAuth endpoints outside the fast path share: running a request and returning a refusal."""

from collections.abc import Callable
from typing import Final

from ostiary.auth.authenticator import Authenticator
from ostiary.core.problem import Problem
from ostiary.core.verdict import MALFORMED
from ostiary.http import oauth_error
from ostiary.http.endpoint_request import EndpointRequest
from ostiary.http.messages import NO_STORE
from ostiary.http.oauth_error import OAuthError
from ostiary.oauth.token_request import RefusedGrant

HEAD: Final = ((b"content-type", b"application/json"), NO_STORE, (b"pragma", b"no-cache"))
"""Headers of a response that may contain a secret (RFC 6749 §5.1)."""
THREADS: Final = 4
"""Threads per endpoint."""


def answered(
    authenticator: Authenticator,
    kind: str,
    request: EndpointRequest,
    work: Callable[[EndpointRequest], bytes],
) -> bytes:
    """Return the response of `work`, called with current facts, or the refusal that it raised."""
    try:
        authenticator.current_facts()
        return work(request)
    except (RefusedGrant, OAuthError, Problem) as error:
        return refusal(authenticator, kind, request, error)


def refusal(
    authenticator: Authenticator,
    kind: str,
    request: EndpointRequest,
    error: RefusedGrant | OAuthError | Problem,
) -> bytes:
    """Return the response for a refusal.

    Refusals of a presented credential or client are counted under `kind`.
    """
    now = authenticator.clock()
    if isinstance(error, RefusedGrant):
        refused = error.error
        authenticator.note(
            error.verdict, request.origin.text, kind, now, refused=refused.reason, resource=refused.resource
        )
        error = refused
    elif isinstance(error, Problem):
        error = oauth_error.of_problem(error)
    elif error.status == 401 or error.resource:
        authenticator.note(
            MALFORMED, request.origin.text, kind, now, refused=error.reason, resource=error.resource
        )
    return oauth_error.wire(error)
