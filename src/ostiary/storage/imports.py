"""Rows of imported keys, in batches, and the registered prefixes of other systems' keys."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import sqlalchemy as sa

from ostiary.core.model import Credential
from ostiary.storage import engines
from ostiary.storage import generations as generation_rows
from ostiary.storage.store import Tx
from ostiary.storage.tables import credentials, generations, import_prefixes

T = TypeVar("T")

AT_ONCE = 1_000
"""Values per statement; both databases accept more."""


def prefixes(tx: Tx) -> tuple[str, ...]:
    """Return the registered prefixes, sorted."""
    rows = tx.execute(sa.select(import_prefixes.c.prefix).order_by(import_prefixes.c.prefix))
    return tuple(rows.scalars())


def register(tx: Tx, prefix: str) -> None:
    tx.execute(import_prefixes.insert(), {"prefix": prefix, "created_at": tx.now})


def unregister(tx: Tx, prefix: str) -> None:
    tx.execute(import_prefixes.delete().where(import_prefixes.c.prefix == prefix))


def existing(tx: Tx, digests: Sequence[bytes]) -> set[bytes]:
    """Return those of the digests that a secret of the installation already has."""
    found: set[bytes] = set()
    for part in _parts(digests):
        rows = tx.execute(sa.select(generations.c.digest).where(generations.c.digest.in_(part)))
        found.update(bytes(digest) for digest in rows.scalars())
    return found


def insert_many(tx: Tx, made: Sequence[Credential], digests: Sequence[bytes], pepper_id: str) -> set[str]:
    """Insert credentials with their digests. Return the ids of those whose digest no other transaction inserted first."""
    columns = [column.name for column in credentials.columns]
    tx.execute(credentials.insert(), [{name: getattr(each, name) for name in columns} for each in made])
    kept = engines.insert_new(
        tx.connection,
        generations,
        [generation_rows.row(each, digest, pepper_id) for each, digest in zip(made, digests, strict=True)],
        generations.c.digest,
        generations.c.credential_id,
    )
    duplicates = [each.id for each in made if each.id not in kept]
    for part in _parts(duplicates):
        tx.execute(credentials.delete().where(credentials.c.id.in_(part)))
    return kept


def _parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[start : start + AT_ONCE] for start in range(0, len(values), AT_ONCE))
