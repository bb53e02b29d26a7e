"""Reset links: a person chooses a new password by a link that an admin made. A link works once, within an hour.

The holder of a link can sign in as the person. So a caller cannot make a link for a person with more permissions, nor
for a member of another organization: that needs an operator admin. For the same reason, open links end when the
person gets a new membership or other roles.
"""

from dataclasses import dataclass, replace

from ostiary.core import limits, secret
from ostiary.core.event import Actor, Target
from ostiary.core.instant import HOUR, Instant, to_text
from ostiary.core.model import Member
from ostiary.core.permission import Caller, require, require_no_application
from ostiary.core.problem import Problem, not_found
from ostiary.core.secret import RESET, Secret
from ostiary.services import issuance, makers, roles, sessions
from ostiary.services.audit import change
from ostiary.storage import directory
from ostiary.storage import members as member_rows
from ostiary.storage import people as rows
from ostiary.storage import roles as role_rows
from ostiary.storage.people import Person, StoredReset
from ostiary.storage.store import Tx

LIFETIME = HOUR


@dataclass(frozen=True, slots=True)
class NewResetLink:
    """A new link's token, which cannot be read again."""

    token: Secret
    expires_at: Instant


@dataclass(frozen=True, slots=True)
class ResetLink:
    """A valid link: its person, and the ids of the organizations that it concerns."""

    person: Person
    organizations: tuple[str, ...]
    """Events go to the audit log of the first one."""


def create(tx: Tx, caller: Caller, user_id: str) -> NewResetLink:
    """Create a reset link for a member.

    Raises not-found, insufficient-permissions, scope-exceeds-grantor or limit-reached.
    """
    member = _require_to_make(tx, caller, user_id)
    limits.check("password_resets", rows.count_resets(tx, user_id))
    new = issuance.new_secret(tx, RESET)
    made = StoredReset(
        new.access_id,
        caller.organization_id,
        user_id,
        new.digest,
        new.pepper_id,
        tx.now,
        tx.now + LIFETIME,
        maker=makers.maker_of(tx, caller),
    )
    rows.insert_reset(tx, made)
    change(
        tx,
        caller,
        "password_reset.created",
        Target("user", user_id, member.email),
        expires_at=to_text(made.expires_at),
    )
    return NewResetLink(new.secret, made.expires_at)


def _require_to_make(tx: Tx, caller: Caller, user_id: str) -> Member:
    """Return the member if the caller may create a link for them. Raises as `create` does."""
    require(caller, "write:members")
    require_no_application(caller)
    member = member_rows.get_member(tx, caller.organization_id, user_id)
    if member is None:
        raise not_found("member")
    catalogue = role_rows.catalogue_of(tx, caller.organization_id)
    bindings = role_rows.list_role_bindings(tx, caller.organization_id, [user_id])[user_id]
    roles.require_to_grant(caller, catalogue, bindings)
    if not caller.operator_admin and member_rows.is_member_elsewhere(tx, caller.organization_id, user_id):
        raise Problem(
            "scope-exceeds-grantor",
            "This person is also a member of another organization. Only an operator admin can create the link.",
            reason="member of another organization",
        )
    return member


def find_link(tx: Tx, _caller: Caller, token: str) -> ResetLink:
    """Return the person of a link, without using it. Raises the same not-found for every invalid link."""
    return _open(tx, token)[1]


def use(tx: Tx, caller: Caller, token: str, password_hash: str) -> str:
    """Set a new password by a link, once, and end all sessions of the person. Return the person's id.

    Raises the same not-found for every invalid link.
    """
    reset, opened = _open(tx, token)
    person = opened.person
    if not rows.use_reset(tx, reset.access_id):
        raise not_found("link", "used or expired")
    before = rows.lock(tx, person.id)
    if before is None or not rows.replace_password(tx, person.id, password_hash, before.password_hash):
        raise not_found("link", "person changed meanwhile")
    rows.end_resets(tx, person.id)
    caller = replace(
        caller, actor=Actor("user", person.id, person.email), organization_id=opened.organizations[0]
    )
    ended = sessions.end_all(tx, caller, person.id, "a new password was chosen by a link")
    change(tx, caller, "password_reset.used", Target("user", person.id, person.email), ended=ended)
    return person.id


def organization_of_token(tx: Tx, _caller: Caller, token: str) -> str | None:
    """Return the id of the organization that made a link, even a used or expired one; None for an unknown link."""
    try:
        return _find(tx, token).organization_id
    except Problem:
        return None


def _find(tx: Tx, token: str) -> StoredReset:
    """Return the link of a token, even a used or expired one. Raises not-found."""
    text = token.encode()
    access_id = secret.parse(text, (RESET.encode(),))
    reset = None if access_id is None else rows.find_reset(tx, access_id)
    if reset is None:
        raise not_found("link", "unknown link")
    pepper = tx.installation.keyring.peppers.get(reset.pepper_id)
    if pepper is None or not secret.matches(reset.digest, secret.digest(text, pepper)):
        raise not_found("link", "wrong link")
    return reset


def _open(tx: Tx, token: str) -> tuple[StoredReset, ResetLink]:
    reset = _find(tx, token)
    if reset.used_at is not None or reset.expires_at <= tx.now:
        raise not_found("link", "used or expired")
    person = rows.find(tx, reset.user_id)
    if person is None or person.disabled_at is not None:
        raise not_found("link", "person disabled")
    makers.require_still(
        tx,
        reset.maker,
        reset.organization_id,
        "link",
        lambda maker: _require_to_make(tx, maker, reset.user_id),
    )
    found = [each.id for each in member_rows.organizations_of(tx, person.id)]
    operator = directory.find_operator(tx)
    if not found and operator is not None:
        found = [operator.id]
    return reset, ResetLink(person, tuple(found))
