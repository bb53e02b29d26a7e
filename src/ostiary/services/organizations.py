"""Organizations and their policies; and how an operator admin acts in any of them."""

from dataclasses import dataclass, replace
from typing import Any, Final

from ostiary.core.event import Target
from ostiary.core.model import Organization
from ostiary.core.permission import (
    MAX_DELETION_DELAY,
    Caller,
    Policy,
    require,
    require_operator,
    require_operator_admin,
)
from ostiary.core.problem import FieldError, Problem, invalid_fields, not_found
from ostiary.services import audit
from ostiary.services.audit import change
from ostiary.storage import consents, policies
from ostiary.storage import credentials as credential_rows
from ostiary.storage import directory as rows
from ostiary.storage.store import Tx


@dataclass(frozen=True, slots=True)
class PolicyView:
    """An organization's limits: those in force, the installation's defaults, and the ceilings for its own choices."""

    policy: Policy
    default: Policy
    ceiling: Policy
    own: frozenset[str]
    """The names of the limits that the organization has chosen itself, even if equal to the default."""
    credentials: int
    service_accounts: int


OWN: Final = "-"
"""Stands for the organization that the caller acts in already. No slug has this form."""


def enter(tx: Tx, caller: Caller, name: str) -> Caller:
    """Return the caller acting in this organization: its own, or any organization for an operator admin.

    `name` is an id, a slug or `-`. An application never leaves the organization of its consent. Raises not-found.
    """
    if name in (OWN, caller.organization_id):
        return caller
    organization = rows.find_organization(tx, name)
    if organization is None or not (caller.operator_admin or organization.id == caller.organization_id):
        raise not_found("organization")
    return replace(caller, organization_id=organization.id, operator=organization.operator)


def create(tx: Tx, caller: Caller, name: str, slug: str) -> Organization:
    """Create a customer's organization. Only operator admins may: no other caller could act in it."""
    require_operator(caller, "write:organization")
    require_operator_admin(caller, "make an organization")
    return insert(tx, caller, name, slug, operator=False)


def insert(tx: Tx, caller: Caller, name: str, slug: str, *, operator: bool) -> Organization:
    """Create an organization, without a permission check. Its slug cannot be changed later. Raises name-taken."""
    rows.lock_installation(tx)
    if rows.slug_exists(tx, slug):
        raise Problem("name-taken", "The slug is taken.", reason="slug taken")
    organization = Organization(tx.new_id("org"), slug, name, operator, tx.now, None)
    rows.insert_organization(tx, organization)
    change(
        tx,
        replace(caller, organization_id=organization.id),
        "organization.created",
        _target(organization),
        slug=slug,
        operator=operator,
    )
    return organization


def list_page(tx: Tx, caller: Caller, after: str | None, limit: int) -> list[Organization]:
    """Return the caller's organization; for an operator admin all organizations, newest first."""
    require(caller, "read:organization")
    only = None if caller.operator and caller.operator_admin else caller.organization_id
    return rows.list_organizations(tx, only, after, limit)


def get(tx: Tx, caller: Caller) -> Organization:
    """Return the organization that the caller acts in. Needs `read:organization`."""
    require(caller, "read:organization")
    return own(tx, caller)


def own(tx: Tx, caller: Caller) -> Organization:
    """Return the organization that the caller acts in, without a permission check, for other services."""
    organization = rows.find_organization(tx, caller.organization_id)
    if organization is None:
        raise not_found("organization")
    return organization


def update(tx: Tx, caller: Caller, name: str | None, suspended: bool | None) -> Organization:
    """Change the name. Operator admins can also suspend or resume the organization.

    Suspension refuses all credentials, tokens and sessions of the organization. Raises wrong-state for the operator's.
    """
    require(caller, "write:organization")
    before = own(tx, caller)
    after = before if name is None else replace(before, name=name)
    if suspended is not None:
        require_operator_admin(caller, "suspend or resume an organization")
        if before.operator:
            raise Problem(
                "wrong-state", "The operator's own organization cannot be suspended.", reason="operator's own"
            )
        if suspended != (before.suspended_at is not None):
            after = replace(after, suspended_at=tx.now if suspended else None)
    if after != before:
        rows.update_organization(tx, after.id, {"name": after.name, "suspended_at": after.suspended_at})
        tx.changed("organization", after.id)
        if after.suspended_at != before.suspended_at:
            _announce_to_others(tx, after.id)
        audit.record_update(tx, caller, "organization.updated", _target(after), before, after)
    else:
        tx.confirm()
    return after


def _announce_to_others(tx: Tx, organization_id: str) -> None:
    """Announce a change to caches of the organizations with access to this one: their access depends on its state."""
    for other in {
        each.client_organization_id for each in consents.of_other_organizations(tx, organization_id)
    }:
        tx.changed("organization", str(other))


def policy_of(tx: Tx, organization_id: str) -> Policy:
    """Return the limits in force: the organization's own choices, else the installation's, within the ceilings."""
    chosen, ceilings = policies.find(tx, organization_id)
    return tx.installation.policy.chosen_within(chosen, ceilings)


def get_policies(tx: Tx, caller: Caller) -> PolicyView:
    require(caller, "read:policies")
    return _policies(tx, caller, *policies.find(tx, caller.organization_id))


def _policies(tx: Tx, caller: Caller, chosen: dict[str, Any], ceilings: dict[str, Any]) -> PolicyView:
    default = tx.installation.policy
    return PolicyView(
        default.chosen_within(chosen, ceilings),
        default,
        default.overridden(ceilings | {"deletion_delay": MAX_DELETION_DELAY}),
        frozenset(chosen),
        credential_rows.count(tx, caller.organization_id),
        rows.count_console_accounts(tx, caller.organization_id),
    )


def update_policies(
    tx: Tx,
    caller: Caller,
    changes: dict[str, Any],
    ceilings: dict[str, Any],
    reset: frozenset[str],
    reset_ceilings: frozenset[str] = frozenset(),
    dry_run: bool = False,
) -> PolicyView:
    """Change limits, or return them to the installation's (`reset`). A lowered limit never removes existing objects.

    An organization can choose values up to its ceilings. The ceilings are the installation's defaults unless an
    operator admin has set others. They do not bind operator admins. Where the organization has chosen nothing, a
    ceiling below the default applies. A dry run makes the same checks and returns the same result, without changes.
    Raises validation-failed for values beyond a ceiling.
    """
    require(caller, "write:policies")
    if ceilings or reset_ceilings:
        require_operator_admin(caller, "set ceilings")
    before, old_ceilings = policies.find(tx, caller.organization_id)
    after = {name: value for name, value in (before | changes).items() if name not in reset}
    new_ceilings = {
        name: value for name, value in (old_ceilings | ceilings).items() if name not in reset_ceilings
    }
    default = tx.installation.policy
    in_force = default.chosen_within(after, new_ceilings)
    errors = _beyond(in_force, changes, default.overridden(new_ceilings), caller)
    if errors:
        raise invalid_fields(tuple(errors))
    if not dry_run and (after != before or new_ceilings != old_ceilings):
        policies.put(tx, caller.organization_id, after, new_ceilings)
        if in_force.rate_limit != default.chosen_within(before, old_ceilings).rate_limit:
            tx.changed("organization", caller.organization_id)
        audit.record_update(
            tx,
            caller,
            "policies.updated",
            _target(own(tx, caller)),
            {**before, "ceilings": old_ceilings},
            {**after, "ceilings": new_ceilings},
        )
    return _policies(tx, caller, after, new_ceilings)


def _beyond(policy: Policy, changes: dict[str, Any], ceiling: Policy, caller: Caller) -> list[FieldError]:
    errors = []
    for name in changes:
        if name == "deletion_delay" or caller.operator_admin:
            continue
        chosen, highest = getattr(policy, name), getattr(ceiling, name)
        if highest is not None and (chosen is None or chosen > highest):
            errors.append(FieldError(f"/{name}", "beyond-ceiling", "is beyond what the operator allows"))
    if policy.deletion_delay > MAX_DELETION_DELAY:
        errors.append(FieldError("/deletion_delay", "invalid", "must not be longer than 30d"))
    longest, default = policy.max_credential_lifetime, policy.default_credential_lifetime
    if longest is not None and default is not None and default > longest:
        errors.append(
            FieldError(
                "/default_credential_lifetime", "contradiction", "is longer than max_credential_lifetime"
            )
        )
    return errors


def _target(organization: Organization) -> Target:
    return Target("organization", organization.id, organization.name)
