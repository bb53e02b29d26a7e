"""Logs: one line for each event, as text or JSON, with fields from a closed list.

The log never has headers, bodies, URLs with queries or arguments of exceptions. A field outside the list is dropped. Text
that looks like one of Ostiary's secrets is redacted.
"""

import contextlib
import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, Final, Literal, TextIO, cast

import structlog

from ostiary.core.secret import redact

ALLOWED: Final = frozenset(
    {
        "event",
        "level",
        "timestamp",
        "address",
        "code",
        "detail",
        "duration_ms",
        "error",
        "method",
        "number",
        "peer",
        "reason",
        "request_id",
        "route",
        "status",
        "url",
        "version",
        "where",
    }
)


def _allowed(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {
        name: redact(value) if isinstance(value, str) else value
        for name, value in fields.items()
        if name in ALLOWED
    }


class _StandardError:
    """Writes to the current `sys.stderr`, because tests replace it.

    A line that cannot be written, for example to a full disk, is lost: logging must not fail a request.
    """

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            return sys.stderr.write(text)
        return 0

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()


class _FromLibraries(logging.Handler):
    """Logs warnings and errors of libraries: only the constant text of a message, never its arguments."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
        structlog.get_logger().warning("library", detail=redact(text)[:300], where=record.name)


def configure(form: Literal["console", "json"]) -> None:
    """Configure logging to standard error in this format."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _allowed,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _StandardError())),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_FromLibraries(logging.WARNING)]
    root.setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "alembic"):
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).setLevel(logging.WARNING)
        logging.getLogger(name).propagate = True


def where(error: BaseException) -> str:
    """Return where an exception was raised, without its arguments: `store.py:120 in write < hotpath.py:88 in answer`."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " < ".join(
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno} in {frame.name}" for frame in reversed(frames)
    )
