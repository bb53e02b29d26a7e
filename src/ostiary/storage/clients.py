"""Rows of clients. Those of this program itself have none: they are `core.oauth`'s."""

from dataclasses import replace
from typing import Any, Final

import sqlalchemy as sa

from ostiary.core.model import Client
from ostiary.core.oauth import BUILT_IN
from ostiary.storage.authorization_tables import clients, grants, sessions
from ostiary.storage.store import Store, Tx

_COLUMNS = [clients.c[name] for name in Client.__dataclass_fields__]
_BY_ID = sa.select(*_COLUMNS).where(clients.c.id == sa.bindparam("client_id"), clients.c.deleted_at.is_(None))


def find(database: Tx | Store, client_id: str) -> Client | None:
    """The client of this id, which may be disabled; None for one that nobody is, or is no more."""
    if client_id in BUILT_IN:
        return BUILT_IN[client_id]
    rows = database.select(_BY_ID, client_id=client_id)
    return Client(*rows[0]) if rows else None


def find_own(tx: Tx, organization_id: str, client_id: str) -> Client | None:
    """A client of the organization's own."""
    found = find(tx, client_id)
    return found if found is not None and found.organization_id == organization_id else None


def insert(tx: Tx, client: Client, network: str | None = None) -> None:
    """`network` is where a client that registered itself was registered from."""
    values = {column.name: getattr(client, column.name) for column in _COLUMNS}
    tx.execute(clients.insert(), values | {"network": network})


def update(tx: Tx, client_id: str, values: dict[str, Any]) -> None:
    tx.execute(clients.update().where(clients.c.id == client_id).values(**values))


def put_document(tx: Tx, client: Client) -> None:
    """Keep what a client's document says. Of one that was kept before, when that was stays, and whether it is disabled."""
    before = find(tx, client.id)
    if before is None:
        insert(tx, client)
        return
    after = replace(client, created_at=before.created_at, disabled_at=before.disabled_at)
    if after != before:
        update(tx, client.id, {column.name: getattr(after, column.name) for column in _COLUMNS})
        tx.changed("client", client.id)


def delete(tx: Tx, client_id: str) -> None:
    """Keep the row, so that what it had stays refused, and nobody gets its id."""
    update(tx, client_id, {"deleted_at": tx.now})


def count(tx: Tx, organization_id: str) -> int:
    """Clients of the organization's own that were not deleted."""
    statement = sa.select(sa.func.count()).where(
        clients.c.organization_id == organization_id, clients.c.deleted_at.is_(None)
    )
    return int(tx.execute(statement).scalar_one())


UNUSED: Final = sa.and_(
    clients.c.source == "registration",
    ~sa.exists().where(grants.c.client_id == clients.c.id),
    ~sa.exists().where(sessions.c.client_id == clients.c.id),
)


def count_unused(tx: Tx) -> int:
    """Clients that registered themselves, and that nobody ever consented to."""
    return int(tx.execute(sa.select(sa.func.count()).select_from(clients).where(UNUSED)).scalar_one())


def make_room(tx: Tx) -> None:
    """Delete the oldest unused client of the network that has the most, so that mass registration displaces itself only."""
    most = (
        sa.select(clients.c.network)
        .where(UNUSED)
        .group_by(clients.c.network)
        .order_by(sa.func.count().desc(), clients.c.network)
        .limit(1)
    )
    network = tx.execute(most).scalar()
    oldest = sa.select(clients.c.id).where(UNUSED, clients.c.network.is_not_distinct_from(network))
    found = tx.execute(oldest.order_by(clients.c.created_at, clients.c.id).limit(1)).scalar()
    tx.execute(clients.delete().where(clients.c.id == found))


def list_page(tx: Tx, organization_id: str, after: str | None, limit: int) -> list[Client]:
    """Clients of the organization's own, newest first, below the id `after`."""
    statement = sa.select(*_COLUMNS).where(
        clients.c.organization_id == organization_id, clients.c.deleted_at.is_(None)
    )
    if after is not None:
        statement = statement.where(clients.c.id < after)
    return [
        Client(**row._mapping) for row in tx.execute(statement.order_by(clients.c.id.desc()).limit(limit))
    ]


def names(tx: Tx, client_ids: list[str]) -> dict[str, str]:
    """Display names by id, of those that were deleted too."""
    found = tx.execute(sa.select(clients.c.id, clients.c.name).where(clients.c.id.in_(client_ids)))
    return {row.id: row.name for row in found} | {
        each: BUILT_IN[each].name for each in client_ids if each in BUILT_IN
    }
