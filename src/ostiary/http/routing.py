"""What all surfaces share: the objects that handlers use, plain routes, and responses to problems."""

from dataclasses import dataclass

from anyio import CapacityLimiter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from ostiary.auth.authenticator import Authenticator
from ostiary.core.problem import Problem
from ostiary.http import messages
from ostiary.http.client_documents import ClientDocuments
from ostiary.http.cookies import SessionCookie
from ostiary.storage.store import Store


@dataclass(frozen=True, slots=True)
class Wiring:
    """The objects that handlers use. They are in `request.app.state.wiring`."""

    store: Store
    authenticator: Authenticator
    cookie: SessionCookie
    """The cookie of browser sessions."""
    token_uri: str
    """The token endpoint that key files name."""
    documents: ClientDocuments
    """Metadata documents of clients that are not registered here, and the keys that clients publish."""
    hashing: CapacityLimiter
    """Limits the threads that hash passwords for pages."""


def wiring(request: Request) -> Wiring:
    found: Wiring = request.app.state.wiring
    return found


class PlainRoute(Route):
    """A route outside the API. Logs and metrics name it by its template, as for API routes."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        return match, {**found, "route": self}


def problem_response(request: Request, problem: Problem) -> Response:
    fields = {name.decode(): value.decode() for name, value in messages.problem_headers(problem)}
    state = request.scope["state"]
    body = messages.problem_body(problem, state["issuer"], state["request_id"])
    return Response(body, problem.status, fields)
