"""The fast path: answers frequent requests directly from uvicorn's parser, with one write and no task.

It owns no rule. `Edge.answer_now` decides which requests are answered here. If it returns None, or if the
request is unusual (the body does not arrive with the head, another request is still in progress, the client
reads slowly), the application handles the request as if this class did not exist. So the class can be
removed: `GuardedProtocol` then extends uvicorn's class directly.
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
"""The version of uvicorn that this class was written for."""
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
    """Return whether the installed uvicorn is the version that this class needs. If not, the application
    handles every request.
    """
    return uvicorn.__version__ == UVICORN and all(
        callable(getattr(HttpToolsProtocol, each, None)) for each in LEANS_ON
    )


class _Dropped(list[tuple[bytes, bytes]]):
    """Discards fields that arrive after the head: trailers (RFC 9110 §6.5) are not header fields."""

    def append(self, _field: tuple[bytes, bytes], /) -> None:
        pass


DROPPED: Final = _Dropped()


class _Waiting:
    """Stands in for uvicorn's request cycle while a request is answered here and not by the application."""

    def __init__(self) -> None:
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True
        """Whether the connection stays open. uvicorn sets it to false at shutdown."""
        self.message_event = asyncio.Event()


class FastPathProtocol(HttpToolsProtocol):
    """One connection. `_held` is true while the current request may still be answered here."""

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
            self._pass_on()  # the body is incomplete: the application waits for the rest

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
        """Replay to uvicorn all parser events that were held back."""
        self._held = False
        url, expect = self.url, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(self._fields)  # extend, not assign: the scope holds this list
        super().on_headers_complete()
        self.headers = DROPPED
        if self._body:
            super().on_body(self._body)

    def _wait_for(self, later: PendingResponse) -> None:
        """Send the response when it is ready. Later requests wait behind it, as in uvicorn."""
        waiting = self.cycle = _Waiting()  # type: ignore[assignment] # it has the attributes that uvicorn reads

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
        """Write the response. The headers that every response has follow the status line."""
        assert self._door is not None
        defaults, lines = FastPathProtocol._common
        if defaults is not self.server_state.default_headers:  # new each second: it holds the date
            defaults = self.server_state.default_headers
            lines = b"".join(b"%s: %s\r\n" % field for field in (*defaults, *self._door.always))
            FastPathProtocol._common = defaults, lines
        end = answer.index(b"\r\n") + 2
        self.transport.write(b"".join((answer[:end], lines, answer[end:])))
