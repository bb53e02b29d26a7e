"""Idempotency keys: a repeated request gets the response to the first one, without its secrets."""

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
"""Fields of a response that are shown once and never stored."""


def once(
    tx: Tx,
    caller: Caller,
    key: str,
    request: bytes,
    status: int,
    work: Callable[[Tx, Caller], Mapping[str, Any]],
) -> tuple[int, Mapping[str, Any], bool]:
    """Run `work`, or repeat the response of its first run. Return status, body, and whether it is a repeat.

    The response is stored in the same transaction as the work, so one never exists without the other. A repeated
    response has no secret. `request` must contain everything that identifies the request.

    Raises idempotency-mismatch if the key was used for a different request. Raises insufficient-permissions if the
    caller has lost scopes since the first run, because it may no longer be allowed to read the response.
    """
    # Responses belong to one credential: another key of the same user may be allowed to read less.
    caller = callers.refreshed(tx, caller)
    caller_id = f"{caller.organization_id}/{caller.actor.credential_id or caller.actor.id}"
    if caller.granted is not None:
        caller_id += f"/{' '.join(sorted(caller.granted))}"  # a token with fewer scopes may read less, too
    digest = blake2b(request, digest_size=32).digest()
    # A client may send anything as its key, even a secret. So only a digest of the key is stored.
    key = blake2b(key.encode(), digest_size=16).hexdigest()
    found = rows.find(tx, caller_id, key)
    if found is not None:
        if found.request != digest:
            raise Problem(
                "idempotency-mismatch",
                "This Idempotency-Key was used for a different request. Use a new key.",
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
