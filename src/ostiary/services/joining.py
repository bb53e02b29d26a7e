"""Becoming a member by an invitation's link: a new person chooses a password, a known one proves to be that person."""

from dataclasses import dataclass, replace
from typing import Literal

from ostiary.core.event import Actor
from ostiary.core.model import Invitation, Organization
from ostiary.core.permission import Caller
from ostiary.core.problem import Problem, not_found
from ostiary.services import members
from ostiary.storage import directory
from ostiary.storage import members as member_rows
from ostiary.storage import people as rows
from ostiary.storage.people import Person
from ostiary.storage.store import Tx

Way = Literal["choose", "sign in", "ask"]


@dataclass(frozen=True, slots=True)
class Opened:
    """What an invitation's link leads to."""

    invitation: Invitation
    organization: Organization
    person: Person | None
    """Who has the invited address already."""
    way: Way
    """How they prove to be who was invited: by choosing a first password, by having signed in; or not yet."""


def look(tx: Tx, _caller: Caller, token: str) -> Opened:
    """What the link is good for. It stays as it is. One neutral not-found for every link that is not good."""
    invitation = members.invitation_of(tx, token)
    organization = directory.find_organization(tx, invitation.organization_id)
    if invitation.accepted_at is not None or invitation.expires_at <= tx.now or organization is None:
        raise not_found("invitation", "used or expired")
    members.what_it_gives(tx, invitation)
    person = rows.find_by_email(tx, invitation.email)
    if person is not None and person.disabled_at is not None:
        raise not_found("invitation", "person disabled")
    return Opened(invitation, organization, person, _way(tx, person))


def _way(tx: Tx, person: Person | None) -> Way:
    if person is None:
        return "choose"
    if person.password_hash is not None:
        return "sign in"
    # Whoever invites has the link: choosing the password of somebody's member by it would be to become that member.
    return "ask" if member_rows.organizations_of(tx, person.id) else "choose"


def join(tx: Tx, caller: Caller, token: str, password_hash: str | None) -> str:
    """Become a member. The user's id. Raises not-found, or wrong-state where the way is another one."""
    opened = look(tx, caller, token)
    person = opened.person
    if opened.way == "ask" or (opened.way == "choose") != (password_hash is not None):
        raise Problem("wrong-state", "Open the link again.", reason="another way to join")
    if opened.way == "sign in" and (person is None or caller.actor.id != person.id):
        raise Problem("wrong-state", "Sign in as who was invited.", reason="somebody else's invitation")
    if person is None or password_hash is not None:
        caller = replace(
            caller, actor=Actor("user", None if person is None else person.id, opened.invitation.email)
        )
    user_id = members.accept_invitation(tx, caller, token, password_hash)
    if (
        person is not None
        and password_hash is not None
        and not rows.replace_password(tx, user_id, password_hash, None)
    ):
        raise Problem("wrong-state", "Open the link again.", reason="password chosen meanwhile")
    return user_id
