"""First answers, for requests that are sent again with the same Idempotency-Key."""

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

from ostiary.core.permission import Caller
from ostiary.core.problem import Problem
from ostiary.services import callers
from ostiary.storage import answers as rows
from ostiary.storage.answers import Kept
from ostiary.storage.store import Tx

SECRETS = ("secret", "link")
"""Members of an answer that are told once."""


def once(
    tx: Tx,
    caller: Caller,
    key: str,
    request: bytes,
    status: int,
    work: Callable[[Tx, Caller], Mapping[str, Any]],
) -> tuple[int, Mapping[str, Any], bool]:
    """Do the work, or give its first answer again without the secret: status, body, whether it is a repeat.

    The answer is kept in the transaction of the work, so neither is there without the other. `request` is
    everything that makes it the same request. Raises idempotency-mismatch for another one, and insufficient-permissions
    if the caller has lost scopes since: it may not be allowed to see the response any more.
    """
    # A credential's own answers only: another key of the same user may be allowed to read less.
    caller = callers.refreshed(tx, caller)
    caller_id = f"{caller.organization_id}/{caller.actor.credential_id or caller.actor.id}"
    if caller.granted is not None:
        caller_id += f"/{' '.join(sorted(caller.granted))}"  # a token of it may read less, too
    digest = blake2b(request, digest_size=32).digest()
    # A client may send anything as its key, a secret included: only a digest of it is kept.
    key = blake2b(key.encode(), digest_size=16).hexdigest()
    found = rows.find(tx, caller_id, key)
    if found is not None:
        if found.request != digest:
            raise Problem(
                "idempotency-mismatch",
                "This Idempotency-Key was used for another request. Take a new one.",
                reason="idempotency key reused",
            )
        if not caller.scopes >= frozenset(found.scopes):
            raise Problem(
                "insufficient-permissions",
                "This request was carried out before, and the presented credential has lost scopes since. "
                "The response is not repeated.",
                reason="may do less than when the request was carried out",
            )
        return found.status, found.body, True
    first_body = work(tx, caller)
    told = {**first_body, **{name: None for name in SECRETS if name in first_body}}
    rows.keep(tx, caller_id, key, Kept(digest, tuple(sorted(caller.scopes)), status, told))
    return status, first_body, False
