"""`/v1/agents`: the agents and servers behind gateways that the caller may reach."""

from fastapi import APIRouter
from typing_extensions import TypedDict

from ostiary.api.route import Answer, AnyoneOf, ApiRoute, Listing, answer_all

router = APIRouter(prefix="/v1", route_class=ApiRoute, tags=["Agents"])


class AgentJson(TypedDict):
    """An agent or server behind a gateway."""


@router.get("/agents")
def list_agents(_caller: AnyoneOf) -> Answer[Listing[AgentJson]]:
    """List the agents and servers behind gateways that the caller can reach.

    Any valid credential can call this. Gateways cannot be created yet, so the list is always empty.
    """
    return answer_all([])
