"""Who calls, judged again where it counts: inside the transaction that changes something. And the system itself."""

from dataclasses import replace

from ostiary.core import event
from ostiary.core.permission import Caller
from ostiary.core.problem import Problem
from ostiary.storage import origins, sessions, tokens
from ostiary.storage import roles as role_rows
from ostiary.storage.store import Tx

SYSTEM_CALLER = Caller(actor=event.SYSTEM, organization_id="", scopes=frozenset(), operator=True)
"""Who acts where a person with the data directory does, not a credential."""


def refreshed(tx: Tx, caller: Caller) -> Caller:
    """The caller with the scopes it has now; invalid-credential if its credential is good no more.

    It was judged from a cache before the transaction waited for its turn: a revocation may have come first.
    """
    if caller.access_id is None:
        return caller
    catalogue = role_rows.catalogue_of(tx, caller.organization_id)
    find = origins.find_standing if caller.token_id is None else origins.find_origin
    standing = find(tx, caller.access_id, catalogue)
    if standing is None or not standing.may_act(tx.now) or _has_ended(tx, caller):
        raise Problem(
            "invalid-credential",
            "The presented credential is not valid any more.",
            reason="ended while the request waited",
        )
    scopes, ends = standing.allowed(None), standing.lasts_until
    if caller.token_id is not None and caller.expires_at is not None:
        ends = min(caller.expires_at, ends or caller.expires_at)
    return replace(
        caller,
        scopes=scopes if caller.granted is None else scopes & caller.granted,
        operator_admin=caller.operator_admin and standing.is_admin(),
        fine_grained=standing.access_level == "fine_grained" or caller.granted is not None,
        expires_at=ends,
        networks=standing.networks,
        rate_limit=standing.rate_limit,
    )


def _has_ended(tx: Tx, caller: Caller) -> bool:
    """Whether the token or session that stands for the caller's credential has ended by itself."""
    if caller.token_id is None:
        return False
    if caller.expires_at is not None and caller.expires_at <= tx.now:
        return True
    if caller.token_id.startswith("ses_"):
        return not sessions.is_live(tx, caller.token_id)
    return tokens.is_revoked(tx, caller.token_id, caller.exchanged_from)
