"""Counts which source files a request enters, and in which rooms they are."""

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import ostiary
from tests.cast import Front

SRC = Path(ostiary.__file__).parent
FILES = {
    "http/verify.py",
    "http/messages.py",
    "auth/authenticator.py",
    "core/secret.py",
    "core/verdict.py",
    "core/rate.py",
    "storage/fact_cache.py",
    "storage/usage_buffer.py",
}


def entered(work: Callable[[], object]) -> tuple[set[str], set[tuple[str, ...]]]:
    """Return the source files that `work` enters, and for each call the chain of rooms, outermost first."""
    files: set[str] = set()
    ways: set[tuple[str, ...]] = set()
    way: list[str] = []

    def watch(frame: FrameType, event: str, _argument: object) -> None:
        path = Path(frame.f_code.co_filename)
        if not path.is_relative_to(SRC):
            return
        if event == "call":
            file = path.relative_to(SRC)
            files.add(str(file))
            way.append(file.parts[0])
            ways.add(tuple(room for n, room in enumerate(way) if n == 0 or way[n - 1] != room))
        elif event == "return":
            way.pop()

    gc.disable()  # finalizers would enter files that do not belong to the result
    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return files, ways


def test_a_hot_verification_enters_eight_files_and_no_room_twice(front: Front) -> None:
    """Architecture breaks: following `/v1/verify` takes more than eight files, or leads back to a room
    already left.
    """
    house = front.house
    key = house.key(house.account()).secret.reveal()
    assert front.verify(key)["valid"]
    headers = [
        (b"host", b"localhost"),
        (b"x-api-key", house.alice_key.encode()),
        (b"content-type", b"application/json"),
    ]
    body = b'{"credential":"%s"}' % key.encode()
    answers: list[bytes | None] = []

    def ask() -> None:
        answers.append(front.door.answer_now(b"POST", b"/v1/verify", headers, body, "192.0.2.1"))

    ask()  # the second response uses what the first one cached
    files, ways = entered(ask)
    assert answers[-1] is not None
    assert b'"valid":true' in answers[-1]
    assert files == FILES
    assert max(map(len, ways)) <= 3
    assert all(len(set(way)) == len(way) for way in ways), ways
