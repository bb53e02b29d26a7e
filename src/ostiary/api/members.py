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
    email: Annotated[
        str | None, Query(max_length=254, description="Only the member with this email address")
    ] = None,
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


@router.patch("/members/{member}", responses=conflict("The organization would have no admin left."))
def set_member_roles(
    request: Request,
    caller: CallerOf,
    member: str,
    body: Annotated[RolesBody, Depends(body_of(RolesBody))],
) -> Answer[MemberJson]:
    """Replace all roles of a member.

    You cannot give a role with more scopes than you hold. You cannot remove a role from a member who holds
    more than you do. Needs `write:members`.
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
    responses=conflict("The organization would have no admin left."),
)
def remove_member(request: Request, caller: CallerOf, member: str) -> Response:
    """Remove a member.

    The member's direct keys in the organization are revoked. Needs `write:members`, except to leave the
    organization yourself.
    """
    return remove(request, caller, members.remove, member, current=_member(member))


@router.post("/members/{member}/password-reset", status_code=201)
def reset_password(request: Request, caller: CallerOf, member: str) -> Answer[ResetJson]:
    """Create a link with which a member can choose a new password.

    The link works once, for one hour. Its use ends all sessions of the member. You cannot create a link for a
    member who holds more scopes than you do. Only an operator admin can create one for a member who also
    belongs to another organization. Needs `write:members`.
    """
    issuer = wiring(request).store.installation.issuer
    return perform(
        request, caller, lambda made: reset_json(made, issuer), password_resets.create, member, status=201
    )


@router.post("/invitations", status_code=201, responses=conflict("The user is already a member."))
def create_invitation(
    request: Request, caller: CallerOf, body: Annotated[InvitationBody, Depends(body_of(InvitationBody))]
) -> Answer[InvitedJson]:
    """Invite a person to become a member.

    The response contains the invitation's token, and the link with it, only once. The token is valid for
    seven days. Needs `write:members`.
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
