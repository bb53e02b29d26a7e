"""Rows of members and invitations. Users are in `people`."""

from collections.abc import Sequence

import sqlalchemy as sa

from ostiary.core.model import Invitation, Member, Organization, RoleBinding
from ostiary.storage import makers
from ostiary.storage.store import Tx
from ostiary.storage.tables import invitations, members, organizations, role_bindings, users


def insert_member(tx: Tx, organization_id: str, user_id: str) -> None:
    tx.execute(
        members.insert(), {"organization_id": organization_id, "user_id": user_id, "created_at": tx.now}
    )


def delete_member(tx: Tx, organization_id: str, user_id: str) -> None:
    tx.execute(
        members.delete().where(members.c.organization_id == organization_id, members.c.user_id == user_id)
    )


def find_member(tx: Tx, organization_id: str, user_id: str) -> str | None:
    """Return the email of a user who is a member of the organization and not disabled."""
    row = tx.execute(
        sa.select(users.c.email)
        .join(members, members.c.user_id == users.c.id)
        .where(
            members.c.organization_id == organization_id,
            users.c.id == user_id,
            users.c.disabled_at.is_(None),
        )
    ).one_or_none()
    return None if row is None else row.email


def organizations_of(tx: Tx, user_id: str) -> list[Organization]:
    """Return the organizations that a user is a member of, the oldest membership first. Empty if the user is disabled."""
    statement = (
        sa.select(organizations)
        .join(members, members.c.organization_id == organizations.c.id)
        .join(users, users.c.id == members.c.user_id)
        .where(members.c.user_id == user_id, users.c.disabled_at.is_(None))
        .order_by(members.c.created_at, organizations.c.id)
    )
    return [Organization(**row._mapping) for row in tx.execute(statement)]


def is_member_elsewhere(tx: Tx, organization_id: str, user_id: str) -> bool:
    """Return whether a user is also a member of another organization, even of a suspended one."""
    statement = sa.select(members.c.user_id).where(
        members.c.user_id == user_id, members.c.organization_id != organization_id
    )
    return tx.execute(statement.limit(1)).first() is not None


def emails(tx: Tx, user_ids: Sequence[str]) -> dict[str, str]:
    """Return the email addresses of users by id."""
    found = tx.execute(sa.select(users.c.id, users.c.email).where(users.c.id.in_(user_ids)))
    return {row.id: row.email for row in found}


def first_holder(tx: Tx, organization_id: str, role: str) -> tuple[str, str] | None:
    """Return id and email of the member who has held this role on the organization for longest."""
    row = tx.execute(
        sa.select(users.c.id, users.c.email)
        .join(members, members.c.user_id == users.c.id)
        .join(role_bindings, role_bindings.c.principal_id == users.c.id)
        .where(
            members.c.organization_id == organization_id,
            role_bindings.c.organization_id == organization_id,
            role_bindings.c.role == role,
            role_bindings.c.project_id.is_(None),
        )
        .order_by(role_bindings.c.id)
        .limit(1)
    ).one_or_none()
    return None if row is None else (row.id, row.email)


_MEMBER = sa.select(
    users.c.id, users.c.email, members.c.created_at.label("joined_at"), users.c.disabled_at
).join(members, members.c.user_id == users.c.id)


def get_member(tx: Tx, organization_id: str, user_id: str) -> Member | None:
    row = tx.execute(
        _MEMBER.where(members.c.organization_id == organization_id, users.c.id == user_id)
    ).one_or_none()
    return None if row is None else Member(**row._mapping)


def list_members(
    tx: Tx, organization_id: str, email: str | None, after: str | None, limit: int
) -> list[Member]:
    """Return members, newest first, with user ids below `after`; only the one with this email, if given."""
    statement = _MEMBER.where(members.c.organization_id == organization_id)
    if email is not None:
        statement = statement.where(users.c.email == email)
    if after is not None:
        statement = statement.where(users.c.id < after)
    return [Member(**row._mapping) for row in tx.execute(statement.order_by(users.c.id.desc()).limit(limit))]


def admins(tx: Tx, organization_id: str) -> set[str]:
    """Return the ids of enabled members who hold organization-admin on the organization."""
    return holders(tx, organization_id, "organization-admin")


def holders(tx: Tx, organization_id: str, role: str) -> set[str]:
    """Return the ids of enabled members who hold this role on the organization."""
    rows = tx.execute(
        sa.select(users.c.id)
        .join(members, members.c.user_id == users.c.id)
        .join(role_bindings, role_bindings.c.principal_id == users.c.id)
        .where(
            members.c.organization_id == organization_id,
            role_bindings.c.organization_id == organization_id,
            role_bindings.c.role == role,
            role_bindings.c.project_id.is_(None),
            users.c.disabled_at.is_(None),
        )
    )
    return set(rows.scalars())


def insert_invitation(tx: Tx, invitation: Invitation, access_id: str, digest: bytes, pepper_id: str) -> None:
    tx.execute(
        invitations.insert(),
        {
            "id": invitation.id,
            "organization_id": invitation.organization_id,
            "email": invitation.email,
            "roles": {"roles": [[each.role, each.project_id] for each in invitation.roles]},
            "access_id": access_id,
            "digest": digest,
            "pepper_id": pepper_id,
            "created_at": invitation.created_at,
            "expires_at": invitation.expires_at,
        }
        | makers.columns_of(invitation.maker),
    )


def _invitation(row: sa.RowMapping) -> Invitation:
    return Invitation(
        row["id"],
        row["organization_id"],
        row["email"],
        tuple(RoleBinding(role, project) for role, project in row["roles"]["roles"]),
        row["created_at"],
        row["expires_at"],
        row["accepted_at"],
        makers.of_row(row),
    )


def count_members(tx: Tx, organization_id: str) -> int:
    statement = sa.select(sa.func.count()).where(members.c.organization_id == organization_id)
    return int(tx.execute(statement).scalar_one())


def count_open_invitations(tx: Tx, organization_id: str) -> int:
    """Count the invitations that can still be accepted."""
    statement = sa.select(sa.func.count()).where(
        invitations.c.organization_id == organization_id,
        invitations.c.accepted_at.is_(None),
        invitations.c.expires_at > tx.now,
    )
    return int(tx.execute(statement).scalar_one())


def find_invitation(tx: Tx, organization_id: str, invitation_id: str) -> Invitation | None:
    row = tx.execute(
        sa.select(invitations).where(
            invitations.c.organization_id == organization_id, invitations.c.id == invitation_id
        )
    ).one_or_none()
    return None if row is None else _invitation(row._mapping)


def find_invitation_by_access_id(tx: Tx, access_id: str) -> tuple[Invitation, bytes, str] | None:
    """Return the invitation with the digest of its secret and the id of the digest's pepper."""
    row = tx.execute(sa.select(invitations).where(invitations.c.access_id == access_id)).one_or_none()
    return None if row is None else (_invitation(row._mapping), bytes(row.digest), row.pepper_id)


def list_invitations(tx: Tx, organization_id: str, after: str | None, limit: int) -> list[Invitation]:
    """Return invitations, newest first, with ids below `after`."""
    statement = sa.select(invitations).where(invitations.c.organization_id == organization_id)
    if after is not None:
        statement = statement.where(invitations.c.id < after)
    rows = tx.execute(statement.order_by(invitations.c.id.desc()).limit(limit))
    return [_invitation(row._mapping) for row in rows]


def accept_invitation(tx: Tx, invitation_id: str) -> bool:
    """Mark an invitation as accepted. Return True for the first call only, and False once it has expired."""
    row = tx.execute(
        invitations.update()
        .where(
            invitations.c.id == invitation_id,
            invitations.c.accepted_at.is_(None),
            invitations.c.expires_at > tx.now,
        )
        .values(accepted_at=tx.now)
        .returning(invitations.c.id)
    ).first()
    return row is not None


def delete_invitation(tx: Tx, invitation_id: str) -> None:
    tx.execute(invitations.delete().where(invitations.c.id == invitation_id))
