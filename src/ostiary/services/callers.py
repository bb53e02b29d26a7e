"""Who calls, judged again where it counts: inside the transaction that changes something. And the system itself."""

from dataclasses import replace

from ostiary.core import event
from ostiary.core.permission import Caller
from ostiary.core.problem import Problem
from ostiary.storage import credentials as rows
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
    standing = rows.find_standing(tx, caller.access_id, catalogue)
    if standing is None or not standing.may_act(tx.now):
        raise Problem(
            "invalid-credential",
            "The presented credential is not valid any more.",
            reason="ended while the request waited",
        )
    return replace(
        caller,
        scopes=standing.allowed(None),
        operator_admin=caller.operator_admin and standing.is_admin(),
        fine_grained=standing.access_level == "fine_grained",
        expires_at=standing.lasts_until,
        networks=standing.networks,
        rate_limit=standing.rate_limit,
    )
