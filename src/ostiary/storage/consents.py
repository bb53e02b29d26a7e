"""Rows of `grants`: what people allow clients to do."""

from typing import Any

import sqlalchemy as sa

from ostiary.core.model import Consent
from ostiary.storage.authorization_tables import grants
from ostiary.storage.store import Tx

_COLUMNS = [grants.c[name] for name in Consent.__dataclass_fields__]
_CONSENT = sa.select(*_COLUMNS)


def insert(tx: Tx, consent: Consent) -> None:
    tx.execute(grants.insert(), {column.name: getattr(consent, column.name) for column in _COLUMNS})


def update(tx: Tx, consent_id: str, values: dict[str, Any]) -> None:
    tx.execute(grants.update().where(grants.c.id == consent_id).values(**values))


def find(tx: Tx, consent_id: str) -> Consent | None:
    row = tx.execute(_CONSENT.where(grants.c.id == consent_id)).one_or_none()
    return None if row is None else Consent(**row._mapping)


def find_live(tx: Tx, organization_id: str, client_id: str, user_id: str | None) -> Consent | None:
    """Return the consent to a client that has not ended: the user's or, without a user, the organization's."""
    statement = _CONSENT.where(
        grants.c.organization_id == organization_id,
        grants.c.client_id == client_id,
        grants.c.revoked_at.is_(None),
        grants.c.service_account_id.is_not(None)
        if user_id is None
        else grants.c.service_account_id.is_(None),
    )
    if user_id is not None:
        statement = statement.where(grants.c.user_id == user_id)
    row = tx.execute(statement.order_by(grants.c.id.desc()).limit(1)).one_or_none()
    return None if row is None else Consent(**row._mapping)


def revoke(tx: Tx, consent_id: str) -> bool:
    """End a consent permanently. Return True for the first call only."""
    row = tx.execute(
        grants.update()
        .where(grants.c.id == consent_id, grants.c.revoked_at.is_(None))
        .values(revoked_at=tx.now, updated_at=tx.now)
        .returning(grants.c.id)
    ).first()
    return row is not None


def list_page(
    tx: Tx, organization_id: str, user_id: str | None, after: str | None, limit: int
) -> list[Consent]:
    """Return consents that have not ended, newest first: those of one user in the organization, or all of them.

    All of them includes consents that give this organization access to others.
    """
    where = grants.c.organization_id == organization_id
    if user_id is None:
        where = sa.or_(where, grants.c.client_organization_id == organization_id)
    else:
        where = sa.and_(where, grants.c.user_id == user_id)
    statement = _CONSENT.where(where, grants.c.revoked_at.is_(None))
    if after is not None:
        statement = statement.where(grants.c.id < after)
    return [
        Consent(**row._mapping) for row in tx.execute(statement.order_by(grants.c.id.desc()).limit(limit))
    ]


def of_client(tx: Tx, client_id: str) -> list[Consent]:
    """Return the consents to a client that have not ended."""
    return _live(tx, grants.c.client_id == client_id)


def of_user(tx: Tx, organization_id: str, user_id: str) -> list[Consent]:
    """Return the consents with which clients act for this member in the organization, and that have not ended."""
    return _live(
        tx,
        sa.and_(
            grants.c.organization_id == organization_id,
            grants.c.user_id == user_id,
            grants.c.service_account_id.is_(None),
        ),
    )


def of_other_organizations(tx: Tx, organization_id: str) -> list[Consent]:
    """Return the consents that give other organizations access to this one, and that have not ended."""
    return _live(
        tx, sa.and_(grants.c.organization_id == organization_id, grants.c.service_account_id.is_not(None))
    )


def _live(tx: Tx, which: sa.ColumnElement[bool]) -> list[Consent]:
    statement = _CONSENT.where(which, grants.c.revoked_at.is_(None)).order_by(grants.c.id)
    return [Consent(**row._mapping) for row in tx.execute(statement)]
