"""Issuance: which credential a caller may create, and its new secret. Used by creation, rotation and import.

A caller that creates, rotates, imports, activates or widens a credential must hold `write:credentials` in the owner's
organization, and every scope that the credential would have there.
"""

from dataclasses import dataclass

from ostiary.core import key_file, secret
from ostiary.core.address import is_subset, parse_network
from ostiary.core.instant import Instant, to_text
from ostiary.core.key_file import KeyAlgorithm, KeyFile, KeyPair
from ostiary.core.model import (
    AccessLevel,
    Credential,
    CredentialKind,
    OwnerKind,
    ServiceAccount,
    is_session,
)
from ostiary.core.permission import (
    MAX_LIFETIME,
    Caller,
    Policy,
    narrow,
    require,
    require_no_application,
)
from ostiary.core.problem import FieldError, Problem, invalid_fields
from ostiary.core.secret import CLIENT_SECRET, Secret
from ostiary.services import consents, roles, service_accounts
from ostiary.storage import roles as role_rows
from ostiary.storage.owner_facts import OwnerFacts
from ostiary.storage.store import Tx


@dataclass(frozen=True, slots=True)
class CredentialSpec:
    """A credential to create. Forms are already checked; names, times and permissions are checked here."""

    kind: CredentialKind = "api_key"
    name: str | None = None
    description: str = ""
    expires_at: Instant | None = None
    allowed_ips: tuple[str, ...] = ()
    access_level: AccessLevel | None = None
    scopes: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    project: str | None = None
    rate_limit: int | None = None
    algorithm: KeyAlgorithm | None = None
    """Of a key file; None means RS256."""
    compat: str | None = None
    key_pair: KeyPair | None = None
    """Of a key file. Generated before the transaction, because that takes long, and only for permitted callers."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The user or service account that a credential belongs to, with the limits that the account sets."""

    kind: OwnerKind
    id: str
    name: str
    access_level: AccessLevel = "full"
    scopes: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class IssuedSecret:
    """A newly generated secret. Only its digest may be stored; the secret itself is shown once."""

    secret: Secret
    prefix: str
    access_id: str
    last6: str
    digest: bytes
    pepper_id: str
    public_key: bytes | None = None


def check(
    tx: Tx, caller: Caller, owner: Owner, spec: CredentialSpec, facts: OwnerFacts, *, direct: bool
) -> AccessLevel:
    """Check the fields that depend on rows or time, then that the caller holds what the credential grants.

    Returns the access level. `facts` are the owner's, read in this transaction. `direct` says whether this is a user's
    own key, which needs no scope. Raises validation-failed with all field errors at once, insufficient-permissions or
    scope-exceeds-grantor.
    """
    require_no_application(caller)
    catalogue = role_rows.catalogue_of(tx, caller.organization_id)
    errors = _check_kind(owner, spec)
    level = service_accounts.level_of(spec.access_level, spec.scopes, errors)
    service_accounts.check_names(catalogue, spec.scopes, spec.resources, errors)
    if spec.expires_at is not None and spec.expires_at <= tx.now:
        errors.append(FieldError("/expires_at", "past", "must lie in the future"))
    if errors:
        raise invalid_fields(tuple(errors))
    if not direct:
        require(caller, "write:credentials")
    narrowed = caller.fine_grained or caller.granted is not None
    if caller.granted is not None or (direct and not caller.may("write:credentials")):
        # A limited key or a narrowed token creates only credentials within its own limits.
        _require_within(caller, spec, facts.policy)
    bindings = list(facts.bindings)
    if direct and not narrowed:
        # `caller.scopes` covers the organization only. A user's direct key has their roles on projects in any case.
        bindings = [each for each in bindings if each.project_id is None]
    roles.require_reach(caller, bindings)
    held = roles.scopes_of(catalogue, bindings)
    held = narrow(held, owner.access_level == "fine_grained", owner.scopes)
    roles.require_to_hold(caller, narrow(held, level == "fine_grained", spec.scopes))
    return level


def _check_kind(owner: Owner, spec: CredentialSpec) -> list[FieldError]:
    """Return the errors in the kind, and in the fields that only some kinds have."""
    errors: list[FieldError] = []
    if owner.kind == "user" and spec.kind != "api_key":
        errors.append(
            FieldError("/kind", "contradiction", "is for service accounts; a user has API keys only")
        )
    if spec.algorithm is not None and spec.kind != "key_file":
        errors.append(FieldError("/algorithm", "contradiction", "is for key files only"))
    if spec.compat is not None and (spec.kind != "key_file" or spec.algorithm == "EdDSA"):
        errors.append(
            FieldError("/compat", "contradiction", "is for key files with the algorithm RS256 only")
        )
    return errors


def _require_within(caller: Caller, spec: CredentialSpec, policy: Policy) -> None:
    """Raise scope-exceeds-grantor with each limit of the caller that the credential would exceed."""
    ends = None if _is_signed_in(caller) else caller.expires_at
    rate = policy.rate_of(spec.rate_limit)
    exceeded: dict[str, str] = {}
    if ends is not None and (spec.expires_at is None or spec.expires_at > ends):
        exceeded["lifetime"] = f"expires_at not after {to_text(ends)}"
    if not is_subset(tuple(parse_network(text) for text in spec.allowed_ips), caller.networks):
        exceeded["networks"] = f"allowed_ips within {', '.join(map(str, caller.networks[:8]))}"
    if caller.rate_limit is not None and (rate is None or rate > caller.rate_limit):
        exceeded["rate_limit"] = f"rate_limit of at most {caller.rate_limit}"
    if exceeded:
        raise Problem(
            "scope-exceeds-grantor",
            "The new credential would have wider limits than the presented one. It needs "
            f"{'; '.join(exceeded.values())}.",
            members={"limits": list(exceeded)},
            reason=f"beyond its own {', '.join(exceeded)}",
        )


def _is_signed_in(caller: Caller) -> bool:
    """Return whether a person calls with all their scopes, in a browser session or through `ostiary login`.

    The access token of such a session expires soon. That does not limit the lifetime of the person's own keys.
    """
    return (
        caller.actor.type == "user"
        and caller.application is None
        and caller.granted is None
        and is_session(caller.actor.credential_id or "")
    )


def check_lifetime(policy: Policy, expires_at: Instant | None, created_at: Instant) -> None:
    """Raise validation-failed unless the policy allows this expiry for a secret created at `created_at`."""
    longest = policy.max_credential_lifetime
    latest = created_at + (MAX_LIFETIME if longest is None else longest)
    if (expires_at is None and longest is not None) or (expires_at is not None and expires_at > latest):
        raise invalid_fields(
            (FieldError("/expires_at", "beyond-policy", f"must not be later than {to_text(latest)}"),)
        )


def check_rate(policy: Policy, rate_limit: int | None) -> None:
    """Raise validation-failed if the credential's own rate limit is above the policy's."""
    highest = policy.rate_limit
    if rate_limit is not None and highest is not None and rate_limit > highest:
        raise invalid_fields(
            (FieldError("/rate_limit", "beyond-policy", f"must not be more than {highest} a minute"),)
        )


def as_owner(account: ServiceAccount) -> Owner:
    """Return a service account as the owner of credentials."""
    return Owner(
        "service_account",
        account.id,
        account.display_name,
        account.access_level,
        account.scopes,
        account.projects,
        account.disabled_at is not None,
    )


def require_enabled(owner: Owner) -> None:
    """Raise account-disabled if the owner is disabled."""
    if owner.disabled:
        raise Problem(
            "account-disabled",
            "The service account is disabled. Enable it first, then create a credential for it.",
            reason="account disabled",
        )


def new_secret_of_kind(tx: Tx, kind: CredentialKind, key_pair: KeyPair | None) -> IssuedSecret:
    """Return a new secret of this kind: for a key file from `key_pair`, else from random bytes."""
    if kind == "key_file":
        return _of_pair(tx, key_pair)
    return new_secret(tx, CLIENT_SECRET if kind == "client_secret" else tx.installation.key_prefixes[0])


def new_secret(tx: Tx, prefix: str) -> IssuedSecret:
    """Return a new random secret with this prefix, and the digest that is stored in its place."""
    minted = secret.create(prefix, tx.entropy(secret.SECRET_ENTROPY))
    keyring = tx.installation.keyring
    digest = secret.digest(minted.secret.reveal().encode(), keyring.peppers[keyring.newest])
    return IssuedSecret(minted.secret, prefix, minted.access_id, minted.last6, digest, keyring.newest)


def _of_pair(tx: Tx, pair: KeyPair | None) -> IssuedSecret:
    """Return a key file's secret. The public half is stored; its digest ensures that no two key files have one key."""
    if pair is None:
        # A pair is only generated for a permitted caller. This caller got the permission a moment ago.
        raise Problem(
            "insufficient-permissions",
            "Your permissions changed while this key file was being created. Send the request again.",
            reason="no key pair was made",
        )
    keyring = tx.installation.keyring
    return IssuedSecret(
        pair.private_key,
        "",
        secret.access_id(tx.entropy(16)),
        key_file.last6_of(pair.public_key),
        secret.digest(pair.public_key, keyring.peppers[keyring.newest]),
        keyring.newest,
        pair.public_key,
    )


def file_of(tx: Tx, caller: Caller, credential: Credential) -> KeyFile | None:
    """Return the other fields of a key file for the credential's current key; None for other kinds."""
    if credential.kind != "key_file":
        return None
    account = service_accounts.find(tx, caller, credential.owner_id)
    project = None
    if credential.project_id is not None:
        project = consents.project_of(tx, caller, account.id, credential.project_id)
    return KeyFile(
        credential.access_id,
        account.client_id,
        service_accounts.channel_identifier(tx, caller, account),
        credential.project_id or credential.organization_id,
        "" if project is None else project.code,
    )
