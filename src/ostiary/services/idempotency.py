"""Idempotency keys: a repeated request gets the response to the first one, without its secrets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from ostiary.core.permission import Caller
from ostiary.core.problem import Problem
from ostiary.storage import idempotency as rows
from ostiary.storage.idempotency import StoredResponse
from ostiary.storage.store import Tx

SECRETS = ("secret", "link")
"""Fields of a response that are shown once and never stored."""


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """An idempotency key with its request."""

    key: str
    request: bytes
    """Everything that identifies the request."""
    status: int
    """The status of the response to the first run."""


@dataclass(frozen=True, slots=True)
class IdempotentResponse:
    """A response, and whether it repeats an earlier one."""

    status: int
    body: Mapping[str, Any]
    repeated: bool


def run_once(
    tx: Tx, caller: Caller, asked: IdempotentRequest, work: Callable[[], Mapping[str, Any]]
) -> IdempotentResponse:
    """Run `work`, or repeat the response of its first run, without its secret. `caller` was judged in this transaction.

    The response is stored in the same transaction as the work, so one never exists without the other.

    Raises idempotency-mismatch if the key was used for a different request. Raises insufficient-permissions if the
    caller has lost scopes since the first run, because it may no longer be allowed to read the response.
    """
    # Responses belong to one credential: another key of the same user may be allowed to read less.
    caller_id = f"{caller.organization_id}/{caller.actor.credential_id or caller.actor.id}"
    if caller.granted is not None:
        caller_id += f"/{' '.join(sorted(caller.granted))}"  # a token with fewer scopes may read less, too
    digest = blake2b(asked.request, digest_size=32).digest()
    # A client may send anything as its key, even a secret. So only a digest of the key is stored.
    key = blake2b(asked.key.encode(), digest_size=16).hexdigest()
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
        return IdempotentResponse(found.status, found.body, True)
    body = work()
    told = {**body, **{name: None for name in SECRETS if name in body}}
    rows.keep(tx, caller_id, key, StoredResponse(digest, tuple(sorted(caller.scopes)), asked.status, told))
    return IdempotentResponse(asked.status, body, False)
