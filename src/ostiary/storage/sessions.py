"""Rows of sessions. Of a session's secret there is a digest only."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ostiary.core.instant import Instant
from ostiary.core.model import OwnerKind, Token
from ostiary.core.permission import EVERYTHING
from ostiary.storage.store import Store, Tx
from ostiary.storage.tables import generation_uses, sessions


@dataclass(frozen=True, slots=True)
class Session:
    """A session as lists show it."""

    id: str
    organization_id: str
    kind: str
    owner_kind: OwnerKind
    owner_id: str
    credential_id: str
    project_id: str | None
    address: str | None
    user_agent: str
    created_at: Instant
    expires_at: Instant
    revoked_at: Instant | None
    last_used_at: Instant | None = None


_COLUMNS = [sessions.c[name] for name in Session.__dataclass_fields__ if name != "last_used_at"]
_SESSION = sa.select(*_COLUMNS, generation_uses.c.last_used_at).select_from(
    sessions.outerjoin(generation_uses, generation_uses.c.access_id == sessions.c.id)
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
).where(sessions.c.access_id == sa.bindparam("access_id"), sessions.c.revoked_at.is_(None))


@dataclass(frozen=True, slots=True)
class Kept:
    """What proves a session, and what it stands for."""

    digest: bytes
    pepper_id: str
    token: Token


def insert(tx: Tx, session: Session, access_id: str, digest: bytes, pepper_id: str) -> None:
    values = {column.name: getattr(session, column.name) for column in _COLUMNS}
    tx.execute(sessions.insert(), values | {"access_id": access_id, "digest": digest, "pepper_id": pepper_id})


def find_kept(database: Tx | Store, access_id: str, issuer: str) -> Kept | None:
    """What a session that was not revoked stands for; None for an access id nobody has."""
    rows = database.select(_BY_ACCESS_ID, access_id=access_id)
    if not rows:
        return None
    row = rows[0]
    token = Token(
        kind="session",
        id=row.id,
        credential_id=row.credential_id,
        scopes=EVERYTHING,
        audiences=(issuer,),
        client_id=row.owner_id,
        issued_at=row.created_at,
        expires_at=row.expires_at,
        project_id=row.project_id,
    )
    return Kept(bytes(row.digest), row.pepper_id, token)


def find(tx: Tx, organization_id: str, session_id: str) -> Session | None:
    row = tx.execute(
        _SESSION.where(sessions.c.organization_id == organization_id, sessions.c.id == session_id)
    ).one_or_none()
    return None if row is None else Session(**row._mapping)


def is_live(tx: Tx, session_id: str) -> bool:
    """Whether the session was not revoked. Whether it expired is told by its token."""
    statement = sa.select(sessions.c.id).where(sessions.c.id == session_id, sessions.c.revoked_at.is_(None))
    return tx.execute(statement).first() is not None


def list_page(
    tx: Tx, organization_id: str, owner_id: str | None, after: str | None, limit: int
) -> list[Session]:
    """Sessions that have not ended, newest first, below the id `after`; of the organization or of one owner."""
    conditions: list[Any] = [
        sessions.c.organization_id == organization_id,
        sessions.c.revoked_at.is_(None),
        sessions.c.expires_at > tx.now,
    ]
    if owner_id is not None:
        conditions.append(sessions.c.owner_id == owner_id)
    if after is not None:
        conditions.append(sessions.c.id < after)
    rows = tx.execute(_SESSION.where(*conditions).order_by(sessions.c.id.desc()).limit(limit))
    return [Session(**row._mapping) for row in rows]


def revoke(tx: Tx, session_id: str) -> None:
    tx.execute(sessions.update().where(sessions.c.id == session_id).values(revoked_at=tx.now))


def forget_ended(tx: Tx, before: Instant) -> None:
    """Remove those that expired before then."""
    tx.execute(sessions.delete().where(sessions.c.expires_at < before))
