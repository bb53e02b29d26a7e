"""Connections to a database server whose waits all have a time-out, even if the server hangs.

libpq has no such time-out: it waits for a server whose packets are dropped or whose processes are stopped until TCP
gives up, or for ever. The driver waits for every response in `BoundedConnection.wait`, commits and rollbacks included.
"""

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from functools import partial
from typing import Any, Final

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.errors import ConnectionTimeout, _WaitTimeout

from ostiary.storage import patience

TCP: Final = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 6_000,
}
"""With these options the kernel closes a connection about ten seconds after the other end is gone."""


class SilentError(patience.ServerSilentError, psycopg.OperationalError):
    """The same, as an error that SQLAlchemy knows as the driver's."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed when the server has not responded for `silence` seconds."""

    silence: float | None = patience.SILENCE
    """None: wait as long as TCP does."""

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        if self.silence is None:
            return super().wait(gen, interval, timeout)
        with patience.waiting(self.silence) as most:
            try:
                return super().wait(gen, interval, most)
            except _WaitTimeout:
                # A late response must not be read as the response to the next statement. `finish` does not wait.
                self.pgconn.finish()
                raise _silent(most) from None


def connect(patient: bool, *arguments: Any, **options: Any) -> BoundedConnection:
    """Return a connection, or raise SilentError if there is none in time. With `patient` its statements have no time-out.

    It connects in a thread of its own, because the driver's time-out is for each address and does not cover name
    resolution. The thread closes a connection that comes too late.
    """
    made: Future[BoundedConnection] = Future()
    attempt = partial(_attempt, made, partial(BoundedConnection.connect, *arguments, **options))
    threading.Thread(target=attempt, name="connecting", daemon=True).start()
    with patience.waiting(patience.COMMAND if patient else patience.SILENCE) as most:
        try:
            connection = made.result(most)
        except TimeoutError:
            if made.cancel():
                raise _silent(most) from None
            connection = made.result()  # it succeeded at the last moment
        except ConnectionTimeout:
            raise _silent(patience.SILENCE) from None
    if patient:
        connection.silence = None
    return connection


def _attempt(made: Future[BoundedConnection], connect: Callable[[], BoundedConnection]) -> None:
    connection = None
    try:
        connection = connect()
        made.set_result(connection)
    except InvalidStateError:  # the caller has given up
        if connection is not None:
            connection.close()
    except BaseException as error:  # passed on to the waiting thread
        with contextlib.suppress(InvalidStateError):
            made.set_exception(error)


def _silent(waited: float) -> SilentError:
    error = SilentError("the server does not answer")
    error.hangs = waited > patience.STATEMENT
    return error
