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

    The list has the built-in roles and the organization's own, on one page. Needs `read:roles`.
    """
    found = wiring(request).store.read(roles.list_roles, caller)
    return answer_all([role_json(role) for role in found])


@router.post(
    "/roles",
    status_code=201,
    responses=conflict("The name is taken, or the limit on the number of roles is reached."),
)
def create_role(
    request: Request, caller: CallerOf, body: Annotated[RoleForm, Depends(body_of(RoleForm))]
) -> Answer[RoleJson]:
    """Create a role of the organization.

    The role cannot have more scopes than you hold. Its name cannot be changed. Needs `write:roles`.
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


@router.patch("/roles/{role}", responses=conflict("Built-in roles cannot be changed."))
def update_role(
    request: Request,
    caller: CallerOf,
    role: str,
    body: Annotated[RoleChanges, Depends(body_of(RoleChanges))],
) -> Answer[RoleJson]:
    """Change a role's description or scopes.

    The change applies immediately to everyone who has the role. Needs `write:roles`, and every scope that is
    added or removed.
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


@router.delete("/roles/{role}", status_code=204, responses=conflict("Built-in roles cannot be deleted."))
def delete_role(request: Request, caller: CallerOf, role: str) -> Response:
    """Delete a role.

    Everyone who had the role loses it. Needs `write:roles`, and every scope of the role.
    """
    return remove(request, caller, roles.delete_role, role, current=_role(role))


def _role(role: str) -> Resource[RoleJson]:
    return resource(role_json, roles.get_role, role)


@router.get("/scopes")
def list_scopes(request: Request, caller: AnyoneOf) -> Answer[Listing[ScopeJson]]:
    """List the catalogue of scopes.

    Roles and credentials can have these scopes in addition to the scopes of this API.
    Any valid credential can call this.
    """
    found = wiring(request).store.read(roles.list_scopes, caller)
    return answer_all([ScopeJson(scope=each) for each in found])


@router.post("/scopes", status_code=201, responses=conflict("The catalogue already has this scope."))
def create_scope(
    request: Request, caller: CallerOf, body: Annotated[ScopeBody, Depends(body_of(ScopeBody))]
) -> Answer[ScopeJson]:
    """Add a scope to the catalogue.

    The built-in roles get it immediately. Needs `write:organization` in the operator's organization.
    """
    return perform(
        request, caller, lambda scope: ScopeJson(scope=scope), roles.create_scope, body.scope, status=201
    )


@router.delete("/scopes/{scope}", status_code=204)
def delete_scope(request: Request, caller: CallerOf, scope: str) -> Response:
    """Remove a scope from the catalogue.

    From then on, no role or credential grants it. Needs `write:organization` in the operator's organization.
    """
    return remove(request, caller, roles.delete_scope, scope)
