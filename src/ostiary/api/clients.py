"""`/v1/clients`: applications of the organization's own that ask people for access."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from ostiary.api.client_forms import ClientBody, ClientChanges, ClientJson, client_json
from ostiary.api.route import (
    Answer,
    ApiRoute,
    CallerOf,
    Listing,
    PageOf,
    Resource,
    body_of,
    conflict,
    perform,
    remove,
    resource,
    show,
)
from ostiary.http.routing import wiring
from ostiary.services import clients

router = APIRouter(prefix="/v1/clients", route_class=ApiRoute, tags=["Clients"])


@router.post("", status_code=201, responses=conflict("There are as many clients as there may be."))
def create_client(
    request: Request, caller: CallerOf, body: Annotated[ClientBody, Depends(body_of(ClientBody))]
) -> Answer[ClientJson]:
    """Register a client.

    Its `id` is what it calls itself at `/oauth/authorize`. It has no secret, and no access until somebody consents. Needs
    `write:clients`.
    """
    return perform(request, caller, client_json, clients.create, body.spec(), status=201)


@router.get("")
def list_clients(request: Request, caller: CallerOf, page: PageOf) -> Answer[Listing[ClientJson]]:
    """List the organization's own clients, newest first.

    Needs `read:clients`.
    """
    found = wiring(request).store.read(clients.list_page, caller, page.after, page.limit + 1)
    return page.answer(found, client_json, lambda each: each.id)


@router.get("/{client}")
def get_client(request: Request, caller: CallerOf, client: str) -> Answer[ClientJson]:
    """Show a client.

    Needs `read:clients`.
    """
    return show(request, caller, _client(client))


@router.patch("/{client}")
def update_client(
    request: Request,
    caller: CallerOf,
    client: str,
    body: Annotated[ClientChanges, Depends(body_of(ClientChanges))],
) -> Answer[ClientJson]:
    """Change a client.

    What was consented to before stays as it is. Needs `write:clients`.
    """
    return perform(
        request, caller, client_json, clients.update, client, body.changes(), current=_client(client)
    )


@router.delete("/{client}", status_code=204)
def delete_client(request: Request, caller: CallerOf, client: str) -> Response:
    """Delete a client.

    Every consent to it ends in the same transaction: sessions, tokens, and the service accounts that it got. Needs
    `write:clients`.
    """
    return remove(request, caller, clients.delete, client, current=_client(client))


@router.post("/{client}/disable")
def disable_client(request: Request, caller: CallerOf, client: str) -> Answer[ClientJson]:
    """Disable a client.

    Its sessions and their tokens are refused until it is enabled, and so is the access that other organizations
    consented to. Nobody can consent to it. It may be repeated. Needs `write:clients`.
    """
    return perform(request, caller, client_json, clients.set_disabled, client, True, current=_client(client))


@router.post("/{client}/enable")
def enable_client(request: Request, caller: CallerOf, client: str) -> Answer[ClientJson]:
    """Enable a client.

    Its sessions are accepted again. It may be repeated. Needs `write:clients`.
    """
    return perform(request, caller, client_json, clients.set_disabled, client, False, current=_client(client))


def _client(client: str) -> Resource[ClientJson]:
    return resource(client_json, clients.get, client)
