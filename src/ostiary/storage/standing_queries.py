"""The facts that verdicts read: of a credential by its secret, and of the origin of a token.

Each look-up is one SELECT. The origin of a token is a credential or a session, of a person in a browser or of a client
that acts for a person.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from ostiary.core.address import parse_network
from ostiary.core.installation import Installation
from ostiary.core.model import Organization, Principal, RoleScopes, Standing, channel_identifier, is_session
from ostiary.core.permission import EVERYTHING, OPERATOR_ADMIN, Catalogue, Policy
from ostiary.storage.authorization_tables import clients, grants, sessions
from ostiary.storage.store import Store, Tx
from ostiary.storage.tables import (
    credentials,
    generations,
    members,
    organizations,
    policies,
    role_bindings,
    roles,
    service_accounts,
    users,
)

_GIVER = organizations.alias("giver")
_OF_CONSENT = grants.alias("of_consent")
_ITS_CLIENT = clients.alias("its_client")


def _of_owner(base: sa.FromClause, of: sa.FromClause, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Select these columns with all facts about the owner of a row of `of` in its organization. One row for each role."""
    return (
        sa.select(
            *columns,
            of.c.owner_kind,
            of.c.owner_id,
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
            _OF_CONSENT.c.scopes.label("consented_scopes"),
            _OF_CONSENT.c.projects.label("consented_projects"),
            users.c.email,
            users.c.disabled_at.label("user_disabled_at"),
            members.c.user_id.label("member_id"),
            role_bindings.c.role,
            role_bindings.c.project_id.label("role_project_id"),
            roles.c.scopes.label("role_scopes"),
            policies.c.document.label("policy"),
            policies.c.ceilings,
        )
        .select_from(base)
        .join(organizations, organizations.c.id == of.c.organization_id)
        .outerjoin(service_accounts, service_accounts.c.id == of.c.owner_id)
        # The consent of another organization, as long as it is not revoked, the organization not suspended and the
        # client not disabled.
        .outerjoin(
            _GIVER.join(_OF_CONSENT, _OF_CONSENT.c.organization_id == _GIVER.c.id).join(
                _ITS_CLIENT, _ITS_CLIENT.c.id == _OF_CONSENT.c.client_id
            ),
            sa.and_(
                _OF_CONSENT.c.id == service_accounts.c.grant_id,
                _OF_CONSENT.c.revoked_at.is_(None),
                _GIVER.c.suspended_at.is_(None),
                _ITS_CLIENT.c.disabled_at.is_(None),
            ),
        )
        .outerjoin(users, users.c.id == of.c.owner_id)
        .outerjoin(
            members,
            sa.and_(members.c.user_id == of.c.owner_id, members.c.organization_id == of.c.organization_id),
        )
        .outerjoin(
            role_bindings,
            sa.and_(
                role_bindings.c.principal_id == of.c.owner_id,
                role_bindings.c.organization_id == of.c.organization_id,
            ),
        )
        .outerjoin(
            roles,
            sa.and_(
                roles.c.organization_id == role_bindings.c.organization_id,
                roles.c.name == role_bindings.c.role,
            ),
        )
        .outerjoin(policies, policies.c.organization_id == of.c.organization_id)
    )


_STANDING = _of_owner(
    generations.join(credentials, credentials.c.id == generations.c.credential_id),
    credentials,
    credentials.c.id,
    credentials.c.kind,
    credentials.c.name,
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
)
_BY_ACCESS_ID = _STANDING.where(generations.c.access_id == sa.bindparam("access_id"))
_OF_CREDENTIAL = _STANDING.where(
    credentials.c.id == sa.bindparam("credential_id"), generations.c.superseded_at.is_(None)
)
_OF_SESSION = _of_owner(
    sessions.outerjoin(grants, grants.c.id == sessions.c.grant_id).outerjoin(
        clients, clients.c.id == sessions.c.client_id
    ),
    sessions,
    sessions.c.id,
    sessions.c.kind,
    sessions.c.scopes,
    sessions.c.projects,
    sessions.c.expires_at,
    sa.func.coalesce(sessions.c.revoked_at, grants.c.revoked_at, clients.c.deleted_at).label("revoked_at"),
    sessions.c.client_id,
    clients.c.name.label("client_name"),
    clients.c.disabled_at.label("client_disabled_at"),
).where(sessions.c.id == sa.bindparam("session_id"), sessions.c.credential_id.is_(None))

# A membership in the form of a session: what a person may do, independent of any credential.
_MEMBERSHIP = sa.select(
    members.c.user_id.label("id"),
    sa.literal("user").label("owner_kind"),
    members.c.user_id.label("owner_id"),
    members.c.organization_id,
).subquery("membership")
_OF_PERSON = _of_owner(_MEMBERSHIP, _MEMBERSHIP, _MEMBERSHIP.c.id).where(
    _MEMBERSHIP.c.owner_id == sa.bindparam("user_id"),
    _MEMBERSHIP.c.organization_id == sa.bindparam("organization_id"),
)


@functools.cache
def _by_digest(number: int) -> sa.Select[Any]:
    """Return the statement for this number of peppers, cached. It has one parameter for each."""
    digests = [sa.bindparam(f"digest_{each}", type_=sa.LargeBinary) for each in range(number)]
    return _STANDING.where(generations.c.digest.in_(digests))


def find_standing(database: Tx | Store, access_id: str, catalogue: Catalogue) -> Standing | None:
    """Return all facts that a verdict on this credential reads, or None for an unknown access id. One SELECT.

    `database` is a transaction, or the store itself, which is faster and as consistent for one SELECT.
    """
    rows = database.select(_BY_ACCESS_ID, access_id=access_id)
    return _of_credential(rows, catalogue, database.installation)


def find_standing_by_digest(
    database: Tx | Store, digests: Sequence[bytes], catalogue: Catalogue
) -> Standing | None:
    """Return the same for an imported key, by the digests of its text with each pepper."""
    named = {f"digest_{number}": digest for number, digest in enumerate(digests)}
    rows = database.select(_by_digest(len(digests)), **named)
    return _of_credential(rows, catalogue, database.installation)


def find_origin(database: Tx | Store, origin_id: str, catalogue: Catalogue) -> Standing | None:
    """Return the same for the origin of a token: a session, or a credential regardless of which of its secrets was
    used.

    The result has no digest, because no secret proves it. Its access id is the origin's id, so a use through a token
    does not count as a use of a secret.
    """
    installation = database.installation
    if is_session(origin_id):
        return _of_session(database.select(_OF_SESSION, session_id=origin_id), catalogue, installation)
    rows = database.select(_OF_CREDENTIAL, credential_id=origin_id)
    found = _of_credential(rows, catalogue, installation)
    return found and replace(found, access_id=found.credential_id, digest=b"")


def find_member(
    database: Tx | Store, organization_id: str, user_id: str, catalogue: Catalogue
) -> Standing | None:
    """Return what a member may do in an organization with their roles there, independent of credentials. None for
    others."""
    rows = database.select(_OF_PERSON, organization_id=organization_id, user_id=user_id)
    return _of_nothing(rows, catalogue, database.installation) if rows else None


# These columns have few different values. Interning avoids a copy of the text in every standing.
_shared: Callable[[Any], Any] = sys.intern


def _of_credential(rows: Sequence[Any], catalogue: Catalogue, installation: Installation) -> Standing | None:
    if not rows:
        return None
    row = rows[0]
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
        rate_limit=_policy(row, installation.policy).rate_of(row.rate_limit),
        principal=_principal(row, installation),
        grants=_grants(rows, catalogue),
        organization=_organization(row),
        public_key=None if row.public_key is None else bytes(row.public_key),
        compat=row.compat,
        generation=row.number,
        foreign=row.consented_projects or (),
        operator_admin=_reaches(rows),
    )


def _of_session(rows: Sequence[Any], catalogue: Catalogue, installation: Installation) -> Standing | None:
    if not rows:
        return None
    row = rows[0]
    found = _of_nothing(rows, catalogue, installation)
    principal = found.principal
    if row.client_disabled_at is not None:
        principal = replace(principal, barred=True)
    if row.projects:
        principal = replace(principal, projects=row.projects)
    whole = bool(EVERYTHING & frozenset(row.scopes))
    return replace(
        found,
        name=row.client_name or row.client_id or row.kind,
        revoked_at=row.revoked_at,
        expires_at=row.expires_at,
        access_level="full" if whole else "fine_grained",
        scopes=() if whole else row.scopes,
        principal=principal,
        client_id=row.client_id,
    )


def _of_nothing(rows: Sequence[Any], catalogue: Catalogue, installation: Installation) -> Standing:
    """Return the standing of a row's owner alone: no credential restricts it or ends it."""
    row = rows[0]
    return Standing(
        credential_id=row.id,
        kind="session",
        name="",
        access_id=row.id,
        last6="",
        digest=b"",
        pepper_id="",
        superseded_at=None,
        ends_at=None,
        ended_at=None,
        replaced_at=None,
        deactivated_at=None,
        revoked_at=None,
        expires_at=None,
        networks=(),
        access_level="full",
        scopes=(),
        resources=(),
        project_id=None,
        rate_limit=_policy(row, installation.policy).rate_of(None),
        principal=_principal(row, installation),
        grants=_grants(rows, catalogue),
        organization=_organization(row),
        foreign=row.consented_projects or (),
        operator_admin=_reaches(rows),
    )


def _policy(row: Any, policy: Policy) -> Policy:
    return policy if row.policy is None else policy.chosen_within(row.policy, row.ceilings)


def _principal(row: Any, installation: Installation) -> Principal:
    if row.owner_kind == "service_account":
        return Principal(
            kind="service_account",
            id=row.owner_id,
            display=row.display_name,
            identifier=channel_identifier(row.username, row.slug, installation.channel_host),
            barred=row.account_disabled_at is not None or row.account_deleted_at is not None,
            access_level=_shared(row.account_access_level),
            scopes=row.account_scopes,
            resources=row.account_resources,
            projects=row.account_projects,
        )
    return Principal(
        kind="user",
        id=row.owner_id,
        display=row.email,
        identifier=row.email,
        barred=row.member_id is None or row.user_disabled_at is not None,
    )


def _grants(rows: Sequence[Any], catalogue: Catalogue) -> tuple[RoleScopes, ...]:
    """Return the scopes of the owner's roles, and those that another organization consented to, on its projects only."""
    found = [
        RoleScopes(
            catalogue.granted(each.role_scopes) if each.role_scopes else catalogue.role(each.role),
            each.role_project_id,
        )
        for each in rows
        if each.role is not None
    ]
    row = rows[0]
    if row.consented_projects:
        consented = catalogue.granted(row.consented_scopes) & catalogue.names
        found += [RoleScopes(consented, project_id) for project_id in row.consented_projects]
    return tuple(found)


def _reaches(rows: Sequence[Any]) -> bool:
    """Return whether the owner holds operator-admin on the operator's organization."""
    return any(
        each.operator and each.role == OPERATOR_ADMIN and each.role_project_id is None for each in rows
    )


def _organization(row: Any) -> Organization:
    return Organization(
        id=row.organization_id,
        slug=row.slug,
        name=row.organization_name,
        operator=row.operator,
        created_at=row.organization_created_at,
        suspended_at=row.suspended_at,
    )
