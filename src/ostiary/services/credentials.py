"""The life of a credential: create, list, change, deactivate, activate, revoke, delete."""

from dataclasses import dataclass, replace
from typing import Any

from ostiary.core.event import Target
from ostiary.core.instant import Instant, text_or_none, to_text
from ostiary.core.key_file import KeyFile
from ostiary.core.model import (
    EVERY_CREDENTIAL,
    KIND_NAMES,
    AccessLevel,
    Credential,
    CredentialFilter,
    credential_label,
)
from ostiary.core.permission import Caller, require
from ostiary.core.problem import Problem, invalid, invalid_fields, not_found
from ostiary.core.secret import Secret
from ostiary.services import audit, consents, issuance, organizations, roles, service_accounts
from ostiary.services.audit import change
from ostiary.services.issuance import CredentialSpec, Owner
from ostiary.services.service_accounts import AccountSpec, AccountView
from ostiary.storage import credentials as rows
from ostiary.storage import directory as directory_rows
from ostiary.storage import generations, owner_facts
from ostiary.storage import members as member_rows
from ostiary.storage.owner_facts import CredentialCounts, OwnerFacts
from ostiary.storage.store import Tx


@dataclass(frozen=True, slots=True)
class CredentialListing:
    """A credential as lists show it, with its owner's name. `read_at` decides whether it shows as expired."""

    credential: Credential
    owner_name: str
    read_at: Instant


@dataclass(frozen=True, slots=True)
class Created:
    """A new credential with its secret, which cannot be read again. A key file's secret is its private key."""

    listed: CredentialListing
    secret: Secret
    file: KeyFile | None = None
    """The other fields of a key file; None for other kinds."""


def create(tx: Tx, caller: Caller, account: str, spec: CredentialSpec) -> Created:
    """Create a credential for a service account. `account` is what `service_accounts.find` accepts.

    Raises insufficient-permissions, not-found, account-disabled, limit-reached, validation-failed or
    scope-exceeds-grantor.
    """
    require(caller, "write:credentials")
    found = service_accounts.find(tx, caller, account)
    owner = issuance.as_owner(found)
    issuance.require_enabled(owner)
    facts, counts = owner_facts.facts_and_counts(tx, caller.organization_id, owner.id)
    facts.policy.check("max_credentials_per_service_account", counts.of_owner)
    return _make(tx, caller, owner, spec, facts, counts)


def create_account(
    tx: Tx, caller: Caller, account: AccountSpec, credential: CredentialSpec | None
) -> tuple[AccountView, Created | None]:
    """Create a service account and, unless `credential` is None, its first credential. Creates both or neither."""
    view = service_accounts.create(tx, caller, account)
    if credential is None:
        return view, None
    try:
        created = create(tx, caller, view.account.id, credential)
    except Problem as problem:
        if problem.errors:
            raise invalid_fields(tuple(each.below("/credential") for each in problem.errors)) from None
        raise
    return replace(view, credentials=1), created


def create_direct(tx: Tx, caller: Caller, spec: CredentialSpec) -> Created:
    """Create a direct key of the calling user. It needs no scope. The new key never exceeds the presented one.

    A fine-grained key needs `write:credentials`, so that revoking it ends everything that it could do.
    """
    if caller.actor.type != "user" or caller.actor.id is None:
        raise Problem(
            "insufficient-permissions",
            "Only a user has direct keys. To create a key for a service account, name the account in the path: "
            "POST /v1/service-accounts/{account}/credentials.",
            reason="caller is not a user",
        )
    if caller.fine_grained:
        require(caller, "write:credentials")
    email = member_rows.find_member(tx, caller.organization_id, caller.actor.id)
    if email is None:
        raise not_found("member")
    facts, counts = owner_facts.facts_and_counts(tx, caller.organization_id, caller.actor.id)
    return _make(tx, caller, Owner("user", caller.actor.id, email), spec, facts, counts)


def make_first(tx: Tx, caller: Caller, user_id: str, email: str, spec: CredentialSpec) -> Created:
    """Create the operator key for `ostiary init`, without permission checks: no caller exists yet."""
    return _insert(tx, caller, Owner("user", user_id, email), spec, "full")


def list_page(
    tx: Tx,
    caller: Caller,
    account: str | None,
    after: str | None,
    limit: int,
    wanted: CredentialFilter = EVERY_CREDENTIAL,
) -> list[CredentialListing]:
    """Return the matching credentials, newest first. Without `read:credentials` users see only their direct keys."""
    owner_id = None
    if account is not None:
        require(caller, "read:credentials")
        owner_id = service_accounts.find(tx, caller, account).id
    elif not caller.may("read:credentials"):
        if caller.actor.type != "user" or caller.fine_grained:
            require(caller, "read:credentials")
        owner_id = caller.actor.id
    found = rows.list_page(tx, caller.organization_id, owner_id, after, limit, wanted)
    return listed(tx, caller, found)


def get(tx: Tx, caller: Caller, credential_id: str) -> CredentialListing:
    return listed(tx, caller, [find(tx, caller, credential_id, "read:credentials")])[0]


def update(tx: Tx, caller: Caller, credential_id: str, changes: dict[str, Any]) -> CredentialListing:
    """Change name, description, IP allow-list, expiry, access level, scopes, resources or rate limit.

    The result is checked like a new credential, so a caller cannot widen it beyond what they hold.
    """
    renamed = changes.keys() <= {"name", "description"}
    before = (
        find(tx, caller, credential_id, "write:credentials")
        if renamed
        else find_to_write(tx, caller, credential_id)
    )
    require_not_final(tx, before, "changed")
    changes = service_accounts.settle_level(changes)
    after = replace(before, **changes)
    spec = spec_of(after)
    if not renamed:
        facts = owner_facts.facts_of(tx, caller.organization_id, before.owner_id)
        issuance.check(tx, caller, owner_of(tx, before), spec, facts, direct=is_own(caller, before))
    if "expires_at" in changes:
        # The expiry applies to each secret that the end of an overlap does not end.
        living = [
            each
            for each in generations.list_of_credential(tx, before.id)
            if each.ends_at is None is each.ended_at
        ]
        issuance.check_lifetime(
            organizations.policy_of(tx, caller.organization_id),
            after.expires_at,
            min(each.created_at for each in living),
        )
    if "rate_limit" in changes:
        issuance.check_rate(organizations.policy_of(tx, caller.organization_id), after.rate_limit)
    if after != before:
        rows.update(tx, before.id, changes)
        tx.changed("credential", before.id)
        audit.record_update(tx, caller, "credential.updated", target_of(after), before, after)
    else:
        tx.confirm()
    return listed(tx, caller, [after])[0]


def deactivate(tx: Tx, caller: Caller, credential_id: str) -> CredentialListing:
    """Deactivate a credential at once. `activate` undoes it. Idempotent. Raises wrong-state if it has ended."""
    credential = find_to_write(tx, caller, credential_id)
    require_not_final(tx, credential, "deactivated")
    if credential.deactivated_at is None:
        credential = replace(credential, deactivated_at=tx.now)
        rows.update(tx, credential.id, {"deactivated_at": tx.now})
        tx.changed("credential", credential.id)
        change(tx, caller, "credential.deactivated", target_of(credential))
    else:
        tx.confirm()
    return listed(tx, caller, [credential])[0]


def activate(tx: Tx, caller: Caller, credential_id: str) -> CredentialListing:
    """Activate a credential again. The caller must hold everything that it grants. Idempotent."""
    credential = find_to_write(tx, caller, credential_id)
    require_not_final(tx, credential, "activated")
    if credential.deactivated_at is not None:
        owner = owner_of(tx, credential)
        facts = owner_facts.facts_of(tx, caller.organization_id, owner.id)
        issuance.check(tx, caller, owner, spec_of(credential), facts, direct=is_own(caller, credential))
        credential = replace(credential, deactivated_at=None)
        rows.update(tx, credential.id, {"deactivated_at": None})
        tx.changed("credential", credential.id)
        change(tx, caller, "credential.activated", target_of(credential))
    else:
        tx.confirm()
    return listed(tx, caller, [credential])[0]


def revoke(tx: Tx, caller: Caller, credential_id: str) -> CredentialListing:
    """Revoke a credential at once and for good. Idempotent: the time of the first revocation stays."""
    credential = find_to_write(tx, caller, credential_id)
    if credential.revoked_at is None:
        credential = _revoke(tx, caller, credential, "asked for")
    else:
        tx.confirm()
    return listed(tx, caller, [credential])[0]


def delete(tx: Tx, caller: Caller, credential_id: str) -> None:
    """Delete a credential's row. Its events stay in the audit log.

    With a `deletion_delay`, the credential must have been revoked or expired for that long: otherwise raises
    wrong-state or too-early. With a delay of 0, an active credential is revoked first.
    """
    credential = find_to_write(tx, caller, credential_id)
    delay = organizations.policy_of(tx, caller.organization_id).deletion_delay
    ended = _ended_at(tx, credential)
    if delay and ended is None:
        raise Problem(
            "wrong-state",
            "Revoke the credential first. It can be deleted when the deletion delay is over.",
            reason="not revoked",
        )
    if delay and ended is not None and tx.now < ended + delay:
        raise Problem(
            "too-early",
            "A revoked or expired credential cannot be deleted until the deletion delay is over.",
            members={"earliest": to_text(ended + delay)},
            reason="within the deletion delay",
        )
    if credential.revoked_at is None:
        credential = _revoke(tx, caller, credential, "deleted")
    rows.delete(tx, credential.id)
    tx.changed("credential", credential.id)
    change(
        tx,
        caller,
        "credential.deleted",
        target_of(credential),
        last6=credential.last6,
        kind=credential.kind,
    )


def target_of(credential: Credential) -> Target:
    return Target("credential", credential.id, credential_label(credential.name, credential.last6))


def _make(
    tx: Tx, caller: Caller, owner: Owner, spec: CredentialSpec, facts: OwnerFacts, counts: CredentialCounts
) -> Created:
    policy = facts.policy
    policy.check("max_credentials_per_organization", counts.of_organization)
    if spec.expires_at is None and policy.default_credential_lifetime is not None:
        spec = replace(spec, expires_at=tx.now + policy.default_credential_lifetime)
    level = issuance.check(tx, caller, owner, spec, facts, direct=owner.kind == "user")
    issuance.check_lifetime(policy, spec.expires_at, tx.now)
    issuance.check_rate(policy, spec.rate_limit)
    return _insert(tx, caller, owner, spec, level)


def _insert(tx: Tx, caller: Caller, owner: Owner, spec: CredentialSpec, level: AccessLevel) -> Created:
    project_id = None
    if spec.project is not None:
        account_id = owner.id if owner.kind == "service_account" else None
        project = consents.project_of(tx, caller, account_id, spec.project)
        if project is None:
            raise not_found("project")
        project_id = project.id
        if owner.projects and project_id not in owner.projects:
            raise invalid(
                "/project", "beyond-account", "is not one of the projects that the account is limited to"
            )
    new = issuance.new_secret_of_kind(tx, spec.kind, spec.key_pair)
    credential = Credential(
        id=tx.new_id("cred"),
        organization_id=caller.organization_id,
        kind=spec.kind,
        owner_kind=owner.kind,
        owner_id=owner.id,
        name=spec.name or f"{owner.name}'s {KIND_NAMES[spec.kind]}"[:253],
        description=spec.description,
        access_level=level,
        scopes=spec.scopes,
        resources=spec.resources,
        allowed_ips=spec.allowed_ips,
        project_id=project_id,
        expires_at=spec.expires_at,
        created_at=tx.now,
        deactivated_at=None,
        revoked_at=None,
        rate_limit=spec.rate_limit,
        access_id=new.access_id,
        prefix=new.prefix,
        last6=new.last6,
        secret_created_at=tx.now,
        compat=spec.compat,
    )
    rows.insert(tx, credential, new.digest, new.pepper_id, new.public_key)
    change(
        tx,
        caller,
        "credential.created",
        target_of(credential),
        kind=credential.kind,
        owner=owner.id,
        last6=credential.last6,
        expires_at=text_or_none(credential.expires_at),
        allowed_ips=list(credential.allowed_ips),
        access_level=level,
        scopes=list(credential.scopes),
        resources=list(credential.resources),
        project=project_id,
        rate_limit=credential.rate_limit,
        compat=credential.compat,
    )
    return Created(
        CredentialListing(credential, owner.name, tx.now),
        new.secret,
        issuance.file_of(tx, caller, credential),
    )


def spec_of(credential: Credential) -> CredentialSpec:
    """Return the specification that would create this credential, to check a change like a new credential."""
    return CredentialSpec(
        expires_at=credential.expires_at,
        allowed_ips=credential.allowed_ips,
        access_level=credential.access_level,
        scopes=credential.scopes,
        resources=credential.resources,
        rate_limit=credential.rate_limit,
    )


def _revoke(tx: Tx, caller: Caller, credential: Credential, because: str) -> Credential:
    # The owner has a newer key, so this is a rotation by hand. A later use of this key raises an alert.
    replaced_at = tx.now if rows.has_younger(tx, credential) else None
    rows.update(tx, credential.id, {"revoked_at": tx.now, "replaced_at": replaced_at})
    tx.changed("credential", credential.id)
    change(tx, caller, "credential.revoked", target_of(credential), because=because)
    return replace(credential, revoked_at=tx.now, replaced_at=replaced_at)


def find(tx: Tx, caller: Caller, credential_id: str, scope: str) -> Credential:
    """Return a credential of the caller's organization. The caller's own direct key needs no scope.

    A fine-grained key without this scope reaches only itself, no other key of its user. Raises not-found, or
    insufficient-permissions.
    """
    found = rows.find(tx, caller.organization_id, credential_id)
    if found is None:
        require(caller, scope)
        raise not_found("credential")
    if not _may_manage(caller, found):
        require(caller, scope)
    return found


def _may_manage(caller: Caller, found: Credential) -> bool:
    """Return whether this is the caller's own direct key, and the presented credential may manage it without a scope."""
    # A token with granted scopes stands for less than its key, so it does not reach even that key.
    itself = found.id == caller.actor.credential_id and caller.granted is None
    return is_own(caller, found) and (itself or not caller.fine_grained)


def find_to_write(tx: Tx, caller: Caller, credential_id: str) -> Credential:
    """Return a credential to change. If its owner is an organization admin, the caller needs every scope of the admin."""
    found = find(tx, caller, credential_id, "write:credentials")
    if not _may_manage(caller, found):
        roles.require_over_credentials(tx, caller, found.owner_id)
    return found


def is_own(caller: Caller, credential: Credential) -> bool:
    return credential.owner_kind == "user" and credential.owner_id == caller.actor.id


def owner_of(tx: Tx, credential: Credential) -> Owner:
    if credential.owner_kind == "user":
        return Owner("user", credential.owner_id, "")
    account = directory_rows.find_service_account(tx, credential.organization_id, credential.owner_id)
    if account is None:
        raise not_found("service account")
    return issuance.as_owner(account)


def _ended_at(tx: Tx, credential: Credential) -> Instant | None:
    """Return when the credential was revoked or expired, whichever came first; None if neither."""
    expired = credential.expires_at if credential.expires_at and credential.expires_at <= tx.now else None
    ends = [each for each in (credential.revoked_at, expired) if each is not None]
    return min(ends) if ends else None


def require_not_final(tx: Tx, credential: Credential, done: str) -> None:
    status = credential.status(tx.now)
    if status in {"revoked", "expired"}:
        raise Problem(
            "wrong-state",
            f"The credential is {status}. This is final, so it cannot be {done}. Create a new one.",
            reason=f"{status} is final",
        )


def listed(tx: Tx, caller: Caller, found: list[Credential]) -> list[CredentialListing]:
    names = rows.owner_names(tx, caller.organization_id, sorted({each.owner_id for each in found}))
    return [CredentialListing(each, names.get(each.owner_id, ""), tx.now) for each in found]
