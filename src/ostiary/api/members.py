"""`/v1/members` and `/v1/invitations`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

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
from ostiary.api.tenant_forms import (
    InvitationBody,
    InvitationJson,
    InvitedJson,
    MemberJson,
    ResetJson,
    RolesBody,
    invitation_json,
    invited_json,
    member_json,
    reset_json,
)
from ostiary.http.routing import wiring
from ostiary.services import members, password_resets

router = APIRouter(prefix="/v1", route_class=ApiRoute, tags=["Members"])


@router.get("/members")
def list_members(
    request: Request,
    caller: CallerOf,
    page: PageOf,
    email: Annotated[str | None, Query(max_length=254, description="Only who has this address")] = None,
) -> Answer[Listing[MemberJson]]:
    """List the organization's members, newest first.

    Needs `read:members`.
    """
    found = wiring(request).store.read(members.list_page, caller, email, page.after, page.limit + 1)
    return page.answer(
        found, lambda each: member_json(each, caller.organization_id), lambda each: each.member.id
    )


@router.get("/members/{member}")
def get_member(request: Request, caller: CallerOf, member: str) -> Answer[MemberJson]:
    """Show a member.

    Needs `read:members`.
    """
    return show(request, caller, _member(member))


@router.patch("/members/{member}", responses=conflict("The organization would be left without an admin."))
def set_member_roles(
    request: Request,
    caller: CallerOf,
    member: str,
    body: Annotated[RolesBody, Depends(body_of(RolesBody))],
) -> Answer[MemberJson]:
    """Replace all roles of a member.

    Nobody gives a role that holds more than they do, or takes one from a member that does. Needs `write:members`.
    """
    return perform(
        request,
        caller,
        lambda view: member_json(view, caller.organization_id),
        members.set_roles,
        member,
        body.specs(),
        current=_member(member),
    )


@router.delete(
    "/members/{member}",
    status_code=204,
    responses=conflict("The organization would be left without an admin."),
)
def remove_member(request: Request, caller: CallerOf, member: str) -> Response:
    """Remove a member.

    Its direct keys in the organization are revoked. Needs `write:members`, but anyone may leave.
    """
    return remove(request, caller, members.remove, member, current=_member(member))


@router.post("/members/{member}/password-reset", status_code=201)
def reset_password(request: Request, caller: CallerOf, member: str) -> Answer[ResetJson]:
    """Make a link by which a member chooses a new password.

    It is good once, for an hour, and ends all sessions of the member. Nobody makes one for a member that holds more
    than they do, and only an operator admin for one who belongs to another organization, too.
    Needs `write:members`.
    """
    issuer = wiring(request).store.installation.issuer
    return perform(
        request, caller, lambda made: reset_json(made, issuer), password_resets.create, member, status=201
    )


@router.post("/invitations", status_code=201, responses=conflict("This user is a member already."))
def create_invitation(
    request: Request, caller: CallerOf, body: Annotated[InvitationBody, Depends(body_of(InvitationBody))]
) -> Answer[InvitedJson]:
    """Invite somebody to become a member.

    The answer has the invitation's token once, and the link that holds it; it is good for seven days. Needs `write:members`.
    """
    issuer = wiring(request).store.installation.issuer
    return perform(
        request,
        caller,
        lambda invited: invited_json(invited, issuer),
        members.invite,
        body.email,
        body.specs(),
        status=201,
    )


@router.get("/invitations")
def list_invitations(request: Request, caller: CallerOf, page: PageOf) -> Answer[Listing[InvitationJson]]:
    """List the organization's invitations, newest first.

    Needs `read:members`.
    """
    found = wiring(request).store.read(members.list_invitations, caller, page.after, page.limit + 1)
    return page.answer(found, invitation_json, lambda each: each.id)


@router.get("/invitations/{invitation}")
def get_invitation(request: Request, caller: CallerOf, invitation: str) -> Answer[InvitationJson]:
    """Show an invitation.

    Needs `read:members`.
    """
    return show(request, caller, _invitation(invitation))


@router.delete("/invitations/{invitation}", status_code=204)
def delete_invitation(request: Request, caller: CallerOf, invitation: str) -> Response:
    """Withdraw an invitation.

    Its token is refused from then on. Needs `write:members`.
    """
    return remove(request, caller, members.delete_invitation, invitation, current=_invitation(invitation))


def _member(member: str) -> Resource[MemberJson]:
    return lambda tx, caller: member_json(members.get(tx, caller, member), caller.organization_id)


def _invitation(invitation: str) -> Resource[InvitationJson]:
    return resource(invitation_json, members.get_invitation, invitation)
