"""uvicorn's HTTP protocol with what a door on the internet needs: a head has a size and a time, trailers count for nothing.

It leans on the callbacks of one pinned version of uvicorn; a test guards each of them.
"""

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ostiary.core.problem import Problem
from ostiary.http import messages

MAX_HEAD: Final = 32 * 1024
"""Bytes of a head that are read before it is whole; the door's own limits lie below."""
HEAD_SECONDS: Final = 15.0


class GuardedProtocol(HttpToolsProtocol):
    """One connection. Fields that come after the body (RFC 9110 §6.5) are not header fields and are dropped."""

    _head = 0
    _in_head = True
    _begun = False
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn names the kind
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            if self._timer is None:
                self._await_head()
            self._head += len(data)
        super().data_received(data)
        # What arrives at once may hold several whole requests: only what is beyond it is too much.
        if self._in_head and self._head > MAX_HEAD + len(data) and not self.transport.is_closing():
            too_large = Problem("header-fields-too-large", "The head of the request is larger than 16 KiB.")
            self._refuse(too_large)

    def on_message_begin(self) -> None:
        self._in_head, self._begun, self._head = True, True, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._begun, self._head = True, False, 0

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _too_slow(self) -> None:
        if self._begun and not self.transport.is_closing():
            self._refuse(Problem("request-timeout", "The head of the request did not arrive in time."))
        else:
            self.transport.close()  # nothing was asked, so nothing is answered

    def _refuse(self, problem: Problem) -> None:
        self.transport.write(messages.problem_wire(problem, extra=[(b"connection", b"close")]))
        self.transport.close()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
