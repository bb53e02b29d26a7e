"""Import of another system's keys. Only the SHA-256 of each whole key is known; from then on the keys verify.

The operator registers the prefixes of such keys. Only strings with a registered prefix are looked up by digest. The
result says whether a digest exists already, but never in which organization.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ostiary.core import limits, secret
from ostiary.core.event import Target
from ostiary.core.import_file import ImportedKey, ImportOutcome
from ostiary.core.instant import Instant
from ostiary.core.model import KIND_NAMES, Credential
from ostiary.core.permission import (
    Caller,
    Policy,
    require,
    require_no_application,
    require_operator,
    require_operator_admin,
)
from ostiary.core.problem import Problem, invalid, not_found
from ostiary.core.secret import OTHER_PREFIXES
from ostiary.services import issuance, service_accounts
from ostiary.services.audit import change
from ostiary.services.issuance import CredentialSpec, Owner
from ostiary.storage import imports as rows
from ostiary.storage import owner_facts
from ostiary.storage.store import Tx

MAX_KEYS: Final = 5_000
"""Most keys in one transaction."""
RESERVED: Final = (*OTHER_PREFIXES, "invite-", "eyJ")
"""Ostiary's own prefixes beside the installation's key prefixes: client secrets, sessions, invitations, tokens."""


@dataclass(frozen=True, slots=True)
class Imported:
    """The outcome of each key, in the order given."""

    outcomes: tuple[ImportOutcome, ...]
    credential_ids: tuple[str | None, ...]
    """The id of each key's credential; None for a skipped key and in a dry run."""

    @property
    def count(self) -> int:
        return self.outcomes.count("imported")


@dataclass(frozen=True, slots=True)
class _Plan:
    """The outcome that one key will have."""

    outcome: ImportOutcome
    digest: bytes
    expires_at: Instant | None


def list_prefixes(tx: Tx, caller: Caller) -> tuple[str, ...]:
    """Return the registered prefixes. Needs `read:credentials`."""
    require(caller, "read:credentials")
    return rows.prefixes(tx)


def register_prefix(tx: Tx, caller: Caller, prefix: str) -> str:
    """Register the prefix of another system's keys. Idempotent.

    Raises validation-failed if it overlaps with a prefix of Ostiary's own, and limit-reached.
    """
    known = require_registrable(tx, caller, prefix)
    if prefix in known:
        tx.confirm()
        return prefix
    limits.check("import_prefixes", len(known))
    rows.register(tx, prefix)
    tx.changed("installation", prefix)
    change(tx, caller, "import_prefix.created", Target("import_prefix", prefix, prefix))
    return prefix


def require_registrable(tx: Tx, caller: Caller, prefix: str) -> tuple[str, ...]:
    """Return the registered prefixes if this one may be registered.

    Raises insufficient-permissions, or validation-failed for a prefix that overlaps with one of Ostiary's own.
    """
    require_operator(caller, "write:organization")
    for ours in (*tx.installation.key_prefixes, *RESERVED):
        if prefix.startswith(ours) or ours.startswith(prefix):
            raise invalid("/prefix", "reserved", f"overlaps with {ours}, which is a prefix of Ostiary")
    return rows.prefixes(tx)


def unregister_prefix(tx: Tx, caller: Caller, prefix: str) -> None:
    """Remove a prefix. Its imported keys stay, and are refused until the prefix is registered again."""
    require_operator(caller, "write:organization")
    if prefix not in rows.prefixes(tx):
        raise not_found("prefix")
    rows.unregister(tx, prefix)
    tx.changed("installation", prefix)
    change(tx, caller, "import_prefix.deleted", Target("import_prefix", prefix, prefix))


def import_keys(
    tx: Tx,
    caller: Caller,
    account: str,
    prefix: str,
    keys: Sequence[ImportedKey],
    exceed_limits: bool = False,
) -> Imported:
    """Create credentials of a service account from digests, with one event. `account` as in `service_accounts.find`.

    A key that cannot be imported is skipped, so a batch can be sent again at any later time. Only operator admins may
    exceed the limits on the number of credentials.
    """
    owner, plans = _planned(tx, caller, account, keys, exceed_limits)
    require_registered(tx, caller, prefix)
    fresh = [number for number, each in enumerate(plans) if each.outcome == "imported"]
    if not exceed_limits:
        _require_room(tx, caller, owner, len(fresh))
    made = {
        number: _credential(tx, caller, owner, prefix, keys[number], plans[number].expires_at)
        for number in fresh
    }
    digests = [plans[number].digest for number in fresh]
    kept = (
        rows.insert_many(tx, list(made.values()), digests, tx.installation.keyring.newest) if fresh else set()
    )
    # Another transaction may have inserted the same digest first.
    ids = {number: each.id for number, each in made.items() if each.id in kept}
    outcomes = [
        "exists" if each.outcome == "imported" and number not in ids else each.outcome
        for number, each in enumerate(plans)
    ]
    imported = list(ids.values())
    if imported:
        # The cache may hold one of these digests as unknown, from a request before the import.
        tx.changed("import", owner.id)
        change(
            tx,
            caller,
            "credentials.imported",
            Target("service_account", owner.id, owner.name),
            owner=owner.id,
            prefix=prefix,
            imported=len(imported),
            skipped=len(keys) - len(imported),
            first=imported[0],
            last=imported[-1],
            limits_exceeded=exceed_limits,
        )
    return Imported(tuple(outcomes), tuple(ids.get(number) for number in range(len(keys))))


def dry_run(
    tx: Tx,
    caller: Caller,
    account: str,
    prefix: str,
    keys: Sequence[ImportedKey],
    exceed_limits: bool = False,
) -> Imported:
    """Return the result of `import_keys`, or raise its errors, without changing anything."""
    outcomes = foresee(tx, caller, account, keys, exceed_limits)
    require_registered(tx, caller, prefix)
    if not exceed_limits:
        require_room(tx, caller, account, outcomes.count("imported"))
    return Imported(tuple(outcomes), (None,) * len(keys))


def foresee(
    tx: Tx, caller: Caller, account: str, keys: Sequence[ImportedKey], exceed_limits: bool = False
) -> list[ImportOutcome]:
    """Return the outcome that each key would have, for a part of a file. Does not check the prefix or the limits."""
    return [each.outcome for each in _planned(tx, caller, account, keys, exceed_limits)[1]]


def require_room(tx: Tx, caller: Caller, account: str, more: int) -> None:
    """Raise limit-reached if the account or its organization may not have this many more credentials."""
    _require_room(tx, caller, issuance.as_owner(service_accounts.find(tx, caller, account)), more)


def require_registered(tx: Tx, _caller: Caller, prefix: str) -> None:
    """Raise validation-failed unless the prefix is registered."""
    if prefix not in rows.prefixes(tx):
        raise invalid("/prefix", "unknown-prefix", "is not registered; the operator registers prefixes")


def _planned(
    tx: Tx, caller: Caller, account: str, keys: Sequence[ImportedKey], exceed_limits: bool
) -> tuple[Owner, list[_Plan]]:
    """Return the owner of the keys and the plan for each key. Raises if the import as a whole is refused."""
    require(caller, "write:credentials")
    require_no_application(caller)
    if exceed_limits:
        require_operator_admin(caller, "exceed limits of number")
    owner = issuance.as_owner(service_accounts.find(tx, caller, account))
    issuance.require_enabled(owner)
    # Imported keys all have full access, so one check is enough for all of them.
    facts = owner_facts.facts_of(tx, caller.organization_id, owner.id)
    issuance.check(tx, caller, owner, CredentialSpec(access_level="full"), facts, direct=False)
    policy = facts.policy
    keyring = tx.installation.keyring
    by_pepper = {
        pepper_id: [secret.digest_of_sha256(key.sha256, pepper) for key in keys]
        for pepper_id, pepper in keyring.peppers.items()
    }
    known = rows.existing(tx, [digest for digests in by_pepper.values() for digest in digests])
    plans: list[_Plan] = []
    fresh: set[bytes] = set()
    for number, key in enumerate(keys):
        digest = by_pepper[keyring.newest][number]
        expires_at = key.expires_at
        if expires_at is None and policy.default_credential_lifetime is not None:
            expires_at = tx.now + policy.default_credential_lifetime
        if any(digests[number] in known for digests in by_pepper.values()):
            outcome: ImportOutcome = "exists"
        elif digest in fresh:
            outcome = "repeated"
        elif expires_at is not None and expires_at <= tx.now:
            outcome = "expired"
        elif not _is_allowed(policy, expires_at, tx.now):
            outcome = "beyond_policy"
        else:
            outcome = "imported"
            fresh.add(digest)
        plans.append(_Plan(outcome, digest, expires_at))
    return owner, plans


def _is_allowed(policy: Policy, expires_at: Instant | None, now: Instant) -> bool:
    try:
        issuance.check_lifetime(policy, expires_at, now)
    except Problem:
        return False
    return True


def _require_room(tx: Tx, caller: Caller, owner: Owner, more: int) -> None:
    if not more:
        return  # the limits may be exceeded already; that matters only for new keys
    facts, counts = owner_facts.facts_and_counts(tx, caller.organization_id, owner.id)
    facts.policy.check("max_credentials_per_service_account", counts.of_owner, more)
    facts.policy.check("max_credentials_per_organization", counts.of_organization, more)


def _credential(
    tx: Tx, caller: Caller, owner: Owner, prefix: str, key: ImportedKey, expires_at: Instant | None
) -> Credential:
    return Credential(
        id=tx.new_id("cred"),
        organization_id=caller.organization_id,
        kind="api_key",
        owner_kind=owner.kind,
        owner_id=owner.id,
        name=key.name or f"{owner.name}'s {KIND_NAMES['api_key']}"[:253],
        description="",
        access_level="full",
        scopes=(),
        resources=(),
        allowed_ips=(),
        project_id=None,
        expires_at=expires_at,
        created_at=tx.now,
        deactivated_at=None,
        revoked_at=None,
        rate_limit=None,
        # An imported key is found by its digest. The access id only identifies the secret in the database.
        access_id=secret.access_id(tx.entropy(16)),
        prefix=prefix,
        last6="",
        secret_created_at=tx.now,
    )
