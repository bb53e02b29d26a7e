"""Roles and scopes: the catalogue, organizations' own roles, and the one way in which a role is given.

Nobody grants more than they hold, nobody takes from others what they do not hold themselves, and nobody ends what
holds more than they do.
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

MAX_ROLES: Final = limits.MOST["role_bindings"]

BUILT_IN_DESCRIPTIONS = {
    "organization-admin": "Everything in the organization.",
    OPERATOR_ADMIN: "Everything in every organization of the installation.",
    "developer": "Reads and writes the application's resources.",
    "viewer": "Reads the application's resources.",
    "resource-server": "Asks about credentials that it is shown.",
}


@dataclass(frozen=True, slots=True)
class RoleSpec:
    """A role by name, on the organization (None or its id) or on a project (id or code)."""

    role: str
    on: str | None = None


# Giving roles


def read_roles(
    tx: Tx, caller: Caller, catalogue: Catalogue, roles: Sequence[RoleSpec], pointer: str
) -> list[RoleBinding]:
    """The bindings that these specs name. Raises for unknown roles (all at once) and for unknown projects."""
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
    """Add an error unless the organization has the role, and it may be held where the binding says."""
    if not catalogue.has_role(binding.role) or (binding.role == OPERATOR_ADMIN and not caller.operator):
        errors.append(FieldError(pointer, "unknown-role", "is no role of this organization"))
    elif binding.role == OPERATOR_ADMIN and binding.project_id is not None:
        errors.append(FieldError(pointer, "contradiction", "is held on the organization, never on a project"))


def require_to_change(
    caller: Caller, catalogue: Catalogue, before: Iterable[RoleBinding], after: Iterable[RoleBinding]
) -> None:
    """Whoever gives or takes a role holds it, as `require_to_grant` says."""
    require_to_grant(caller, catalogue, set(before) ^ set(after))


def require_to_grant(caller: Caller, catalogue: Catalogue, bindings: Iterable[RoleBinding]) -> None:
    """Raise scope-exceeds-grantor unless the caller holds every scope of these roles, and their reach."""
    bindings = tuple(bindings)
    require_reach(caller, bindings)
    require_to_hold(caller, scopes_of(catalogue, bindings))


def require_reach(caller: Caller, bindings: Iterable[RoleBinding]) -> None:
    """Raise scope-exceeds-grantor if these roles reach into every organization and the caller does not.

    The reach is no scope: a credential of such an owner has it, however few scopes the credential lists.
    """
    if not caller.operator_admin and any(each.role == OPERATOR_ADMIN for each in bindings):
        raise Problem(
            "scope-exceeds-grantor",
            f"This gives or takes the role {OPERATOR_ADMIN}, or concerns a principal that holds it and may act in "
            "every organization. It needs a caller that holds the role.",
            reason=f"lacks {OPERATOR_ADMIN}",
        )


def require_to_take(caller: Caller, catalogue: Catalogue, bindings: Iterable[RoleBinding]) -> None:
    """Raise scope-exceeds-grantor unless the caller holds what these bindings give: to end them, not to give them."""
    bindings = tuple(bindings)
    _require_scopes(caller, scopes_of(catalogue, bindings))
    require_reach(caller, bindings)


def require_to_hold(caller: Caller, scopes: Scopes) -> None:
    """Raise scope-exceeds-grantor unless the caller holds all of these. What an application gives would outlive it."""
    if scopes:
        require_no_application(caller)
    _require_scopes(caller, scopes)


def require_over(tx: Tx, caller: Caller, principal_id: str) -> None:
    """Raise scope-exceeds-grantor unless the caller holds every scope of the principal's roles.

    For each act that ends or changes a user or a service account of the caller's organization. A principal may act on
    itself, unless the credential that it presents is narrowed.
    """
    if not _is_itself(caller, principal_id):
        catalogue, bindings = _held_by(tx, caller, principal_id)
        require_to_take(caller, catalogue, bindings)


def require_over_credentials(tx: Tx, caller: Caller, owner_id: str) -> None:
    """The same for each act on a credential or session of the owner, but only if the owner is an organization admin.

    To stop a credential is a safety measure: `write:credentials` is enough for all others (decision 27).
    """
    catalogue, bindings = _held_by(tx, caller, owner_id)
    if not _is_itself(caller, owner_id) and is_admin(catalogue, bindings):
        require_to_take(caller, catalogue, bindings)


def is_admin(catalogue: Catalogue, bindings: Iterable[RoleBinding]) -> bool:
    """Whether the roles on the organization together give every permission of this API, or one reaches into all others."""
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
    """Bindings as the audit log tells them."""
    return [f"{each.role} on {each.project_id or 'organization'}" for each in bindings]


# An organization's own roles


def list_roles(tx: Tx, caller: Caller) -> list[Role]:
    """The built-in roles as they are now, then the organization's own."""
    require(caller, "read:roles")
    catalogue = rows.catalogue_of(tx, caller.organization_id)
    built_in = [
        Role(None, name, BUILT_IN_DESCRIPTIONS[name], tuple(sorted(catalogue.role(name))))
        for name in BUILT_IN_ROLES
        if name != OPERATOR_ADMIN or caller.operator
    ]
    return built_in + rows.list_roles(tx, caller.organization_id)


def get_role(tx: Tx, caller: Caller, name: str) -> Role:
    """A role by its id or its name."""
    for role in list_roles(tx, caller):
        if name in (role.id, role.name):
            return role
    raise not_found("role")


def create_role(tx: Tx, caller: Caller, name: str, description: str, scopes: tuple[str, ...]) -> Role:
    """Make a role of the organization's own. Its name is fixed."""
    require(caller, "write:roles")
    catalogue = rows.catalogue_of(tx, caller.organization_id)
    if catalogue.has_role(name):
        raise Problem("name-taken", "There is a role of this name already.", reason="role name taken")
    caller_holds_known(caller, catalogue, scopes)
    limits.check("roles", len(catalogue.own))
    role = Role(tx.new_id("role"), name, description, scopes)
    rows.insert_role(tx, caller.organization_id, role)
    change(tx, caller, "role.created", _target(role), scopes=list(scopes))
    return role


def update_role(tx: Tx, caller: Caller, name: str, changes: dict[str, Any]) -> Role:
    """Change description or scopes: at once for everyone who has the role."""
    require(caller, "write:roles")
    before = _own(tx, caller, name)
    assert before.id is not None
    scopes = changes.get("scopes", before.scopes)
    catalogue = rows.catalogue_of(tx, caller.organization_id)
    if "scopes" in changes:
        caller_holds_known(caller, catalogue, tuple(set(scopes) ^ set(before.scopes)), scopes)
    after = Role(before.id, before.name, changes.get("description", before.description), scopes)
    if after != before:
        rows.update_role(tx, before.id, changes)
        tx.changed("organization", caller.organization_id)
        audit.updated(tx, caller, "role.updated", _target(after), before, after)
    else:
        tx.confirm()
    return after


def delete_role(tx: Tx, caller: Caller, name: str) -> None:
    """Delete a role and take it away from everyone who had it."""
    require(caller, "write:roles")
    role = _own(tx, caller, name)
    assert role.id is not None
    catalogue = rows.catalogue_of(tx, caller.organization_id)
    require_to_hold(caller, catalogue.granted(role.scopes))
    bindings = rows.delete_bindings_of_role(tx, caller.organization_id, role.name)
    rows.delete_role(tx, role.id)
    tx.changed("organization", caller.organization_id)
    change(tx, caller, "role.deleted", _target(role), bindings=bindings)


def caller_holds_known(
    caller: Caller, catalogue: Catalogue, granted: tuple[str, ...], listed: tuple[str, ...] | None = None
) -> None:
    """Every listed scope exists, and the caller holds those that it grants or takes."""
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
            "wrong-state", "A built-in role is fixed; make one of your own.", reason="built-in role"
        )
    for role in rows.list_roles(tx, caller.organization_id):
        if name in (role.id, role.name):
            return role
    raise not_found("role")


def _target(role: Role) -> Target:
    return Target("role", role.id or role.name, role.name)


# The installation's catalogue


def list_scopes(tx: Tx, _caller: Caller) -> list[str]:
    """The catalogue, which every caller may read: it is what scopes may be asked for."""
    return sorted(rows.scopes_of_catalogue(tx))


def create_scope(tx: Tx, caller: Caller, scope: str) -> str:
    """Add a scope to the catalogue. The nouns of this API are reserved."""
    require_operator(caller, "write:organization")
    if not is_scope(scope) or ":" not in scope:
        raise invalid(
            "/scope", "invalid", "must have the form verb:noun, in lower-case letters, digits, hyphens"
        )
    if scope.partition(":")[2] in (*RESERVED_NOUNS, "audit"):
        raise invalid("/scope", "reserved", "names a noun of this API")
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
    """Take a scope out of the catalogue: from then on nothing grants it."""
    require_operator(caller, "write:organization")
    if scope not in rows.scopes_of_catalogue(tx):
        raise not_found("scope")
    rows.delete_scope(tx, scope)
    tx.changed("installation", "catalogue")
    change(tx, caller, "scope.deleted", Target("scope", scope, scope))
