"""The request and the pending response of an endpoint that parses its own bytes."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ostiary.http.messages import Headers, Origin


@dataclass(frozen=True, slots=True)
class EndpointRequest:
    """A request. `path` is appended to the issuer: empty, or the alias that older key files use."""

    headers: Headers
    query: bytes
    body: bytes
    origin: Origin
    path: str
    request_id: str
    user_agent: str


class PendingResponse(NamedTuple):
    """A response that waits for a database record. Call `finish` when `recorded` is done."""

    recorded: asyncio.Future[bool]
    finish: Callable[[], bytes]
    may_retry: bool = False
    """Whether the request can be tried again if a concurrent request was recorded first."""
