"""Rows of the secrets of credentials, and of their usage. One secret is current; earlier ones may overlap with it."""

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from ostiary.core.instant import Instant
from ostiary.core.model import Credential, Generation, account_id_of
from ostiary.storage import engines
from ostiary.storage.store import Tx
from ostiary.storage.tables import (
    credentials,
    generation_uses,
    generations,
    organizations,
    service_accounts,
)

MOST_KEY_FILES: Final = 20


def insert(
    tx: Tx, credential: Credential, digest: bytes, pepper_id: str, public_key: bytes | None = None
) -> None:
    """Insert the current secret of a credential."""
    tx.execute(generations.insert(), row(credential, digest, pepper_id, public_key))


def row(
    credential: Credential, digest: bytes, pepper_id: str, public_key: bytes | None = None
) -> dict[str, Any]:
    """Return the row for a credential's current secret. A key file's has the public key."""
    return {
        "access_id": credential.access_id,
        "credential_id": credential.id,
        "number": credential.generation,
        "prefix": credential.prefix,
        "last6": credential.last6,
        "digest": digest,
        "pepper_id": pepper_id,
        "created_at": credential.secret_created_at,
        "public_key": public_key,
    }


def public_key_of(tx: Tx, access_id: str) -> bytes | None:
    """Return the public key (DER) of a key file's secret; None for a secret of another kind."""
    found = tx.execute(sa.select(generations.c.public_key).where(generations.c.access_id == access_id))
    key = found.scalar_one()
    return None if key is None else bytes(key)


def usable_key_files(tx: Tx, name: str) -> list[str]:
    """Return the access ids of the key files that a service account can use now, newest first, at most MOST_KEY_FILES.

    `name` is the account's client id or channel identifier. The host of a channel identifier is not compared.
    """
    account_id = account_id_of(name)
    if account_id is not None:
        named = service_accounts.c.id == account_id
    else:
        username, _, place = name.partition("@")
        slug = place.partition(".")[0]
        named = sa.and_(service_accounts.c.username == username, organizations.c.slug == slug)
    statement = (
        sa.select(generations.c.access_id)
        .join(credentials, credentials.c.id == generations.c.credential_id)
        .join(service_accounts, service_accounts.c.id == credentials.c.owner_id)
        .join(organizations, organizations.c.id == service_accounts.c.organization_id)
        .where(
            named,
            credentials.c.kind == "key_file",
            credentials.c.revoked_at.is_(None),
            credentials.c.deactivated_at.is_(None),
            sa.or_(credentials.c.expires_at.is_(None), credentials.c.expires_at > tx.now),
            generations.c.ended_at.is_(None),
            sa.or_(generations.c.ends_at.is_(None), generations.c.ends_at > tx.now),
        )
        .order_by(generations.c.created_at.desc(), generations.c.access_id)
    )
    return list(tx.execute(statement.limit(MOST_KEY_FILES)).scalars())


def list_of_credential(tx: Tx, credential_id: str) -> list[Generation]:
    """Return all stored secrets of the credential with their usage, newest first."""
    columns = [
        generations.c[name]
        for name in (
            "access_id",
            "number",
            "prefix",
            "last6",
            "created_at",
            "superseded_at",
            "ends_at",
            "ended_at",
        )
    ]
    rows = tx.execute(
        sa.select(
            *columns,
            generation_uses.c.last_used_at,
            sa.func.coalesce(generation_uses.c.uses, 0).label("uses"),
        )
        .select_from(
            generations.outerjoin(generation_uses, generation_uses.c.access_id == generations.c.access_id)
        )
        .where(generations.c.credential_id == credential_id)
        .order_by(generations.c.number.desc())
    )
    return [Generation(**row._mapping) for row in rows]


def last_number(tx: Tx, credential_id: str) -> int:
    """Return the highest number among the credential's stored secrets."""
    statement = sa.select(sa.func.max(generations.c.number)).where(
        generations.c.credential_id == credential_id
    )
    return int(tx.execute(statement).scalar_one())


def set_end(
    tx: Tx,
    access_id: str,
    superseded_at: Instant | None,
    ends_at: Instant | None = None,
    ended_at: Instant | None = None,
) -> None:
    """Set when a secret was superseded, until when it is still accepted, and when it was ended."""
    tx.execute(
        generations.update()
        .where(generations.c.access_id == access_id)
        .values(superseded_at=superseded_at, ends_at=ends_at, ended_at=ended_at)
    )


def end_past(tx: Tx, credential_id: str, now: Instant) -> None:
    """Mark secrets whose planned end has passed as ended, so that they are also ended for a clock that is behind."""
    tx.execute(
        generations.update()
        .where(
            generations.c.credential_id == credential_id,
            generations.c.ended_at.is_(None),
            generations.c.ends_at <= now,
        )
        .values(ended_at=generations.c.ends_at)
    )


def forget_before(tx: Tx, credential_id: str, ended_before: Instant) -> None:
    """Delete secrets that ended before this time. From then on they are unknown when presented."""
    tx.execute(
        generations.delete().where(
            generations.c.credential_id == credential_id,
            sa.func.coalesce(generations.c.ended_at, generations.c.ends_at) < ended_before,
        )
    )


def add_uses(tx: Tx, uses: Sequence[tuple[str, str, Instant, int]]) -> None:
    """Add uses in one batch: (access id, credential id, last use, number of uses)."""
    engines.upsert(
        tx.connection,
        generation_uses,
        [
            {"access_id": access_id, "credential_id": credential_id, "last_used_at": last, "uses": number}
            for access_id, credential_id, last, number in uses
        ],
        add=("uses",),
        latest=("last_used_at",),
    )
