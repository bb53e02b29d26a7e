"""A connection to a database server of which every wait ends, whatever becomes of the server.

libpq bounds none of them: a server whose packets are dropped, or whose processes stand still, is waited for until TCP
gives up, or for ever. `Connection.wait` is where the driver waits for any answer, commits and rollbacks included.
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
"""Connections that nobody waits for: the kernel finds out that the other end is gone, in about ten seconds."""


class SilentError(psycopg.OperationalError):
    """The server did not answer in time. Whether it did what it was asked is not known."""

    hangs = False
    """Whether it had all the time that a server needs, and not only what a request had left."""


class Connection(psycopg.Connection[Any]):
    """One that is closed when the server has not answered for so long."""

    silence: float | None = patience.SILENCE
    """Seconds; None waits as long as TCP does."""

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        if self.silence is None:
            return super().wait(gen, interval, timeout)
        with patience.waiting(self.silence) as most:
            try:
                return super().wait(gen, interval, most)
            except _WaitTimeout:
                # The answer may still come, to a question that nobody asks any more. This does not wait either.
                self.pgconn.finish()
                raise _silent(most) from None


def connect(patient: bool, *arguments: Any, **options: Any) -> Connection:
    """A connection, or SilentError where there is none in time. With `patient` what it is asked may take any time.

    In a thread of its own: the time-out of the driver is for each address, and none is for the resolution of names.
    What such a thread makes too late it closes.
    """
    made: Future[Connection] = Future()
    attempt = partial(_attempt, made, partial(Connection.connect, *arguments, **options))
    threading.Thread(target=attempt, name="connecting", daemon=True).start()
    with patience.waiting(patience.COMMAND if patient else patience.SILENCE) as most:
        try:
            connection = made.result(most)
        except TimeoutError:
            if made.cancel():
                raise _silent(most) from None
            connection = made.result()  # it came at the last moment
        except ConnectionTimeout:
            raise _silent(patience.SILENCE) from None
    if patient:
        connection.silence = None
    return connection


def _attempt(made: Future[Connection], connect: Callable[[], Connection]) -> None:
    connection = None
    try:
        connection = connect()
        made.set_result(connection)
    except InvalidStateError:  # nobody waits any more
        if connection is not None:
            connection.close()
    except BaseException as error:  # the thread that waits has to know
        with contextlib.suppress(InvalidStateError):
            made.set_exception(error)


def _silent(waited: float) -> SilentError:
    error = SilentError("the server does not answer")
    error.hangs = waited > patience.STATEMENT
    return error
