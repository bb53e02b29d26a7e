"""The outermost ASGI application. It rejects invalid requests, tries the fast path, and passes on everything
else.

It owns the checks of size and form that apply to every path, the request ids, and the log entry of each
request.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final, Protocol

import structlog
from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from ostiary.core import identifier, oauth
from ostiary.core.problem import Problem, internal
from ostiary.http import cross_origin, messages, verify
from ostiary.http.endpoint_request import EndpointRequest, PendingResponse
from ostiary.http.messages import Headers, printable
from ostiary.http.verify import VerifyEndpoints
from ostiary.logs import where
from ostiary.storage import patience
from ostiary.storage.store import Clock, Entropy

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKEN: Final = oauth.TOKEN_PATH.encode()
COLD_THREADS: Final = 4
LARGE_BODIES: Final = 8
"""How many bodies of more than 64 KiB may be in memory at once. Their senders are not authenticated yet."""
BODY_SECONDS: Final = 15.0
"""Seconds in which the body must arrive. Otherwise the response is 408."""


class TokenResponder(Protocol):
    """The token endpoint, as the authorization server implements it (RFC 6749 §3.2)."""

    def begin(self, request: EndpointRequest) -> bytes | PendingResponse | None:
        """Return the response, or a pending one; None if something must be read from the database first."""


class Edge:
    """Wraps the application. `hot` handles requests first."""

    def __init__(
        self,
        application: Application,
        hot: VerifyEndpoints,
        tokens: TokenResponder,
        clock: Clock,
        entropy: Entropy,
        measure: Callable[[str, str, int, float], None],
        issuer: str,
        shared: frozenset[bytes],
    ) -> None:
        self._application = application
        self._hot = hot
        self.answer_now = hot.answer_now
        self._tokens = tokens
        self._clock = clock
        self._entropy = entropy
        self._measure = measure
        # Separate threads: handlers that wait for the single writer must not delay verification.
        self._threads = CapacityLimiter(COLD_THREADS)
        self._large = asyncio.Semaphore(LARGE_BODIES)
        self.always = [(b"x-content-type-options", b"nosniff")]
        self.issuer = issuer
        if issuer.startswith("https:"):
            self.always.append((b"strict-transport-security", b"max-age=31536000"))
        self._shared = shared
        """Endpoints whose responses a script of another site may read."""

    def _always_at(self, path: bytes) -> list[tuple[bytes, bytes]]:
        """Return the headers that every response at this path has."""
        return [*self.always, *cross_origin.FIELDS] if path in self._shared else self.always

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        path: bytes = scope["raw_path"]
        problem = messages.unacceptable(
            path, scope["query_string"], scope["headers"], scope["http_version"] == "1.0"
        )
        if problem is not None:
            peer = scope["client"][0] if scope["client"] else None
            log_rejected(problem, self._hot.origin(peer, scope["headers"]).text)
            if path.startswith(verify.AUTHORIZE_NGINX):
                # auth_request accepts three statuses only. Any other would become a 500.
                refusal = messages.wire(403, [messages.NO_STORE, (b"x-auth-error", b"invalid_request")])
                await _send(refusal, send, self.always)
            else:
                await self._refuse(problem, path, send)
            return
        if verify.is_hot(path):
            await self._answer_hot(scope, path, receive, send)
        else:
            await self._answer(scope, receive, send)

    def answer_later(
        self, method: bytes, target: bytes, headers: Headers, body: bytes, peer: str | None
    ) -> bytes | PendingResponse | None:
        """Handle a request to the token endpoint without the application.

        Return the response, or a pending one that is sent when its record is written. Return None if the
        request must go through `__call__`.
        """
        if target != TOKEN or method != b"POST" or len(body) > messages.MAX_PLAIN:
            return None
        if messages.unacceptable(target, b"", headers) is not None:
            return None
        started = time.perf_counter()
        request_id = self._request_id()
        agent = printable(messages.header(headers, b"user-agent") or b"")
        request = EndpointRequest(headers, b"", body, self._hot.origin(peer, headers), "", request_id, agent)
        try:
            begun = self._tokens.begin(request)
        except Exception:
            return None  # the application handles the request again, and logs the error
        if begun is None:
            return None

        def told(answer: bytes) -> bytes:
            self._measure("POST", oauth.TOKEN_PATH, int(answer[9:12]), time.perf_counter() - started)
            marked = b"\r\nx-request-id: %s\r\n%s" % (request_id.encode(), cross_origin.LINES)
            return answer.replace(b"\r\n", marked, 1)

        if isinstance(begun, bytes):
            return told(begun)
        return PendingResponse(begun.recorded, lambda: told(begun.finish()))

    async def _answer_hot(self, scope: Scope, path: bytes, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        query: bytes = scope["query_string"]
        target = path + b"?" + query if query else path
        method = scope["method"].encode()
        peer = scope["client"][0] if scope["client"] else None
        headers = scope["headers"]
        try:
            body = await _read(receive, messages.MAX_BODY) if path in verify.WITH_BODY else b""
            answer = self._hot.answer(method, target, headers, body, peer)
            if answer is None:
                with patience.within(patience.REQUEST):
                    answer = await run_sync(
                        self._hot.answer_cold, method, target, headers, body, peer, limiter=self._threads
                    )
        except Problem as problem:
            await self._refuse(problem, path, send)
            return
        except Exception as error:
            request_id = self._request_id()
            structlog.get_logger().error(
                "unhandled", error=type(error).__name__, where=where(error), request_id=request_id
            )
            answer = messages.problem_wire(internal(), self.issuer, request_id)
        fault = _fault(answer)
        if fault:
            # Verdicts are counted as checks. A fault has no verdict, so it is measured here.
            self._measure(scope["method"], _template(path), fault, time.perf_counter() - started)
        await _send(answer, send, self.always, head=method == b"HEAD")

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        request_id = self._request_id()
        path: bytes = scope["raw_path"]
        peer = scope["client"][0] if scope["client"] else None
        origin = self._hot.origin(peer, scope["headers"])
        told = {"request_id": request_id, "origin": origin, "issuer": self.issuer}
        scope["state"] = {**scope.get("state", {}), **told}
        status = 500
        begun = False

        async def send_marked(message: MutableMapping[str, Any]) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                message["headers"] = [
                    *message["headers"],
                    *self._always_at(path),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        try:
            async with AsyncExitStack() as held:
                if path == messages.IMPORT:
                    take = partial(held.enter_async_context, self._large)
                    body = await _read(receive, messages.MAX_IMPORT, take)
                else:
                    body = await _read(receive, messages.MAX_BODY)
                    held.enter_context(patience.within(patience.REQUEST))
                await self._application(scope, _replay(body, receive), send_marked)
        except Problem as problem:
            status = problem.status
            if not begun:
                await self._refuse(problem, path, send, request_id)
        except Exception as error:
            structlog.get_logger().error(
                "unhandled", error=type(error).__name__, where=where(error), request_id=request_id
            )
            if not begun:
                await self._refuse(internal(), path, send, request_id)
        # Log the template, never the path: a path may contain a pasted secret.
        route = getattr(scope.get("route"), "path_format", "-")
        seconds = time.perf_counter() - started
        self._measure(scope["method"], route, status, seconds)
        structlog.get_logger().info(
            "request",
            method=scope["method"] if len(scope["method"]) <= 16 else "?",
            route=route,
            status=status,
            duration_ms=round(seconds * 1000, 1),
            request_id=request_id,
            address=origin.text,
        )

    def _request_id(self) -> str:
        return identifier.make("req", self._clock(), self._entropy(identifier.ENTROPY))

    async def _refuse(self, problem: Problem, path: bytes, send: Send, request_id: str | None = None) -> None:
        # The rest of the request is not read, so the connection closes after the response.
        extra = [(b"connection", b"close")] if problem.status in (400, 408, 413, 414, 431) else []
        answer = messages.problem_wire(problem, self.issuer, request_id, extra)
        await _send(answer, send, self._always_at(path))


def _fault(answer: bytes) -> int:
    """Return the status of a fast-path response that is a fault; 0 for any other. nginx gets a 403 during an
    outage, which counts as 503.
    """
    status = int(answer[9:12])
    if status == 403 and b"\r\nx-auth-error: unavailable\r\n" in answer:
        return 503
    return status if status >= 500 else 0


def _template(path: bytes) -> str:
    for begin in (verify.AUTHORIZE, verify.AUTHORIZE_NGINX):
        if path.startswith(begin):
            return begin.decode() + "{rule}"
    return path.decode()


def log_rejected(problem: Problem, address: str | None) -> None:
    """Log a request that no endpoint receives. The audit log has no record of it."""
    structlog.get_logger().info(
        "turned away", status=problem.status, code=problem.code, reason=problem.detail, address=address
    )


async def _read(receive: Receive, longest: int, take: Callable[[], Awaitable[None]] | None = None) -> bytes:
    """Return the whole body. Raises Problem if it is longer than `longest` bytes, or late. `take` waits for a
    free slot for a large body.
    """
    parts = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Problem("request-timeout", "The connection ended before the body did.")
                part = message.get("body", b"")
                size += len(part)
                if size > longest:
                    raise messages.too_large(longest)
                if take is not None and size > messages.MAX_BODY:
                    await take()
                    take = None
                parts.append(part)
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        raise Problem("request-timeout", "The body did not arrive in time.") from None


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that first yields the body already read, then the further messages of the
    connection.
    """
    done = False

    async def again() -> MutableMapping[str, Any]:
        nonlocal done
        if done:
            return await receive()
        done = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _send(answer: bytes, send: Send, always: list[tuple[bytes, bytes]], head: bool = False) -> None:
    status, fields, body = messages.unwire(answer)
    await send({"type": "http.response.start", "status": status, "headers": [*fields, *always]})
    await send({"type": "http.response.body", "body": b"" if head else body})
