"""Hardens uvicorn's HTTP protocol for a public network: limits on the size and time of a head, on idle and
stalled connections, and on the number of connections.

It relies on the callbacks of one pinned version of uvicorn. A test guards each of them.
"""

import asyncio
import re
from typing import Final

from ostiary.core.problem import Problem
from ostiary.http import messages
from ostiary.http.edge import Edge, log_rejected
from ostiary.http.fastpath import FastPathProtocol

MAX_HEAD: Final = 32 * 1024
"""Bytes of a head that are buffered before it is complete. The limits in `messages` are lower."""
HEAD_SECONDS: Final = 15.0
KEEP_ALIVE_SECONDS: Final = 75.0
WRITE_SECONDS: Final = 30.0
"""Seconds after which a client that does not read the response is cut off."""
MAX_CONNECTIONS: Final = 10_000

END: Final = b"\r\n\r\n"
"""The end of a head, and of a chunked body. A body with a known length may contain it."""
_REQUEST_LINE: Final = re.compile(rb"(?:\r\n)?[A-Z-]+ [!-~\x80-\xff]+ HTTP/1\.[01]\r\n")
"""RFC 9112 §3. The parser also takes more spaces, HTTP/2.0, HTTP/0.9 and other protocols."""


class GuardedProtocol(FastPathProtocol):
    """One connection.

    Each connection has one timer, not one for each request. So an overdue client is noticed at most
    `HEAD_SECONDS` late.
    """

    max_connections = MAX_CONNECTIONS
    """The limit for one process."""

    _head = 0
    _in_head = True
    _begun = False
    _due: float | None = None
    """When the client must have sent the data that is due. None: the service is handling a request."""
    _stuck_since: float | None = None
    """Since when the client has not read what was sent."""
    _timer: asyncio.TimerHandle | None = None
    _line: bytes | None = b""
    """The part of the request line that has arrived. None once the line was checked."""
    _body_left = 0
    """Bytes still expected of a body with a known length."""
    _last = b""
    """The last three bytes that arrived, at most: the end of a head may arrive in parts."""
    _upgraded = False
    """Whether the client has requested another protocol. Nothing more is read then."""
    _why = ""
    """What is wrong with a request that the parser itself accepts."""
    _refusal: Problem | None = None
    """The refusal of a malformed request, while requests before it are still unanswered. Nothing more is read."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn names the kind
        super().connection_made(transport)
        self._due = self.loop.time() + HEAD_SECONDS
        self._timer = self.loop.call_later(HEAD_SECONDS, self._look)
        if len(self.connections) > self.max_connections:
            self._refuse(Problem("unavailable", "There are too many connections. Try again."))

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
                self._due = None  # the edge limits the time of bodies
            return
        # Data that arrives at once may contain several whole requests. Only what exceeds it counts.
        if self._head > MAX_HEAD + len(data) and not self.transport.is_closing():
            too_large = Problem(
                "header-fields-too-large", "The request line and headers are larger than 16 KiB."
            )
            self._refuse(too_large)
        if not self._begun:
            self._due = self.loop.time() + KEEP_ALIVE_SECONDS
        elif new or self._due is None:
            self._due = self.loop.time() + HEAD_SECONDS

    def feed(self, data: bytes) -> None:
        """Pass the parser one message at a time, so that every message starts at a known position and its
        request line is checked.
        """
        start = 0
        while start < len(data) and not (self._upgraded or self._refusal or self.transport.is_closing()):
            end = self._message_end(data, start)
            part = data[start:end] if start or end < len(data) else data
            if self._line is not None and not self._may_be_request_line(part):
                self.send_400_response("")
                return
            if self._body_left:
                self._body_left -= len(part)
            self._last = part[-3:]
            super().feed(part)
            start = end

    def _message_end(self, data: bytes, start: int) -> int:
        """Return where the current message may end. The parser gets no bytes beyond that point at once."""
        if self._body_left:
            return min(start + self._body_left, len(data))
        if self._last and (found := (self._last + data[start : start + 3]).find(END)) >= 0:
            return start + found + len(END) - len(self._last)
        found = data.find(END, start)
        return len(data) if found < 0 else found + len(END)

    def _may_be_request_line(self, part: bytes) -> bool:
        """Return whether this may be a request line, or the beginning of one. One empty line before it is
        ignored.
        """
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
            # The parser stops here. What follows gets no response, and the response says that the
            # connection closes.
            self.cycle.keep_alive = False
            self._upgraded = True

    def _length(self) -> int:
        """Return the length of the body; 0 if it has none or is chunked. Raises ValueError for any other
        framing.
        """
        length = 0
        for name, value in self.headers:
            if name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding" and (
                value.strip().lower() != b"chunked" or self.parser.get_http_version() == "1.0"
            ):
                # RFC 9112 §6.1: no other coding is supported here, and HTTP/1.0 has none.
                self._why = "The only supported Transfer-Encoding is chunked, in HTTP/1.1."
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
        # If the response came before the whole body, the rest of the body must arrive in this time.
        self._due = self.loop.time() + (KEEP_ALIVE_SECONDS if idle else HEAD_SECONDS)

    def _look(self) -> None:
        """Cut off a client that is overdue. Otherwise set the timer again."""
        now = self.loop.time()
        if self.transport.is_closing():
            self.transport.abort()  # it should have closed by now, but the client does not read
            return
        if self._stuck_since is not None and now - self._stuck_since > WRITE_SECONDS:
            self.transport.abort()
            return
        waiting = self._due is not None and (self.cycle is None or self.cycle.response_complete)
        if waiting and self._due is not None and now >= self._due:
            if self._in_head and self._begun:
                self._refuse(
                    Problem("request-timeout", "The request line and headers did not arrive in time.")
                )
            else:
                self.transport.close()  # no request has begun, or all have their responses
            self._due = None
        again = HEAD_SECONDS if self._due is None else min(HEAD_SECONDS, max(self._due - now, 0.01))
        self._timer = self.loop.call_later(again, self._look)

    def _unsupported_upgrade_warning(self) -> None:
        """Do nothing: no other protocol is supported."""

    def send_400_response(self, msg: str) -> None:
        """Refuse a message that is not a valid HTTP/1.1 or 1.0 request, as found by the
        parser or this class.
        """
        del msg  # uvicorn's own message
        self._refuse(Problem("invalid-request", self._why or "The request is not well-formed."))

    def _refuse(self, problem: Problem) -> None:
        """Refuse the current request and close, after the responses to earlier requests."""
        if self._refusal is not None:
            return
        if self._in_head:
            waits = self.cycle is not None and not self.cycle.response_complete
        elif waits := bool(self.pipeline):
            self.pipeline.popleft()  # the newest is the malformed one, so the application never sees it
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
