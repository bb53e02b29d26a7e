"""Setting up an installation: its first organization, admin and operator key; and their recovery."""

from dataclasses import dataclass, replace

from ostiary.core import check
from ostiary.core.event import Target
from ostiary.core.model import Organization
from ostiary.core.permission import FIRST_CATALOGUE, Caller
from ostiary.core.problem import Problem, not_found
from ostiary.core.secret import Secret
from ostiary.services import credentials, members, organizations, roles, sessions
from ostiary.services.audit import change
from ostiary.services.callers import SYSTEM_CALLER
from ostiary.services.issuance import CredentialSpec
from ostiary.storage import directory as rows
from ostiary.storage import members as member_rows
from ostiary.storage import people
from ostiary.storage import roles as role_rows
from ostiary.storage.store import Tx


@dataclass(frozen=True, slots=True)
class InitialAdmin:
    """What `ostiary init` and `ostiary init --recover` show once."""

    organization: Organization
    user_id: str
    email: str
    key: Secret
    key_id: str


def begin(tx: Tx, caller: Caller, name: str, email: str, password_hash: str) -> InitialAdmin:
    """Create the operator's organization, its first admin and the operator key.

    Raises wrong-state if the installation is initialised already.
    """
    rows.lock_installation(tx)
    if rows.find_operator(tx) is not None:
        raise Problem("wrong-state", "This installation is initialised already.", reason="initialised")
    facts = {"channel_host": tx.installation.channel_host}
    rows.insert_installation_facts(tx, facts | _unknown_forms(tx, {}))
    role_rows.insert_scopes(tx, FIRST_CATALOGUE)
    organization = organizations.insert(tx, caller, name, check.slug_of(name, "organization"), operator=True)
    user_id = members.insert(
        tx, caller, organization.id, email, password_hash, [members.ADMIN, members.OPERATOR]
    )
    return _with_key(tx, caller, organization, user_id, email)


def recover(tx: Tx, caller: Caller, password_hash: str) -> InitialAdmin:
    """Give the first admin a new password and a new operator key. Sessions of the admin end; old keys stay.

    The first admin is the first operator admin, else the first admin of the operator's organization. They get both
    roles. Raises wrong-state if there is no such person.
    """
    organization = rows.find_operator(tx)
    admin = None
    if organization is not None:
        admin = member_rows.first_holder(tx, organization.id, members.OPERATOR.role)
        admin = admin or member_rows.first_holder(tx, organization.id, members.ADMIN.role)
    if organization is None or admin is None:
        raise Problem("wrong-state", "There is nothing to recover. Run `ostiary init`.", reason="empty")
    user_id, email = admin
    people.set_password(tx, user_id, password_hash)
    caller = replace(caller, organization_id=organization.id)
    people.end_resets(tx, user_id)
    sessions.end_all(tx, caller, user_id, "the password was recovered")
    _give_both_roles(tx, caller, user_id, email)
    change(tx, caller, "member.recovered", Target("user", user_id, email))
    return _with_key(tx, caller, organization, user_id, email)


def _give_both_roles(tx: Tx, caller: Caller, user_id: str, email: str) -> None:
    before = role_rows.list_role_bindings(tx, caller.organization_id, [user_id])[user_id]
    missing = [each for each in (members.ADMIN, members.OPERATOR) if each not in before]
    if not missing:
        return
    for binding in missing:
        role_rows.insert_role_binding(tx, caller.organization_id, user_id, binding)
    tx.changed("organization", caller.organization_id)
    change(
        tx,
        caller,
        "member.roles_changed",
        Target("user", user_id, email),
        before=roles.names_of(before),
        after=roles.names_of([*before, *missing]),
    )


def local_operator(tx: Tx, _caller: Caller, organization: str | None) -> Caller:
    """Return the caller for local commands, in an organization (id or slug; None: the operator's).

    The caller has every permission: access to the data directory allows changing the database directly anyway. Raises
    not-found.
    """
    found = rows.find_operator(tx) if organization is None else rows.find_organization(tx, organization)
    if found is None:
        raise not_found("organization")
    catalogue = role_rows.catalogue_of(tx, found.id)
    return replace(
        SYSTEM_CALLER,
        organization_id=found.id,
        operator=found.operator,
        operator_admin=True,
        scopes=catalogue.role("organization-admin"),
    )


def store_prefixes_and_peppers(tx: Tx, _caller: Caller) -> None:
    """Store the key prefixes and pepper ids in use, permanently: every prefix ever used stays accepted."""
    rows.lock_installation(tx)
    rows.insert_installation_facts(tx, _unknown_forms(tx, rows.installation_facts(tx)))


def _unknown_forms(tx: Tx, known: dict[str, str]) -> dict[str, str]:
    """Return the prefixes and pepper ids that are not stored yet, as facts with the current time."""
    facts = {f"key_prefix:{prefix}": str(tx.now) for prefix in tx.installation.key_prefixes}
    facts |= {f"pepper:{pepper_id}": str(tx.now) for pepper_id in tx.installation.keyring.peppers}
    return {name: value for name, value in facts.items() if name not in known}


def _with_key(tx: Tx, caller: Caller, organization: Organization, user_id: str, email: str) -> InitialAdmin:
    caller = replace(caller, organization_id=organization.id)
    created = credentials.make_first(tx, caller, user_id, email, CredentialSpec(name="Operator key"))
    return InitialAdmin(organization, user_id, email, created.secret, created.listed.credential.id)
