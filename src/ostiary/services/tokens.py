"""Revocation of one access token or session. The credential that it was issued for stays valid."""

from ostiary.core.event import Target
from ostiary.core.instant import to_text
from ostiary.core.model import Token
from ostiary.core.permission import Caller
from ostiary.services.audit import change
from ostiary.services.sessions import ended as session_ended
from ostiary.storage import sessions
from ostiary.storage import tokens as rows
from ostiary.storage.store import Tx


def revoke(tx: Tx, caller: Caller, token: Token) -> None:
    """Revoke a token or session at once, with the tokens that were exchanged for it. Idempotent.

    The holder of the token may always revoke it. It needs no scope.
    """
    if token.kind == "session":
        if sessions.is_live(tx, token.id):
            sessions.revoke(tx, token.id)
            session_ended(tx, caller, token.id, "signed out")
        else:
            tx.confirm()
    elif rows.is_revoked(tx, token.id, None):
        tx.confirm()
    else:
        rows.revoke(tx, caller.organization_id, token.id, token.expires_at)
        tx.changed("token", token.id)
        change(
            tx,
            caller,
            "token.revoked",
            Target("token", token.id, token.id),
            token=token.id,
            expires_at=to_text(token.expires_at),
        )
