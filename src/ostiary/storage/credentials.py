"""Rows of credentials; `find_standing` for verdicts. Their secrets are `generations`' business."""

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from ostiary.core.address import parse_network
from ostiary.core.model import Credential, CredentialKind, Grant, Organization, Overlap, Principal, Standing
from ostiary.core.permission import Catalogue, Policy
from ostiary.storage import generations as generation_rows
from ostiary.storage.store import Store, Tx
from ostiary.storage.tables import (
    credentials,
    generation_uses,
    generations,
    members,
    organizations,
    policies,
    role_bindings,
    roles,
    service_accounts,
    users,
)

_OLD = generations.alias("old")
_LAST_USED = (
    sa.select(sa.func.max(generation_uses.c.last_used_at))
    .where(generation_uses.c.credential_id == credentials.c.id)
    .scalar_subquery()
)
# Each credential with its current secret and, during a rotation, the one before it that is still accepted.
_CREDENTIAL = sa.select(
    credentials,
    generations.c.access_id,
    generations.c.prefix,
    generations.c.last6,
    generations.c.number.label("generation"),
    generations.c.created_at.label("secret_created_at"),
    _LAST_USED.label("last_used_at"),
    _OLD.c.access_id.label("old_access_id"),
    _OLD.c.last6.label("old_last6"),
    _OLD.c.ends_at.label("old_ends_at"),
).select_from(
    credentials.join(
        generations,
        sa.and_(generations.c.credential_id == credentials.c.id, generations.c.superseded_at.is_(None)),
    ).outerjoin(
        _OLD,
        sa.and_(
            _OLD.c.credential_id == credentials.c.id,
            _OLD.c.superseded_at.is_not(None),
            _OLD.c.ended_at.is_(None),
            sa.or_(_OLD.c.ends_at.is_(None), _OLD.c.ends_at > sa.bindparam("now")),
        ),
    )
)


def _credential(row: sa.Row[Any]) -> Credential:
    values = dict(row._mapping)
    access_id, last6, ends_at = (values.pop(f"old_{name}") for name in ("access_id", "last6", "ends_at"))
    return Credential(**values, overlap=None if access_id is None else Overlap(last6, ends_at))


def insert(
    tx: Tx, credential: Credential, digest: bytes, pepper_id: str, public_key: bytes | None = None
) -> None:
    """A credential and its first secret."""
    tx.execute(
        credentials.insert(),
        {column.name: getattr(credential, column.name) for column in credentials.columns},
    )
    generation_rows.insert(tx, credential, digest, pepper_id, public_key)


def find(tx: Tx, organization_id: str, credential_id: str) -> Credential | None:
    row = tx.execute(
        _CREDENTIAL.where(
            credentials.c.organization_id == organization_id, credentials.c.id == credential_id
        ),
        {"now": tx.now},
    ).one_or_none()
    return None if row is None else _credential(row)


def list_page(
    tx: Tx,
    organization_id: str,
    owner_id: str | None,
    after: str | None,
    limit: int,
    kind: CredentialKind | None = None,
) -> list[Credential]:
    """Credentials of the organization, or of one owner, or of one kind, newest first, below the id `after`."""
    statement = _CREDENTIAL.where(credentials.c.organization_id == organization_id)
    if owner_id is not None:
        statement = statement.where(credentials.c.owner_id == owner_id)
    if kind is not None:
        statement = statement.where(credentials.c.kind == kind)
    if after is not None:
        statement = statement.where(credentials.c.id < after)
    rows = tx.execute(statement.order_by(credentials.c.id.desc()).limit(limit), {"now": tx.now})
    return [_credential(row) for row in rows]


def owner_names(tx: Tx, organization_id: str, owner_ids: Sequence[str]) -> dict[str, str]:
    """Display names of accounts (deleted ones too) and emails of users, by id."""
    accounts = sa.select(service_accounts.c.id, service_accounts.c.display_name.label("name")).where(
        service_accounts.c.organization_id == organization_id, service_accounts.c.id.in_(owner_ids)
    )
    people = sa.select(users.c.id, users.c.email.label("name")).where(users.c.id.in_(owner_ids))
    return {row.id: row.name for row in tx.execute(accounts.union_all(people))}


def count(tx: Tx, organization_id: str, owner_id: str | None = None) -> int:
    """Credentials that count toward limits: active, deactivated and expired ones, not revoked ones."""
    statement = sa.select(sa.func.count()).where(
        credentials.c.organization_id == organization_id, credentials.c.revoked_at.is_(None)
    )
    if owner_id is not None:
        statement = statement.where(credentials.c.owner_id == owner_id)
    return int(tx.execute(statement).scalar_one())


def update(tx: Tx, credential_id: str, values: Mapping[str, Any]) -> None:
    tx.execute(credentials.update().where(credentials.c.id == credential_id).values(**values))


def revoke_all_of(tx: Tx, organization_id: str, owner_id: str) -> list[tuple[str, str, str]]:
    """Revoke what an owner has in the organization; id, name and last 6 of those that were not revoked before."""
    return _revoke_where(tx, organization_id, credentials.c.owner_id == owner_id)


def revoke_bound_to(tx: Tx, organization_id: str, project_id: str) -> list[tuple[str, str, str]]:
    """Revoke what is bound to a project, likewise."""
    return _revoke_where(tx, organization_id, credentials.c.project_id == project_id)


def _revoke_where(tx: Tx, organization_id: str, which: sa.ColumnElement[bool]) -> list[tuple[str, str, str]]:
    condition = (credentials.c.organization_id == organization_id, credentials.c.revoked_at.is_(None), which)
    found = tx.execute(_CREDENTIAL.where(*condition).order_by(credentials.c.id), {"now": tx.now}).all()
    tx.execute(credentials.update().where(*condition).values(revoked_at=tx.now))
    return [(row.id, row.name, row.last6) for row in found]


def has_younger(tx: Tx, credential: Credential) -> bool:
    """Whether the same owner has another credential of that kind, made later and usable."""
    statement = sa.select(credentials.c.id).where(
        credentials.c.organization_id == credential.organization_id,
        credentials.c.owner_id == credential.owner_id,
        credentials.c.kind == credential.kind,
        credentials.c.id != credential.id,
        credentials.c.created_at > credential.created_at,
        credentials.c.revoked_at.is_(None),
        credentials.c.deactivated_at.is_(None),
        sa.or_(credentials.c.expires_at.is_(None), credentials.c.expires_at > tx.now),
    )
    return tx.execute(statement.limit(1)).first() is not None


def delete(tx: Tx, credential_id: str) -> None:
    """Remove the row for good, with its secrets' digests and their use."""
    tx.execute(credentials.delete().where(credentials.c.id == credential_id))
    tx.execute(generation_uses.delete().where(generation_uses.c.credential_id == credential_id))


_STANDING = (
    sa.select(
        credentials.c.id,
        credentials.c.kind,
        credentials.c.name,
        credentials.c.owner_kind,
        credentials.c.owner_id,
        credentials.c.access_level,
        credentials.c.scopes,
        credentials.c.resources,
        credentials.c.allowed_ips,
        credentials.c.project_id,
        credentials.c.expires_at,
        credentials.c.deactivated_at,
        credentials.c.revoked_at,
        credentials.c.replaced_at,
        credentials.c.rate_limit,
        generations.c.access_id,
        generations.c.superseded_at,
        generations.c.ends_at,
        generations.c.ended_at,
        generations.c.last6,
        generations.c.digest,
        generations.c.pepper_id,
        generations.c.public_key,
        generations.c.number,
        credentials.c.compat,
        organizations.c.id.label("organization_id"),
        organizations.c.slug,
        organizations.c.name.label("organization_name"),
        organizations.c.operator,
        organizations.c.created_at.label("organization_created_at"),
        organizations.c.suspended_at,
        service_accounts.c.display_name,
        service_accounts.c.username,
        service_accounts.c.access_level.label("account_access_level"),
        service_accounts.c.scopes.label("account_scopes"),
        service_accounts.c.resources.label("account_resources"),
        service_accounts.c.projects.label("account_projects"),
        service_accounts.c.disabled_at.label("account_disabled_at"),
        service_accounts.c.deleted_at.label("account_deleted_at"),
        users.c.email,
        users.c.disabled_at.label("user_disabled_at"),
        members.c.user_id.label("member_id"),
        role_bindings.c.role,
        role_bindings.c.project_id.label("role_project_id"),
        roles.c.scopes.label("role_scopes"),
        policies.c.document.label("policy"),
        policies.c.ceilings,
    )
    .select_from(generations)
    .join(credentials, credentials.c.id == generations.c.credential_id)
    .join(organizations, organizations.c.id == credentials.c.organization_id)
    .outerjoin(service_accounts, service_accounts.c.id == credentials.c.owner_id)
    .outerjoin(users, users.c.id == credentials.c.owner_id)
    .outerjoin(
        members,
        sa.and_(
            members.c.user_id == credentials.c.owner_id,
            members.c.organization_id == credentials.c.organization_id,
        ),
    )
    .outerjoin(
        role_bindings,
        sa.and_(
            role_bindings.c.principal_id == credentials.c.owner_id,
            role_bindings.c.organization_id == credentials.c.organization_id,
        ),
    )
    .outerjoin(
        roles,
        sa.and_(
            roles.c.organization_id == role_bindings.c.organization_id,
            roles.c.name == role_bindings.c.role,
        ),
    )
    .outerjoin(policies, policies.c.organization_id == credentials.c.organization_id)
)
_BY_ACCESS_ID = _STANDING.where(generations.c.access_id == sa.bindparam("access_id"))
_OF_CREDENTIAL = _STANDING.where(
    credentials.c.id == sa.bindparam("credential_id"), generations.c.superseded_at.is_(None)
)


@functools.cache
def _by_digest(number: int) -> sa.Select[Any]:
    """One parameter for each pepper, of which there are few: the text is made once."""
    digests = [sa.bindparam(f"digest_{each}", type_=sa.LargeBinary) for each in range(number)]
    return _STANDING.where(generations.c.digest.in_(digests))


def find_standing(database: Tx | Store, access_id: str, catalogue: Catalogue) -> Standing | None:
    """Every fact that a verdict on this credential reads, in one SELECT; None for an access id nobody has.

    Asked in a transaction, or of the store: faster, and by itself as much of one moment.
    """
    rows = database.select(_BY_ACCESS_ID, access_id=access_id)
    return _standing(rows, catalogue, database.installation.policy)


def find_origin(database: Tx | Store, credential_id: str, catalogue: Catalogue) -> Standing | None:
    """The same for what tokens came from: of the credential, whichever of its secrets they were bought with.

    No secret proves it, and what is used by a token counts as no secret's use.
    """
    rows = database.select(_OF_CREDENTIAL, credential_id=credential_id)
    found = _standing(rows, catalogue, database.installation.policy)
    return found and replace(found, access_id=found.credential_id, digest=b"")


def find_standing_by_digest(
    database: Tx | Store, digests: Sequence[bytes], catalogue: Catalogue
) -> Standing | None:
    """The same for an imported key, by what its text digests to under each pepper."""
    named = {f"digest_{number}": digest for number, digest in enumerate(digests)}
    rows = database.select(_by_digest(len(digests)), **named)
    return _standing(rows, catalogue, database.installation.policy)


# Of each there are a few texts in all; every standing in memory would have its own.
_shared: Callable[[Any], Any] = sys.intern


def _standing(rows: Sequence[Any], catalogue: Catalogue, policy: Policy) -> Standing | None:
    if not rows:
        return None
    row = rows[0]
    if row.policy is not None:
        policy = policy.chosen_within(row.policy, row.ceilings)
    if row.owner_kind == "service_account":
        principal = Principal(
            kind="service_account",
            id=row.owner_id,
            display=row.display_name,
            username=row.username,
            barred=row.account_disabled_at is not None or row.account_deleted_at is not None,
            access_level=_shared(row.account_access_level),
            scopes=row.account_scopes,
            resources=row.account_resources,
            projects=row.account_projects,
        )
    else:
        principal = Principal(
            kind="user",
            id=row.owner_id,
            display=row.email,
            username=None,
            barred=row.member_id is None or row.user_disabled_at is not None,
        )
    return Standing(
        credential_id=row.id,
        kind=_shared(row.kind),
        name=row.name,
        access_id=row.access_id,
        last6=row.last6,
        digest=bytes(row.digest),
        pepper_id=_shared(row.pepper_id),
        superseded_at=row.superseded_at,
        ends_at=row.ends_at,
        ended_at=row.ended_at,
        replaced_at=row.replaced_at,
        deactivated_at=row.deactivated_at,
        revoked_at=row.revoked_at,
        expires_at=row.expires_at,
        networks=tuple(map(parse_network, row.allowed_ips)),
        access_level=_shared(row.access_level),
        scopes=row.scopes,
        resources=row.resources,
        project_id=row.project_id,
        rate_limit=policy.rate_of(row.rate_limit),
        principal=principal,
        grants=tuple(
            Grant(
                catalogue.granted(each.role_scopes) if each.role_scopes else catalogue.role(each.role),
                each.role_project_id,
            )
            for each in rows
            if each.role is not None
        ),
        organization=Organization(
            id=row.organization_id,
            slug=row.slug,
            name=row.organization_name,
            operator=row.operator,
            created_at=row.organization_created_at,
            suspended_at=row.suspended_at,
        ),
        public_key=None if row.public_key is None else bytes(row.public_key),
        compat=row.compat,
        generation=row.number,
    )
