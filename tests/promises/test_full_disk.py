"""A full disk: access can still be revoked, no other change is half done, and all works again when there is space.

A real `ostiary serve` has its data directory on a small file system. Another program fills it to the last byte and
continues: space that the service frees from its reserve and does not use at once is lost to that program.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ostiary.data_directory import DATABASE_FILE
from tests import damage, servers
from tests.cast import Answer
from tests.conftest import PROVE, unavailable
from tests.disks import MIB, Disk, Kind, small_disk
from tests.promises.line import Line, prove
from tests.servers import Ostiary, UnavailableError, clean_environment, run_command, wait_until

pytestmark = [pytest.mark.promise("disk"), pytest.mark.full]

REVOKED = 150 if PROVE else 20
AFTER_A_START = 25 if PROVE else 5
KEPT = 20
SIZE = 160 * MIB
RESERVE = 32
ENVIRONMENT = {
    "OSTIARY_WORKERS": "2",
    "OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_ORGANIZATION": "none",
    "OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_SERVICE_ACCOUNT": "none",
    "OSTIARY_DEFAULT_RATE_LIMIT": "none",
    "OSTIARY_DISK_RESERVE": str(RESERVE),
}
FULL = "the disk of the database is full: make room"

Made = tuple[str, str]
"""A key's id and its secret."""


@contextlib.contextmanager
def disk_at(place: Path, kind: Kind = "tmpfs") -> Iterator[Disk]:
    try:
        with small_disk(place, SIZE, kind) as found:
            yield found
    except UnavailableError as error:
        unavailable(error)


def account(line: Line, name: str) -> str:
    made = line.made("/v1/service-accounts", {"display_name": name, "roles": [{"role": "developer"}]})
    return str(made["service_account"]["id"])


def keys(line: Line, owner: str, number: int) -> list[Made]:
    made = [
        line.made(f"/v1/service-accounts/{owner}/credentials", {"kind": "api_key"}) for _ in range(number)
    ]
    return [(each["credential"]["id"], each["secret"]) for each in made]


def revoke(line: Line, key: Made) -> Answer:
    return line.ask("POST", f"/v1/credentials/{key[0]}/revoke")


def is_full(answer: Answer) -> bool:
    return (answer.status, answer.json()["code"]) == (507, "storage-full")


def write(line: Line) -> Answer:
    """A change that grants access. The reserve is not for such changes."""
    return line.ask("POST", "/v1/service-accounts", {"display_name": "Later", "description": "x" * 1000})


def readiness(line: Line) -> tuple[int, list[str]]:
    answer = line.ask("GET", "/readyz")
    return answer.status, answer.json().get("reasons", [])


def revocations_told(line: Line) -> list[str]:
    """Return the keys whose revocation is in the audit log, once per event."""
    found: list[str] = []
    cursor = ""
    while True:
        page: dict[str, Any] = line.ask(
            "GET", f"/v1/audit-events?action=credential.revoked&limit=200{cursor}"
        ).json()
        found += [event["target"]["id"] for event in page["data"]]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


class Story:
    """One service on one disk, with keys to revoke and keys to keep."""

    def __init__(self, disk: Disk, environment: dict[str, str]) -> None:
        self.disk = disk
        self.environment = environment
        self.first = servers.initialise(disk.root, **environment)
        self.port = servers.free_port()
        self.server = self._start()
        self.revoked: list[Made] = []
        with Line(self.port, self.server.key) as line:
            owner = account(line, "Robo")
            self.kept = keys(line, owner, KEPT)
            self.waiting = keys(line, owner, REVOKED + 2 * AFTER_A_START)

    def _start(self) -> Ostiary:
        return servers.start(self.disk.root, self.first, self.port, **self.environment)

    def revoke_some(self, line: Line, number: int) -> int:
        """Revoke this number of keys, while the disk is filled again. Returns how many revocations were refused."""
        refused = 0
        for _ in range(number):
            key = self.waiting.pop()
            self.disk.fill()
            if revoke(line, key).status == 200:
                self.revoked.append(key)
            else:
                refused += 1
        return refused

    def wrong_verdicts(self, line: Line) -> list[str]:
        """Return the verdicts that differ from the acknowledged state. Each uses a new connection, to any worker."""
        expected = [(key, "revoked") for key in self.revoked] + [(key, "valid") for key in self.kept]
        found = []
        for number, ((_, secret), code) in enumerate(expected):
            if number % 10 == 0:
                line.close()
            told = line.verify(secret)
            if told != code:
                found.append(f"{told}, not {code}")
        return found

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if how == signal.SIGKILL:
            self.server.kill()
        else:
            self.server.process.send_signal(how)
            assert self.server.process.wait(servers.PATIENCE) == 0

    def start(self) -> None:
        """Let the other program take the free space, and start the service."""
        self.disk.fill()
        self.server = self._start()


@contextlib.contextmanager
def story(disk: Disk, **environment: str) -> Iterator[Story]:
    found = Story(disk, ENVIRONMENT | environment)
    try:
        yield found
    finally:
        if found.server.process.poll() is None:
            found.server.kill()


_figures: dict[str, object] = {}


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_access_can_be_ended_on_a_full_disk(tmp_path: Path, kind: Kind) -> None:
    """P1, P5 break: on a full disk a stolen key stays valid, or its revocation is missing in the audit log."""
    with (
        disk_at(tmp_path / "data", kind) as disk,
        story(disk) as told,
        Line(told.port, told.server.key) as line,
    ):
        assert readiness(line) == (200, [])
        owner = account(line, "Other")
        more = keys(line, owner, 3)
        disk.fill()
        assert is_full(write(line))
        assert readiness(line) == (503, [FULL])
        refused = told.revoke_some(line, REVOKED)
        assert refused == 0
        # Every other change that ends access, and none that grants it.
        assert line.ask("POST", f"/v1/credentials/{more[0][0]}/deactivate").status == 200
        assert line.ask("POST", f"/v1/credentials/{more[0][0]}/revoke").status == 200
        assert line.ask("POST", f"/v1/credentials/{more[0][0]}/revoke").status == 200, "it was so already"
        assert line.ask("POST", f"/v1/service-accounts/{owner}/disable").status == 200
        assert line.verify(more[1][1]) == "disabled"
        assert is_full(write(line))
        assert is_full(line.ask("POST", f"/v1/service-accounts/{owner}/enable"))
        wrong = told.wrong_verdicts(line)
        for how in (signal.SIGTERM, signal.SIGKILL):
            told.stop(how)
            told.start()
            wrong += told.wrong_verdicts(line)
            assert readiness(line) == (503, [FULL])
            refused += told.revoke_some(line, AFTER_A_START)
            wrong += told.wrong_verdicts(line)
            assert is_full(write(line))
        assert (refused, wrong) == (0, [])
        spent = RESERVE * MIB - (disk.root / "disk.reserve").stat().st_size
        disk.make_room()
        wait_until("the reserve to be whole", lambda: readiness(line)[0] == 200)
        assert (disk.root / "disk.reserve").stat().st_size == RESERVE * MIB
        assert write(line).status == 201
        assert told.wrong_verdicts(line) == []
        events = revocations_told(line)
        assert sorted(events) == sorted([key for key, _ in told.revoked] + [more[0][0]])
        _figures[f"{kind}: revocations on the full disk"] = len(told.revoked)
        _figures[f"{kind}: of them refused"] = refused
        _figures[f"{kind}: starts on the full disk"] = 2
        _figures[f"{kind}: wrong verdicts"] = len(wrong)
        _figures[f"{kind}: revocations without their event"] = len(told.revoked) + 1 - len(events)
        _figures[f"{kind}: MiB of the reserve's {RESERVE} given up"] = round(spent / MIB)
    if PROVE and kind == "ext4":
        prove("disk", "a disk that is full, and goes on to be filled", 0, _figures)


@pytest.mark.parametrize("made_before", [True, False])
def test_a_start_without_any_room_verifies(tmp_path: Path, made_before: bool) -> None:
    """P11 breaks: with a full disk and no reserve, a restarted service cannot verify any key."""
    with (
        disk_at(tmp_path / "data") as disk,
        story(disk, OSTIARY_DISK_RESERVE="0") as told,
        Line(told.port, told.server.key) as line,
    ):
        told.stop()
        for file in (disk.root / "metrics").iterdir():
            file.unlink()  # the start frees space, too
        if not made_before:
            for name in ("changes.number", "uses.permits", "failures.permits", "troubles.times"):
                (disk.root / name).unlink()
        told.start()
        assert told.wrong_verdicts(line) == []
        assert readiness(line) == (503, [FULL])
        assert is_full(revoke(line, told.waiting[0]))
        assert line.verify(told.waiting[0][1]) == "valid"
        disk.make_room()
        wait_until("a revocation to succeed", lambda: revoke(line, told.waiting[0]).status == 200)
        assert line.verify(told.waiting[0][1]) == "revoked"
        wait_until("readiness", lambda: readiness(line)[0] == 200)
        assert write(line).status == 201
        assert told.wrong_verdicts(line) == []


def test_doctor_and_the_figures_tell_of_it_before(tmp_path: Path) -> None:
    """P11 breaks: the first sign of a full disk is a refused request."""
    with disk_at(tmp_path / "data") as disk, story(disk) as told, Line(told.port, told.server.key) as line:
        wait_until("the warning", lambda: b"MiB are free on the disk" in told.server.log.read_bytes())
        free = next(
            float(each.split()[1])
            for each in line.ask("GET", "/metrics").body.decode().splitlines()
            if each.startswith("ostiary_disk_free_bytes ")
        )
        assert abs(free - disk.free()) < MIB
        found = run_command("doctor", "--data", str(disk.root), environment=ENVIRONMENT).stdout
        assert "! Disk: " in found
        disk.fill()
        told.revoke_some(line, 3)
        found = run_command("doctor", "--data", str(disk.root), code=1, environment=ENVIRONMENT).stdout
        assert f"in reserve: {FULL}" in found
        assert b"database in trouble" in told.server.log.read_bytes()


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    """P11 breaks: when standard output is a file on a full disk, the service ends or responds with 500."""
    data = tmp_path / "data"
    first = servers.initialise(data)
    port = servers.free_port()
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        process = subprocess.Popen(
            [*servers.OSTIARY, "serve", "--data", str(data), "--port", str(port)],
            env=clean_environment(),
            stdout=full,
            stderr=full,
            start_new_session=True,
        )
    try:
        with Line(port, str(first["api_key"])) as line:
            wait_until("ostiary serve", lambda: servers.accepts(port), process)
            for _ in range(20):
                assert line.ask("GET", "/readyz").status == 200
                assert line.ask("GET", "/v1/service-accounts/none").status == 404
            # This is logged before the response: the database is unreadable.
            damage.checkpoint(data / DATABASE_FILE)
            damage.overwrite(data / DATABASE_FILE, [1])
            assert write(line).status in (201, 503)
            assert write(line).status == 503
            assert line.ask("GET", "/readyz").status == 503
        process.terminate()
        assert process.wait(servers.PATIENCE) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
