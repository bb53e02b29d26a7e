"""uvicorn's HTTP protocol with what a door on the internet needs: a head has a size and a time, a connection
that says nothing or reads nothing is ended, and there are only so many connections.

It leans on the callbacks of one pinned version of uvicorn; a test guards each of them.
"""

import asyncio
from typing import Final

from ostiary.core.problem import Problem
from ostiary.http import messages
from ostiary.http.direct import DirectProtocol

MAX_HEAD: Final = 32 * 1024
"""Bytes of a head that are read before it is whole; the door's own limits lie below."""
HEAD_SECONDS: Final = 15.0
KEEP_ALIVE_SECONDS: Final = 75.0
WRITE_SECONDS: Final = 30.0
"""Who does not read an answer for so long is cut off."""
MAX_CONNECTIONS: Final = 10_000


class GuardedProtocol(DirectProtocol):
    """One connection.

    Time is looked at by one timer of the connection, not by one of each request: what is due is noticed at
    most `HEAD_SECONDS` late.
    """

    max_connections = MAX_CONNECTIONS
    """Of one process."""

    _head = 0
    _in_head = True
    _begun = False
    _due: float | None = None
    """When the client must have sent what we wait for; None: it is our turn."""
    _stuck_since: float | None = None
    """Since when the client has not read what we sent."""
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn names the kind
        super().connection_made(transport)
        self._due = self.loop.time() + HEAD_SECONDS
        self._timer = self.loop.call_later(HEAD_SECONDS, self._look)
        if len(self.connections) > self.max_connections:
            self._refuse(Problem("unavailable", "There are too many connections; try again."))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        new = self._in_head and not self._begun
        if self._in_head:
            self._head += len(data)
        super().data_received(data)
        if not self._in_head:
            if self.cycle is None or not self.cycle.response_complete:
                self._due = None  # the door waits for bodies
            return
        # What arrives at once may hold several whole requests: only what is beyond it is too much.
        if self._head > MAX_HEAD + len(data) and not self.transport.is_closing():
            too_large = Problem("header-fields-too-large", "The head of the request is larger than 16 KiB.")
            self._refuse(too_large)
        if not self._begun:
            self._due = self.loop.time() + KEEP_ALIVE_SECONDS
        elif new or self._due is None:
            self._due = self.loop.time() + HEAD_SECONDS

    def pause_writing(self) -> None:
        self._stuck_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stuck_since = None
        super().resume_writing()

    def on_message_begin(self) -> None:
        self._in_head, self._begun, self._head = True, True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()
        if self.parser.should_upgrade():
            # The parser reads no further: what came with this request is not answered, and the answer says so.
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._begun, self._head = True, False, 0

    def on_response_complete(self) -> None:
        super().on_response_complete()
        idle = self._in_head and not self._begun
        # What was answered before its body came has this long to end, though nobody reads it.
        self._due = self.loop.time() + (KEEP_ALIVE_SECONDS if idle else HEAD_SECONDS)

    def _look(self) -> None:
        """Cut off whoever keeps us waiting; else look again when there may be a reason."""
        now = self.loop.time()
        if self.transport.is_closing():
            self.transport.abort()  # it was to be closed a while ago, and whoever is there reads nothing
            return
        if self._stuck_since is not None and now - self._stuck_since > WRITE_SECONDS:
            self.transport.abort()
            return
        waiting = self._due is not None and (self.cycle is None or self.cycle.response_complete)
        if waiting and self._due is not None and now >= self._due:
            if self._in_head and self._begun:
                self._refuse(Problem("request-timeout", "The head of the request did not arrive in time."))
            else:
                self.transport.close()  # nothing was asked, or all of it is answered
            self._due = None
        again = HEAD_SECONDS if self._due is None else min(HEAD_SECONDS, max(self._due - now, 0.01))
        self._timer = self.loop.call_later(again, self._look)

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing to warn of: there is no other protocol here."""

    def _refuse(self, problem: Problem) -> None:
        self.transport.write(messages.problem_wire(problem, extra=[(b"connection", b"close")]))
        self.transport.close()
