"""Rotation: a credential gets a new secret and keeps its id, name, scopes and statistics.

The old secret stays valid during an overlap. Uses of both are counted, so the owner can see when it is safe to end the
old one. A credential has one rotation at a time: exactly one secret is current, and at most one other is accepted.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

from ostiary.core import key_file, limits
from ostiary.core.instant import DAY, HOUR, Instant, text_or_none
from ostiary.core.key_file import KeyAlgorithm, KeyPair
from ostiary.core.model import Credential, Generation, Overlap
from ostiary.core.permission import Caller, require_no_application
from ostiary.core.problem import Problem, invalid
from ostiary.services import credentials, issuance
from ostiary.services.audit import change
from ostiary.services.credentials import Created
from ostiary.storage import credentials as rows
from ostiary.storage import generations, owner_facts
from ostiary.storage.store import Tx

State = Literal["none", "overlap", "completed", "cancelled"]
Reason = Literal["not_rotated", "new_never_used", "old_used_recently", "watched_too_briefly", "ended"]

MAX_OVERLAP: Final = 30 * DAY
QUIET: Final = 24 * HOUR
"""How long the old secret must be unused before it is considered safe to end it."""
KEPT: Final = 30 * DAY
"""How long an ended secret is remembered, so that a late use of it is recognised and raises an alert."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """The state of a credential's last rotation. `old` and `new` are None before the first one.

    After a cancelled rotation, `old` is the secret that stayed and `new` is the one that was ended.
    """

    credential: Credential
    state: State
    old: Generation | None
    new: Generation | None
    reasons: tuple[Reason, ...]
    """Why it is not safe to end the old secret now; empty if it is safe."""


def algorithm(tx: Tx, caller: Caller, credential_id: str) -> KeyAlgorithm | None:
    """Return the algorithm of a key file's key, which its next key has, too; None for other kinds.

    Raises what `rotate` raises for a credential that the caller may not rotate.
    """
    credential = credentials.find_to_write(tx, caller, credential_id)
    public_key = generations.public_key_of(tx, credential.access_id)
    return None if public_key is None else key_file.algorithm_of(public_key)


def rotate(
    tx: Tx,
    caller: Caller,
    credential_id: str,
    overlap: int | None,
    expires_at: Instant | None,
    key_pair: KeyPair | None = None,
) -> Created:
    """Give a credential a new secret. The old one is accepted for `overlap` microseconds; None: until completed.

    `expires_at` changes the credential's expiry; None leaves it. The old secret never outlives its former expiry. A
    key file gets `key_pair`, which was generated before the transaction.

    Raises wrong-state if a rotation is under way or the credential has ended, account-disabled, validation-failed or
    scope-exceeds-grantor.
    """
    before = credentials.find_to_write(tx, caller, credential_id)
    require_no_application(caller)
    credentials.require_not_final(tx, before, "rotated")
    if before.overlap is not None:
        raise Problem(
            "wrong-state",
            "A rotation is under way: the old secret is still accepted. Complete or cancel this rotation first.",
            reason="rotation under way",
        )
    if overlap is not None and not 0 <= overlap <= MAX_OVERLAP:
        raise invalid("/overlap", "out-of-range", "must be a duration of at most 30d")
    owner = credentials.owner_of(tx, before)
    issuance.require_enabled(owner)
    after = replace(
        before,
        expires_at=before.expires_at if expires_at is None else expires_at,
        generation=generations.last_number(tx, before.id) + 1,
        secret_created_at=tx.now,
    )
    facts = owner_facts.facts_of(tx, caller.organization_id, owner.id)
    own = credentials.is_own(caller, before)
    issuance.check(tx, caller, owner, credentials.spec_of(after), facts, direct=own)
    if expires_at is not None:
        issuance.check_lifetime(facts.policy, expires_at, tx.now)
    ends = [] if overlap is None else [tx.now + overlap]
    if before.expires_at is not None and after.expires_at != before.expires_at:
        ends.append(before.expires_at)
    ends_at = min(ends, default=None)
    new = issuance.new_secret_of_kind(tx, before.kind, key_pair)
    after = replace(
        after,
        prefix=new.prefix,
        access_id=new.access_id,
        last6=new.last6,
        overlap=None if ends_at is not None and ends_at <= tx.now else Overlap(before.last6, ends_at),
    )
    generations.forget_before(tx, before.id, tx.now - KEPT)
    limits.check("rotations", len(generations.list_of_credential(tx, before.id)))
    generations.end_past(tx, before.id, tx.now)
    generations.set_end(tx, before.access_id, tx.now, ends_at)
    if after.overlap is None:
        generations.end_past(tx, before.id, tx.now)
    generations.insert(tx, after, new.digest, new.pepper_id, new.public_key)
    if after.expires_at != before.expires_at:
        rows.update(tx, before.id, {"expires_at": after.expires_at})
    tx.changed("credential", before.id)
    change(
        tx,
        caller,
        "credential.rotated",
        credentials.target_of(after),
        generation=after.generation,
        last6=after.last6,
        previous=before.last6,
        ends_at=text_or_none(ends_at),
        expires_at=text_or_none(after.expires_at),
    )
    return Created(
        credentials.listed(tx, caller, [after])[0], new.secret, issuance.file_of(tx, caller, after)
    )


def get(tx: Tx, caller: Caller, credential_id: str) -> Rotation:
    """Return the state of the credential's last rotation."""
    return _rotation(tx, credentials.find(tx, caller, credential_id, "read:credentials"))


def complete(tx: Tx, caller: Caller, credential_id: str) -> Rotation:
    """End the old secret now. Tokens issued for it stay valid. Idempotent. Raises wrong-state without a rotation."""
    credential = credentials.find_to_write(tx, caller, credential_id)
    found = _rotation(tx, credential)
    if found.state == "completed":
        tx.confirm()
        return found
    if found.state != "overlap" or found.old is None:
        raise _nothing_to("complete")
    generations.set_end(tx, found.old.access_id, found.old.superseded_at, found.old.ends_at, tx.now)
    tx.changed("credential", credential.id)
    change(
        tx,
        caller,
        "credential.rotation_completed",
        credentials.target_of(credential),
        generation=credential.generation,
        previous=found.old.last6,
    )
    return _rotation(tx, replace(credential, overlap=None))


def cancel(tx: Tx, caller: Caller, credential_id: str) -> Rotation:
    """End the new secret now and keep the old one. Works only while the old one is accepted. Idempotent.

    An expiry that the rotation changed stays changed. If the old secret would have ended by itself, this extends its
    life: then the caller must hold everything it grants, and the policy must allow its lifetime. Raises wrong-state.
    """
    credential = credentials.find_to_write(tx, caller, credential_id)
    found = _rotation(tx, credential)
    if found.state == "cancelled":
        tx.confirm()
        return found
    credentials.require_not_final(tx, credential, "brought back to its old secret")
    if found.state != "overlap" or found.old is None or found.new is None:
        raise _nothing_to("cancel")
    if found.old.ends_at is not None:
        _may_stay(tx, caller, credential, found.old)
    generations.set_end(tx, found.new.access_id, tx.now, ended_at=tx.now)
    generations.set_end(tx, found.old.access_id, None)
    tx.changed("credential", credential.id)
    after = replace(
        credential,
        generation=found.old.number,
        prefix=found.old.prefix,
        access_id=found.old.access_id,
        last6=found.old.last6,
        secret_created_at=found.old.created_at,
        overlap=None,
    )
    change(
        tx,
        caller,
        "credential.rotation_cancelled",
        credentials.target_of(after),
        generation=after.generation,
        last6=after.last6,
        cancelled=found.new.last6,
    )
    return _rotation(tx, after)


def _may_stay(tx: Tx, caller: Caller, credential: Credential, old: Generation) -> None:
    """Raise unless the caller and the policy allow the old secret to live as long as the credential."""
    facts = owner_facts.facts_of(tx, caller.organization_id, credential.owner_id)
    issuance.check(
        tx,
        caller,
        credentials.owner_of(tx, credential),
        credentials.spec_of(credential),
        facts,
        direct=credentials.is_own(caller, credential),
    )
    try:
        issuance.check_lifetime(facts.policy, credential.expires_at, old.created_at)
    except Problem:
        raise Problem(
            "wrong-state",
            "The old secret would stay valid for longer than the policy allows. Set an earlier expiry for the credential "
            "first, or complete the rotation.",
            reason="expiry beyond policy for the old secret",
        ) from None


def _nothing_to(what: str) -> Problem:
    return Problem(
        "wrong-state", f"There is no rotation under way to {what}.", reason="no rotation under way"
    )


def _rotation(tx: Tx, credential: Credential) -> Rotation:
    secrets = generations.list_of_credential(tx, credential.id)
    current = next(each for each in secrets if each.superseded_at is None)
    others = [each for each in secrets if each.superseded_at is not None]
    if not others:
        return Rotation(credential, "none", None, None, ("not_rotated",))
    # The secret that is still accepted, if any, else the one that was superseded last.
    other = max(others, key=lambda each: (each.accepted(tx.now), each.superseded_at, each.number))
    if other.number > current.number:
        return Rotation(credential, "cancelled", current, other, ("ended",))
    if not other.accepted(tx.now):
        return Rotation(credential, "completed", other, current, ("ended",))
    return Rotation(credential, "overlap", other, current, _reasons(tx.now, other, current))


def _reasons(now: Instant, old: Generation, new: Generation) -> tuple[Reason, ...]:
    """Return the reasons against ending the old secret now. Uses become known about ten seconds after they happen."""
    reasons: list[Reason] = []
    if new.last_used_at is None:
        reasons.append("new_never_used")
    if old.last_used_at is not None and old.last_used_at > now - QUIET:
        reasons.append("old_used_recently")
    elif now < new.created_at + QUIET:
        reasons.append("watched_too_briefly")
    return tuple(reasons)
