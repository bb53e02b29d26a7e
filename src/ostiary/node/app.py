"""Builds the application of one process from the store, the caches, the verify endpoints and the routes."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import anyio.to_thread
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ostiary.api import (
    access_rules,
    agents,
    audit_events,
    clients,
    credentials,
    grants,
    imports,
    members,
    openapi,
    organizations,
    projects,
    roles,
    service_accounts,
    sessions,
    usage,
)
from ostiary.api.route import answer, field_error
from ostiary.auth.authenticator import Authenticator
from ostiary.auth.rates import Rates
from ostiary.console import authorize, device, links, own_account, password_queue, rendering, signing_in
from ostiary.core.problem import Problem, internal, invalid_fields
from ostiary.http import cookies, messages
from ostiary.http.client_documents import ClientDocuments
from ostiary.http.cross_origin import preflight
from ostiary.http.edge import Application, Edge
from ostiary.http.routing import PlainRoute, Wiring, problem_response
from ostiary.http.verify import VerifyEndpoints
from ostiary.manual import routes as manual
from ostiary.node.clock_watch import ClockWatch
from ostiary.node.installation import OpenInstallation, not_ready
from ostiary.node.metrics import Metrics
from ostiary.node.metrics import handler as metrics_handler
from ostiary.node.periodic_tasks import PeriodicTasks, tasks_of_node, tasks_of_worker
from ostiary.oauth import introspection, metadata
from ostiary.oauth.device import DeviceAuthorization
from ostiary.oauth.endpoints import endpoints
from ostiary.oauth.registration import Registration
from ostiary.oauth.revocation import Revocation
from ostiary.oauth.token import TokenEndpoint
from ostiary.storage.fact_cache import FactCache
from ostiary.storage.journal import Journal
from ostiary.storage.usage_buffer import UsageBuffer

API_MODULES = (
    organizations,
    projects,
    members,
    roles,
    service_accounts,
    imports,
    credentials,
    access_rules,
    sessions,
    clients,
    grants,
    agents,
    audit_events,
    usage,
)
ROUTERS = tuple(room.router for room in API_MODULES)
PAGES = (
    *rendering.ROUTES,
    *signing_in.ROUTES,
    *own_account.ROUTES,
    *links.ROUTES,
    *authorize.ROUTES,
    *device.ROUTES,
)
"""Pages for people. They are not part of the API."""
HANDLER_THREADS = 4
"""Threads share the interpreter with the verify endpoints. More threads would only slow verification down."""


class Built(NamedTuple):
    """The application of one process, and the parts that its server and its tests use."""

    door: Edge
    rounds: PeriodicTasks
    """Not yet started."""
    facts: FactCache
    metrics: Metrics
    journal: Journal
    """Not yet started."""


def build(opened: OpenInstallation, monotonic: Any = time.monotonic, alone: bool = True) -> Built:
    """Build the application of an opened installation.

    `alone`: there is no tasks process, so this process also runs the tasks of the node.
    """
    settings, store = opened.settings, opened.store
    facts = FactCache(store, opened.number, monotonic, settings.max_staleness.total_seconds())
    counts = UsageBuffer()
    rates = Rates(opened.failures, store.clock)
    authenticator = Authenticator(facts, counts, store.clock, store.installation, opened.uses, rates)
    cookie = cookies.of(store.installation.issuer)
    hot = VerifyEndpoints(authenticator, cookie, messages.origins(settings.trusted_proxies), introspection)
    metrics = Metrics(store, facts, counts)
    tasks = tasks_of_worker(store, facts, counts, metrics)
    rounds = PeriodicTasks(tasks + tasks_of_node(store, settings, ClockWatch(store)) if alone else tasks)
    journal = Journal(store)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = HANDLER_THREADS
        rounds.start()
        journal.start()
        yield
        await anyio.to_thread.run_sync(journal.stop)
        await anyio.to_thread.run_sync(rounds.stop)

    app = FastAPI(
        title="Ostiary",
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    documents = ClientDocuments(store, rates, frozenset(settings.outbound_hosts))
    hashes = anyio.CapacityLimiter(password_queue.THREADS)
    app.state.wiring = Wiring(
        store, authenticator, cookie, f"{store.installation.issuer}/oauth/token", documents, hashes
    )
    keys_of = documents.jwks_of
    tokens = TokenEndpoint(authenticator, journal, store, keys_of)
    revoking, devices = (
        Revocation(authenticator, store, keys_of),
        DeviceAuthorization(authenticator, store, keys_of),
    )
    registering = Registration(authenticator, store, documents) if settings.registration == "open" else None
    asked = {
        path: PlainRoute(path, endpoint, methods=["POST"])
        for path, endpoint in endpoints(tokens, revoking, devices, registering).items()
    }
    published = metadata.routes(settings.public_url, authenticator, registering is not None)
    shared = {**dict.fromkeys(published, "GET, HEAD"), **dict.fromkeys(asked, "POST")}
    for router in ROUTERS:
        app.router.routes += router.routes
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid_parameters)
    app.add_exception_handler(Exception, _unhandled)
    app.router.routes += (
        PlainRoute("/openapi.json", openapi.document, methods=["GET"]),
        PlainRoute("/healthz", _healthz, methods=["GET"]),
        PlainRoute("/readyz", _readiness(opened, facts), methods=["GET"]),
        PlainRoute(
            "/metrics", metrics_handler(metrics, settings.metrics, settings.public_url), methods=["GET"]
        ),
        *(PlainRoute(path, handler, methods=["GET"]) for path, handler in published.items()),
        *asked.values(),
        *(PlainRoute(path, preflight(methods), methods=["OPTIONS"]) for path, methods in shared.items()),
        *manual.ROUTES,
        *PAGES,
    )
    door = Edge(
        _ExactPaths(asked, app),
        hot,
        tokens,
        store.clock,
        store.entropy,
        metrics.request,
        store.installation.issuer,
        shared=frozenset(path.encode() for path in shared),
    )
    return Built(door, rounds, facts, metrics, journal)


@dataclass(frozen=True, slots=True)
class _ExactPaths:
    """Looks up some POST routes by their exact path, and passes all other requests to the application.

    Token requests are frequent, and matching the API's routes one by one takes longer than signing a token.
    """

    routes: Mapping[str, Route]
    otherwise: Application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self.routes.get(scope["path"]) if scope.get("method") == "POST" else None
        if route is None:
            await self.otherwise(scope, receive, send)
        else:
            scope["route"] = route
            await route.handle(scope, receive, send)


async def _healthz(_request: Request) -> Response:
    """Status 200 while the process responds. `/readyz` says whether it can serve requests."""
    return answer({"status": "ok"})


def _readiness(opened: OpenInstallation, facts: FactCache) -> Any:
    async def readyz(_request: Request) -> Response:
        reasons = await anyio.to_thread.run_sync(not_ready, opened, facts)
        if reasons:
            structlog.get_logger().warning("not ready", reason="; ".join(reasons))
            return answer({"status": "not ready", "reasons": reasons}, 503)
        return answer({"status": "ready"})

    return readyz


async def _http_exception(request: Request, error: Exception) -> Response:
    """Convert Starlette's errors (unknown path, wrong method) to problems."""
    assert isinstance(error, HTTPException)
    code = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "invalid-request")
    detail = {
        404: "There is nothing at this address.",
        405: "This address does not take that method.",
    }.get(error.status_code, "The request is not understood.")
    response = problem_response(request, Problem(code, detail))
    response.headers.update(error.headers or {})
    if error.status_code == 405:
        # Starlette lists only the methods of the first route that matches the path, and each route here has one method.
        response.headers["allow"] = ", ".join(sorted(_methods_at(request)))
    return response


async def _invalid_parameters(request: Request, error: Exception) -> Response:
    """Convert FastAPI's error for a query to a problem, without the value that was sent."""
    assert isinstance(error, RequestValidationError)
    wrong = tuple(field_error(each | {"loc": each["loc"][1:]}) for each in error.errors())
    return problem_response(request, invalid_fields(wrong))


async def _unhandled(request: Request, _error: Exception) -> Response:
    """Return the problem for an internal error. The edge logs where it occurred."""
    return problem_response(request, internal())


def _methods_at(request: Request) -> set[str]:
    """Return all methods that the routes accept at the path of this request."""
    return {
        method
        for route in request.app.routes
        if isinstance(route, Route) and route.path_regex.match(request.url.path)
        for method in route.methods or ()
    }
