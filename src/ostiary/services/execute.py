"""The one way in for a write on behalf of a caller.

A caller is first judged from cached facts, before its transaction waits for its turn. A revocation may come in between.
So `execute` judges the caller again inside the transaction, from the rows, before the operation runs. The API, the
pages, the OAuth endpoints and the local commands call it. Nothing else calls `Store.write` with a caller.

Callers without a credential pass unchanged: the system itself, and visitors who prove something else, such as a
password or a link. What they prove is checked by the operation.

It does not bring the fact cache up to date: it reads rows only, and the first judgement is the business of `auth`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ostiary.core.permission import Caller
from ostiary.core.problem import Problem
from ostiary.services import audit, callers, idempotency
from ostiary.services.idempotency import IdempotentRequest, IdempotentResponse
from ostiary.storage.store import Store, Tx

T = TypeVar("T")
Body = TypeVar("Body", bound=Mapping[str, Any])

Unchanged = Callable[[Tx, Caller], bool]
"""Returns whether the resource is still as the caller read it."""


def execute(
    store: Store,
    caller: Caller,
    work: Callable[..., T],
    *args: Any,
    confirmed: bool = True,
    unchanged: Unchanged | None = None,
    organizations: Sequence[str] | None = None,
    **kwargs: Any,
) -> T:
    """Run `work(tx, caller, …)` in one transaction, for the caller as it is now. Return what `work` returns.

    The transaction is the only writer of the caller's organization, or of `organizations` if they are given.

    `confirmed`: a person in a browser must have given the password in the last 15 minutes. Pass False for what only
    takes the person's own access away, and where the operation checks the password itself.

    Raises invalid-credential if the caller's credential has ended, reauthentication-required without the password,
    precondition-failed if `unchanged` returns False, and what `work` raises. Whatever raises undoes the transaction: a
    refusal that must be kept is returned by `work`.
    """

    def run(tx: Tx) -> T:
        now = callers.refreshed(tx, caller)
        return _allowed(tx, now, confirmed, unchanged, lambda: work(tx, now, *args, **kwargs))

    return store.write_on((caller.organization_id,) if organizations is None else organizations, run)


def execute_once(
    store: Store,
    caller: Caller,
    once: IdempotentRequest,
    work: Callable[[Tx, Caller], Body],
    *,
    confirmed: bool = True,
    unchanged: Unchanged | None = None,
) -> IdempotentResponse:
    """Run `work` like `execute`, at most once for an idempotency key. Return the first response each time.

    A repeat is answered if the caller is still valid. It changes nothing, so it needs neither the password nor
    `unchanged`. Raises also idempotency-mismatch, and insufficient-permissions for a repeat by a caller that has lost
    scopes.
    """

    def run(tx: Tx) -> IdempotentResponse:
        now = callers.refreshed(tx, caller)
        return idempotency.run_once(
            tx, now, once, lambda: _allowed(tx, now, confirmed, unchanged, lambda: work(tx, now))
        )

    return store.write_on((caller.organization_id,), run)


def record_refusal(
    store: Store, caller: Caller, method: str, route: str, status: int, code: str, reason: str
) -> None:
    """Record that a request of this caller was refused, as `audit.record_refusal` does.

    The caller is not judged again: the refusal of a caller that has just been revoked is recorded, too.
    """
    store.write(audit.record_refusal, caller, method, route, status, code, reason)


def _allowed(
    tx: Tx, caller: Caller, confirmed: bool, unchanged: Unchanged | None, work: Callable[[], T]
) -> T:
    if confirmed:
        callers.require_confirmed(tx, caller)
    fits = unchanged is None or unchanged(tx, caller)
    done = work()
    # Checked last, because errors of the operation take precedence over a failed precondition (RFC 9110 §13.2.1).
    # Raising here undoes the operation.
    if not fits:
        raise Problem(
            "precondition-failed",
            "It has changed since it was read. Read it again, then decide again.",
            reason="stale If-Match",
        )
    return done
