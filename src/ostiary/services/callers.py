"""Who calls, judged again where it counts: inside the transaction that changes something. And the system itself."""

from dataclasses import replace

from ostiary.core import event
from ostiary.core.instant import MINUTE
from ostiary.core.model import is_session
from ostiary.core.permission import Caller
from ostiary.core.problem import Problem, not_found
from ostiary.core.verdict import scopes_on
from ostiary.storage import origins, sessions, tokens
from ostiary.storage import roles as role_rows
from ostiary.storage.store import Tx

SYSTEM_CALLER = Caller(actor=event.SYSTEM, organization_id="", scopes=frozenset(), operator=True)
"""Who acts where a person with the data directory does, not a credential."""

RECENTLY = 15 * MINUTE
"""How long after giving the password a person may do what is dangerous."""


def refreshed(tx: Tx, caller: Caller) -> Caller:
    """Return the caller with its current scopes. Only `execute` calls this. A caller without a credential is unchanged.

    Raises invalid-credential if its credential is no longer valid, and not-found if it acts in another organization and
    may no longer do so.
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
    operator_admin = caller.operator_admin and standing.operator_admin
    if caller.organization_id != standing.organization.id and not operator_admin:
        raise not_found("organization", "lost the reach while the request waited")
    scopes, ends = scopes_on(standing, None), standing.lasts_until
    if caller.token_id is not None and caller.expires_at is not None:
        ends = min(caller.expires_at, ends or caller.expires_at)
    return replace(
        caller,
        scopes=scopes if caller.granted is None else scopes & caller.granted,
        operator_admin=operator_admin,
        fine_grained=standing.access_level == "fine_grained" or caller.granted is not None,
        expires_at=ends,
        networks=standing.networks,
        rate_limit=standing.rate_limit,
    )


def holder(caller: Caller) -> Caller:
    """Return the caller as the holder of what it presented, and no more: without scopes, and not judged again.

    For what possession alone allows: to end the presented token or session (RFC 7009 §2.1), be it valid or not.
    """
    return replace(caller, access_id=None, scopes=frozenset(), operator_admin=False)


def require_confirmed(tx: Tx, caller: Caller) -> None:
    """Raise reauthentication-required unless a session in a browser was given its person's password just now.

    A machine whose screen was left open shall not be enough to change who may do what.
    """
    if caller.token_id is None or not is_session(caller.token_id):
        return
    kind, given = sessions.confirmed_at(tx, caller.token_id) or ("browser", None)
    if kind == "browser" and (given is None or given <= tx.now - RECENTLY):
        raise Problem(
            "reauthentication-required",
            "Give your password again: /sign-in?again=1. Then this is allowed for 15 minutes.",
            reason="password not given lately",
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
