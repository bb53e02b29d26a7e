"""How long rows are kept, as one list of rules, and their deletion in batches.

A rule keeps each row for at least a day after it ended, because clocks may be wrong. The caller decides which clock
counts and whether it is trusted (`node.clock_watch`). The last trusted time is stored here.
"""

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from ostiary.core.instant import DAY, Instant
from ostiary.storage import authorization_tables as authorization
from ostiary.storage import clients, engines, idempotency, signing_keys, tables, usage
from ostiary.storage.store import Tx

MARGIN: Final = DAY
AT_ONCE: Final = 500
"""Rows per transaction. They keep SQLite's only writer busy for about 40 ms."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Rows are deleted when the time in `since` is longer ago than `kept`, if `only` holds as well."""

    since: sa.Column[int]
    kept: int
    """Microseconds."""
    only: sa.ColumnElement[bool] | None = None
    used: bool = False
    """Whether `generation_uses` has counters for the row's id, which are deleted with it."""

    @property
    def table(self) -> sa.Table:
        return self.since.table


UNUSED_CLIENTS: Final = Rule(authorization.clients.c.created_at, DAY, only=clients.UNUSED)

RULES: Final = (
    # A cache that has not read changes for an hour starts empty (`fact_cache.MAX_AWAY`).
    Rule(tables.changes.c.at, MARGIN),
    Rule(tables.answers.c.created_at, idempotency.KEPT + MARGIN),
    Rule(tables.used_assertions.c.expires_at, MARGIN),
    Rule(tables.revoked_tokens.c.expires_at, MARGIN),
    Rule(authorization.sessions.c.expires_at, MARGIN, used=True),
    # Its authorization code or device code is valid for minutes only.
    Rule(
        authorization.sessions.c.created_at,
        MARGIN,
        only=authorization.sessions.c.begun_at.is_(None),
        used=True,
    ),
    # While the row exists, a second use of the code ends its session.
    Rule(authorization.authorization_codes.c.expires_at, MARGIN),
    Rule(authorization.device_codes.c.expires_at, MARGIN),
    Rule(authorization.password_resets.c.expires_at, MARGIN),
    UNUSED_CLIENTS,
    Rule(tables.usage.c.hour, usage.KEPT),
    Rule(tables.signing_keys.c.believed_until, signing_keys.KEPT),
    Rule(tables.signing_keys.c.revoked_at, signing_keys.KEPT),
)


def delete_some(tx: Tx, rule: Rule, now: Instant, kept: int | None = None) -> int:
    """Delete the oldest rows of a rule that have ended, at most AT_ONCE. Return their number. `kept` replaces the rule's.

    Rows that another transaction has locked are skipped.
    """
    old = rule.since < now - (rule.kept if kept is None else kept)
    if rule.only is not None:
        old = sa.and_(old, rule.only)
    key = next(iter(rule.table.primary_key))
    deleted = engines.delete_first(tx.connection, old, rule.since, AT_ONCE, key)
    if rule.used and deleted:
        uses = tables.generation_uses
        tx.execute(uses.delete().where(uses.c.access_id.in_(deleted)))
    return len(deleted)


def database_time(tx: Tx) -> Instant:
    """Return the time of the database's clock, or of this node's clock if the database has none."""
    return int(tx.execute(sa.select(engines.clock(tx.connection, tx.now))).scalar_one())


def seen_at(tx: Tx) -> Instant | None:
    """Return the last time that `note_time` stored; None if there is none."""
    found: Instant | None = tx.execute(sa.select(tables.heartbeat.c.seen_at)).scalar_one_or_none()
    return found


def note_time(tx: Tx, now: Instant) -> None:
    """Store a time at which the service ran with a trusted clock."""
    engines.upsert(tx.connection, tables.heartbeat, [{"id": 1, "seen_at": now}])
