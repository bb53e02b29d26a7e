"""Members and invitations: which users belong to an organization, and with which roles."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ostiary.core import limits, secret
from ostiary.core.event import Target
from ostiary.core.instant import DAY, to_text
from ostiary.core.model import Invitation, Member, RoleBinding, may_be_channel_identifier
from ostiary.core.permission import OPERATOR_ADMIN, Caller, Catalogue, require, require_no_application
from ostiary.core.problem import Problem, invalid, not_found
from ostiary.core.secret import Secret
from ostiary.services import audit, consents, issuance, makers, roles
from ostiary.services.audit import change
from ostiary.services.roles import RoleSpec
from ostiary.storage import credentials as credential_rows
from ostiary.storage import directory as directory_rows
from ostiary.storage import members as rows
from ostiary.storage import people
from ostiary.storage import roles as role_rows
from ostiary.storage.store import Tx

INVITATION_LIFETIME = 7 * DAY
INVITATION_PREFIX = "invite-"
ADMIN = RoleBinding("organization-admin", None)
OPERATOR = RoleBinding(OPERATOR_ADMIN, None)
REQUIRED_ROLES = {
    ADMIN: "This is the organization's last admin. Make another member an organization-admin first.",
    OPERATOR: "This is the last operator admin. Give another member the role operator-admin first.",
}
"""Roles of which the last holder may not be removed, and the message for that case."""


@dataclass(frozen=True, slots=True)
class MemberView:
    member: Member
    bindings: tuple[RoleBinding, ...]


@dataclass(frozen=True, slots=True)
class NewInvitation:
    """A new invitation, and the one chance to see its token."""

    invitation: Invitation
    token: Secret


def insert(
    tx: Tx,
    caller: Caller,
    organization_id: str,
    email: str,
    password_hash: str | None,
    bindings: Sequence[RoleBinding],
) -> str:
    """Add a member, without a permission check. Creates the user if none has this email. Return the user's id.

    Raises name-taken if the user is a member already.
    """
    person = people.find_by_email(tx, email)
    user_id = tx.new_id("usr") if person is None else person.id
    if person is None:
        _not_an_accounts(tx, email)
        people.insert_user(tx, user_id, email, password_hash)
    else:
        # The makers of open reset links were not checked against this membership.
        people.end_resets(tx, user_id)
    if rows.get_member(tx, organization_id, user_id) is not None:
        raise Problem("name-taken", "This user is a member already.", reason="member already")
    rows.insert_member(tx, organization_id, user_id)
    role_rows.replace_role_bindings(tx, organization_id, user_id, bindings)
    tx.changed("organization", organization_id)
    change(
        tx,
        replace(caller, organization_id=organization_id),
        "member.added",
        Target("user", user_id, email),
        roles=roles.names_of(bindings),
        account="new" if person is None else "existing",
    )
    return user_id


def list_page(tx: Tx, caller: Caller, email: str | None, after: str | None, limit: int) -> list[MemberView]:
    """Return members, newest first, starting after the id `after`. With `email`, only the member with this email."""
    require(caller, "read:members")
    wanted = None if email is None else email.lower()
    members = rows.list_members(tx, caller.organization_id, wanted, after, limit)
    bindings = role_rows.list_role_bindings(tx, caller.organization_id, [member.id for member in members])
    return [MemberView(member, tuple(bindings[member.id])) for member in members]


def get(tx: Tx, caller: Caller, user_id: str) -> MemberView:
    require(caller, "read:members")
    return _view(tx, caller, _find(tx, caller, user_id))


def set_roles(tx: Tx, caller: Caller, user_id: str, asked: Sequence[RoleSpec]) -> MemberView:
    """Replace a member's roles. The caller must hold every scope of the roles that are given or taken.

    Raises last-admin if the organization would lose its last admin, or the installation its last operator admin.
    """
    require(caller, "write:members")
    member = _find(tx, caller, user_id)
    catalogue = role_rows.catalogue_of(tx, caller.organization_id)
    after = roles.read_roles(tx, caller, catalogue, asked, "/roles")
    before = _bindings(tx, caller, user_id)
    roles.require_to_change(caller, catalogue, before, after)
    if set(after) != set(before):
        _require_not_last(tx, caller, user_id, after)
        people.end_resets(tx, user_id)
        role_rows.replace_role_bindings(tx, caller.organization_id, user_id, after)
        tx.changed("organization", caller.organization_id)
        change(
            tx,
            caller,
            "member.roles_changed",
            _target(member),
            before=roles.names_of(before),
            after=roles.names_of(after),
        )
    else:
        tx.confirm()
    return _view(tx, caller, member)


def remove(tx: Tx, caller: Caller, user_id: str) -> None:
    """End a membership, and revoke the member's direct keys in the organization.

    People may leave by themselves without a scope, but not with a narrowed credential. Raises last-admin.
    """
    if caller.actor.id != user_id or caller.fine_grained or caller.granted is not None:
        require(caller, "write:members")
    member = _find(tx, caller, user_id)
    if caller.actor.id != user_id:
        catalogue = role_rows.catalogue_of(tx, caller.organization_id)
        roles.require_to_grant(caller, catalogue, _bindings(tx, caller, user_id))
    _require_not_last(tx, caller, user_id, ())
    revoked = credential_rows.revoke_all_of(tx, caller.organization_id, user_id)
    audit.record_revocations(tx, caller, revoked, "its owner is no longer a member")
    role_rows.replace_role_bindings(tx, caller.organization_id, user_id, [])
    consents.end_all_of_member(tx, caller, caller.organization_id, user_id, "no longer a member")
    rows.delete_member(tx, caller.organization_id, user_id)
    tx.changed("organization", caller.organization_id)
    change(tx, caller, "member.removed", _target(member), revoked=len(revoked))


def invite(tx: Tx, caller: Caller, email: str, asked: Sequence[RoleSpec]) -> NewInvitation:
    """Invite a person by email. The token makes its holder a member with these roles, within seven days.

    Raises name-taken if the email belongs to a member, validation-failed, limit-reached or scope-exceeds-grantor.
    """
    require(caller, "write:members")
    _not_an_accounts(tx, email)
    catalogue = role_rows.catalogue_of(tx, caller.organization_id)
    bindings = roles.read_roles(tx, caller, catalogue, asked, "/roles")
    _require_to_invite(caller, catalogue, bindings)
    person = people.find_by_email(tx, email)
    if person is not None and rows.get_member(tx, caller.organization_id, person.id) is not None:
        raise Problem("name-taken", "This user is a member already.", reason="member already")
    open_ones = rows.count_open_invitations(tx, caller.organization_id)
    limits.check("invitations", open_ones)
    limits.check("members", rows.count_members(tx, caller.organization_id) + open_ones)
    new = issuance.new_secret(tx, INVITATION_PREFIX)
    invitation = Invitation(
        tx.new_id("inv"),
        caller.organization_id,
        email,
        tuple(bindings),
        tx.now,
        tx.now + INVITATION_LIFETIME,
        None,
        makers.maker_of(tx, caller),
    )
    rows.insert_invitation(tx, invitation, new.access_id, new.digest, new.pepper_id)
    change(
        tx,
        caller,
        "invitation.created",
        _invited(invitation),
        roles=roles.names_of(bindings),
        expires_at=to_text(invitation.expires_at),
    )
    return NewInvitation(invitation, new.secret)


def _require_to_invite(caller: Caller, catalogue: Catalogue, bindings: Sequence[RoleBinding]) -> None:
    require(caller, "write:members")
    require_no_application(caller)
    roles.require_to_grant(caller, catalogue, bindings)


def list_invitations(tx: Tx, caller: Caller, after: str | None, limit: int) -> list[Invitation]:
    require(caller, "read:members")
    return rows.list_invitations(tx, caller.organization_id, after, limit)


def get_invitation(tx: Tx, caller: Caller, invitation_id: str) -> Invitation:
    require(caller, "read:members")
    return _find_invitation(tx, caller, invitation_id)


def delete_invitation(tx: Tx, caller: Caller, invitation_id: str) -> None:
    """Delete an invitation. Its token stops working at once."""
    require(caller, "write:members")
    found = _find_invitation(tx, caller, invitation_id)
    rows.delete_invitation(tx, found.id)
    change(tx, caller, "invitation.deleted", _invited(found))


def accept_invitation(tx: Tx, caller: Caller, token: str, password_hash: str | None) -> str:
    """Use an invitation's token, once. Return the new member's user id. Raises the same not-found for invalid tokens."""
    invitation = invitation_of(tx, token)
    bindings = bindings_of_invitation(tx, invitation)
    if not rows.accept_invitation(tx, invitation.id):
        raise not_found("invitation", "used or expired")
    caller = replace(caller, organization_id=invitation.organization_id)
    user_id = insert(tx, caller, invitation.organization_id, invitation.email, password_hash, bindings)
    change(tx, caller, "invitation.accepted", _invited(invitation))
    return user_id


def bindings_of_invitation(tx: Tx, invitation: Invitation) -> list[RoleBinding]:
    """Return the role bindings that an invitation gives now. Deleted roles and projects are left out.

    Raises not-found if the invitation's maker may no longer give them.
    """
    catalogue = role_rows.catalogue_of(tx, invitation.organization_id)
    projects = {None, *directory_rows.project_names(tx, invitation.organization_id).values()}
    bindings = [
        each for each in invitation.roles if catalogue.has_role(each.role) and each.project_id in projects
    ]
    makers.require_still(
        tx,
        invitation.maker,
        invitation.organization_id,
        "invitation",
        lambda maker: _require_to_invite(maker, catalogue, bindings),
    )
    return bindings


def invitation_of(tx: Tx, token: str) -> Invitation:
    """Return the invitation of a token, even a used or expired one. Raises the same not-found for every wrong token."""
    text = token.encode()
    access_id = secret.parse(text, (INVITATION_PREFIX.encode(),))
    found = None if access_id is None else rows.find_invitation_by_access_id(tx, access_id)
    if found is None:
        raise not_found("invitation", "unknown token")
    invitation, digest, pepper_id = found
    pepper = tx.installation.keyring.peppers.get(pepper_id)
    if pepper is None or not secret.matches(digest, secret.digest(text, pepper)):
        raise not_found("invitation", "wrong token")
    return invitation


def _not_an_accounts(tx: Tx, email: str) -> None:
    """Raise validation-failed for an email that is, or could become, a channel identifier."""
    host = tx.installation.channel_host
    if may_be_channel_identifier(email, host):
        reason = f"must not be an email address below {host}: such addresses identify service accounts"
        raise invalid("/email", "reserved", reason)


def organization_of_token(tx: Tx, _caller: Caller, token: str) -> str | None:
    """Return the id of the organization that made this token, even an expired one; None for an unknown token."""
    try:
        return invitation_of(tx, token).organization_id
    except Problem:
        return None


def _find(tx: Tx, caller: Caller, user_id: str) -> Member:
    member = rows.get_member(tx, caller.organization_id, user_id)
    if member is None:
        raise not_found("member")
    return member


def _find_invitation(tx: Tx, caller: Caller, invitation_id: str) -> Invitation:
    found = rows.find_invitation(tx, caller.organization_id, invitation_id)
    if found is None:
        raise not_found("invitation")
    return found


def _bindings(tx: Tx, caller: Caller, user_id: str) -> list[RoleBinding]:
    return role_rows.list_role_bindings(tx, caller.organization_id, [user_id])[user_id]


def _view(tx: Tx, caller: Caller, member: Member) -> MemberView:
    return MemberView(member, tuple(_bindings(tx, caller, member.id)))


def _require_not_last(tx: Tx, caller: Caller, user_id: str, after: Sequence[RoleBinding]) -> None:
    """Raise last-admin if this member is the last holder of a role in `REQUIRED_ROLES` and would lose it."""
    for binding, message in REQUIRED_ROLES.items():
        if binding not in after and rows.holders(tx, caller.organization_id, binding.role) == {user_id}:
            raise Problem("last-admin", message, reason=f"last {binding.role}")


def _target(member: Member) -> Target:
    return Target("user", member.id, member.email)


def _invited(invitation: Invitation) -> Target:
    return Target("invitation", invitation.id, invitation.email)
