"""Rows of sessions. A session's secret is stored as a digest only; its refresh tokens are derived from a stored seed."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ostiary.core.instant import Instant
from ostiary.core.model import OwnerKind, SessionKind, Token
from ostiary.core.oauth import OFFLINE_ACCESS
from ostiary.core.permission import EVERYTHING
from ostiary.core.url import normalized_audience
from ostiary.storage.authorization_tables import clients, grants, sessions
from ostiary.storage.store import Store, Tx
from ostiary.storage.tables import (
    credentials,
    generation_uses,
    members,
    organizations,
    service_accounts,
    users,
)

MOST_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Session:
    """A session as lists show it."""

    id: str
    organization_id: str
    kind: SessionKind
    owner_kind: OwnerKind
    owner_id: str
    credential_id: str | None
    """For a key file's session: the key file's credential."""
    project_id: str | None
    address: str | None
    user_agent: str
    created_at: Instant
    expires_at: Instant
    revoked_at: Instant | None
    grant_id: str | None = None
    """For a session of a device or application: the consent."""
    client_id: str | None = None
    scopes: tuple[str, ...] = ("api",)
    projects: tuple[str, ...] = ()
    """Ids of the projects that it is restricted to. Empty: all."""
    audiences: tuple[str, ...] = ()
    """The resources that its tokens are restricted to (RFC 8707). Empty: the request named none."""
    begun_at: Instant | None = None
    """None until its code is redeemed. Until then it has no tokens."""
    authenticated_at: Instant | None = None
    """For a browser's session: when the person last confirmed the password."""
    made_by: str | None = None
    """For a session of a device or application: the ids of the person who consented, and of the session in which they
    did."""
    made_with: str | None = None
    last_used_at: Instant | None = None
    live: bool = True
    """Whether it may act: neither it, nor its credential, consent, client, owner or organization, has ended or is
    disabled."""


_COLUMNS = [sessions.c[name] for name in Session.__dataclass_fields__ if name not in ("last_used_at", "live")]
_NOW: sa.BindParameter[Any] = sa.bindparam("now", type_=sa.BigInteger)
# The same conditions in SQL as `Standing.may_act` and the token's own expiry: lists must not show refused sessions.
_LIVE = sa.and_(
    sessions.c.revoked_at.is_(None),
    sessions.c.begun_at.is_not(None),
    sessions.c.expires_at > _NOW,
    sa.or_(
        sessions.c.credential_id.is_(None),
        sa.and_(
            credentials.c.id.is_not(None),
            credentials.c.revoked_at.is_(None),
            credentials.c.deactivated_at.is_(None),
            sa.or_(credentials.c.expires_at.is_(None), credentials.c.expires_at > _NOW),
        ),
    ),
    grants.c.revoked_at.is_(None),
    clients.c.disabled_at.is_(None),
    clients.c.deleted_at.is_(None),
    organizations.c.suspended_at.is_(None),
    sa.or_(
        sa.and_(
            service_accounts.c.id.is_not(None),
            service_accounts.c.disabled_at.is_(None),
            service_accounts.c.deleted_at.is_(None),
        ),
        sa.and_(members.c.user_id.is_not(None), users.c.disabled_at.is_(None)),
    ),
)
_SESSION = sa.select(
    *_COLUMNS, generation_uses.c.last_used_at, sa.case((_LIVE, sa.true()), else_=sa.false()).label("live")
).select_from(
    sessions.join(organizations, organizations.c.id == sessions.c.organization_id)
    .outerjoin(credentials, credentials.c.id == sessions.c.credential_id)
    .outerjoin(grants, grants.c.id == sessions.c.grant_id)
    .outerjoin(clients, clients.c.id == sessions.c.client_id)
    .outerjoin(service_accounts, service_accounts.c.id == sessions.c.owner_id)
    .outerjoin(users, users.c.id == sessions.c.owner_id)
    .outerjoin(
        members,
        sa.and_(
            members.c.user_id == sessions.c.owner_id,
            members.c.organization_id == sessions.c.organization_id,
        ),
    )
    .outerjoin(generation_uses, generation_uses.c.access_id == sessions.c.id)
)
_BY_ACCESS_ID = sa.select(
    sessions.c.id,
    sessions.c.credential_id,
    sessions.c.owner_id,
    sessions.c.project_id,
    sessions.c.digest,
    sessions.c.pepper_id,
    sessions.c.created_at,
    sessions.c.expires_at,
    sessions.c.revoked_at,
).where(sessions.c.access_id == sa.bindparam("access_id"))


@dataclass(frozen=True, slots=True)
class StoredSession:
    """The stored proof of a session, and the token that it stands for."""

    digest: bytes
    pepper_id: str
    token: Token


@dataclass(frozen=True, slots=True)
class Proof:
    """The stored form of a session's secret."""

    access_id: str
    digest: bytes
    pepper_id: str


@dataclass(frozen=True, slots=True)
class Family:
    """The seed of a session's refresh tokens, and the number of the current one."""

    id: str
    """24 hexadecimal digits, contained in every token of the family."""
    seed: bytes
    pepper_id: str
    number: int = 0
    """0: no refresh token was issued."""
    refreshed_at: Instant | None = None


def insert(tx: Tx, session: Session, proof: Proof) -> None:
    """Insert a session that is proven by its own secret."""
    _insert(tx, session, access_id=proof.access_id, digest=proof.digest, pepper_id=proof.pepper_id)


def insert_with_family(tx: Tx, session: Session, family: Family) -> None:
    """Insert a session that access and refresh tokens are issued for."""
    _insert(tx, session, family=family.id, seed=family.seed, pepper_id=family.pepper_id, number=family.number)


def _insert(tx: Tx, session: Session, **others: Any) -> None:
    values = {column.name: getattr(session, column.name) for column in _COLUMNS}
    tx.execute(sessions.insert(), values | others)


def find_by_access_id(database: Tx | Store, access_id: str, issuer: str) -> StoredSession | None:
    """Return the proof and the token of a session by its access id, or None if there is none."""
    rows = database.select(_BY_ACCESS_ID, access_id=access_id)
    if not rows:
        return None
    row = rows[0]
    token = Token(
        kind="session",
        id=row.id,
        # The origin of a key file's session is the key file. A browser session is its own origin.
        origin_id=row.credential_id or row.id,
        scopes=EVERYTHING,
        audiences=(issuer,),
        client_id=row.owner_id,
        issued_at=row.created_at,
        expires_at=row.expires_at,
        project_id=row.project_id,
        revoked=row.revoked_at is not None,
    )
    return StoredSession(bytes(row.digest), row.pepper_id, token)


def find(tx: Tx, organization_id: str, session_id: str) -> Session | None:
    row = tx.execute(
        _SESSION.where(sessions.c.organization_id == organization_id, sessions.c.id == session_id),
        {"now": tx.now},
    ).one_or_none()
    return None if row is None else Session(**row._mapping)


def organization_of(tx: Tx, session_id: str) -> str | None:
    """Return the organization of a session, or None if there is no such session."""
    home: str | None = tx.execute(
        sa.select(sessions.c.organization_id).where(sessions.c.id == session_id)
    ).scalar_one_or_none()
    return home


def is_live(tx: Tx, session_id: str) -> bool:
    """Return whether the session exists and was not revoked. Expiry is not checked here; tokens carry it."""
    statement = sa.select(sessions.c.id).where(sessions.c.id == session_id, sessions.c.revoked_at.is_(None))
    return tx.execute(statement).first() is not None


def list_page(
    tx: Tx,
    organization_id: str,
    after: str | None,
    limit: int,
    owner_id: str | None = None,
    credential_id: str | None = None,
) -> list[Session]:
    """Return sessions that may act, newest first, with ids below `after`: all, or those of one owner or credential."""
    conditions: list[Any] = [sessions.c.organization_id == organization_id, _LIVE]
    if owner_id is not None:
        conditions.append(sessions.c.owner_id == owner_id)
    if credential_id is not None:
        conditions.append(sessions.c.credential_id == credential_id)
    if after is not None:
        conditions.append(sessions.c.id < after)
    statement = _SESSION.where(*conditions).order_by(sessions.c.id.desc()).limit(limit)
    rows = tx.execute(statement, {"now": tx.now})
    return [Session(**row._mapping) for row in rows]


def ids_except_newest(tx: Tx, newest: int, **which: str) -> list[str]:
    """Return the ids of open sessions with these column values, except the newest `newest`; at most MOST_AT_ONCE."""
    statement = (
        sa.select(sessions.c.id)
        .where(
            *(sessions.c[name] == value for name, value in which.items()),
            sessions.c.revoked_at.is_(None),
            sessions.c.expires_at > tx.now,
        )
        .order_by(sessions.c.id.desc())
        .offset(newest)
        .limit(MOST_AT_ONCE)
    )
    return [row.id for row in tx.execute(statement)]


def revoke(tx: Tx, session_id: str) -> None:
    tx.execute(sessions.update().where(sessions.c.id == session_id).values(revoked_at=tx.now))


def find_family(tx: Tx, family: str) -> tuple[Session, Family] | None:
    """Return the session of this refresh token family, whether or not it may act. None if there is none."""
    return _with_family(tx, sessions.c.family == family)


def find_with_family(tx: Tx, session_id: str) -> tuple[Session, Family] | None:
    """Return the same by the session's id. None also if the session has no refresh token family."""
    return _with_family(tx, sa.and_(sessions.c.id == session_id, sessions.c.family.is_not(None)))


def _with_family(tx: Tx, which: sa.ColumnElement[bool]) -> tuple[Session, Family] | None:
    columns = [sessions.c[name] for name in ("family", "seed", "pepper_id", "number", "refreshed_at")]
    row = tx.execute(_SESSION.add_columns(*columns).where(which), {"now": tx.now}).one_or_none()
    if row is None:
        return None
    values = dict(row._mapping)
    family, seed, pepper_id, number, refreshed_at = (values.pop(column.name) for column in columns)
    return Session(**values), Family(family, bytes(seed), pepper_id, number, refreshed_at)


def begin(tx: Tx, session_id: str, number: int) -> bool:
    """Begin a session, with its first refresh token (1) or without (0). Return whether this call began it."""
    row = tx.execute(
        sessions.update()
        .where(sessions.c.id == session_id, sessions.c.begun_at.is_(None), sessions.c.revoked_at.is_(None))
        .values(begun_at=tx.now, number=number)
        .returning(sessions.c.id)
    ).first()
    return row is not None


def rotate(tx: Tx, session_id: str, number: int) -> bool:
    """Make the refresh token after this number the current one. Return False if another call did so first."""
    row = tx.execute(
        sessions.update()
        .where(sessions.c.id == session_id, sessions.c.number == number, sessions.c.revoked_at.is_(None))
        .values(number=number + 1, refreshed_at=tx.now)
        .returning(sessions.c.id)
    ).first()
    return row is not None


def hold(tx: Tx, session_id: str) -> None:
    """Lock a session row, so that no other transaction ends the session before this one commits."""
    tx.execute(sa.select(sessions.c.id).where(sessions.c.id == session_id).with_for_update(read=True))


def set_authenticated(tx: Tx, session_id: str) -> None:
    """Store that the person confirmed the password just now."""
    tx.execute(sessions.update().where(sessions.c.id == session_id).values(authenticated_at=tx.now))


def renew(tx: Tx, session_id: str, proof: Proof) -> None:
    """Replace the secret that proves the session."""
    tx.execute(
        sessions.update()
        .where(sessions.c.id == session_id)
        .values(access_id=proof.access_id, digest=proof.digest, pepper_id=proof.pepper_id)
    )


def confirmed_at(tx: Tx, session_id: str) -> tuple[SessionKind, Instant | None] | None:
    """Return the kind of a session, and when the person last confirmed the password. None if there is no such session."""
    row = tx.execute(
        sa.select(sessions.c.kind, sessions.c.authenticated_at).where(sessions.c.id == session_id)
    ).one_or_none()
    return None if row is None else (row.kind, row.authenticated_at)


def is_of_browser(tx: Tx, session_id: str | None) -> bool:
    """Return whether this is the id of a browser's session."""
    kind = tx.execute(sa.select(sessions.c.kind).where(sessions.c.id == session_id)).scalar()
    return kind == "browser"


def find_of_owner(tx: Tx, owner_id: str, session_id: str) -> Session | None:
    """Return a session of a person or account, in any organization."""
    row = tx.execute(
        _SESSION.where(sessions.c.owner_id == owner_id, sessions.c.id == session_id), {"now": tx.now}
    ).one_or_none()
    return None if row is None else Session(**row._mapping)


def list_of_owner(tx: Tx, owner_id: str, limit: int) -> list[Session]:
    """Return the sessions of a person that may act, in all organizations, newest first."""
    statement = _SESSION.where(sessions.c.owner_id == owner_id, _LIVE)
    rows = tx.execute(statement.order_by(sessions.c.id.desc()).limit(limit), {"now": tx.now})
    return [Session(**row._mapping) for row in rows]


def organizations_by_session(tx: Tx, owner_id: str) -> dict[str, str]:
    """Return the sessions of a person or account that were not revoked: session id to organization id."""
    statement = sa.select(sessions.c.id, sessions.c.organization_id).where(
        sessions.c.owner_id == owner_id, sessions.c.revoked_at.is_(None)
    )
    return {row.id: row.organization_id for row in tx.execute(statement)}


def covering(
    tx: Tx, grant_id: str, scopes: tuple[str, ...], audiences: tuple[str, ...]
) -> tuple[str, ...] | None:
    """Return the projects of the consent's newest open session that was granted all of these scopes and audiences.

    None if there is no such session. Grants of several sessions are not combined: nobody consented to the combination.
    """
    statement = sa.select(sessions.c.scopes, sessions.c.projects, sessions.c.audiences).where(
        sessions.c.grant_id == grant_id, sessions.c.revoked_at.is_(None), sessions.c.expires_at > tx.now
    )
    for row in tx.execute(statement.order_by(sessions.c.id.desc()).limit(MOST_AT_ONCE)):
        missing = set(scopes) - set(row.scopes)
        all_scopes = bool(EVERYTHING & frozenset(row.scopes)) and OFFLINE_ACCESS not in missing
        session_audiences = set(map(normalized_audience, row.audiences))
        audiences_covered = not session_audiences or (
            bool(audiences) and set(map(normalized_audience, audiences)) <= session_audiences
        )
        if audiences_covered and (all_scopes or not missing):
            return tuple(row.projects)
    return None


def revoke_of_grant(tx: Tx, grant_id: str) -> list[str]:
    """Revoke the sessions of a consent. Return the ids of those that were not revoked before."""
    return _revoke_where(tx, sessions.c.grant_id == grant_id)


def revoke_of_client(tx: Tx, client_id: str) -> list[str]:
    """Revoke the sessions of a client. Return the ids of those that were not revoked before."""
    return _revoke_where(tx, sessions.c.client_id == client_id)


def revoke_of_owner(
    tx: Tx, owner_id: str, organization_id: str | None = None, kept: str | None = None
) -> list[str]:
    """Revoke the sessions of a person or account, everywhere or in one organization, except the session `kept`.

    Return the ids of those that were not revoked before.
    """
    which = sessions.c.owner_id == owner_id
    if organization_id is not None:
        which = sa.and_(which, sessions.c.organization_id == organization_id)
    return _revoke_where(tx, which if kept is None else sa.and_(which, sessions.c.id != kept))


def revoke_of_project(tx: Tx, project_id: str) -> list[tuple[str, str]]:
    """Revoke the sessions whose target is this project. Return (session id, organization id) of those not revoked
    before."""
    which = sessions.c.project_id == project_id
    revoked = _revoke_where(tx, which)
    homes = {row.id: row.organization_id for row in tx.execute(sa.select(sessions).where(which))}
    return [(each, homes[each]) for each in revoked]


def owners_bound_to(tx: Tx, project_id: str) -> list[str]:
    """Return the ids of owners of unrevoked sessions and credentials that are bound to a project."""
    found = sa.union(
        *(
            sa.select(table.c.owner_id).where(table.c.project_id == project_id, table.c.revoked_at.is_(None))
            for table in (sessions, credentials)
        )
    )
    return sorted(tx.execute(found).scalars())


def _revoke_where(tx: Tx, which: sa.ColumnElement[bool]) -> list[str]:
    condition = (which, sessions.c.revoked_at.is_(None))
    found = list(tx.execute(sa.select(sessions.c.id).where(*condition).order_by(sessions.c.id)).scalars())
    if found:
        tx.execute(sessions.update().where(*condition).values(revoked_at=tx.now))
    return found
