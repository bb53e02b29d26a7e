"""First responses, for requests that are sent again with the same idempotency key."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from ostiary.core.permission import Caller
from ostiary.core.problem import Problem
from ostiary.storage import answers as rows
from ostiary.storage.answers import Kept
from ostiary.storage.store import Tx

SECRETS = ("secret", "link")
"""Members of a response that are shown once."""


@dataclass(frozen=True, slots=True)
class Once:
    """An idempotency key, and the request that it is for."""

    key: str
    request: bytes
    """Everything that makes two requests the same one."""
    status: int
    """Of the response, if the request is carried out now."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response, and whether it repeats an earlier one."""

    status: int
    body: Mapping[str, Any]
    repeated: bool


def once(tx: Tx, caller: Caller, asked: Once, work: Callable[[], Mapping[str, Any]]) -> StoredResponse:
    """Do the work, or return its first response again without the secret.

    The response is kept in the transaction of the work, so neither is there without the other. `caller` was judged in
    this transaction. Raises idempotency-mismatch for another request, and insufficient-permissions if the caller has
    lost scopes since: it may not be allowed to see the response any more.
    """
    # A credential's own responses only: another key of the same user may be allowed to read less.
    caller_id = f"{caller.organization_id}/{caller.actor.credential_id or caller.actor.id}"
    if caller.granted is not None:
        caller_id += f"/{' '.join(sorted(caller.granted))}"  # a token of it may read less, too
    digest = blake2b(asked.request, digest_size=32).digest()
    # A client may send anything as its key, a secret included: only a digest of it is kept.
    key = blake2b(asked.key.encode(), digest_size=16).hexdigest()
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
        return StoredResponse(found.status, found.body, True)
    body = work()
    told = {**body, **{name: None for name in SECRETS if name in body}}
    rows.keep(tx, caller_id, key, Kept(digest, tuple(sorted(caller.scopes)), asked.status, told))
    return StoredResponse(asked.status, body, False)
