"""A person's own account page: their memberships, sessions and consents, in all of their organizations at once."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ostiary.core.model import Organization, RoleBinding
from ostiary.core.permission import Caller, Scopes
from ostiary.core.problem import not_found
from ostiary.services import consents, roles, sessions
from ostiary.storage import clients as client_rows
from ostiary.storage import consents as consent_rows
from ostiary.storage import directory
from ostiary.storage import members as member_rows
from ostiary.storage import roles as role_rows
from ostiary.storage import sessions as session_rows
from ostiary.storage.sessions import Session
from ostiary.storage.store import Tx

MOST = 200
"""Most sessions shown, and most consents for each organization."""


@dataclass(frozen=True, slots=True)
class Account:
    """Everything that the page shows."""

    memberships: tuple[tuple[Organization, tuple[RoleBinding, ...]], ...]
    sessions: tuple[Session, ...]
    consents: tuple[tuple[Organization, consents.ConsentListing], ...]
    clients: Mapping[str, str]
    """Client names by id."""
    projects: Mapping[str, str]
    """Project names by id."""


def show(tx: Tx, caller: Caller) -> Account:
    """Return the calling person's account page."""
    user_id = str(caller.actor.id)
    found = member_rows.organizations_of(tx, user_id)
    own = session_rows.list_of_owner(tx, user_id, MOST)
    given = [
        (each, listed)
        for each in found
        for listed in consents.list_page(tx, replace(caller, organization_id=each.id), None, MOST, own=True)
    ]
    projects = {
        project_id: project.name
        for each, listed in given
        for project_id in listed.consent.projects
        if (project := directory.find_project(tx, each.id, project_id)) is not None
    }
    return Account(
        tuple((each, _roles(tx, each.id, user_id)) for each in found),
        tuple(own),
        tuple(given),
        client_rows.names(tx, sorted({each.client_id for each in own if each.client_id is not None})),
        projects,
    )


def _roles(tx: Tx, organization_id: str, user_id: str) -> tuple[RoleBinding, ...]:
    return tuple(role_rows.list_role_bindings(tx, organization_id, [user_id])[user_id])


def concerned(tx: Tx, caller: Caller, consent_id: str) -> tuple[str, ...]:
    """Return the ids of the organizations that one of the caller's own consents concerns. Raises not-found."""
    found = consent_rows.find(tx, consent_id)
    if found is None or found.user_id != caller.actor.id:
        raise not_found("grant", "not their own")
    both = (found.organization_id, found.client_organization_id)
    return tuple(each for each in both if each is not None)


def withdraw(tx: Tx, caller: Caller, consent_id: str) -> None:
    """End one of the caller's own consents, in any organization, with the caller's permissions in that organization.

    Raises not-found or insufficient-permissions.
    """
    home = concerned(tx, caller, consent_id)[0]
    consents.withdraw(
        tx, replace(caller, organization_id=home, scopes=_scopes(tx, home, str(caller.actor.id))), consent_id
    )


def _scopes(tx: Tx, organization_id: str, user_id: str) -> Scopes:
    """Return a person's scopes on an organization, which may differ from their session's organization."""
    bindings = [each for each in _roles(tx, organization_id, user_id) if each.project_id is None]
    return roles.scopes_of(role_rows.catalogue_of(tx, organization_id), bindings)


def end_session(tx: Tx, caller: Caller, session_id: str) -> None:
    """End one of the caller's own sessions, in any organization. Idempotent. Raises not-found."""
    found = session_rows.find_of_owner(tx, str(caller.actor.id), session_id)
    if found is None:
        raise not_found("session", "not their own")
    sessions.revoke(tx, replace(caller, organization_id=found.organization_id), session_id)


def sign_out_everywhere(tx: Tx, caller: Caller) -> int:
    """End all sessions of the caller, including the present one. Return their number."""
    return sessions.revoke_all(tx, caller)
