"""Projects: parts of an organization that roles and credentials can be limited to."""

from dataclasses import dataclass, replace
from typing import Any

from ostiary.core import check, limits
from ostiary.core.event import Target
from ostiary.core.model import Project, RoleBinding
from ostiary.core.permission import Caller, require
from ostiary.core.problem import FieldError, Problem, invalid_fields, not_found
from ostiary.services import audit, consents, roles, service_accounts, sessions
from ostiary.services.audit import change
from ostiary.storage import credentials as credential_rows
from ostiary.storage import directory as rows
from ostiary.storage import members as member_rows
from ostiary.storage import people as people_rows
from ostiary.storage import roles as role_rows
from ostiary.storage import sessions as session_rows
from ostiary.storage.store import Tx


@dataclass(frozen=True, slots=True)
class ProjectBinding:
    """A principal's role on a project. `principal` is a user's id or any name of a service account."""

    principal: str
    role: str


def create(tx: Tx, caller: Caller, name: str, code: str | None, description: str) -> Project:
    """Create a project. Without a `code`, one is derived from the name.

    A code cannot be changed, and is never used again after deletion. Raises name-taken or limit-reached.
    """
    require(caller, "write:projects")
    if code is None:
        code = _free_code(tx, caller.organization_id, name)
    elif rows.project_code_exists(tx, caller.organization_id, code):
        raise Problem(
            "name-taken", "The code belongs to another project, or to a deleted one.", reason="code taken"
        )
    limits.check("projects", rows.count_projects(tx, caller.organization_id))
    project = Project(tx.new_id("prj"), caller.organization_id, code, name, description, tx.now)
    rows.insert_project(tx, project.id, project.organization_id, code, name, description)
    tx.changed("organization", caller.organization_id)
    change(tx, caller, "project.created", _target(project), code=code)
    return project


def list_page(tx: Tx, caller: Caller, after: str | None, limit: int) -> list[Project]:
    require(caller, "read:projects")
    return rows.list_projects(tx, caller.organization_id, after, limit)


def get(tx: Tx, caller: Caller, name: str) -> Project:
    """Return a project by its id or code. Raises not-found."""
    require(caller, "read:projects")
    return _find(tx, caller, name)


def update(tx: Tx, caller: Caller, name: str, changes: dict[str, Any]) -> Project:
    """Change the name or the description of a project."""
    require(caller, "write:projects")
    before = _find(tx, caller, name)
    after = replace(before, **changes)
    if after != before:
        rows.update_project(tx, before.id, changes)
        audit.record_update(tx, caller, "project.updated", _target(after), before, after)
    return after


def delete(tx: Tx, caller: Caller, name: str) -> None:
    """Delete a project and its role bindings. The caller must hold every scope of those roles.

    Credentials and sessions that are bound to the project are revoked. If an organization admin has one, the caller
    needs every scope of that admin.
    """
    require(caller, "write:projects")
    project = _find(tx, caller, name)
    bindings = [binding for _, binding in role_rows.list_project_bindings(tx, project.id)]
    roles.require_to_take(caller, role_rows.catalogue_of(tx, caller.organization_id), bindings)
    for owner_id in session_rows.owners_bound_to(tx, project.id):
        roles.require_over_credentials(tx, caller, owner_id)
    revoked = credential_rows.revoke_bound_to(tx, project.organization_id, project.id)
    audit.record_revocations(tx, caller, revoked, "its project was deleted")
    for session_id, home in session_rows.revoke_of_project(tx, project.id):
        sessions.ended(tx, replace(caller, organization_id=home), session_id, "its project was deleted")
    consents.remove_project(tx, caller, project.organization_id, project.id)
    role_rows.delete_bindings_of_project(tx, project.id)
    rows.update_project(tx, project.id, {"deleted_at": tx.now})
    tx.changed("organization", project.organization_id)
    change(tx, caller, "project.deleted", _target(project), revoked=len(revoked))


def list_role_bindings(tx: Tx, caller: Caller, name: str) -> list[tuple[str, RoleBinding]]:
    """Return (principal id, binding) for every role that is held on the project itself."""
    require(caller, "read:projects")
    return role_rows.list_project_bindings(tx, _find(tx, caller, name).id)


def set_role_bindings(
    tx: Tx, caller: Caller, name: str, asked: tuple[ProjectBinding, ...]
) -> list[tuple[str, RoleBinding]]:
    """Replace all role bindings on the project. The caller must hold every scope of the roles given or taken."""
    require(caller, "write:projects")
    project = _find(tx, caller, name)
    catalogue = role_rows.catalogue_of(tx, caller.organization_id)
    errors: list[FieldError] = []
    for number, each in enumerate(asked):
        binding = RoleBinding(each.role, project.id)
        roles.check_role(caller, catalogue, binding, f"/bindings/{number}/role", errors)
    if errors:
        raise invalid_fields(tuple(errors))
    after = list(
        dict.fromkeys(
            (_principal(tx, caller, each.principal), RoleBinding(each.role, project.id)) for each in asked
        )
    )
    before = role_rows.list_project_bindings(tx, project.id)
    changed = set(before) ^ set(after)
    roles.require_to_grant(caller, catalogue, [binding for _, binding in changed])
    if changed:
        role_rows.delete_bindings_of_project(tx, project.id)
        for principal_id, binding in after:
            role_rows.insert_role_binding(tx, project.organization_id, principal_id, binding)
        gained = sorted({principal_id for principal_id, _ in set(after) - set(before)})
        for found in role_rows.list_role_bindings(tx, project.organization_id, gained).values():
            limits.check("role_bindings", len(found), 0)
        for principal_id in {principal_id for principal_id, _ in changed}:
            people_rows.end_resets(tx, principal_id)  # the links' makers were not checked against these roles
        tx.changed("organization", project.organization_id)
        change(
            tx,
            caller,
            "project.roles_changed",
            _target(project),
            before=[f"{principal_id} {binding.role}" for principal_id, binding in before],
            after=[f"{principal_id} {binding.role}" for principal_id, binding in after],
        )
    else:
        tx.confirm()
    return role_rows.list_project_bindings(tx, project.id)


def _principal(tx: Tx, caller: Caller, name: str) -> str:
    if name.startswith("usr_"):
        if member_rows.find_member(tx, caller.organization_id, name) is None:
            raise not_found("member")
        return name
    return service_accounts.find(tx, caller, name).id


def _find(tx: Tx, caller: Caller, name: str) -> Project:
    project = rows.find_project(tx, caller.organization_id, name)
    if project is None:
        raise not_found("project")
    return project


def _free_code(tx: Tx, organization_id: str, name: str) -> str:
    return check.free_slug(
        check.slug_of(name, "project"), lambda slug: rows.project_code_exists(tx, organization_id, slug)
    )


def _target(project: Project) -> Target:
    return Target("project", project.id, project.name)
