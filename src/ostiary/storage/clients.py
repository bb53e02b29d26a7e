"""Rows of OAuth clients. Built-in clients have no row; they are in `core.oauth`."""

from dataclasses import replace
from typing import Any, Final

import sqlalchemy as sa

from ostiary.core.model import OAuthClient
from ostiary.core.oauth import BUILT_IN
from ostiary.storage.authorization_tables import clients, grants, sessions
from ostiary.storage.store import Store, Tx

_COLUMNS = [clients.c[name] for name in OAuthClient.__dataclass_fields__]
_BY_ID = sa.select(*_COLUMNS).where(clients.c.id == sa.bindparam("client_id"), clients.c.deleted_at.is_(None))


def find(database: Tx | Store, client_id: str) -> OAuthClient | None:
    """Return the client with this id, which may be disabled. None if it does not exist or was deleted."""
    if client_id in BUILT_IN:
        return BUILT_IN[client_id]
    rows = database.select(_BY_ID, client_id=client_id)
    return OAuthClient(*rows[0]) if rows else None


def find_own(tx: Tx, organization_id: str, client_id: str) -> OAuthClient | None:
    """Return a client that belongs to the organization."""
    found = find(tx, client_id)
    return found if found is not None and found.organization_id == organization_id else None


def insert(tx: Tx, client: OAuthClient, network: str | None = None) -> None:
    """Insert a client. `network` is where a client that registered itself did so from."""
    values = {column.name: getattr(client, column.name) for column in _COLUMNS}
    tx.execute(clients.insert(), values | {"network": network})


def update(tx: Tx, client_id: str, values: dict[str, Any]) -> None:
    tx.execute(clients.update().where(clients.c.id == client_id).values(**values))


def put_document(tx: Tx, client: OAuthClient) -> None:
    """Insert or update the client of a metadata document. Its creation time and whether it is disabled do not change."""
    before = find(tx, client.id)
    if before is None:
        insert(tx, client)
        return
    after = replace(client, created_at=before.created_at, disabled_at=before.disabled_at)
    if after != before:
        update(tx, client.id, {column.name: getattr(after, column.name) for column in _COLUMNS})
        tx.changed("client", client.id)


def delete(tx: Tx, client_id: str) -> None:
    """Mark a client as deleted. The row stays, so that its tokens remain refused and its id is not reused."""
    update(tx, client_id, {"deleted_at": tx.now})


def count(tx: Tx, organization_id: str) -> int:
    """Count the organization's clients that were not deleted."""
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
    """Count the clients that registered themselves and that nobody has consented to."""
    return int(tx.execute(sa.select(sa.func.count()).select_from(clients).where(UNUSED)).scalar_one())


def make_room(tx: Tx) -> None:
    """Delete the oldest unused client of the network with the most, so that mass registration displaces only itself."""
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


def list_page(tx: Tx, organization_id: str, after: str | None, limit: int) -> list[OAuthClient]:
    """Return the organization's clients, newest first, with ids below `after`."""
    statement = sa.select(*_COLUMNS).where(
        clients.c.organization_id == organization_id, clients.c.deleted_at.is_(None)
    )
    if after is not None:
        statement = statement.where(clients.c.id < after)
    return [
        OAuthClient(**row._mapping)
        for row in tx.execute(statement.order_by(clients.c.id.desc()).limit(limit))
    ]


def names(tx: Tx, client_ids: list[str]) -> dict[str, str]:
    """Return display names by id, including those of deleted clients."""
    found = tx.execute(sa.select(clients.c.id, clients.c.name).where(clients.c.id.in_(client_ids)))
    return {row.id: row.name for row in found} | {
        each: BUILT_IN[each].name for each in client_ids if each in BUILT_IN
    }
