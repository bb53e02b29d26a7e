"""Rows of the audit log: read in pages. `store.Tx.record` appends them. Nothing here changes or deletes an event."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ostiary.core.event import ActorType, OriginKind, Outcome
from ostiary.core.instant import Instant
from ostiary.storage.store import Tx
from ostiary.storage.tables import audit_events as table
from ostiary.storage.tables import credentials


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event as stored in the log."""

    seq: int
    id: str
    organization_id: str
    time: Instant
    action: str
    actor_type: ActorType
    actor_id: str | None
    actor_display: str
    actor_credential_id: str | None
    actor_credential_kind: OriginKind | None
    actor_token_id: str | None
    target_type: str | None
    target_id: str | None
    target_display: str | None
    outcome: Outcome
    reason: str
    address: str | None
    user_agent: str
    request_id: str
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """Selects events of an organization. None and () do not restrict."""

    actions: tuple[str, ...] = ()
    actor: str | None = None
    """The actor's id, display name or the like, as the caller wrote it. `services.audit` resolves it into
    `actor_names`."""
    target: str | None = None
    since: Instant | None = None
    until: Instant | None = None
    about: str | None = None
    """An account: selects what it did, and what was done to it or to its credentials."""
    actor_names: tuple[str, ...] = ()
    """Ids of actors, ids of the credentials that they used, and display names."""


def page(
    tx: Tx, organization_id: str, wanted: Filter, before: int | None, limit: int, oldest_first: bool = False
) -> list[Recorded]:
    """Return events newest first, with sequence numbers below `before`; or oldest first, with numbers above it."""
    statement = sa.select(table).where(table.c.organization_id == organization_id)
    if wanted.actions:
        statement = statement.where(table.c.action.in_(wanted.actions))
    if wanted.actor_names:
        statement = statement.where(_by(wanted.actor_names))
    if wanted.target is not None:
        statement = statement.where(table.c.target_id == wanted.target)
    if wanted.about is not None:
        its_own = sa.select(credentials.c.id).where(credentials.c.owner_id == wanted.about)
        statement = statement.where(
            sa.or_(
                table.c.actor_id == wanted.about,
                table.c.target_id == wanted.about,
                table.c.target_id.in_(its_own),
            )
        )
    if wanted.since is not None:
        statement = statement.where(table.c.time >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(table.c.time < wanted.until)
    if before is not None:
        statement = statement.where(table.c.seq > before if oldest_first else table.c.seq < before)
    order = table.c.seq.asc() if oldest_first else table.c.seq.desc()
    rows = tx.execute(statement.order_by(order).limit(limit))
    return [Recorded(**row._mapping) for row in rows]


def has_actor(tx: Tx, organization_id: str, names: Sequence[str]) -> bool:
    """Return whether any event of the organization has one of these actors."""
    statement = sa.select(table.c.seq).where(table.c.organization_id == organization_id, _by(names)).limit(1)
    return tx.execute(statement).first() is not None


def _by(names: Sequence[str]) -> sa.ColumnElement[bool]:
    columns = table.c.actor_id, table.c.actor_credential_id, table.c.actor_display
    return sa.or_(*(column.in_(names) for column in columns))
