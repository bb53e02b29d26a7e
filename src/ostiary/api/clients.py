"""`/v1/clients`: the organization's applications that ask people for access."""

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


@router.post("", status_code=201, responses=conflict("The limit on the number of clients is reached."))
def create_client(
    request: Request, caller: CallerOf, body: Annotated[ClientBody, Depends(body_of(ClientBody))]
) -> Answer[ClientJson]:
    """Register a client.

    The client's `id` is its `client_id` at `/oauth/authorize`. It has no secret, and no access until a person
    consents. Needs `write:clients`.
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

    Existing consents do not change. Needs `write:clients`.
    """
    return perform(
        request, caller, client_json, clients.update, client, body.changes(), current=_client(client)
    )


@router.delete("/{client}", status_code=204)
def delete_client(request: Request, caller: CallerOf, client: str) -> Response:
    """Delete a client.

    All consents to it end in the same transaction, with their sessions, tokens and service accounts. Needs
    `write:clients`.
    """
    return remove(request, caller, clients.delete, client, current=_client(client))


@router.post("/{client}/disable")
def disable_client(request: Request, caller: CallerOf, client: str) -> Answer[ClientJson]:
    """Disable a client.

    Its sessions and tokens are refused until the client is enabled. The access that other organizations gave
    it is refused too. Nobody can consent to a disabled client. Disabling it again has no effect. Needs
    `write:clients`.
    """
    return perform(request, caller, client_json, clients.set_disabled, client, True, current=_client(client))


@router.post("/{client}/enable")
def enable_client(request: Request, caller: CallerOf, client: str) -> Answer[ClientJson]:
    """Enable a client.

    Its sessions are accepted again. Enabling it again has no effect. Needs `write:clients`.
    """
    return perform(request, caller, client_json, clients.set_disabled, client, False, current=_client(client))


def _client(client: str) -> Resource[ClientJson]:
    return resource(client_json, clients.get, client)
