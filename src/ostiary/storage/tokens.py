"""Rows of individually revoked access tokens. Nothing is stored about any other access token."""

import sqlalchemy as sa

from ostiary.core.instant import Instant
from ostiary.storage.store import Store, Tx
from ostiary.storage.tables import revoked_tokens

_REVOKED = sa.select(revoked_tokens.c.id).where(
    revoked_tokens.c.id.in_([sa.bindparam("token_id"), sa.bindparam("exchanged_from")])
)


def is_revoked(database: Tx | Store, token_id: str, exchanged_from: str | None) -> bool:
    """Return whether this access token, or the one that it was exchanged for, was revoked."""
    return bool(database.select(_REVOKED, token_id=token_id, exchanged_from=exchanged_from or token_id))


def revoke(tx: Tx, organization_id: str, token_id: str, expires_at: Instant) -> None:
    """Store that a token was revoked, until it would have expired. Call this only if it is not revoked yet."""
    tx.execute(
        revoked_tokens.insert(),
        {"id": token_id, "organization_id": organization_id, "expires_at": expires_at, "revoked_at": tx.now},
    )
