"""Import: keys of another system, known by the SHA-256 of the whole string, verify from then on.

The operator registers how such keys begin; only strings that begin so are looked up by digest. Whether a digest
exists already is told, where it exists is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ostiary.core import limits, secret
from ostiary.core.event import Target
from ostiary.core.instant import Instant
from ostiary.core.model import KIND_NAMES, Credential, ImportedKey
from ostiary.core.permission import Caller, require, require_no_application, require_operator
from ostiary.core.problem import FieldError, Problem, invalid, invalid_fields, not_found
from ostiary.core.secret import OTHER_PREFIXES
from ostiary.services import minting, organizations, service_accounts
from ostiary.services.audit import change
from ostiary.services.minting import CredentialSpec, Owner
from ostiary.storage import credentials as credential_rows
from ostiary.storage import imports as rows
from ostiary.storage.store import Tx

MAX_KEYS: Final = 5_000
"""Keys in one transaction."""
MAX_ERRORS: Final = 100
RESERVED: Final = (*OTHER_PREFIXES, "invite-", "eyJ")
"""Forms of ours beside the installation's own prefixes: client secrets, sessions, invitations, tokens."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of each key, in the order given: the id of its credential, or None where it was skipped."""

    credential_ids: tuple[str | None, ...]

    @property
    def count(self) -> int:
        return sum(each is not None for each in self.credential_ids)


def list_prefixes(tx: Tx, caller: Caller) -> tuple[str, ...]:
    """How keys begin that may be imported. Whoever may import may know."""
    require(caller, "read:credentials")
    return rows.prefixes(tx)


def register_prefix(tx: Tx, caller: Caller, prefix: str) -> str:
    """Register how keys of another system begin. Idempotent. A form of ours is refused, and what overlaps one."""
    require_operator(caller, "write:organization")
    for ours in (*tx.installation.key_prefixes, *RESERVED):
        if prefix.startswith(ours) or ours.startswith(prefix):
            raise invalid("/prefix", "reserved", f"is not told apart from {ours}, which is a prefix of ours")
    known = rows.prefixes(tx)
    if prefix in known:
        tx.confirm()
        return prefix
    limits.check("import_prefixes", len(known))
    rows.register(tx, prefix)
    tx.changed("installation", prefix)
    change(tx, caller, "import_prefix.created", Target("import_prefix", prefix, prefix))
    return prefix


def unregister_prefix(tx: Tx, caller: Caller, prefix: str) -> None:
    """Look up no string that begins so any more. The imported keys stay, and are refused until it is back."""
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
    """Make credentials of a service account (named as `service_accounts.find` takes it) from digests, with one event.

    A digest that exists anywhere, or stands twice, is skipped: a batch can be sent again. Only the operator's
    admins may exceed limits of number.
    """
    require(caller, "write:credentials")
    require_no_application(caller)
    if exceed_limits and not caller.operator_admin:
        raise Problem(
            "insufficient-permissions",
            "Limits of number may be exceeded where the operator says so, and by nobody else.",
            reason="not the operator's admin",
        )
    if prefix not in rows.prefixes(tx):
        raise invalid("/prefix", "unknown-prefix", "is not registered; the operator registers prefixes")
    found = service_accounts.find(tx, caller, account)
    owner = minting.as_owner(found)
    minting.require_enabled(owner)
    # Nothing of a key narrows what its account may do, so one check is every key's.
    minting.check(tx, caller, owner, CredentialSpec(access_level="full"), direct=False)
    expiries = _expiries(tx, caller, keys)
    digests = _digests(tx, keys)
    fresh = {digest: number for number, digest in reversed(list(enumerate(digests))) if digest is not None}
    if not fresh:
        return Imported((None,) * len(keys))
    if not exceed_limits:
        _require_room(tx, caller, owner, len(fresh))
    made = {
        digest: _credential(tx, caller, owner, prefix, keys[number], expiries[number])
        for digest, number in fresh.items()
    }
    keyring = tx.installation.keyring
    kept = rows.insert_many(tx, list(made.values()), list(made), keyring.newest)
    ids: list[str | None] = [None] * len(keys)
    for digest, number in fresh.items():
        if made[digest].id in kept:
            ids[number] = made[digest].id
    imported = [each for each in ids if each is not None]
    if imported:
        # Whoever asked for one of them before may have kept that nobody has it.
        tx.changed("import", found.id)
        change(
            tx,
            caller,
            "credentials.imported",
            Target("service_account", found.id, found.display_name),
            owner=found.id,
            prefix=prefix,
            imported=len(imported),
            skipped=len(keys) - len(imported),
            first=imported[0],
            last=imported[-1],
            limits_exceeded=exceed_limits,
        )
    return Imported(tuple(ids))


def _expiries(tx: Tx, caller: Caller, keys: Sequence[ImportedKey]) -> list[Instant | None]:
    """When each key expires, by what it says or by the policy for new credentials; all errors at once."""
    policy = organizations.policy_of(tx, caller.organization_id)
    default = policy.default_credential_lifetime
    errors: list[FieldError] = []
    expiries: list[Instant | None] = []
    for number, key in enumerate(keys):
        expires_at = key.expires_at
        if expires_at is None and default is not None:
            expires_at = tx.now + default
        if expires_at is not None and expires_at <= tx.now:
            errors.append(FieldError(f"/keys/{number}/expires_at", "past", "must lie in the future"))
        else:
            try:
                minting.check_lifetime(policy, expires_at, tx.now)
            except Problem as problem:
                errors += [
                    FieldError(f"/keys/{number}{each.pointer}", each.code, each.detail)
                    for each in problem.errors
                ]
        if len(errors) >= MAX_ERRORS:
            break
        expiries.append(expires_at)
    if errors:
        raise invalid_fields(tuple(errors))
    return expiries


def _digests(tx: Tx, keys: Sequence[ImportedKey]) -> list[bytes | None]:
    """What each key is stored as, None where one of any pepper exists or stands before it."""
    keyring = tx.installation.keyring
    by_pepper = {
        pepper_id: [secret.digest_of_sha256(key.sha256, pepper) for key in keys]
        for pepper_id, pepper in keyring.peppers.items()
    }
    known = rows.existing(tx, [digest for digests in by_pepper.values() for digest in digests])
    ours = by_pepper[keyring.newest]
    digests: list[bytes | None] = list(ours)
    seen: set[bytes] = set()
    for number, digest in enumerate(ours):
        if digest in seen or any(each[number] in known for each in by_pepper.values()):
            digests[number] = None
        seen.add(digest)
    return digests


def _require_room(tx: Tx, caller: Caller, owner: Owner, more: int) -> None:
    policy = organizations.policy_of(tx, caller.organization_id)
    of_owner = credential_rows.count(tx, caller.organization_id, owner.id)
    policy.check("max_credentials_per_service_account", of_owner, more)
    policy.check("max_credentials_per_organization", credential_rows.count(tx, caller.organization_id), more)


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
        # Found by its digest, never by this: it only names the secret among others.
        access_id=secret.access_id(tx.entropy(16)),
        prefix=prefix,
        last6="",
        secret_created_at=tx.now,
    )
