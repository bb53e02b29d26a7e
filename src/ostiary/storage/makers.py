"""The columns that name the maker of a link or code, and the ending of a maker's links."""

from collections.abc import Mapping
from typing import Any

from ostiary.core.model import Maker
from ostiary.storage.authorization_tables import password_resets
from ostiary.storage.store import Tx
from ostiary.storage.tables import invitations

_LINKS = ((invitations, invitations.c.accepted_at), (password_resets, password_resets.c.used_at))
"""The tables of links, and the column with the time of use."""


def columns_of(maker: Maker | None) -> dict[str, str | None]:
    """Return the values of the columns `tables.maker()`."""
    if maker is None:
        return {"made_by": None, "made_in": None, "made_with": None}
    return {
        "made_by": maker.principal_id,
        "made_in": maker.organization_id,
        "made_with": maker.origin_id,
    }


def of_row(row: Mapping[Any, Any]) -> Maker | None:
    """Return the maker that the columns name; None for a local command."""
    if row["made_by"] is None:
        return None
    return Maker(row["made_by"], row["made_in"], row["made_with"])


def end_links_of_sessions(tx: Tx, user_id: str, session_id: str | None = None) -> None:
    """End the open invitations and reset links that a person created in this session, or (None) in any session."""
    for table, used_at in _LINKS:
        made_with = table.c.made_with
        which = (
            made_with.startswith("ses_", autoescape=True) if session_id is None else made_with == session_id
        )
        tx.execute(
            table.update()
            .where(table.c.made_by == user_id, which, used_at.is_(None), table.c.expires_at > tx.now)
            .values(expires_at=tx.now)
        )
