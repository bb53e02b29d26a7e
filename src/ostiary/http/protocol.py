"""uvicorn's HTTP protocol with what a door on the internet needs: a head has a size and a time, a connection
that says nothing or reads nothing is ended, and there are only so many connections.

It leans on the callbacks of one pinned version of uvicorn; a test guards each of them.
"""

import asyncio
import re
from typing import Final

from ostiary.core.problem import Problem
from ostiary.http import messages
from ostiary.http.edge import Edge, log_rejected
from ostiary.http.fastpath import FastPathProtocol

MAX_HEAD: Final = 32 * 1024
"""Bytes of a head that are read before it is whole; the door's own limits lie below."""
HEAD_SECONDS: Final = 15.0
KEEP_ALIVE_SECONDS: Final = 75.0
WRITE_SECONDS: Final = 30.0
"""Who does not read an answer for so long is cut off."""
MAX_CONNECTIONS: Final = 10_000

END: Final = b"\r\n\r\n"
"""How a head ends, and a body in chunks; a body of a known length may hold it."""
_REQUEST_LINE: Final = re.compile(rb"(?:\r\n)?[A-Z-]+ [!-~\x80-\xff]+ HTTP/1\.[01]\r\n")
"""RFC 9112 §3. The parser also takes more spaces, HTTP/2.0, HTTP/0.9 and other protocols."""


class GuardedProtocol(FastPathProtocol):
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
    _line: bytes | None = b""
    """The request line as far as it is there; None once it was seen whole."""
    _body_left = 0
    """Bytes of a body of a known length that are still to come."""
    _last = b""
    """Up to three bytes before what arrives next: the end of a head may arrive in parts."""
    _upgraded = False
    """After a request for another protocol nothing more is read."""
    _why = ""
    """What is wrong with a request that the parser takes."""
    _refusal: Problem | None = None
    """The refusal of a malformed request, while requests before it are still unanswered. Nothing more is read."""

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
        if self._refusal is not None:
            return
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

    def feed(self, data: bytes) -> None:
        """Hand over one message after the other, so that each begins at a place that is known and its line is seen."""
        start = 0
        while start < len(data) and not (self._upgraded or self._refusal or self.transport.is_closing()):
            end = self._break(data, start)
            part = data[start:end] if start or end < len(data) else data
            if self._line is not None and not self._is_line(part):
                self.send_400_response("")
                return
            if self._body_left:
                self._body_left -= len(part)
            self._last = part[-3:]
            super().feed(part)
            start = end

    def _break(self, data: bytes, start: int) -> int:
        """Where what belongs to one message may end: the parser gets no more at once."""
        if self._body_left:
            return min(start + self._body_left, len(data))
        if self._last and (found := (self._last + data[start : start + 3]).find(END)) >= 0:
            return start + found + len(END) - len(self._last)
        found = data.find(END, start)
        return len(data) if found < 0 else found + len(END)

    def _is_line(self, part: bytes) -> bool:
        """Whether this may be a request line, or the beginning of one. One empty line before it counts for nothing."""
        assert self._line is not None
        line = self._line + part
        if _REQUEST_LINE.match(line):
            self._line = None
            return True
        self._line = line
        return b"\n" not in line.removeprefix(b"\r\n")

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
        self._body_left = self._length()
        self._in_head = False
        super().on_headers_complete()
        if self.parser.should_upgrade():
            # The parser reads no further: what came with this request is not answered, and the answer says so.
            self.cycle.keep_alive = False
            self._upgraded = True

    def _length(self) -> int:
        """The length of the body, 0 if it has none or comes in chunks. ValueError if its framing is not ours to read."""
        length = 0
        for name, value in self.headers:
            if name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding" and (
                value.strip().lower() != b"chunked" or self.parser.get_http_version() == "1.0"
            ):
                # RFC 9112 §6.1: no other coding is known here, and HTTP/1.0 has none.
                self._why = "The only Transfer-Encoding is chunked, and HTTP/1.0 has none."
                raise ValueError(self._why)
        return length

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._begun, self._head = True, False, 0
        self._line, self._last, self._body_left = b"", b"", 0

    def on_response_complete(self) -> None:
        if self._refusal is not None and not self.pipeline and not self.transport.is_closing():
            self._turn_away(self._refusal)
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

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request of HTTP/1.1 or 1.0, as the parser or this class says."""
        del msg  # uvicorn's own words
        self._refuse(Problem("invalid-request", self._why or "The request is not well-formed."))

    def _refuse(self, problem: Problem) -> None:
        """Send a refusal of the request at hand and close, once the requests before it are answered."""
        if self._refusal is not None:
            return
        if self._in_head:
            waits = self.cycle is not None and not self.cycle.response_complete
        elif waits := bool(self.pipeline):
            self.pipeline.popleft()  # the newest is the malformed one: the application never sees it
        if waits:
            self._refusal = problem
        else:
            self._turn_away(problem)

    def _turn_away(self, problem: Problem) -> None:
        log_rejected(problem, self.client[0] if self.client else None)
        app = self.config.loaded_app
        issuer, always = (app.issuer, app.always) if isinstance(app, Edge) else ("", [])
        extra = [(b"connection", b"close"), *always]
        self.transport.write(messages.problem_wire(problem, issuer, extra=extra))
        self.transport.close()
