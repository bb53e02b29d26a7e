"""`/v1/members` and `/v1/invitations`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from ostiary.http.api.route import (
    ApiRoute,
    CallerOf,
    PageOf,
    answer_one,
    body_of,
    nothing,
    perform,
    wiring,
)
from ostiary.http.api.tenant_forms import InvitationBody, RolesBody, invitation_json, member_json
from ostiary.services import members

router = APIRouter(prefix="/v1", route_class=ApiRoute, tags=["Members"])


@router.get("/members")
def list_members(
    request: Request,
    caller: CallerOf,
    page: PageOf,
    email: Annotated[str | None, Query(max_length=254)] = None,
) -> Response:
    found = wiring(request).store.read(members.list_page, caller, email, page.after, page.limit + 1)
    rows = [member_json(each, caller.organization_id) for each in found]
    return page.answer(rows, lambda: found[page.limit - 1].member.id)


@router.get("/members/{member}")
def get(request: Request, caller: CallerOf, member: str) -> Response:
    found = wiring(request).store.read(members.get, caller, member)
    return answer_one(member_json(found, caller.organization_id))


@router.patch("/members/{member}")
def set_roles(
    request: Request,
    caller: CallerOf,
    member: str,
    body: Annotated[RolesBody, Depends(body_of(RolesBody))],
) -> Response:
    return perform(
        request,
        caller,
        lambda view: member_json(view, caller.organization_id),
        members.set_roles,
        member,
        body.specs(),
        current=lambda tx, who: member_json(members.get(tx, who, member), who.organization_id),
    )


@router.delete("/members/{member}", status_code=204)
def remove(request: Request, caller: CallerOf, member: str) -> Response:
    perform(
        request,
        caller,
        lambda _: {},
        members.remove,
        member,
        current=lambda tx, who: member_json(members.get(tx, who, member), who.organization_id),
    )
    return nothing()


@router.post("/invitations", status_code=201)
def invite(
    request: Request, caller: CallerOf, body: Annotated[InvitationBody, Depends(body_of(InvitationBody))]
) -> Response:
    return perform(
        request,
        caller,
        lambda invited: {
            "invitation": invitation_json(invited.invitation),
            "secret": invited.token.reveal(),
        },
        members.invite,
        body.email,
        body.specs(),
        status=201,
    )


@router.get("/invitations")
def list_invitations(request: Request, caller: CallerOf, page: PageOf) -> Response:
    found = wiring(request).store.read(members.list_invitations, caller, page.after, page.limit + 1)
    return page.answer([invitation_json(each) for each in found], lambda: found[page.limit - 1].id)


@router.get("/invitations/{invitation}")
def get_invitation(request: Request, caller: CallerOf, invitation: str) -> Response:
    return answer_one(invitation_json(wiring(request).store.read(members.get_invitation, caller, invitation)))


@router.delete("/invitations/{invitation}", status_code=204)
def delete_invitation(request: Request, caller: CallerOf, invitation: str) -> Response:
    perform(
        request,
        caller,
        lambda _: {},
        members.delete_invitation,
        invitation,
        current=lambda tx, who: invitation_json(members.get_invitation(tx, who, invitation)),
    )
    return nothing()
