"""The caller of a write, judged again inside the transaction; and the system as a caller."""

from dataclasses import replace

from ostiary.core import event
from ostiary.core.instant import MINUTE
from ostiary.core.model import is_session
from ostiary.core.permission import Caller
from ostiary.core.problem import Problem, not_found
from ostiary.core.verdict import scopes_on
from ostiary.storage import roles as role_rows
from ostiary.storage import sessions, standing_queries, tokens
from ostiary.storage.store import Tx

SYSTEM_CALLER = Caller(actor=event.SYSTEM, organization_id="", scopes=frozenset(), operator=True)
"""The caller for periodic tasks and for local commands, which present no credential."""

RECENTLY = 15 * MINUTE
"""How long a password check allows dangerous changes in a browser session."""


def refreshed(tx: Tx, caller: Caller) -> Caller:
    """Return the caller with its current scopes and limits. Only `execute` calls this.

    The caller was judged from the cache before the transaction began. Since then its credential may have been revoked.
    A caller without a credential is returned unchanged.

    Raises invalid-credential if the credential, token or session is no longer valid. Raises not-found if the caller
    acts in another organization and no longer may.
    """
    if caller.access_id is None:
        return caller
    catalogue = role_rows.catalogue_of(tx, caller.organization_id)
    find = standing_queries.find_standing if caller.token_id is None else standing_queries.find_origin
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
    """Raise reauthentication-required if the caller is a browser session without a recent password check.

    An unlocked screen must not be enough to change who has access. All other callers pass.
    """
    if caller.token_id is None or not is_session(caller.token_id):
        return
    kind, given = sessions.confirmed_at(tx, caller.token_id) or ("browser", None)
    if kind == "browser" and (given is None or given <= tx.now - RECENTLY):
        raise Problem(
            "reauthentication-required",
            "Enter your password again at /sign-in?again=1. This is then allowed for 15 minutes.",
            reason="password not given lately",
        )


def _has_ended(tx: Tx, caller: Caller) -> bool:
    """Return whether the presented token or session has expired or was revoked, apart from its credential."""
    if caller.token_id is None:
        return False
    if caller.expires_at is not None and caller.expires_at <= tx.now:
        return True
    if caller.token_id.startswith("ses_"):
        return not sessions.is_live(tx, caller.token_id)
    return tokens.is_revoked(tx, caller.token_id, caller.exchanged_from)
