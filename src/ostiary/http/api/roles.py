"""`/v1/roles` and `/v1/scopes`. `{role}` is an id or a name."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from ostiary.http.api.route import (
    AnyoneOf,
    ApiRoute,
    CallerOf,
    answer,
    answer_one,
    body_of,
    nothing,
    perform,
    wiring,
)
from ostiary.http.api.tenant_forms import RoleChanges, RoleForm, ScopeBody, role_json
from ostiary.services import roles

router = APIRouter(prefix="/v1", route_class=ApiRoute, tags=["Roles"])


@router.get("/roles")
def list_roles(request: Request, caller: CallerOf) -> Response:
    found = wiring(request).store.read(roles.list_roles, caller)
    return answer({"data": [role_json(role) for role in found], "next_cursor": None})


@router.post("/roles", status_code=201)
def create(
    request: Request, caller: CallerOf, body: Annotated[RoleForm, Depends(body_of(RoleForm))]
) -> Response:
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
def get(request: Request, caller: CallerOf, role: str) -> Response:
    return answer_one(role_json(wiring(request).store.read(roles.get_role, caller, role)))


@router.patch("/roles/{role}")
def update(
    request: Request,
    caller: CallerOf,
    role: str,
    body: Annotated[RoleChanges, Depends(body_of(RoleChanges))],
) -> Response:
    return perform(
        request,
        caller,
        role_json,
        roles.update_role,
        role,
        body.changes(),
        current=lambda tx, who: role_json(roles.get_role(tx, who, role)),
    )


@router.delete("/roles/{role}", status_code=204)
def delete(request: Request, caller: CallerOf, role: str) -> Response:
    perform(
        request,
        caller,
        lambda _: {},
        roles.delete_role,
        role,
        current=lambda tx, who: role_json(roles.get_role(tx, who, role)),
    )
    return nothing()


@router.get("/scopes")
def list_scopes(request: Request, caller: AnyoneOf) -> Response:
    found = wiring(request).store.read(roles.list_scopes, caller)
    return answer({"data": [{"scope": scope} for scope in found], "next_cursor": None})


@router.post("/scopes", status_code=201)
def create_scope(
    request: Request, caller: CallerOf, body: Annotated[ScopeBody, Depends(body_of(ScopeBody))]
) -> Response:
    return perform(
        request, caller, lambda scope: {"scope": scope}, roles.create_scope, body.scope, status=201
    )


@router.delete("/scopes/{scope}", status_code=204)
def delete_scope(request: Request, caller: CallerOf, scope: str) -> Response:
    perform(request, caller, lambda _: {}, roles.delete_scope, scope)
    return nothing()
