"""What a new or widened credential is checked against, in one SELECT: roles of its owner, limits, and what they count."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ostiary.core.model import RoleBinding
from ostiary.core.permission import Policy
from ostiary.storage.store import Tx
from ostiary.storage.tables import credentials, organizations, policies, role_bindings


@dataclass(frozen=True, slots=True)
class OwnerFacts:
    """An owner's roles in its organization, and the organization's limits."""

    bindings: tuple[RoleBinding, ...]
    """Those on the organization first."""
    policy: Policy


@dataclass(frozen=True, slots=True)
class CredentialCounts:
    """How many credentials count toward limits, as in `credentials.count`."""

    of_owner: int
    of_organization: int


_OWNER: sa.BindParameter[str] = sa.bindparam("owner_id")
_ORGANIZATION: sa.BindParameter[str] = sa.bindparam("organization_id")
_FACTS = (
    sa.select(
        role_bindings.c.role,
        role_bindings.c.project_id,
        policies.c.document.label("chosen"),
        policies.c.ceilings,
    )
    .select_from(
        organizations.outerjoin(policies, policies.c.organization_id == organizations.c.id).outerjoin(
            role_bindings,
            sa.and_(
                role_bindings.c.organization_id == organizations.c.id, role_bindings.c.principal_id == _OWNER
            ),
        )
    )
    .where(organizations.c.id == _ORGANIZATION)
)
_COUNT = sa.select(sa.func.count()).where(
    credentials.c.organization_id == _ORGANIZATION, credentials.c.revoked_at.is_(None)
)
_COUNTED = _FACTS.add_columns(
    _COUNT.where(credentials.c.owner_id == _OWNER).scalar_subquery().label("of_owner"),
    _COUNT.scalar_subquery().label("of_organization"),
)


def facts_of(tx: Tx, organization_id: str, owner_id: str) -> OwnerFacts:
    """The facts of an owner, which must be in the organization."""
    rows = tx.select(_FACTS, organization_id=organization_id, owner_id=owner_id)
    return _facts(rows, tx.installation.policy)


def facts_and_counts(tx: Tx, organization_id: str, owner_id: str) -> tuple[OwnerFacts, CredentialCounts]:
    """The same with the number of credentials that the owner and the organization have."""
    rows = tx.select(_COUNTED, organization_id=organization_id, owner_id=owner_id)
    counts = CredentialCounts(rows[0].of_owner, rows[0].of_organization)
    return _facts(rows, tx.installation.policy), counts


def _facts(rows: Sequence[Any], default: Policy) -> OwnerFacts:
    bindings = [RoleBinding(each.role, each.project_id) for each in rows if each.role is not None]
    bindings.sort(key=lambda each: (each.project_id or "", each.role))
    policy = default.chosen_within(rows[0].chosen or {}, rows[0].ceilings or {})
    return OwnerFacts(tuple(bindings), policy)
