"""`/v1/roles` and `/v1/scopes`. `{role}` is an id or a name."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from ostiary.api.route import (
    Answer,
    AnyoneOf,
    ApiRoute,
    CallerOf,
    Listing,
    Resource,
    answer_all,
    body_of,
    conflict,
    perform,
    remove,
    resource,
    show,
)
from ostiary.api.tenant_forms import RoleChanges, RoleForm, RoleJson, ScopeBody, ScopeJson, role_json
from ostiary.http.routing import wiring
from ostiary.services import roles

router = APIRouter(prefix="/v1", route_class=ApiRoute, tags=["Roles"])


@router.get("/roles")
def list_roles(request: Request, caller: CallerOf) -> Answer[Listing[RoleJson]]:
    """List the roles that can be given.

    The built-in ones and the organization's own, on one page. Needs `read:roles`.
    """
    found = wiring(request).store.read(roles.list_roles, caller)
    return answer_all([role_json(role) for role in found])


@router.post(
    "/roles",
    status_code=201,
    responses=conflict("There is a role of this name, or as many roles as there may be."),
)
def create_role(
    request: Request, caller: CallerOf, body: Annotated[RoleForm, Depends(body_of(RoleForm))]
) -> Answer[RoleJson]:
    """Make a role of the organization's own.

    Nobody makes a role that holds more than they do. Its name is fixed. Needs `write:roles`.
    """
    return perform(
        request,
        caller,
        role_json,
        roles.create_role,
        body.name,
        body.description,
        tuple(body.scopes),
        status=201,
    )


@router.get("/roles/{role}")
def get_role(request: Request, caller: CallerOf, role: str) -> Answer[RoleJson]:
    """Show a role.

    Needs `read:roles`.
    """
    return show(request, caller, _role(role))


@router.patch("/roles/{role}", responses=conflict("A built-in role is fixed."))
def update_role(
    request: Request,
    caller: CallerOf,
    role: str,
    body: Annotated[RoleChanges, Depends(body_of(RoleChanges))],
) -> Answer[RoleJson]:
    """Change a role's description or scopes.

    It holds at once for everyone who has the role. Needs `write:roles`, and every scope that is given or taken.
    """
    return perform(
        request,
        caller,
        role_json,
        roles.update_role,
        role,
        body.changes(),
        current=_role(role),
    )


@router.delete("/roles/{role}", status_code=204, responses=conflict("A built-in role is fixed."))
def delete_role(request: Request, caller: CallerOf, role: str) -> Response:
    """Delete a role, and take it away from everyone who had it.

    Needs `write:roles`, and every scope of the role.
    """
    return remove(request, caller, roles.delete_role, role, current=_role(role))


def _role(role: str) -> Resource[RoleJson]:
    return resource(role_json, roles.get_role, role)


@router.get("/scopes")
def list_scopes(request: Request, caller: AnyoneOf) -> Answer[Listing[ScopeJson]]:
    """List the catalogue of scopes.

    These are what roles and credentials may hold besides the scopes of this API. Any valid credential may ask.
    """
    found = wiring(request).store.read(roles.list_scopes, caller)
    return answer_all([ScopeJson(scope=each) for each in found])


@router.post("/scopes", status_code=201, responses=conflict("The scope is in the catalogue already."))
def create_scope(
    request: Request, caller: CallerOf, body: Annotated[ScopeBody, Depends(body_of(ScopeBody))]
) -> Answer[ScopeJson]:
    """Add a scope to the catalogue.

    The built-in roles hold it at once. Needs `write:organization` in the operator's organization.
    """
    return perform(
        request, caller, lambda scope: ScopeJson(scope=scope), roles.create_scope, body.scope, status=201
    )


@router.delete("/scopes/{scope}", status_code=204)
def delete_scope(request: Request, caller: CallerOf, scope: str) -> Response:
    """Take a scope out of the catalogue.

    From then on nothing grants it. Needs `write:organization` in the operator's organization.
    """
    return remove(request, caller, roles.delete_scope, scope)
