"""Our own constant: uvicorn with our protocol and our door, and an answer that nobody judged.

`python -m benchmarks.constant PORT` answers every request to a hot address with the same 60 bytes of JSON. What it
costs is the way in and out; the rest of a verification's cost is the verification.
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
    """Stands where the hot path stands: the same checks of a request, and the same answer to all that pass."""

    def __init__(self) -> None:
        """It judges nothing, so it needs nothing."""

    def answer(self, method: bytes, target: bytes, headers: Headers, body: bytes, peer: str | None) -> bytes:
        return ANSWER


async def _nothing(_scope: Any, _receive: Any, _send: Any) -> None:
    """There is no other application."""


def configuration() -> uvicorn.Config:
    """How `node/worker.py` puts door and protocol together, around the constant. Nothing else here knows of it."""
    tokens = cast(TokenEndpoint, None)  # nobody asks for one
    door = Edge(
        _nothing,
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
