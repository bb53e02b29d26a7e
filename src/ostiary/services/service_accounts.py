"""Service accounts: their names, roles, limits, and whether they are enabled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ostiary.core import check, limits, model
from ostiary.core.event import Target
from ostiary.core.model import AccessLevel, Organization, RoleBinding, ServiceAccount, account_id_of
from ostiary.core.permission import (
    Caller,
    Catalogue,
    is_resource_pattern,
    require,
    require_no_application,
)
from ostiary.core.problem import FieldError, Problem, invalid_fields, not_found
from ostiary.services import audit, consents, organizations, roles
from ostiary.services.audit import change
from ostiary.services.consents import AccessOnBehalf
from ostiary.services.roles import RoleSpec
from ostiary.storage import credentials as credential_rows
from ostiary.storage import directory as rows
from ostiary.storage import roles as role_rows
from ostiary.storage import sessions as session_rows
from ostiary.storage.audit import Filter, Recorded
from ostiary.storage.store import Tx

LABELS: Final = frozenset({"display_name", "description"})
"""Fields that change no permission."""
CEILING: Final = frozenset({"access_level", "scopes", "resources", "projects"})


@dataclass(frozen=True, slots=True)
class AccountSpec:
    """A service account to create. Values have the forms of `core.check`; names are checked here."""

    display_name: str
    username: str | None = None
    description: str = ""
    contact_email: str | None = None
    access_level: AccessLevel | None = None
    scopes: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    """Ids or codes."""
    roles: tuple[RoleSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account with its role bindings, its channel identifier and the number of credentials that count for limits."""

    account: ServiceAccount
    bindings: tuple[RoleBinding, ...]
    channel_identifier: str
    credentials: int
    on_behalf: AccessOnBehalf | None = None
    """The consent of another organization that the account was created for, if any."""


def create(tx: Tx, caller: Caller, spec: AccountSpec) -> AccountView:
    """Create a service account. Without a username, one is derived from the display name.

    Accounts that people create in a browser session count for `max_service_accounts`. Raises validation-failed,
    not-found for projects, name-taken, limit-reached or scope-exceeds-grantor.
    """
    require(caller, "write:service-accounts")
    organization = organizations.own(tx, caller)
    catalogue = role_rows.catalogue_of(tx, caller.organization_id)
    errors: list[FieldError] = []
    access_level = level_of(spec.access_level, spec.scopes, errors)
    check_names(catalogue, spec.scopes, spec.resources, errors)
    if errors:
        raise invalid_fields(tuple(errors))
    bindings = roles.read_roles(tx, caller, catalogue, spec.roles, "/roles")
    roles.require_to_grant(caller, catalogue, bindings)
    limits.check("service_accounts", rows.count_service_accounts(tx, organization.id))
    by_hand = session_rows.is_of_browser(tx, caller.actor.credential_id)
    if by_hand:
        organizations.policy_of(tx, organization.id).check(
            "max_service_accounts", rows.count_console_accounts(tx, organization.id)
        )
    account = ServiceAccount(
        id=tx.new_id("sa"),
        organization_id=organization.id,
        display_name=spec.display_name,
        username=_free_username(tx, organization.id, spec),
        description=spec.description,
        contact_email=spec.contact_email,
        access_level=access_level,
        scopes=spec.scopes,
        resources=spec.resources,
        projects=_project_ids(tx, caller, spec.projects),
        created_at=tx.now,
        disabled_at=None,
    )
    rows.insert_service_account(tx, account, by_hand)
    role_rows.replace_role_bindings(tx, organization.id, account.id, bindings)
    change(
        tx,
        caller,
        "service_account.created",
        _target(account),
        username=account.username,
        contact_email=account.contact_email,
        access_level=access_level,
        scopes=list(spec.scopes),
        resources=list(spec.resources),
        projects=list(account.projects),
        roles=roles.names_of(bindings),
    )
    return _view(tx, caller, organization, account, bindings)


def _project_ids(
    tx: Tx, caller: Caller, names: tuple[str, ...], known: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Return the ids of projects named by id or code, each once. Raises not-found.

    The ids in `known` are accepted even if their projects were deleted.
    """
    projects = rows.project_names(tx, caller.organization_id) | {each: each for each in known}
    if any(name not in projects for name in names):
        raise not_found("project")
    return tuple(dict.fromkeys(projects[name] for name in names))


def list_page(
    tx: Tx, caller: Caller, username: str | None, after: str | None, limit: int, project: str | None = None
) -> list[AccountView]:
    """Return accounts of the caller's organization, newest first, starting after the id `after`.

    With `project` (its id, or its code in this organization): accounts that have a role on the project, or access to
    it by another organization's consent.
    """
    require(caller, "read:service-accounts")
    organization = organizations.own(tx, caller)
    if project is not None:
        project = rows.project_names(tx, organization.id).get(project, project)
    accounts = rows.list_service_accounts(tx, organization.id, username, after, limit, project)
    bindings = role_rows.list_role_bindings(tx, organization.id, [account.id for account in accounts])
    return [_view(tx, caller, organization, account, bindings[account.id]) for account in accounts]


def get(tx: Tx, caller: Caller, name: str) -> AccountView:
    """Return an account by its id, client id or channel identifier. Raises not-found."""
    require(caller, "read:service-accounts")
    account = find(tx, caller, name)
    return _view(tx, caller, organizations.own(tx, caller), account, _bindings_of(tx, account))


def update(tx: Tx, caller: Caller, name: str, changes: dict[str, Any]) -> AccountView:
    """Change display name, description, contact email, access level, scopes, resources or projects.

    To change more than name and description, the caller must hold every scope of the account's roles.
    """
    require(caller, "write:service-accounts")
    account = find(tx, caller, name)
    changes = settle_level(changes)
    if "projects" in changes:
        changes["projects"] = _project_ids(tx, caller, changes["projects"], account.projects)
    after = replace(account, **changes)
    catalogue = role_rows.catalogue_of(tx, caller.organization_id)
    errors: list[FieldError] = []
    level_of(after.access_level, after.scopes, errors)
    check_names(catalogue, after.scopes, after.resources, errors)
    if errors:
        raise invalid_fields(tuple(errors))
    if changes.keys() - LABELS:
        # Wider limits give the account's keys more, narrower ones can stop them, and the contact receives its alerts.
        roles.require_over(tx, caller, account.id)
    if changes.keys() & CEILING:
        require_no_application(caller)
    if after != account:
        rows.update_service_account(tx, account.id, changes)
        tx.changed("organization", account.organization_id)
        audit.record_update(tx, caller, "service_account.updated", _target(after), account, after)
    else:
        tx.confirm()
    return _view(tx, caller, organizations.own(tx, caller), after, _bindings_of(tx, account))


def set_disabled(tx: Tx, caller: Caller, name: str, disabled: bool) -> AccountView:
    """Disable an account, which refuses all its credentials at once; or enable it again. Idempotent."""
    require(caller, "write:service-accounts")
    account = find(tx, caller, name)
    roles.require_over(tx, caller, account.id)
    if (account.disabled_at is not None) != disabled:
        if not disabled:
            require_no_application(caller)  # enabling makes the account's keys valid again, like issuing them
        account = replace(account, disabled_at=tx.now if disabled else None)
        rows.update_service_account(tx, account.id, {"disabled_at": account.disabled_at})
        tx.changed("organization", account.organization_id)
        change(tx, caller, f"service_account.{'disabled' if disabled else 'enabled'}", _target(account))
    else:
        tx.confirm()
    return _view(tx, caller, organizations.own(tx, caller), account, _bindings_of(tx, account))


def delete(tx: Tx, caller: Caller, name: str) -> None:
    """Delete an account and revoke its credentials, in one transaction. Its username cannot be used again."""
    require(caller, "write:service-accounts")
    account = find(tx, caller, name)
    roles.require_over(tx, caller, account.id)
    revoked = credential_rows.revoke_all_of(tx, account.organization_id, account.id)
    rows.update_service_account(tx, account.id, {"deleted_at": tx.now})
    role_rows.replace_role_bindings(tx, account.organization_id, account.id, [])
    tx.changed("organization", account.organization_id)
    audit.record_revocations(tx, caller, revoked, "its service account was deleted")
    change(tx, caller, "service_account.deleted", _target(account), revoked=len(revoked))
    consents.end_with_account(tx, caller, account)


def list_role_bindings(tx: Tx, caller: Caller, name: str) -> tuple[RoleBinding, ...]:
    require(caller, "read:service-accounts")
    return tuple(_bindings_of(tx, find(tx, caller, name)))


def set_role_bindings(
    tx: Tx, caller: Caller, name: str, asked: Sequence[RoleSpec]
) -> tuple[RoleBinding, ...]:
    """Replace all role bindings of an account. The caller must hold every scope of the roles given or taken."""
    require(caller, "write:service-accounts")
    account = find(tx, caller, name)
    catalogue = role_rows.catalogue_of(tx, caller.organization_id)
    after = roles.read_roles(tx, caller, catalogue, asked, "/bindings")
    before = _bindings_of(tx, account)
    roles.require_to_change(caller, catalogue, before, after)
    if set(after) != set(before):
        role_rows.replace_role_bindings(tx, account.organization_id, account.id, after)
        tx.changed("organization", account.organization_id)
        change(
            tx,
            caller,
            "service_account.roles_changed",
            _target(account),
            before=roles.names_of(before),
            after=roles.names_of(after),
        )
    else:
        tx.confirm()
    return tuple(after)


def activity(tx: Tx, caller: Caller, account: str, before: int | None, limit: int) -> list[Recorded]:
    """Return the audit events about an account: what it did, and what was done to it and its credentials."""
    require(caller, "read:audit")
    found = find(tx, caller, account)
    return audit.page(tx, caller, Filter(about=found.id), before, limit)


def find(tx: Tx, caller: Caller, name: str) -> ServiceAccount:
    """Return the account in the caller's organization with this id, client id or channel identifier.

    Of a channel identifier, the organization's slug is compared and the rest of the host is not. Raises not-found.
    """
    account = None
    if name.startswith("sa_"):
        account = rows.find_service_account(tx, caller.organization_id, name)
    elif account_id := account_id_of(name):
        account = rows.find_service_account(tx, caller.organization_id, account_id)
    elif "@" in name:
        username, _, host = name.partition("@")
        slug = host.partition(".")[0]
        if organizations.own(tx, caller).slug == slug:
            account = rows.find_service_account_by_username(tx, caller.organization_id, username)
    if account is None:
        raise not_found("service account")
    return account


def level_of(asked: AccessLevel | None, scopes: tuple[str, ...], errors: list[FieldError]) -> AccessLevel:
    """Return the access level: as requested, else fine-grained if scopes are listed, else full.

    Adds an error for full access with listed scopes, and for fine-grained access without any.
    """
    if asked == "fine_grained" and not scopes:
        errors.append(
            FieldError(
                "/scopes", "missing", "must list at least one scope if the access level is fine_grained"
            )
        )
    if asked == "full" and scopes:
        errors.append(
            FieldError("/scopes", "contradiction", "may be listed only if the access level is fine_grained")
        )
    return asked or ("fine_grained" if scopes else "full")


def settle_level(changes: dict[str, Any]) -> dict[str, Any]:
    """Return changes with a consistent access level: listed scopes set fine-grained, full removes the list."""
    if changes.get("access_level") == "full" and "scopes" not in changes:
        return changes | {"scopes": ()}
    if changes.get("scopes") and "access_level" not in changes:
        return changes | {"access_level": "fine_grained"}
    return changes


def check_names(
    catalogue: Catalogue, scopes: tuple[str, ...], resources: tuple[str, ...], errors: list[FieldError]
) -> None:
    """Add an error for each scope that is not in the catalogue and for each malformed resource pattern."""
    for number, scope in enumerate(scopes):
        if not catalogue.knows(scope):
            errors.append(
                FieldError(f"/scopes/{number}", "unknown-scope", "is not in the catalogue of scopes")
            )
    for number, pattern in enumerate(resources):
        if not is_resource_pattern(pattern):
            errors.append(
                FieldError(
                    f"/resources/{number}", "invalid", "must be a path such as agents/agent_123 or agents/*"
                )
            )


def _free_username(tx: Tx, organization_id: str, spec: AccountSpec) -> str:
    if spec.username is not None:
        if rows.username_exists(tx, organization_id, spec.username):
            raise Problem(
                "name-taken",
                "The username belongs to another account, or to a deleted one.",
                reason="username taken",
            )
        return spec.username
    return check.free_slug(
        check.slug_of(spec.display_name), lambda slug: rows.username_exists(tx, organization_id, slug)
    )


def _bindings_of(tx: Tx, account: ServiceAccount) -> list[RoleBinding]:
    return role_rows.list_role_bindings(tx, account.organization_id, [account.id])[account.id]


def _view(
    tx: Tx,
    caller: Caller,
    organization: Organization,
    account: ServiceAccount,
    bindings: Sequence[RoleBinding],
) -> AccountView:
    return AccountView(
        account,
        tuple(bindings),
        _channel_identifier(tx, organization, account),
        credential_rows.count(tx, organization.id, account.id),
        consents.on_behalf(tx, caller, account),
    )


def channel_identifier(tx: Tx, caller: Caller, account: ServiceAccount) -> str:
    """Return `<username>@<organization slug>.<host>`, which names the account in key files and to other systems."""
    return _channel_identifier(tx, organizations.own(tx, caller), account)


def _channel_identifier(tx: Tx, organization: Organization, account: ServiceAccount) -> str:
    return model.channel_identifier(account.username, organization.slug, tx.installation.channel_host)


def _target(account: ServiceAccount) -> Target:
    return Target("service_account", account.id, account.display_name)
