"""Signing keys: the first key of each purpose, rotation, revocation.

Key pairs are generated before the transaction, because RSA takes long. The transaction decides again whether each
pair is needed. So two processes that start at the same time store only one key.
"""

from collections.abc import Mapping

from ostiary.core.event import Target
from ostiary.core.instant import Instant, to_text
from ostiary.core.jws import Algorithm
from ostiary.core.permission import Caller, require_operator
from ostiary.core.problem import not_found
from ostiary.core.signing import (
    PUBLISHED_BEFORE,
    PURPOSES,
    KeySet,
    Purpose,
    SigningKey,
    SigningKeyPair,
    keys_after_rotation,
)
from ostiary.services.audit import change
from ostiary.storage import signing_keys as rows
from ostiary.storage.store import Tx

SCOPE = "write:organization"


def list_all(tx: Tx, caller: Caller) -> KeySet:
    """Return all stored keys, including revoked and superseded ones."""
    require_operator(caller, "read:organization")
    return rows.key_set(tx)


def missing(tx: Tx, caller: Caller, algorithms: Mapping[Purpose, Algorithm]) -> tuple[Purpose, ...]:
    """Return the purposes without a current and lasting key for this algorithm."""
    require_operator(caller, SCOPE)
    keys = rows.key_set(tx)
    return tuple(purpose for purpose in algorithms if not _signs(keys, purpose, algorithms[purpose], tx.now))


def ensure(tx: Tx, caller: Caller, made: Mapping[Purpose, SigningKeyPair]) -> tuple[SigningKey, ...]:
    """Store each pair as a key that signs now, unless its purpose has such a key. Return the new keys."""
    wanted = missing(tx, caller, {purpose: pair.algorithm for purpose, pair in made.items()})
    return tuple(_add(tx, caller, purpose, made[purpose], tx.now) for purpose in wanted)


def due(tx: Tx, caller: Caller, lifetime: int) -> tuple[Purpose, ...]:
    """Return the purposes that need a new key: none exists, or the newest is older than `lifetime` or dated wrongly.

    `lifetime` is in microseconds. A key is dated wrongly if it begins further in the future than a rotation allows.
    """
    require_operator(caller, SCOPE)
    keys = rows.key_set(tx)
    return tuple(purpose for purpose in PURPOSES if _is_due(keys, purpose, lifetime, tx.now))


def rotate_due(
    tx: Tx, caller: Caller, made: Mapping[Purpose, SigningKeyPair], lifetime: int
) -> tuple[SigningKey, ...]:
    """Rotate the purposes that are due, with these pairs. Return the new keys."""
    wanted = set(due(tx, caller, lifetime)) & made.keys()
    return rotate(tx, caller, {purpose: made[purpose] for purpose in wanted})


def rotate(
    tx: Tx, caller: Caller, made: Mapping[Purpose, SigningKeyPair], at_once: bool = False
) -> tuple[SigningKey, ...]:
    """Publish these pairs now. They sign after `PUBLISHED_BEFORE`, when every verifier can have read them, or `at_once`.

    If no key signs for a purpose, the new one signs at once. Tokens signed by the former keys stay valid. Return the
    new keys.
    """
    require_operator(caller, SCOPE)
    keys = rows.key_set(tx)
    return tuple(
        _add(tx, caller, purpose, made[purpose], tx.now if at_once or idle else tx.now + PUBLISHED_BEFORE)
        for purpose in PURPOSES
        if purpose in made
        for idle in [keys.signer(purpose, tx.now) is None]
    )


def revoke(tx: Tx, caller: Caller, kid: str, pair: SigningKeyPair | None) -> SigningKey | None:
    """Revoke a key: from the commit on, nothing that it signed is accepted. Idempotent. Raises not-found.

    If the key signs now or was to sign next, `pair` replaces it. Return the new key, or None.
    """
    require_operator(caller, SCOPE)
    keys = rows.key_set(tx)
    key = next((each for each in keys.keys if each.kid == kid), None)
    if key is None:
        raise not_found("signing key")
    if key.revoked_at is not None:
        tx.confirm()
        return None
    signer = keys.signer(key.purpose, tx.now)
    in_use = key.believed_until is None or (signer is not None and signer.key.kid == kid)
    rows.update(tx, kid, revoked_at=tx.now)
    tx.changed("installation", "signing_keys")
    change(tx, caller, "signing_key.revoked", _target(key), purpose=key.purpose)
    if pair is None or not in_use:
        return None
    signing = signer is not None and signer.key.kid == kid
    # If another key signs now, the new one is published first, as in a rotation.
    return _add(
        tx, caller, key.purpose, pair, tx.now if signing or signer is None else tx.now + PUBLISHED_BEFORE
    )


def _signs(keys: KeySet, purpose: Purpose, algorithm: Algorithm, now: Instant) -> bool:
    """Return whether the key that signs now and the key that stays have this algorithm, and the latter is usable."""
    signer = keys.signer(purpose, now)
    staying = _staying(keys, purpose)
    if signer is None or staying is None:
        return False
    return signer.key.algorithm == staying.algorithm == algorithm and keys.usable(staying)


def _is_due(keys: KeySet, purpose: Purpose, lifetime: int, now: Instant) -> bool:
    staying = _staying(keys, purpose)
    if staying is None or not keys.usable(staying):
        return True
    # A rotation with a correct clock never creates a key that begins later than `now + LEAD`.
    return not now - lifetime < staying.signs_from <= now + PUBLISHED_BEFORE


def _staying(keys: KeySet, purpose: Purpose) -> SigningKey | None:
    """Return the newest key that is neither revoked nor succeeded by another."""
    found = (
        key
        for key in reversed(keys.keys)
        if key.purpose == purpose and key.revoked_at is None and key.believed_until is None
    )
    return next(found, None)


def _add(tx: Tx, caller: Caller, purpose: Purpose, pair: SigningKeyPair, signs_from: Instant) -> SigningKey:
    for before in keys_after_rotation(rows.key_set(tx), purpose, signs_from, tx.now):
        rows.update(tx, before.kid, believed_until=before.believed_until)
    kid = tx.new_id("key")
    key = SigningKey(kid, purpose, pair.algorithm, pair.public_key, tx.now, signs_from, None, None)
    rows.insert(tx, key, pair)
    tx.changed("installation", "signing_keys")
    change(
        tx,
        caller,
        "signing_key.created",
        _target(key),
        purpose=purpose,
        algorithm=pair.algorithm,
        signs_from=to_text(signs_from),
    )
    return key


def _target(key: SigningKey) -> Target:
    return Target("signing_key", key.kid, f"{key.purpose} {key.algorithm}")
