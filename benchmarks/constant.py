"""A baseline server: uvicorn with Ostiary's protocol and edge, and a constant response without verification.

`python -m benchmarks.constant PORT` sends the same 60 bytes of JSON for every request to a verify endpoint. Its cost is
that of HTTP alone; the difference to Ostiary's cost is the verification.
"""

import asyncio
import gc
import secrets
import sys
from typing import Any, cast

import uvicorn

from ostiary.http.edge import Edge
from ostiary.http.messages import Headers
from ostiary.http.verify import VerifyEndpoints
from ostiary.node import worker
from ostiary.node.installation import wall_clock
from ostiary.oauth.token import TokenEndpoint

BODY = b'{"valid":true,"code":"valid","credential_id":"cred_0123456"}'
ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-store\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(BODY), BODY)
)


class Constant(VerifyEndpoints):
    """Replaces the verify endpoints: the same checks of a request, then a constant response."""

    def __init__(self) -> None:
        """Skip the base class: nothing is verified, so no authenticator is needed."""

    def answer(self, method: bytes, target: bytes, headers: Headers, body: bytes, peer: str | None) -> bytes:
        return ANSWER


async def _no_endpoint(_scope: Any, _receive: Any, _send: Any) -> None:
    """Do nothing: there are no other endpoints."""


def configuration() -> uvicorn.Config:
    """Return the uvicorn configuration of `node/worker.py` for the constant. Nothing else depends on that module."""
    tokens = cast(TokenEndpoint, None)  # no request asks for a token
    door = Edge(
        _no_endpoint,
        Constant(),
        tokens,
        wall_clock,
        secrets.token_bytes,
        lambda *_: None,
        issuer="",
        shared=frozenset(),
    )
    config = worker.configuration(door)
    config.lifespan = "off"
    return config


def main(port: int) -> None:
    config = configuration()
    config.host, config.port = "127.0.0.1", port
    gc.collect()
    gc.freeze()
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main(int(sys.argv[1]))
