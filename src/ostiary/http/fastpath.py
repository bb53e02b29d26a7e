"""The second adapter of the hot path: hot addresses answered from uvicorn's parser, with one write and no task.

It owns no rule. `Edge.answer_now` says what is answered; None, and whatever is not plain (a body that does not
come with its head, a request that waits behind another, a slow reader), goes on to the application as if this
class were not there. So it can be dropped: `GuardedProtocol` then stands on uvicorn's class itself.
"""

import asyncio
from typing import Any, ClassVar, Final

import uvicorn
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from ostiary.http import messages
from ostiary.http.edge import Edge
from ostiary.http.endpoint_request import PendingResponse

UVICORN: Final = "0.54.0"
"""The version whose protocol class this was written against."""
LEANS_ON: Final = (
    "connection_made",
    "connection_lost",
    "data_received",
    "on_message_begin",
    "on_url",
    "on_header",
    "on_headers_complete",
    "on_body",
    "on_message_complete",
    "on_response_complete",
    "shutdown",
    "pause_writing",
    "resume_writing",
)


def seam_holds() -> bool:
    """Whether uvicorn is the one that this class leans on. If not, everything goes through the application."""
    return uvicorn.__version__ == UVICORN and all(
        callable(getattr(HttpToolsProtocol, each, None)) for each in LEANS_ON
    )


class _Dropped(list[tuple[bytes, bytes]]):
    """Where fields go that come after the head: trailers (RFC 9110 §6.5) are no header fields."""

    def append(self, _field: tuple[bytes, bytes], /) -> None:
        pass


DROPPED: Final = _Dropped()


class _Waiting:
    """What uvicorn asks of the request under way, of one that is answered here and not by the application."""

    def __init__(self) -> None:
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True
        """Whether the connection stays; a service that stops says no."""
        self.message_event = asyncio.Event()


class FastPathProtocol(HttpToolsProtocol):
    """One connection. `_held` is true while the request at hand may still be answered here."""

    _held = False
    _fields: list[tuple[bytes, bytes]]
    _method = b""
    _body = b""
    _common: ClassVar[tuple[list[tuple[bytes, bytes]], bytes]] = ([], b"")

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._door = config.loaded_app if isinstance(config.loaded_app, Edge) and seam_holds() else None

    def data_received(self, data: bytes) -> None:
        self.feed(data)
        if self._held and self.headers is DROPPED:
            self._pass_on()  # the rest of the body comes later: the application waits better

    def feed(self, data: bytes) -> None:
        """Pass received bytes to the parser."""
        super().data_received(data)

    def on_message_begin(self) -> None:
        idle = (self.cycle is None or self.cycle.response_complete) and not self.flow.write_paused
        if self._door is None or not idle:
            super().on_message_begin()
            return
        self._held, self._body = True, b""
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        if not self._held:
            super().on_headers_complete()
            self.headers = DROPPED
            return
        self._fields, self.headers = self.headers, DROPPED
        parser = self.parser
        self._method = parser.get_method()
        if (
            self.expect_100_continue
            or parser.should_upgrade()
            or not parser.should_keep_alive()
            or parser.get_http_version() != "1.1"
            or self._method == b"HEAD"
        ):
            self._pass_on()

    def on_body(self, body: bytes) -> None:
        if not self._held:
            super().on_body(body)
            return
        self._body += body
        if len(self._body) > messages.MAX_BODY:
            self._pass_on()

    def on_message_complete(self) -> None:
        if self._held:
            assert self._door is not None
            peer = self.client[0] if self.client else None
            asked = self._method, self.url, self._fields, self._body, peer
            answer = self._door.answer_now(*asked) or self._door.answer_later(*asked)
            if answer is not None:
                self._held = False
                if isinstance(answer, bytes):
                    self._write(answer)
                else:
                    self._wait_for(answer)
                return
            self._pass_on()
        super().on_message_complete()

    def _pass_on(self) -> None:
        """Tell uvicorn what was held back, from the beginning."""
        self._held = False
        url, expect = self.url, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(self._fields)  # the scope holds the list
        super().on_headers_complete()
        self.headers = DROPPED
        if self._body:
            super().on_body(self._body)

    def _wait_for(self, later: PendingResponse) -> None:
        """Answer when that can be; what the client sends meanwhile waits behind it, as uvicorn has it."""
        waiting = self.cycle = _Waiting()  # type: ignore[assignment] # what uvicorn asks of a request under way

        def answered(_recorded: object) -> None:
            answer = later.finish()
            waiting.response_complete = True
            if not (waiting.disconnected or self.transport.is_closing()):
                self._write(answer)
                if not waiting.keep_alive:
                    self.transport.close()
            self.on_response_complete()

        later.recorded.add_done_callback(answered)

    def _write(self, answer: bytes) -> None:
        """The answer with the fields that every answer has, after its first line."""
        assert self._door is not None
        defaults, lines = FastPathProtocol._common
        if defaults is not self.server_state.default_headers:  # a new list each second: it holds the date
            defaults = self.server_state.default_headers
            lines = b"".join(b"%s: %s\r\n" % field for field in (*defaults, *self._door.always))
            FastPathProtocol._common = defaults, lines
        end = answer.index(b"\r\n") + 2
        self.transport.write(b"".join((answer[:end], lines, answer[end:])))
