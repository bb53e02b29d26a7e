"""`/v1/organizations` and their policies. An admin of the operator reaches every one, others their own."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from ostiary.http.api.route import (
    ApiRoute,
    CallerOf,
    PageOf,
    answer_one,
    body_of,
    enter,
    perform,
    wiring,
)
from ostiary.http.api.tenant_forms import (
    OrganizationBody,
    OrganizationChanges,
    PoliciesBody,
    organization_json,
    policies_json,
)
from ostiary.services import organizations

router = APIRouter(prefix="/v1/organizations", route_class=ApiRoute, tags=["Organizations"])


@router.post("", status_code=201)
def create(
    request: Request,
    caller: CallerOf,
    body: Annotated[OrganizationBody, Depends(body_of(OrganizationBody))],
) -> Response:
    return perform(request, caller, organization_json, organizations.create, body.name, body.slug, status=201)


@router.get("")
def list_organizations(request: Request, caller: CallerOf, page: PageOf) -> Response:
    found = wiring(request).store.read(organizations.list_page, caller, page.after, page.limit + 1)
    return page.answer([organization_json(each) for each in found], lambda: found[page.limit - 1].id)


@router.get("/{organization_id}")
def get(request: Request, caller: CallerOf, organization_id: str) -> Response:
    caller = enter(request, caller, organization_id)
    return answer_one(organization_json(wiring(request).store.read(organizations.get, caller)))


@router.patch("/{organization_id}")
def update(
    request: Request,
    caller: CallerOf,
    organization_id: str,
    body: Annotated[OrganizationChanges, Depends(body_of(OrganizationChanges))],
) -> Response:
    return perform(
        request,
        enter(request, caller, organization_id),
        organization_json,
        organizations.update,
        body.name,
        body.suspended,
        current=lambda tx, who: organization_json(organizations.get(tx, who)),
    )


@router.get("/{organization_id}/policies")
def get_policies(request: Request, caller: CallerOf, organization_id: str) -> Response:
    caller = enter(request, caller, organization_id)
    return answer_one(policies_json(wiring(request).store.read(organizations.get_policies, caller)))


@router.patch("/{organization_id}/policies")
def update_policies(
    request: Request,
    caller: CallerOf,
    organization_id: str,
    body: Annotated[PoliciesBody, Depends(body_of(PoliciesBody))],
) -> Response:
    return perform(
        request,
        enter(request, caller, organization_id),
        policies_json,
        organizations.update_policies,
        body.chosen(),
        body.ceilings.chosen() if body.ceilings else {},
        body.reset(),
        body.ceilings.reset() if body.ceilings else frozenset(),
        current=lambda tx, who: policies_json(organizations.get_policies(tx, who)),
    )
