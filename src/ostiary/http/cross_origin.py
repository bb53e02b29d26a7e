"""CORS (Fetch Standard §3.2): which responses a script of another site may read, and the response to its preflight.

Only endpoints that accept no cookie are shared, and never with credentials. So a script gets nothing that its author
could not request from their own machine.
"""

from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from ostiary.http.messages import Headers

FIELDS: Final[Headers] = (
    (b"access-control-allow-origin", b"*"),
    (
        b"access-control-expose-headers",
        b"WWW-Authenticate, Retry-After, RateLimit, RateLimit-Policy, X-Request-Id",
    ),
)
"""Headers of every response of a shared endpoint, errors included."""
LINES: Final = b"".join(b"%s: %s\r\n" % field for field in FIELDS)
MAX_AGE: Final = 7200
"""Seconds for which a browser may remember a preflight. No browser in use remembers one for much longer."""


def preflight(methods: str) -> Callable[[Request], Response]:
    """Return the handler of OPTIONS for an endpoint with these methods. `Edge` adds the headers above."""
    fields = {
        "allow": f"{methods}, OPTIONS",
        "access-control-allow-methods": methods,
        # The wildcard does not include Authorization (Fetch Standard §4.9).
        "access-control-allow-headers": "Authorization, *",
        "access-control-max-age": str(MAX_AGE),
    }

    def answer(_request: Request) -> Response:
        return Response(status_code=204, headers=fields)

    return answer
