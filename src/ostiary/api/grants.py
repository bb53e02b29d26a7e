"""`/v1/grants`: the consents that people gave to clients."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ostiary.api.client_forms import GrantJson, grant_json
from ostiary.api.route import Answer, ApiRoute, CallerOf, Listing, PageOf, Resource, remove, resource, show
from ostiary.http.routing import wiring
from ostiary.services import consents

router = APIRouter(prefix="/v1/grants", route_class=ApiRoute, tags=["Clients"])


@router.get("")
def list_grants(request: Request, caller: CallerOf, page: PageOf) -> Answer[Listing[GrantJson]]:
    """List the active consents, newest first.

    With `read:clients`, the list has the organization's consents, and the consents by which other
    organizations gave it access. Without this scope, it has only your own.
    """
    found = wiring(request).store.read(consents.list_page, caller, page.after, page.limit + 1)
    return page.answer(found, grant_json, lambda each: each.consent.id)


@router.get("/{grant}")
def get_grant(request: Request, caller: CallerOf, grant: str) -> Answer[GrantJson]:
    """Show a consent, including one that has ended.

    The organization that received the access can see it too. Needs `read:clients`, except for your own.
    """
    return show(request, caller, _grant(grant))


@router.delete("/{grant}", status_code=204)
def withdraw_grant(request: Request, caller: CallerOf, grant: str) -> Response:
    """Withdraw a consent.

    Everything that is based on it ends immediately: sessions, tokens, and the service account that had the
    access. The organization that received the access can give it up in the same way. Withdrawing it again has
    no effect. Needs `write:clients`, except for a client that acts for you. If the client acts for an
    organization admin, the caller needs every scope that the admin holds.
    """
    return remove(request, caller, consents.withdraw, grant, current=_grant(grant))


def _grant(grant: str) -> Resource[GrantJson]:
    return resource(grant_json, consents.get, grant)
