"""Rows of users, their passwords, and the links to set a new password."""

from dataclasses import dataclass, field

import sqlalchemy as sa

from ostiary.core.instant import Instant
from ostiary.core.model import Maker
from ostiary.storage import makers
from ostiary.storage.authorization_tables import password_resets
from ostiary.storage.store import Tx
from ostiary.storage.tables import users


@dataclass(frozen=True, slots=True)
class Person:
    """A user, independent of organizations."""

    id: str
    email: str
    disabled_at: Instant | None
    password_hash: str | None = field(repr=False)
    """None: no password was set yet."""


@dataclass(frozen=True, slots=True)
class StoredReset:
    """A link to set a new password. Its secret is stored as a digest only."""

    access_id: str
    organization_id: str
    """The organization in which it was created."""
    user_id: str
    digest: bytes
    pepper_id: str
    created_at: Instant
    expires_at: Instant
    used_at: Instant | None = None
    maker: Maker | None = None


_RESET = [name for name in StoredReset.__dataclass_fields__ if name != "maker"]
_PERSON = sa.select(*(users.c[name] for name in Person.__dataclass_fields__))


def find(tx: Tx, user_id: str) -> Person | None:
    return _one(tx, _PERSON.where(users.c.id == user_id))


def find_by_email(tx: Tx, email: str) -> Person | None:
    """Return the user with this email address, which must be in lower case."""
    return _one(tx, _PERSON.where(users.c.email == email))


def lock(tx: Tx, user_id: str) -> Person | None:
    """Return the user's current row and lock it. No other transaction changes the password before this one ends."""
    return _one(tx, _PERSON.where(users.c.id == user_id).with_for_update())


def _one(tx: Tx, statement: sa.Select[tuple[object, ...]]) -> Person | None:
    row = tx.execute(statement).one_or_none()
    return None if row is None else Person(**row._mapping)


def insert_user(tx: Tx, user_id: str, email: str, password_hash: str | None) -> None:
    tx.execute(
        users.insert(),
        {"id": user_id, "email": email, "password_hash": password_hash, "created_at": tx.now},
    )


def set_password(tx: Tx, user_id: str, password_hash: str) -> None:
    tx.execute(users.update().where(users.c.id == user_id).values(password_hash=password_hash))


def replace_password(tx: Tx, user_id: str, password_hash: str, before: str | None) -> bool:
    """Replace the password hash `before` (None: no password). Return False if it was no longer the stored one."""
    row = tx.execute(
        users.update()
        .where(users.c.id == user_id, users.c.password_hash == before)
        .values(password_hash=password_hash)
        .returning(users.c.id)
    ).first()
    return row is not None


def insert_reset(tx: Tx, reset: StoredReset) -> None:
    values = {name: getattr(reset, name) for name in _RESET}
    tx.execute(password_resets.insert(), values | makers.columns_of(reset.maker))


def find_reset(tx: Tx, access_id: str) -> StoredReset | None:
    row = tx.execute(sa.select(password_resets).where(password_resets.c.access_id == access_id)).one_or_none()
    if row is None:
        return None
    return StoredReset(**{name: row._mapping[name] for name in _RESET}, maker=makers.of_row(row._mapping))


def count_resets(tx: Tx, user_id: str) -> int:
    """Count the user's reset links that can still be used."""
    statement = sa.select(sa.func.count()).where(
        password_resets.c.user_id == user_id,
        password_resets.c.used_at.is_(None),
        password_resets.c.expires_at > tx.now,
    )
    return int(tx.execute(statement).scalar_one())


def use_reset(tx: Tx, access_id: str) -> bool:
    """Mark a reset link as used. Return True for the first call only, and False once it has expired."""
    row = tx.execute(
        password_resets.update()
        .where(
            password_resets.c.access_id == access_id,
            password_resets.c.used_at.is_(None),
            password_resets.c.expires_at > tx.now,
        )
        .values(used_at=tx.now)
        .returning(password_resets.c.access_id)
    ).first()
    return row is not None


def end_resets(tx: Tx, user_id: str) -> None:
    """End all open reset links of the user."""
    tx.execute(
        password_resets.update()
        .where(password_resets.c.user_id == user_id, password_resets.c.used_at.is_(None))
        .values(used_at=tx.now)
    )
