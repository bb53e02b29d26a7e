"""Joining an organization by an invitation link.

The admin who invites has the link, and no email verifies the address. So if the account is a member of any
organization, the link alone is not enough: the person also enters the account's password. An admin of the first
organization may know that password, so the same step replaces it (decision 27).
"""

from dataclasses import dataclass, replace

from ostiary.core.event import Actor, Target
from ostiary.core.model import Invitation, Organization
from ostiary.core.permission import Caller
from ostiary.core.problem import Problem, not_found
from ostiary.services import members, sessions
from ostiary.services.audit import change
from ostiary.storage import directory
from ostiary.storage import members as member_rows
from ostiary.storage import people as rows
from ostiary.storage.people import Person
from ostiary.storage.store import Tx


@dataclass(frozen=True, slots=True)
class InvitationLink:
    """A valid invitation link, with the invited person's account."""

    invitation: Invitation
    organization: Organization
    person: Person | None
    """The user with the invited email address, if one exists. Pages must not show this."""
    homes: tuple[str, ...]
    """Ids of the organizations that this person is a member of."""

    @property
    def set_up(self) -> bool:
        """Whether the link alone is enough: the account does not exist, or is enabled and a member nowhere."""
        return self.person is None or (not self.homes and self.person.disabled_at is None)


def find_link(tx: Tx, _caller: Caller, token: str) -> InvitationLink:
    """Return what the link leads to, without using it. Raises the same not-found for every invalid link."""
    invitation = members.invitation_of(tx, token)
    organization = directory.find_organization(tx, invitation.organization_id)
    if invitation.accepted_at is not None or invitation.expires_at <= tx.now or organization is None:
        raise not_found("invitation", "used or expired")
    members.bindings_of_invitation(tx, invitation)
    person = rows.find_by_email(tx, invitation.email)
    homes = [] if person is None else [each.id for each in member_rows.organizations_of(tx, person.id)]
    return InvitationLink(invitation, organization, person, tuple(homes))


def join(tx: Tx, caller: Caller, token: str, password_hash: str, verified: str | None = None) -> str:
    """Make the invited person a member, with a new password. Return the user's id.

    `verified` is the hash that the current password was verified against; None if no password was given. All sessions
    of an existing account end. Raises not-found. Raises wrong-state if a password is missing or was not needed, or if
    the account changed meanwhile.
    """
    opened = find_link(tx, caller, token)
    person, email = opened.person, opened.invitation.email
    if opened.set_up != (verified is None):
        raise Problem("wrong-state", "Open the link again.", reason="another way to join")
    caller = replace(caller, actor=Actor("user", None if person is None else person.id, email))
    if person is not None:
        now = rows.lock(tx, person.id)
        before = person.password_hash if verified is None else verified
        if now is None or now.disabled_at or not rows.replace_password(tx, person.id, password_hash, before):
            raise Problem("wrong-state", "Open the link again.", reason="account changed meanwhile")
        ended = sessions.end_all(tx, caller, person.id, "the person joined another organization")
        home = replace(caller, organization_id=(*opened.homes, opened.organization.id)[0])
        change(tx, home, "password.changed", Target("user", person.id, email), ended=ended)
    user_id = members.accept_invitation(tx, caller, token, password_hash)
    joined = rows.find(tx, user_id)
    if joined is None or joined.password_hash != password_hash:
        raise Problem("wrong-state", "Open the link again.", reason="account made meanwhile")
    return user_id
