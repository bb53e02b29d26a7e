"""The beginning of an installation: its first organization, admin and operator key; and their recovery."""

from dataclasses import dataclass, replace

from ostiary.core import check
from ostiary.core.event import Target
from ostiary.core.model import Organization
from ostiary.core.permission import FIRST_CATALOGUE, Caller
from ostiary.core.problem import Problem, not_found
from ostiary.core.secret import Secret
from ostiary.services import credentials, members, organizations, sessions
from ostiary.services.audit import change
from ostiary.services.callers import SYSTEM_CALLER
from ostiary.services.minting import CredentialSpec
from ostiary.storage import directory as rows
from ostiary.storage import members as member_rows
from ostiary.storage import people
from ostiary.storage import roles as role_rows
from ostiary.storage.store import Tx


@dataclass(frozen=True, slots=True)
class Beginning:
    """What `init` shows once."""

    organization: Organization
    user_id: str
    email: str
    key: Secret
    key_id: str


def begin(tx: Tx, caller: Caller, name: str, email: str, password_hash: str) -> Beginning:
    """Make the operator's organization, its first admin and the operator key. Raises wrong-state a second time."""
    rows.lock_installation(tx)
    if rows.find_operator(tx) is not None:
        raise Problem("wrong-state", "This installation has been initialised already.", reason="initialised")
    facts = {"channel_host": tx.installation.channel_host}
    rows.insert_installation_facts(tx, facts | _unknown_forms(tx, {}))
    role_rows.insert_scopes(tx, FIRST_CATALOGUE)
    organization = organizations.insert(tx, caller, name, check.slug_of(name, "organization"), operator=True)
    user_id = members.insert(tx, caller, organization.id, email, password_hash, [members.ADMIN])
    return _with_key(tx, caller, organization, user_id, email)


def recover(tx: Tx, caller: Caller, password_hash: str) -> Beginning:
    """A new password and a new operator key for the first admin, whose sessions end; the old keys stay as they are."""
    organization = rows.find_operator(tx)
    admin = None if organization is None else member_rows.first_admin(tx, organization.id)
    if organization is None or admin is None:
        raise Problem("wrong-state", "There is nothing to recover: run `ostiary init`.", reason="empty")
    user_id, email = admin
    people.set_password(tx, user_id, password_hash)
    caller = replace(caller, organization_id=organization.id)
    people.end_resets(tx, user_id)
    sessions.end_all(tx, caller, user_id, "the password was recovered")
    change(tx, caller, "member.recovered", Target("user", user_id, email))
    return _with_key(tx, caller, organization, user_id, email)


def custodian(tx: Tx, _caller: Caller, organization: str | None) -> Caller:
    """Whoever owns the data directory, acting in an organization (by id or slug; None: the operator's).

    Raises not-found. It holds whatever there is to hold: it could as well change the rows.
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


def remember_forms(tx: Tx, _caller: Caller) -> None:
    """Note the key prefix and the peppers in use, for good: every prefix ever used stays accepted."""
    rows.lock_installation(tx)
    rows.insert_installation_facts(tx, _unknown_forms(tx, rows.installation_facts(tx)))


def _unknown_forms(tx: Tx, known: dict[str, str]) -> dict[str, str]:
    """The facts about secrets' forms that are not written down yet."""
    facts = {f"key_prefix:{prefix}": str(tx.now) for prefix in tx.installation.key_prefixes}
    facts |= {f"pepper:{pepper_id}": str(tx.now) for pepper_id in tx.installation.keyring.peppers}
    return {name: value for name, value in facts.items() if name not in known}


def _with_key(tx: Tx, caller: Caller, organization: Organization, user_id: str, email: str) -> Beginning:
    caller = replace(caller, organization_id=organization.id)
    created = credentials.make_first(tx, caller, user_id, email, CredentialSpec(name="Operator key"))
    return Beginning(organization, user_id, email, created.secret, created.listed.credential.id)
