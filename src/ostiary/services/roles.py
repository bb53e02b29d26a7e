"""Roles and scopes: the catalogue, organizations' own roles, and the rules for giving and taking roles.

A caller cannot give a scope that they do not hold, cannot take such a scope from others, and cannot end a principal
that holds more than they do.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ostiary.core import limits
from ostiary.core.event import Target
from ostiary.core.model import Role, RoleBinding
from ostiary.core.permission import (
    API_SCOPES,
    BUILT_IN_ROLES,
    OPERATOR_ADMIN,
    RESERVED_NOUNS,
    Caller,
    Catalogue,
    Scopes,
    is_scope,
    require,
    require_no_application,
    require_operator,
)
from ostiary.core.problem import FieldError, Problem, invalid, invalid_fields, not_found
from ostiary.services import audit
from ostiary.services.audit import change
from ostiary.storage import directory as directory_rows
from ostiary.storage import roles as rows
from ostiary.storage.store import Tx

MAX_ROLES: Final = limits.LIMITS["role_bindings"]

BUILT_IN_DESCRIPTIONS = {
    "organization-admin": "Everything in the organization.",
    OPERATOR_ADMIN: "Everything in every organization of the installation.",
    "developer": "Reads and writes the application's resources.",
    "viewer": "Reads the application's resources.",
    "resource-server": "Verifies credentials that are presented to it.",
}


@dataclass(frozen=True, slots=True)
class RoleSpec:
    """A role by name. `on` is None or the organization's id, or the id or code of a project."""

    role: str
    on: str | None = None


# Giving roles


def read_roles(
    tx: Tx, caller: Caller, catalogue: Catalogue, roles: Sequence[RoleSpec], pointer: str
) -> list[RoleBinding]:
    """Return the bindings that these specs name, each once.

    Raises validation-failed with all unknown roles at once, or not-found for an unknown project.
    """
    errors: list[FieldError] = []
    bindings: list[RoleBinding] = []
    projects = (
        directory_rows.project_names(tx, caller.organization_id) if any(spec.on for spec in roles) else {}
    )
    for number, spec in enumerate(roles):
        project_id = None
        if spec.on is not None and spec.on != caller.organization_id:
            project_id = projects.get(spec.on)
            if project_id is None:
                raise not_found("project or organization")
        binding = RoleBinding(spec.role, project_id)
        check_role(caller, catalogue, binding, f"{pointer}/{number}/role", errors)
        if binding not in bindings:
            bindings.append(binding)
    if errors:
        raise invalid_fields(tuple(errors))
    return bindings


def check_role(
    caller: Caller, catalogue: Catalogue, binding: RoleBinding, pointer: str, errors: list[FieldError]
) -> None:
    """Add an error to the list if the organization lacks the role, or if it cannot be held on a project."""
    if not catalogue.has_role(binding.role) or (binding.role == OPERATOR_ADMIN and not caller.operator):
        errors.append(FieldError(pointer, "unknown-role", "is not a role of this organization"))
    elif binding.role == OPERATOR_ADMIN and binding.project_id is not None:
        errors.append(
            FieldError(pointer, "contradiction", "can be held on the organization only, not on a project")
        )


def require_to_change(
    caller: Caller, catalogue: Catalogue, before: Iterable[RoleBinding], after: Iterable[RoleBinding]
) -> None:
    """Apply `require_to_grant` to every binding that is added or removed."""
    require_to_grant(caller, catalogue, set(before) ^ set(after))


def require_to_grant(caller: Caller, catalogue: Catalogue, bindings: Iterable[RoleBinding]) -> None:
    """Raise scope-exceeds-grantor unless the caller holds every scope of these roles.

    For the role operator-admin, the caller must be an operator admin.
    """
    bindings = tuple(bindings)
    require_reach(caller, bindings)
    require_to_hold(caller, scopes_of(catalogue, bindings))


def require_reach(caller: Caller, bindings: Iterable[RoleBinding]) -> None:
    """Raise scope-exceeds-grantor if one of these roles is operator-admin and the caller is not an operator admin.

    Access to other organizations is not a scope: every credential of an operator admin has it, even one that lists few
    scopes.
    """
    if not caller.operator_admin and any(each.role == OPERATOR_ADMIN for each in bindings):
        raise Problem(
            "scope-exceeds-grantor",
            f"This assigns or removes the role {OPERATOR_ADMIN}, or changes a principal that has it. Only a caller "
            "with this role may do it.",
            reason=f"lacks {OPERATOR_ADMIN}",
        )


def require_to_take(caller: Caller, catalogue: Catalogue, bindings: Iterable[RoleBinding]) -> None:
    """Raise scope-exceeds-grantor unless the caller holds what these bindings give. For ending them.

    Unlike `require_to_grant`, this lets applications through: to take access away is safe.
    """
    bindings = tuple(bindings)
    _require_scopes(caller, scopes_of(catalogue, bindings))
    require_reach(caller, bindings)


def require_to_hold(caller: Caller, scopes: Scopes) -> None:
    """Raise scope-exceeds-grantor unless the caller holds all of these scopes.

    Raises insufficient-permissions for an application: what it gives would outlive the consent to it.
    """
    if scopes:
        require_no_application(caller)
    _require_scopes(caller, scopes)


def require_over(tx: Tx, caller: Caller, principal_id: str) -> None:
    """Raise scope-exceeds-grantor unless the caller holds every scope of the principal's roles.

    Every operation that ends or changes a user or service account of the caller's organization calls this. A principal
    may act on itself, unless the presented credential is narrowed.
    """
    if not _is_itself(caller, principal_id):
        catalogue, bindings = _held_by(tx, caller, principal_id)
        require_to_take(caller, catalogue, bindings)


def require_over_credentials(tx: Tx, caller: Caller, owner_id: str) -> None:
    """Like `require_over`, for operations on a credential or session, but only if its owner is an organization admin.

    To stop a credential is a safety measure. So for all other owners `write:credentials` is enough (decision 27).
    """
    catalogue, bindings = _held_by(tx, caller, owner_id)
    if not _is_itself(caller, owner_id) and is_admin(catalogue, bindings):
        require_to_take(caller, catalogue, bindings)


def is_admin(catalogue: Catalogue, bindings: Iterable[RoleBinding]) -> bool:
    """Return whether these roles make an admin: all permissions of this API on the organization, or operator-admin."""
    everywhere = [each for each in bindings if each.project_id is None]
    return scopes_of(catalogue, everywhere) >= API_SCOPES or any(
        each.role == OPERATOR_ADMIN for each in everywhere
    )


def _is_itself(caller: Caller, principal_id: str) -> bool:
    return caller.actor.id == principal_id and not caller.fine_grained and caller.granted is None


def _held_by(tx: Tx, caller: Caller, principal_id: str) -> tuple[Catalogue, list[RoleBinding]]:
    bindings = rows.list_role_bindings(tx, caller.organization_id, [principal_id])[principal_id]
    return rows.catalogue_of(tx, caller.organization_id), bindings


def _require_scopes(caller: Caller, scopes: Scopes) -> None:
    beyond = sorted(scopes - caller.scopes)
    if beyond:
        raise Problem(
            "scope-exceeds-grantor",
            f"This needs scopes that the presented credential does not have: {_some(beyond)}.",
            members={"limits": ["scopes"], "scopes": beyond},
            reason=f"beyond its own: {' '.join(beyond[:8])}",
        )


def _some(names: list[str]) -> str:
    more = len(names) - 5
    return ", ".join(names[:5]) + (f" and {more} more" if more > 0 else "")


def scopes_of(catalogue: Catalogue, bindings: Iterable[RoleBinding]) -> Scopes:
    return frozenset().union(*(catalogue.role(binding.role) for binding in bindings))


def names_of(bindings: Iterable[RoleBinding]) -> list[str]:
    """Return bindings as text for the audit log."""
    return [f"{each.role} on {each.project_id or 'organization'}" for each in bindings]


# An organization's own roles


def list_roles(tx: Tx, caller: Caller) -> list[Role]:
    """Return the built-in roles with their current scopes, then the organization's own roles."""
    require(caller, "read:roles")
    catalogue = rows.catalogue_of(tx, caller.organization_id)
    built_in = [
        Role(None, name, BUILT_IN_DESCRIPTIONS[name], tuple(sorted(catalogue.role(name))))
        for name in BUILT_IN_ROLES
        if name != OPERATOR_ADMIN or caller.operator
    ]
    return built_in + rows.list_roles(tx, caller.organization_id)


def get_role(tx: Tx, caller: Caller, name: str) -> Role:
    """Return a role by its id or name. Raises not-found."""
    for role in list_roles(tx, caller):
        if name in (role.id, role.name):
            return role
    raise not_found("role")


def create_role(tx: Tx, caller: Caller, name: str, description: str, scopes: tuple[str, ...]) -> Role:
    """Create a role in the caller's organization. Its name cannot be changed later.

    Raises name-taken, validation-failed for unknown scopes, scope-exceeds-grantor or limit-reached.
    """
    require(caller, "write:roles")
    catalogue = rows.catalogue_of(tx, caller.organization_id)
    if catalogue.has_role(name):
        raise Problem("name-taken", "A role with this name exists already.", reason="role name taken")
    require_known_and_held(caller, catalogue, scopes)
    limits.check("roles", len(catalogue.own))
    role = Role(tx.new_id("role"), name, description, scopes)
    rows.insert_role(tx, caller.organization_id, role)
    change(tx, caller, "role.created", _target(role), scopes=list(scopes))
    return role


def update_role(tx: Tx, caller: Caller, name: str, changes: dict[str, Any]) -> Role:
    """Change a role's description or scopes. The change applies at once to all principals that hold the role."""
    require(caller, "write:roles")
    before = _own(tx, caller, name)
    assert before.id is not None
    scopes = changes.get("scopes", before.scopes)
    catalogue = rows.catalogue_of(tx, caller.organization_id)
    if "scopes" in changes:
        require_known_and_held(caller, catalogue, tuple(set(scopes) ^ set(before.scopes)), scopes)
    after = Role(before.id, before.name, changes.get("description", before.description), scopes)
    if after != before:
        rows.update_role(tx, before.id, changes)
        tx.changed("organization", caller.organization_id)
        audit.record_update(tx, caller, "role.updated", _target(after), before, after)
    else:
        tx.confirm()
    return after


def delete_role(tx: Tx, caller: Caller, name: str) -> None:
    """Delete a role and all its bindings."""
    require(caller, "write:roles")
    role = _own(tx, caller, name)
    assert role.id is not None
    catalogue = rows.catalogue_of(tx, caller.organization_id)
    require_to_hold(caller, catalogue.granted(role.scopes))
    bindings = rows.delete_bindings_of_role(tx, caller.organization_id, role.name)
    rows.delete_role(tx, role.id)
    tx.changed("organization", caller.organization_id)
    change(tx, caller, "role.deleted", _target(role), bindings=bindings)


def require_known_and_held(
    caller: Caller, catalogue: Catalogue, granted: tuple[str, ...], listed: tuple[str, ...] | None = None
) -> None:
    """Raise validation-failed unless every listed scope exists; then check that the caller holds the `granted` ones.

    `granted` are the scopes that the change gives or takes. `listed` are those in the request; None: the same.
    """
    errors = [
        FieldError(f"/scopes/{number}", "unknown-scope", "is not in the catalogue of scopes")
        for number, scope in enumerate(granted if listed is None else listed)
        if not catalogue.granted([scope])
    ]
    if errors:
        raise invalid_fields(tuple(errors))
    require_to_hold(caller, catalogue.granted(granted))


def _own(tx: Tx, caller: Caller, name: str) -> Role:
    if name in BUILT_IN_ROLES:
        raise Problem(
            "wrong-state",
            "A built-in role cannot be changed. Create a role of your own.",
            reason="built-in role",
        )
    for role in rows.list_roles(tx, caller.organization_id):
        if name in (role.id, role.name):
            return role
    raise not_found("role")


def _target(role: Role) -> Target:
    return Target("role", role.id or role.name, role.name)


# The installation's catalogue


def list_scopes(tx: Tx, _caller: Caller) -> list[str]:
    """Return the catalogue of scopes. Every caller may read it."""
    return sorted(rows.scopes_of_catalogue(tx))


def create_scope(tx: Tx, caller: Caller, scope: str) -> str:
    """Add a scope to the catalogue. Raises validation-failed for a reserved noun, name-taken or limit-reached."""
    require_operator(caller, "write:organization")
    if not is_scope(scope) or ":" not in scope:
        raise invalid(
            "/scope", "invalid", "must have the form verb:noun, in lower-case letters, digits, hyphens"
        )
    if scope.partition(":")[2] in (*RESERVED_NOUNS, "audit"):
        raise invalid("/scope", "reserved", "uses a noun that is reserved for this API")
    catalogue = rows.scopes_of_catalogue(tx)
    if scope in catalogue:
        raise Problem("name-taken", "The scope is in the catalogue already.", reason="scope taken")
    length = len(" ".join(catalogue))
    limits.check("catalogue_characters", length, 1 + len(scope))
    rows.insert_scopes(tx, [scope])
    tx.changed("installation", "catalogue")
    change(tx, caller, "scope.created", Target("scope", scope, scope))
    return scope


def delete_scope(tx: Tx, caller: Caller, scope: str) -> None:
    """Remove a scope from the catalogue. From then on no role or credential grants it."""
    require_operator(caller, "write:organization")
    if scope not in rows.scopes_of_catalogue(tx):
        raise not_found("scope")
    rows.delete_scope(tx, scope)
    tx.changed("installation", "catalogue")
    change(tx, caller, "scope.deleted", Target("scope", scope, scope))
