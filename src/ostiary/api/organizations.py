"""`/v1/organizations` and their policies. Operator admins can act in every organization, others only in their
own.

`{organization_id}` is an id, a slug, or `-` for the organization in which the caller acts.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request

from ostiary.api.route import (
    Answer,
    ApiRoute,
    CallerOf,
    Listing,
    PageOf,
    body_of,
    conflict,
    enter,
    perform,
    resource,
    show,
)
from ostiary.api.tenant_forms import (
    OrganizationBody,
    OrganizationChanges,
    OrganizationJson,
    PoliciesBody,
    PoliciesJson,
    organization_json,
    policies_json,
)
from ostiary.http.routing import wiring
from ostiary.services import organizations

router = APIRouter(prefix="/v1/organizations", route_class=ApiRoute, tags=["Organizations"])

_ORGANIZATION = resource(organization_json, organizations.get)
_POLICIES = resource(policies_json, organizations.get_policies)


@router.post("", status_code=201, responses=conflict("The slug is taken."))
def create_organization(
    request: Request,
    caller: CallerOf,
    body: Annotated[OrganizationBody, Depends(body_of(OrganizationBody))],
) -> Answer[OrganizationJson]:
    """Create an organization.

    Its slug cannot be changed. Needs `write:organization` and the role operator-admin in the operator's
    organization.
    """
    return perform(request, caller, organization_json, organizations.create, body.name, body.slug, status=201)


@router.get("")
def list_organizations(request: Request, caller: CallerOf, page: PageOf) -> Answer[Listing[OrganizationJson]]:
    """List organizations.

    Operator admins see all organizations, newest first. Others see their own. Needs `read:organization`.
    """
    found = wiring(request).store.read(organizations.list_page, caller, page.after, page.limit + 1)
    return page.answer(found, organization_json, lambda each: each.id)


@router.get("/{organization_id}")
def get_organization(request: Request, caller: CallerOf, organization_id: str) -> Answer[OrganizationJson]:
    """Show an organization.

    Needs `read:organization`.
    """
    return show(request, enter(request, caller, organization_id), _ORGANIZATION)


@router.patch(
    "/{organization_id}",
    responses=conflict("The operator's own organization cannot be suspended."),
)
def update_organization(
    request: Request,
    caller: CallerOf,
    organization_id: str,
    body: Annotated[OrganizationChanges, Depends(body_of(OrganizationChanges))],
) -> Answer[OrganizationJson]:
    """Change an organization's name, or suspend it.

    Only an operator admin can suspend an organization. All credentials of a suspended organization are
    refused immediately. Needs `write:organization`.
    """
    return perform(
        request,
        enter(request, caller, organization_id),
        organization_json,
        organizations.update,
        body.name,
        body.suspended,
        current=_ORGANIZATION,
    )


@router.get("/{organization_id}/policies")
def get_policies(request: Request, caller: CallerOf, organization_id: str) -> Answer[PoliciesJson]:
    """Show an organization's limits.

    Needs `read:policies`.
    """
    return show(request, enter(request, caller, organization_id), _POLICIES)


@router.patch("/{organization_id}/policies")
def update_policies(
    request: Request,
    caller: CallerOf,
    organization_id: str,
    body: Annotated[PoliciesBody, Depends(body_of(PoliciesBody))],
    dry_run: Annotated[
        Literal["true"] | None,
        Query(description="true: check the values and return the result, but change nothing"),
    ] = None,
) -> Answer[PoliciesJson]:
    """Change an organization's limits.

    An organization can choose values up to its ceilings, which an operator admin sets. A lower limit does not
    remove anything that already exists. A default lifetime applies only to new credentials. Needs
    `write:policies`.
    """
    return perform(
        request,
        enter(request, caller, organization_id),
        policies_json,
        organizations.update_policies,
        body.chosen(),
        body.ceilings.chosen() if body.ceilings else {},
        body.reset(),
        body.ceilings.reset() if body.ceilings else frozenset(),
        dry_run is not None,
        current=_POLICIES,
    )
