"""People who sign in with a password: browser sessions, password checks, changes of the password.

A password is verified outside any transaction (`services.passwords`), against a hash that was read before. The
transaction that follows checks that the stored hash is still the same.
"""

from dataclasses import dataclass
from typing import Final

from ostiary.core.event import UNKNOWN, Event, Target
from ostiary.core.instant import Instant, to_text
from ostiary.core.model import Organization, SessionKind
from ostiary.core.permission import Caller
from ostiary.core.problem import Problem
from ostiary.core.secret import SESSION, Secret
from ostiary.services import issuance, organizations, sessions
from ostiary.services.audit import change
from ostiary.storage import directory
from ostiary.storage import members as member_rows
from ostiary.storage import people as rows
from ostiary.storage import sessions as session_rows
from ostiary.storage.people import Person
from ostiary.storage.sessions import Proof, Session
from ostiary.storage.store import Tx

BROWSER: Final[SessionKind] = "browser"


@dataclass(frozen=True, slots=True)
class SignInTarget:
    """The person with an email, if any, and the organization that they would sign in to.

    That is the organization of their oldest membership that is not suspended.
    """

    person: Person | None
    home: Organization | None
    log: str
    """The id of the organization whose audit log gets the attempt: their own, or the operator's."""


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """A browser session with its secret, which cannot be read again."""

    session_id: str
    secret: Secret
    expires_at: Instant


@dataclass(frozen=True, slots=True)
class VerifiedPassword:
    """The result of a password check."""

    verified: str
    """The stored hash that the password matched."""
    renewed: str | None = None
    """A new hash of the same password, if the stored one has outdated parameters."""

    def __repr__(self) -> str:
        return "Proven()"


def find_by_email(tx: Tx, _caller: Caller, email: str) -> SignInTarget:
    """Return the person with this email address, if any, and where they would sign in."""
    return _known(tx, rows.find_by_email(tx, email))


def _known(tx: Tx, person: Person | None) -> SignInTarget:
    homes = [] if person is None else _homes(tx, person.id)
    operator = directory.find_operator(tx)
    if homes:
        return SignInTarget(person, homes[0], homes[0].id)
    return SignInTarget(person, None, "" if operator is None else operator.id)


def record_refusal(tx: Tx, caller: Caller, person: Person | None, reason: str, purpose: str) -> None:
    """Record a refused password check, with the exact reason, in the audit log of the caller's organization.

    The entered email is not recorded, because people enter passwords there by mistake.
    """
    tx.record(
        Event(
            "sign_in.refused",
            UNKNOWN,
            None if person is None else Target("user", person.id, person.email),
            "refused",
            reason,
            None if caller.address is None else str(caller.address),
            caller.user_agent,
            caller.request_id,
            {"purpose": purpose},
        ),
        caller.organization_id,
    )


def sign_in(tx: Tx, caller: Caller, proven: VerifiedPassword) -> BrowserSession:
    """Begin a browser session with a new secret. `caller` is the person, in the organization from `find_by_email`.

    Ends the person's oldest browser session if they have too many. Raises invalid-credential if the password, the
    person or the membership has changed since the password check.
    """
    person = _still(tx, caller, proven)
    homes = _homes(tx, person.id)
    if not homes or homes[0].id != caller.organization_id:
        raise _refused("membership changed meanwhile")
    lifetime = organizations.policy_of(tx, caller.organization_id).session_lifetime
    new = issuance.new_secret(tx, SESSION)
    session = Session(
        id=tx.new_id("ses"),
        organization_id=caller.organization_id,
        kind=BROWSER,
        owner_kind="user",
        owner_id=person.id,
        credential_id=None,
        project_id=None,
        address=None if caller.address is None else str(caller.address),
        user_agent=caller.user_agent,
        created_at=tx.now,
        expires_at=tx.now + lifetime,
        revoked_at=None,
        begun_at=tx.now,
        authenticated_at=tx.now,
    )
    for oldest in session_rows.ids_except_newest(
        tx, sessions.MOST_SESSIONS - 1, owner_id=person.id, kind=BROWSER
    ):
        session_rows.revoke(tx, oldest)
        sessions.ended(tx, caller, oldest, "too many")
    session_rows.insert(tx, session, Proof(new.access_id, new.digest, new.pepper_id))
    change(
        tx,
        caller,
        "session.created",
        Target("session", session.id, session.id),
        kind=session.kind,
        expires_at=to_text(session.expires_at),
        project=None,
    )
    return BrowserSession(session.id, new.secret, session.expires_at)


def confirm(tx: Tx, caller: Caller, proven: VerifiedPassword) -> BrowserSession:
    """Record that the password was entered again in this browser session, and replace the session's secret.

    The old secret stops working. Raises invalid-credential if the session ended or the password changed meanwhile.
    """
    _still(tx, caller, proven)
    session = session_rows.find(tx, caller.organization_id, str(caller.token_id))
    if session is None or session.kind != BROWSER:
        raise _refused("not a browser session")
    new = issuance.new_secret(tx, SESSION)
    session_rows.set_authenticated(tx, session.id)
    session_rows.renew(tx, session.id, Proof(new.access_id, new.digest, new.pepper_id))
    tx.changed("session", session.id)
    change(tx, caller, "session.confirmed", Target("session", session.id, session.id))
    return BrowserSession(session.id, new.secret, session.expires_at)


def change_password(tx: Tx, caller: Caller, proven: VerifiedPassword, password_hash: str) -> None:
    """Replace the caller's password. Their other sessions end, and their open reset links stop working.

    Raises invalid-credential if the session ended or the password changed meanwhile.
    """
    person = _still(tx, caller, VerifiedPassword(proven.verified))
    if not rows.replace_password(tx, person.id, password_hash, proven.verified):
        raise _refused("password changed meanwhile")
    rows.end_resets(tx, person.id)
    ended = sessions.end_all(tx, caller, person.id, "the password was changed", caller.token_id)
    change(tx, caller, "password.changed", Target("user", person.id, person.email), ended=ended)


def _homes(tx: Tx, user_id: str) -> list[Organization]:
    return [each for each in member_rows.organizations_of(tx, user_id) if each.suspended_at is None]


def _still(tx: Tx, caller: Caller, proven: VerifiedPassword) -> Person:
    """Lock and return the person if their password is still the verified one. Stores the renewed hash, if any.

    Raises invalid-credential.
    """
    person = rows.lock(tx, str(caller.actor.id))
    if person is None or person.disabled_at is not None or person.password_hash != proven.verified:
        raise _refused("password changed meanwhile")
    if proven.renewed is not None:
        rows.replace_password(tx, person.id, proven.renewed, proven.verified)
    return person


def _refused(reason: str) -> Problem:
    return Problem("invalid-credential", "Email or password is not right.", reason=reason)
