"""Every route of the application, so that no test misses one."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from fastapi.routing import APIRoute

from ostiary.api.route import _query_parameters
from ostiary.node.app import PAGES, ROUTERS
from tests.cast import Front

HOT: dict[str, set[str]] = {
    "/v1/verify": {"POST"},
    "/v1/capabilities": {"GET"},
    "/v1/authorize/{rule}": {"GET"},
    "/v1/authorize/{rule}/{path}": {"GET"},
    "/v1/authorize-nginx/{rule}": {"GET"},
}
"""The hot path stands before the application and has no routes: `hotpath.is_hot`. Authorize takes any verb."""


NO_CALLER = frozenset(
    {
        "POST /v1/sessions",
        "POST /identity/public/v1/api/login",
        "POST /oauth/token",
        "POST /oauth/token/revoke",
        "POST /oauth/revoke",
        "POST /oauth/device/authorize",
        "POST /oauth/register",
        "POST /oauth2/ostiary/v1/token",
        *(f"POST {route.path}" for route in PAGES if "POST" in (route.methods or ())),
    }
)
"""What proves somebody there is in the body, or in a form; their events and refusals have tests of their own."""


def methods_of(front: Front) -> dict[str, set[str]]:
    """Return path templates with their methods."""
    found: dict[str, set[str]] = defaultdict(set)

    def walk(routes: Iterable[Any]) -> None:
        for route in routes:
            inner = getattr(route, "original_router", None)
            if inner is not None:  # a router that was included: FastAPI resolves it when it is asked
                walk(inner.routes)
            else:
                found[route.path_format] |= route.methods

    walk(front.door._application.otherwise.routes)  # type: ignore[attr-defined] # a FastAPI behind a protocol
    assert len(found) > 10
    return found | HOT


def queries() -> dict[str, set[str]]:
    """Return the query parameters of each route."""
    return {
        f"{method} {route.path_format}": _query_parameters(route.dependant)
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
