"""Rows of signing keys. The private key is encrypted with a key that is not in the database, and bound to its row."""

from typing import Any

import sqlalchemy as sa

from ostiary.core import sealing
from ostiary.core.instant import DAY
from ostiary.core.sealing import SealedError
from ostiary.core.secret import Secret
from ostiary.core.signing import KeySet, SigningKey, SigningKeyPair
from ostiary.storage.store import Tx
from ostiary.storage.tables import signing_keys as table

KEPT = 30 * DAY
"""How long a key stays listed after it is no longer accepted."""


def insert(tx: Tx, key: SigningKey, pair: SigningKeyPair) -> None:
    plain = pair.private_key.reveal().encode()
    sealing_id, sealed = sealing.seal(
        tx.installation.keyring, _place(key.kid), plain, tx.entropy(sealing.NONCE)
    )
    row = {column.name: getattr(key, column.name) for column in table.columns if hasattr(key, column.name)}
    tx.execute(table.insert(), row | {"private_key": sealed, "sealing_id": sealing_id})


def key_set(tx: Tx) -> KeySet:
    """Return all keys. A private key is left out if its master key is missing or it was tampered with."""
    keys, private = [], {}
    for row in tx.execute(sa.select(table)):
        keys.append(_key(row._mapping))
        try:
            plain = sealing.unseal(
                tx.installation.keyring, _place(row.kid), row.sealing_id, bytes(row.private_key)
            )
        except SealedError:
            continue
        private[row.kid] = Secret(plain.decode())
    return KeySet(keys, private)


def update(tx: Tx, kid: str, **values: int | None) -> None:
    tx.execute(table.update().where(table.c.kid == kid).values(**values))


def _place(kid: str) -> str:
    """Return what a sealed private key is bound to: table, id, format version."""
    return f"signing_keys/{kid}/1"


def _key(row: Any) -> SigningKey:
    return SigningKey(
        row["kid"],
        row["purpose"],
        row["algorithm"],
        bytes(row["public_key"]),
        row["created_at"],
        row["signs_from"],
        row["believed_until"],
        row["revoked_at"],
    )
