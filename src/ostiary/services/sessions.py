"""Sessions: begun by a key file's login, listed, ended. A session stands for the credential that it was issued for."""

from dataclasses import dataclass, replace
from typing import Final

from ostiary.core import refresh, secret
from ostiary.core.event import Target
from ostiary.core.instant import to_text
from ostiary.core.model import Organization, Project, ServiceAccount
from ostiary.core.permission import Caller, require
from ostiary.core.problem import Problem, invalid, not_found
from ostiary.core.secret import SESSION, Secret
from ostiary.services import callers, consents, issuance, organizations, roles, service_accounts
from ostiary.services.audit import change
from ostiary.storage import clients as client_rows
from ostiary.storage import credentials as credential_rows
from ostiary.storage import directory, journal, makers
from ostiary.storage import sessions as rows
from ostiary.storage.journal import UsedMark
from ostiary.storage.sessions import Proof, Session
from ostiary.storage.store import Tx

KEY_FILE: Final = "key_file"
MOST_SESSIONS = 100
"""Most live sessions of one key file, or of one person's browsers. A new one ends the oldest.

Some scripts log in each time they run.
"""


@dataclass(frozen=True, slots=True)
class SessionListing:
    """A session with the names that lists show."""

    session: Session
    owner_name: str
    client_name: str | None = None
    """Only for sessions of devices and applications."""


@dataclass(frozen=True, slots=True)
class NewSession:
    """A new session with its secret, which cannot be read again."""

    listed: SessionListing
    secret: Secret


@dataclass(frozen=True, slots=True)
class CredentialOwner:
    """The owner of the presented credential. The fields are those that partners' scripts read."""

    id: str
    name: str
    account: ServiceAccount | None
    """None if the owner is a user."""
    channel_identifier: str
    organization: Organization
    project: Project | None
    """The default target: used if a request names no project."""
    session: SessionListing | None
    """None if no session was presented."""


def begin(tx: Tx, caller: Caller, used: UsedMark, project: str | None) -> NewSession:
    """Begin a session for a key file. `caller` is the owner, identified by the key file's assertion.

    `used` marks the assertion as used. `project` is the id or code of the target. Raises invalid-credential if the
    assertion was used before or the credential has ended, and validation-failed for a project that the key file may not
    be used for.
    """
    if not journal.use_up(tx, [used]):
        raise Problem(
            "invalid-credential", "The assertion was used before. Sign a new one.", reason="used before"
        )
    credential_id, owner_id = caller.actor.credential_id, caller.actor.id
    credential = credential_rows.find(tx, caller.organization_id, credential_id or "")
    if credential is None or owner_id is None:  # cannot happen: `execute` has just found both
        raise not_found("credential")
    project_id = None if project is None else _target(tx, caller, project, credential.project_id)
    lifetime = organizations.policy_of(tx, caller.organization_id).session_lifetime
    ends = [tx.now + lifetime, caller.expires_at]
    new = issuance.new_secret(tx, SESSION)
    session = Session(
        id=tx.new_id("ses"),
        organization_id=caller.organization_id,
        kind=KEY_FILE,
        owner_kind=credential.owner_kind,
        owner_id=owner_id,
        credential_id=credential.id,
        project_id=project_id,
        address=None if caller.address is None else str(caller.address),
        user_agent=caller.user_agent,
        created_at=tx.now,
        expires_at=min(each for each in ends if each is not None),
        revoked_at=None,
        begun_at=tx.now,
    )
    for oldest in rows.ids_except_newest(tx, MOST_SESSIONS - 1, credential_id=credential.id):
        rows.revoke(tx, oldest)
        ended(tx, caller, oldest, "too many")
    rows.insert(tx, session, Proof(new.access_id, new.digest, new.pepper_id))
    change(
        tx,
        caller,
        "session.created",
        Target("session", session.id, session.id),
        kind=session.kind,
        expires_at=to_text(session.expires_at),
        project=project_id,
    )
    return NewSession(_listed(tx, [session])[0], new.secret)


def list_page(tx: Tx, caller: Caller, after: str | None, limit: int) -> list[SessionListing]:
    """Return live sessions, newest first. Without `read:sessions`: the caller's own.

    A fine-grained credential without this scope sees only its own sessions, not others of its owner.
    """
    owner_id = credential_id = None
    if caller.granted is not None:
        require(caller, "read:sessions")  # a token with granted scopes does not stand for its whole owner
    if not caller.may("read:sessions"):
        _require_owner(caller)
        owner_id = caller.actor.id
        credential_id = caller.actor.credential_id if caller.fine_grained else None
    return _listed(tx, rows.list_page(tx, caller.organization_id, after, limit, owner_id, credential_id))


def get(tx: Tx, caller: Caller, session_id: str) -> SessionListing:
    """Return one session, even one that has ended. The caller's own needs no scope. Raises not-found."""
    return _listed(tx, [_find(tx, caller, session_id, "read:sessions")])[0]


def revoke(tx: Tx, caller: Caller, session_id: str) -> None:
    """Revoke a session at once and for good. The caller's own needs no scope. Idempotent.

    Raises not-found, or reauthentication-required for another owner's session.
    """
    session = _find(tx, caller, session_id, "write:sessions")
    if session.owner_id != caller.actor.id:
        callers.require_confirmed(tx, caller)
    if session.revoked_at is not None:
        tx.confirm()
        return
    rows.revoke(tx, session.id)
    if session.id != caller.token_id and session.owner_kind == "user":
        # This is not a sign-out: the session may be stolen, and so may the links that were created in it.
        makers.end_links_of_sessions(tx, session.owner_id, session.id)
    ended(tx, caller, session.id, "asked for")


def revoke_all(tx: Tx, caller: Caller) -> int:
    """End all sessions of the caller in every organization, including the presented one. Return their number.

    It needs no scope. A narrowed credential or token cannot do it: raises insufficient-permissions.
    """
    if caller.actor.id is None or caller.fine_grained or caller.granted is not None:
        raise Problem(
            "insufficient-permissions",
            "This ends all sessions of the owner. A credential or token with narrowed permissions cannot do it.",
            reason="narrowed",
        )
    return end_all(tx, caller, caller.actor.id, "signed out everywhere")


def end_all(tx: Tx, caller: Caller, owner_id: str, because: str, kept: str | None = None) -> int:
    """End all sessions of a person or account in every organization, except `kept`. Return their number.

    This has no permission check. Consents stay, but clients must ask for a new session. Invitations and reset links
    that the person created in any session end, even if that session was signed out before.
    """
    makers.end_links_of_sessions(tx, owner_id)
    places = rows.organizations_by_session(tx, owner_id)
    found = rows.revoke_of_owner(tx, owner_id, kept=kept)
    for session_id in found:
        ended(tx, replace(caller, organization_id=places[session_id]), session_id, because)
    if not found:
        tx.confirm()
    return len(found)


def ended(tx: Tx, caller: Caller, session_id: str, because: str) -> None:
    """Announce to caches and record in the audit log that a session was revoked."""
    tx.changed("session", session_id)
    change(tx, caller, "session.revoked", Target("session", session_id, session_id), because=because)


def find_by_refresh_token(tx: Tx, text: bytes) -> Session | None:
    """Return the session of a refresh token, even if the token was rotated; None if the token is not authentic."""
    claimed = refresh.read_claims(text)
    found = None if claimed is None else rows.find_family(tx, claimed.family)
    if claimed is None or found is None:
        return None
    session, family = found
    pepper = tx.installation.keyring.peppers.get(family.pepper_id)
    if pepper is None or not 1 <= claimed.number <= family.number:
        return None
    ours = refresh.token(pepper, family.seed, family.id, claimed.number).reveal()
    return session if secret.matches(ours.encode(), text) else None


def end(tx: Tx, caller: Caller, session_id: str, because: str) -> None:
    """End a session, without a permission check. Idempotent."""
    if rows.is_live(tx, session_id):
        rows.revoke(tx, session_id)
        ended(tx, caller, session_id, because)
    else:
        tx.confirm()


def whoami(tx: Tx, caller: Caller) -> CredentialOwner:
    """Return the owner of the presented credential, token or session. It needs no scope."""
    _require_owner(caller)
    account, channel, name = None, "", ""
    if caller.actor.type == "service_account":
        account = directory.find_service_account(tx, caller.organization_id, str(caller.actor.id))
    if account is not None:
        channel = service_accounts.channel_identifier(tx, caller, account)
        name = account.display_name
    else:
        names = credential_rows.owner_names(tx, caller.organization_id, [str(caller.actor.id)])
        name = names.get(str(caller.actor.id), "")
    session = None
    if caller.token_id is not None:
        session = rows.find(tx, caller.organization_id, caller.token_id)
    credential = credential_rows.find(tx, caller.organization_id, str(caller.actor.credential_id))
    project_id = credential.project_id if credential is not None else None
    if project_id is None and session is not None:
        project_id = session.project_id
    return CredentialOwner(
        str(caller.actor.id),
        name,
        account,
        channel,
        organizations.own(tx, caller),
        None
        if project_id is None
        else consents.project_of(tx, caller, None if account is None else account.id, project_id),
        None if session is None else _listed(tx, [session])[0],
    )


def _target(tx: Tx, caller: Caller, project: str, bound_to: str | None) -> str:
    """Return the id of the project that a login names. Raises validation-failed if the key file may not be used there."""
    account_id = caller.actor.id if caller.actor.type == "service_account" else None
    named = consents.project_of(tx, caller, account_id, project)
    found = None if named is None else named.id
    account = None
    if caller.actor.type == "service_account":
        account = directory.find_service_account(tx, caller.organization_id, str(caller.actor.id))
    limited = () if account is None else account.projects
    if found is None or (bound_to is not None and found != bound_to) or (limited and found not in limited):
        raise invalid(
            "/default_project_code", "unknown-project", "is not a project that the key file may be used for"
        )
    return found


def _find(tx: Tx, caller: Caller, session_id: str, scope: str) -> Session:
    found = rows.find(tx, caller.organization_id, session_id)
    own = (
        found is not None
        and caller.actor.id is not None
        and caller.granted is None
        and found.owner_id == caller.actor.id
        and (found.credential_id == caller.actor.credential_id or not caller.fine_grained)
    )
    if not own:
        require(caller, scope)
    if found is None:
        raise not_found("session")
    if not own and scope == "write:sessions":
        roles.require_over_credentials(tx, caller, found.owner_id)
    return found


def _require_owner(caller: Caller) -> None:
    """Require `read:sessions` of a caller without an owner: such a caller has no sessions of its own.

    A fine-grained caller also needs a credential id, because it sees only that credential's sessions.
    """
    if caller.actor.id is None or (caller.fine_grained and caller.actor.credential_id is None):
        require(caller, "read:sessions")


def _listed(tx: Tx, found: list[Session]) -> list[SessionListing]:
    if not found:
        return []
    owners = sorted({each.owner_id for each in found})
    names = credential_rows.owner_names(tx, found[0].organization_id, owners)
    clients = client_rows.names(tx, sorted({each.client_id for each in found if each.client_id is not None}))
    return [
        SessionListing(
            each, names.get(each.owner_id, ""), each.client_id and clients.get(each.client_id, each.client_id)
        )
        for each in found
    ]
