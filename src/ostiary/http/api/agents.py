"""`/v1/agents`: the agents and servers behind gateways that the caller may reach."""

from fastapi import APIRouter
from starlette.responses import Response

from ostiary.http.api.route import AnyoneOf, ApiRoute, answer

router = APIRouter(prefix="/v1", route_class=ApiRoute, tags=["Agents"])


@router.get("/agents")
def list_agents(_caller: AnyoneOf) -> Response:
    """Any good credential may ask. No gateway can be made yet, so the list is empty for everyone."""
    return answer({"data": [], "next_cursor": None})
