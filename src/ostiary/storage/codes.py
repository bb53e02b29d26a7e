"""Rows of authorization codes and device codes. Each is short-lived and can be used once."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ostiary.core.instant import Instant
from ostiary.storage.authorization_tables import authorization_codes, device_codes
from ostiary.storage.store import Store, Tx


@dataclass(frozen=True, slots=True)
class AuthorizationCode:
    """An authorization code, with the request that it was issued for (RFC 6749 §4.1.2)."""

    access_id: str
    digest: bytes
    pepper_id: str
    session_id: str
    """The session that begins when the code is redeemed."""
    client_id: str
    redirect_uri: str
    redirect_named: bool
    challenge: str
    """The PKCE challenge (RFC 7636), method S256."""
    audiences: tuple[str, ...]
    """The requested resources (RFC 8707). Empty: none."""
    expires_at: Instant
    used_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """A device's authorization request and its result (RFC 8628)."""

    access_id: str
    digest: bytes
    pepper_id: str
    user_digest: bytes
    client_id: str
    scopes: tuple[str, ...]
    audiences: tuple[str, ...]
    interval: int
    """Seconds."""
    polled_at: Instant | None
    address: str | None
    user_agent: str
    created_at: Instant
    expires_at: Instant
    claimed_by: str | None = None
    """The id of the user who entered the code first. Only this user may decide."""
    session_id: str | None = None
    """Set on approval. The session begins when the code is redeemed."""
    denied_at: Instant | None = None
    used_at: Instant | None = None


_CODE = [authorization_codes.c[name] for name in AuthorizationCode.__dataclass_fields__]
_DEVICE_CODE = [device_codes.c[name] for name in DeviceCode.__dataclass_fields__]
_BY_ACCESS_ID = sa.select(*_CODE).where(authorization_codes.c.access_id == sa.bindparam("access_id"))
_DEVICE_BY_ACCESS_ID = sa.select(*_DEVICE_CODE).where(device_codes.c.access_id == sa.bindparam("access_id"))


def insert(tx: Tx, code: AuthorizationCode) -> None:
    tx.execute(authorization_codes.insert(), {column.name: getattr(code, column.name) for column in _CODE})


def find(database: Tx | Store, access_id: str) -> AuthorizationCode | None:
    rows = database.select(_BY_ACCESS_ID, access_id=access_id)
    return AuthorizationCode(*rows[0]) if rows else None


def use(tx: Tx, access_id: str) -> bool:
    """Mark a code as used. Return True for the first call only, and False once it has expired."""
    return _update_once(
        tx,
        authorization_codes,
        sa.and_(
            authorization_codes.c.access_id == access_id,
            authorization_codes.c.used_at.is_(None),
            authorization_codes.c.expires_at > tx.now,
        ),
        authorization_codes.c.access_id,
        {"used_at": tx.now},
    )


def insert_device(tx: Tx, code: DeviceCode) -> None:
    tx.execute(device_codes.insert(), {column.name: getattr(code, column.name) for column in _DEVICE_CODE})


def find_device(database: Tx | Store, access_id: str) -> DeviceCode | None:
    rows = database.select(_DEVICE_BY_ACCESS_ID, access_id=access_id)
    return DeviceCode(*rows[0]) if rows else None


def find_device_by_user_code(tx: Tx, digests: list[bytes]) -> DeviceCode | None:
    """Find by the digests of the code that a person typed, one for each pepper."""
    row = tx.execute(sa.select(*_DEVICE_CODE).where(device_codes.c.user_digest.in_(digests))).one_or_none()
    return None if row is None else DeviceCode(**row._mapping)


def update_device(tx: Tx, access_id: str, values: dict[str, Any]) -> None:
    tx.execute(device_codes.update().where(device_codes.c.access_id == access_id).values(**values))


def claim_device(tx: Tx, access_id: str, user_id: str) -> bool:
    """Let this user, and no other after, decide on the device. Return whether the decision is theirs."""
    return _update_once(
        tx,
        device_codes,
        sa.and_(
            device_codes.c.access_id == access_id,
            sa.or_(device_codes.c.claimed_by.is_(None), device_codes.c.claimed_by == user_id),
        ),
        device_codes.c.access_id,
        {"claimed_by": user_id},
    )


def decide_device(tx: Tx, access_id: str, user_id: str, session_id: str | None) -> bool:
    """Approve (with the session that will begin) or deny, for the user who claimed it. Return True for the first call
    only."""
    decision: dict[str, Any] = {"denied_at": tx.now} if session_id is None else {"session_id": session_id}
    return _update_once(
        tx,
        device_codes,
        sa.and_(
            device_codes.c.access_id == access_id,
            device_codes.c.claimed_by == user_id,
            device_codes.c.session_id.is_(None),
            device_codes.c.denied_at.is_(None),
            device_codes.c.expires_at > tx.now,
        ),
        device_codes.c.access_id,
        decision,
    )


def use_device(tx: Tx, access_id: str) -> bool:
    """Mark an approved device code as used. Return True for the first call only, and False once it has expired."""
    return _update_once(
        tx,
        device_codes,
        sa.and_(
            device_codes.c.access_id == access_id,
            device_codes.c.session_id.is_not(None),
            device_codes.c.used_at.is_(None),
            device_codes.c.expires_at > tx.now,
        ),
        device_codes.c.access_id,
        {"used_at": tx.now},
    )


def _update_once(
    tx: Tx, table: sa.Table, which: sa.ColumnElement[bool], key: sa.Column[str], values: dict[str, Any]
) -> bool:
    return tx.execute(table.update().where(which).values(**values).returning(key)).first() is not None
