"""Checks that the maker of an invitation or reset link may still make it when the link is used.

A link is used later, by another person. So its row names its maker. When the link is used, the check of its creation
is applied again to the maker's current state. Decision 24 lists all such rows.
"""

from collections.abc import Callable

from ostiary.core.event import Actor
from ostiary.core.model import Maker, Standing, is_session
from ostiary.core.permission import Caller
from ostiary.core.problem import Problem, not_found
from ostiary.core.verdict import scopes_on
from ostiary.services import organizations
from ostiary.storage import directory, standing_queries
from ostiary.storage import roles as role_rows
from ostiary.storage.store import Tx


def maker_of(tx: Tx, caller: Caller) -> Maker | None:
    """Return the maker to store for what this caller makes; None for a local command."""
    if caller.actor.id is None:
        return None
    home = caller.organization_id
    if caller.operator_admin and not caller.operator:  # acts in another organization
        operator = directory.find_operator(tx)
        home = home if operator is None else operator.id
    return Maker(caller.actor.id, home, caller.actor.credential_id)


def require_still(
    tx: Tx, maker: Maker | None, organization_id: str, what: str, rule: Callable[[Caller], object]
) -> None:
    """Raise a neutral not-found for `what` unless its maker may make it now, in this organization.

    `rule` is the check that the maker passed at the creation. If it raises a Problem, the reason goes to the audit log.
    """
    if maker is None:
        return
    try:
        rule(_as_now(tx, maker, organization_id))
    except Problem as problem:
        raise not_found(what, f"its maker may not make it any more: {problem.reason}") from None


def _as_now(tx: Tx, maker: Maker, organization_id: str) -> Caller:
    """Return the maker as a caller in an organization, with its current scopes.

    The credential that the maker used must still be valid. A session may have ended, because people sign out. Raises
    invalid-credential or not-found.
    """
    catalogue = role_rows.catalogue_of(tx, maker.organization_id)
    if maker.origin_id is None or is_session(maker.origin_id):
        standing = standing_queries.find_member(tx, maker.organization_id, maker.principal_id, catalogue)
    else:
        standing = standing_queries.find_origin(tx, maker.origin_id, catalogue)
    if standing is None or not standing.may_act(tx.now):
        raise Problem("invalid-credential", "The maker may not act any more.", reason=_why(tx, standing))
    caller = Caller(
        Actor(standing.principal.kind, standing.principal.id, standing.principal.display, maker.origin_id),
        standing.organization.id,
        scopes_on(standing, None),
        operator=standing.organization.operator,
        operator_admin=standing.operator_admin,
    )
    return organizations.enter(tx, caller, organization_id)


def _why(tx: Tx, standing: Standing | None) -> str:
    if standing is None:
        return "it or its credential is gone"
    if standing.principal.barred:
        return "it is disabled, deleted or no member"
    if standing.organization.suspended_at is not None:
        return "its organization is suspended"
    return f"its credential is {standing.status(tx.now)}"
