"""P20: slow, large, malformed and aborted connections barely affect other clients, and leak nothing.

The tests use a real `ostiary serve`. They check that all other clients get responses and that no descriptor is left.
They print the waiting times of other clients; `make prove` writes them down.
"""

import multiprocessing
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from tests import servers
from tests.conftest import PROVE
from tests.promises.line import prove
from tests.servers import Ostiary, wait_until

pytestmark = [pytest.mark.promise("P20"), pytest.mark.full]

MANY = 1_000 if PROVE else 200
ASKED = 20_000 if PROVE else 500


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ostiary]:
    with servers.ostiary(tmp_path_factory.mktemp("p20") / "data", OSTIARY_DEFAULT_RATE_LIMIT="none") as found:
        yield found


def processes(server: Ostiary) -> list[int]:
    """The service and its child processes."""
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def sockets(server: Ostiary) -> int:
    """Return the number of connection descriptors over all processes of the service."""
    count = 0
    for pid in processes(server):
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                count += str(each.readlink()).startswith("socket:")
    return count


def connect(server: Ostiary) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=servers.PATIENCE)


class Other:
    """A client that sends requests over one connection, and the time of each response in seconds."""

    def __init__(self, server: Ostiary) -> None:
        self._connection = connect(server)
        self._request = f"GET /v1/authorize/- HTTP/1.1\r\nHost: a\r\nX-API-Key: {server.key}\r\n\r\n".encode()

    def ask(self, times: int) -> list[float]:
        taken = []
        for _ in range(times):
            begun = time.perf_counter()
            self._connection.sendall(self._request)
            answer = b""
            while b"\r\n\r\n" not in answer:
                part = self._connection.recv(65536)
                assert part, "the service ended somebody else's connection"
                answer += part
            taken.append(time.perf_counter() - begun)
            assert answer.startswith(b"HTTP/1.1 200 "), answer[:80]
        return taken

    def close(self) -> None:
        self._connection.close()


def p99(taken: list[float]) -> float:
    return sorted(taken)[len(taken) * 99 // 100]


# Each function is one attack on the service. It may leave its connection open.


def slow_head(sock: socket.socket, number: int) -> None:
    """One byte, and then nothing."""
    sock.sendall(b"GET /v1/authorize/- HTTP/1.1\r\nHost: a\r\nX-Slow: "[: number % 40 + 1])


def slow_body(sock: socket.socket, number: int) -> None:
    sock.sendall(
        b"POST /v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + b"x" * (number % 9)
    )


def huge_head(sock: socket.socket, number: int) -> None:
    with suppress(ConnectionError):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-%d: %s\r\n" % (number, b"y" * 1000) * 64)
        sock.sendall(b"\r\n")
        sock.recv(65536)


def two_lengths(sock: socket.socket, _number: int) -> None:
    with suppress(ConnectionError):
        sock.sendall(
            b"POST /v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\n\r\nGET /v1/capabilities HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        answer = sock.recv(65536)
        assert answer.count(b"HTTP/1.1 ") == 1, answer
        assert answer.startswith(b"HTTP/1.1 400 "), answer


def dropped(sock: socket.socket, number: int) -> None:
    """Abort in the middle of a request, a body or a response, with a TCP reset."""
    whole = b"POST /v1/verify HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123456789"
    sock.sendall(whole[: number % (len(whole) + 1)])
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def never_reads(sock: socket.socket, _number: int) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    with suppress(BlockingIOError, ConnectionError):
        sock.send(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 40)


DEEDS: dict[str, Callable[[socket.socket, int], None]] = {
    "slow heads": slow_head,
    "slow bodies": slow_body,
    "huge heads": huge_head,
    "CL and TE": two_lengths,
    "dropped": dropped,
    "answers not read": never_reads,
}
WEIGHT = {"answers not read": 20}
"""Attacks that cost as much as this number of the others."""

_figures: dict[str, object] = {}


def attack(server: Ostiary, what: str, done: Event, leave: Event) -> None:
    """The attacks run in a separate process, so that they do not slow down the measuring client."""
    with ExitStack() as stack:
        for number in range(MANY // WEIGHT.get(what, 1)):
            sock = stack.enter_context(connect(server))
            DEEDS[what](sock, number)
        done.set()
        leave.wait(servers.PATIENCE)


@pytest.mark.parametrize("what", DEEDS)
def test_the_others_are_answered_and_nothing_is_left(server: Ostiary, what: str) -> None:
    """P20 breaks: one client's connections delay the others, or their descriptors leak."""
    other = Other(server)
    before = p99(other.ask(ASKED))
    open_before = sockets(server)
    forked = multiprocessing.get_context("fork")
    done, leave = forked.Event(), forked.Event()
    attacker = forked.Process(target=attack, args=(server, what, done, leave))
    attacker.start()
    taken: list[float] = []
    while not done.is_set() and attacker.is_alive():
        taken += other.ask(20)
    taken += other.ask(ASKED)  # these connections are still open
    leave.set()
    attacker.join()
    assert attacker.exitcode == 0, "the attack did not go to its end"
    during = p99(taken)
    wait_until("the descriptors to be given back", lambda: sockets(server) <= open_before)
    other.close()
    print(f"{what}: p99 of the others {before * 1e3:.2f} ms before, {during * 1e3:.2f} ms during")
    _figures[f"{what}: p99 of the others, of that before"] = f"{during / before:.1f} ×"
    if PROVE and what == list(DEEDS)[-1]:
        prove(
            "P20-connections",
            "slow, huge, crooked and dropped connections",
            0,
            {"connections of each sort": MANY} | _figures | {"descriptors left": 0, "others not answered": 0},
        )
