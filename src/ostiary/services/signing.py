"""The life of signing keys: the first of each purpose, one in place of another, revocation.

Key pairs are made before the transaction, which RSA would hold up, and handed in; inside it is decided once more
whether they are needed. Two processes that start at once make one key.
"""

from collections.abc import Mapping

from ostiary.core.event import Target
from ostiary.core.instant import Instant, to_text
from ostiary.core.jws import Algorithm
from ostiary.core.permission import Caller, require_operator
from ostiary.core.problem import not_found
from ostiary.core.signing import LEAD, PURPOSES, KeySet, Pair, Purpose, SigningKey, succeeded
from ostiary.services.audit import change
from ostiary.storage import signing_keys as rows
from ostiary.storage.store import Tx

SCOPE = "write:organization"


def list_all(tx: Tx, caller: Caller) -> KeySet:
    """Every key that is not forgotten yet."""
    require_operator(caller, "read:organization")
    return rows.key_set(tx)


def missing(tx: Tx, caller: Caller, algorithms: Mapping[Purpose, Algorithm]) -> tuple[Purpose, ...]:
    """The purposes for which no key signs with this algorithm and will go on to."""
    require_operator(caller, SCOPE)
    keys = rows.key_set(tx)
    return tuple(purpose for purpose in algorithms if not _signs(keys, purpose, algorithms[purpose], tx.now))


def ensure(tx: Tx, caller: Caller, made: Mapping[Purpose, Pair]) -> tuple[SigningKey, ...]:
    """Let each of these pairs sign from now on, unless a key of its algorithm does already: those that do."""
    wanted = missing(tx, caller, {purpose: pair.algorithm for purpose, pair in made.items()})
    return tuple(_add(tx, caller, purpose, made[purpose], tx.now) for purpose in wanted)


def due(tx: Tx, caller: Caller, lifetime: int) -> tuple[Purpose, ...]:
    """The purposes whose newest key is older than this (microseconds), or dated in the future, or that have none."""
    require_operator(caller, SCOPE)
    keys = rows.key_set(tx)
    return tuple(purpose for purpose in PURPOSES if _is_due(keys, purpose, lifetime, tx.now))


def rotate_due(tx: Tx, caller: Caller, made: Mapping[Purpose, Pair], lifetime: int) -> tuple[SigningKey, ...]:
    """Let each of these pairs take its place after a while, where one is due: those that will."""
    wanted = set(due(tx, caller, lifetime)) & made.keys()
    return rotate(tx, caller, {purpose: made[purpose] for purpose in wanted})


def rotate(
    tx: Tx, caller: Caller, made: Mapping[Purpose, Pair], at_once: bool = False
) -> tuple[SigningKey, ...]:
    """Publish these pairs now; they sign once everybody may have read of them, or at once.

    Where no key signs, the new one does so at once in any case. What the keys before them signed stays believed.
    """
    require_operator(caller, SCOPE)
    keys = rows.key_set(tx)
    return tuple(
        _add(tx, caller, purpose, made[purpose], tx.now if at_once or idle else tx.now + LEAD)
        for purpose in PURPOSES
        if purpose in made
        for idle in [keys.signer(purpose, tx.now) is None]
    )


def revoke(tx: Tx, caller: Caller, kid: str, pair: Pair | None) -> SigningKey | None:
    """Believe nothing that a key signed, from the commit on. Raises not-found. Idempotent.

    `pair` takes its place at once, if it was the one to sign now or next: the new key, or None.
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
    # While another signs, the new one is published first like any other.
    return _add(tx, caller, key.purpose, pair, tx.now if signing or signer is None else tx.now + LEAD)


def _signs(keys: KeySet, purpose: Purpose, algorithm: Algorithm, now: Instant) -> bool:
    """Whether a key with this algorithm signs now, and the one that is to stay has it, too."""
    signer = keys.signer(purpose, now)
    staying = _staying(keys, purpose)
    if signer is None or staying is None:
        return False
    return signer.key.algorithm == staying.algorithm == algorithm and keys.usable(staying)


def _is_due(keys: KeySet, purpose: Purpose, lifetime: int, now: Instant) -> bool:
    staying = _staying(keys, purpose)
    if staying is None or not keys.usable(staying):
        return True
    # No rotation by a right clock makes a key that begins so late.
    return not now - lifetime < staying.signs_from <= now + LEAD


def _staying(keys: KeySet, purpose: Purpose) -> SigningKey | None:
    """The newest key that no other is to take the place of."""
    found = (
        key
        for key in reversed(keys.keys)
        if key.purpose == purpose and key.revoked_at is None and key.believed_until is None
    )
    return next(found, None)


def _add(tx: Tx, caller: Caller, purpose: Purpose, pair: Pair, signs_from: Instant) -> SigningKey:
    for before in succeeded(rows.key_set(tx), purpose, signs_from, tx.now):
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
