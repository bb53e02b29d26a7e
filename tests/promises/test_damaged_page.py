"""A damaged database page: responses, `/readyz`, the log and `doctor` report it at once.

The tests overwrite pages of a real data directory, of a stopped and of a running service. SQLite has no checksums, so
they check that no credential is accepted that was refused before, and that no response is a 500.
"""

import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ostiary.data_directory import DATABASE_FILE
from tests import damage, servers
from tests.conftest import PROVE
from tests.promises.line import Line, prove
from tests.servers import Ostiary, clean_environment, run_command, wait_until

pytestmark = [pytest.mark.promise("damage"), pytest.mark.full]

SEED = 20261201
KEYS = 60
ENVIRONMENT = {
    "OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_ORGANIZATION": "none",
    "OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_SERVICE_ACCOUNT": "none",
    "OSTIARY_DEFAULT_RATE_LIMIT": "none",
    "OSTIARY_DISK_RESERVE": "1",
}
DAMAGED = "the database is damaged: stop the service, run `ostiary doctor`, and restore a backup"
INDEX = "sqlite_autoindex_generations_1"
PLACES = (
    ("generations", INDEX, "credentials", "organizations", "role_bindings", "changes", "audit_events")
    if PROVE
    else ("generations", INDEX)
)
"""Tables and indexes whose pages are overwritten."""
FILLINGS = (None, SEED) if PROVE else (None,)
"""Overwrite with zeros, or with random bytes."""


@dataclass(frozen=True, slots=True)
class Furnished:
    """A data directory to copy, with keys and the expected verdict on each."""

    data: Path
    first: dict[str, Any]
    verdicts: dict[str, str]
    active: str
    """The id of a key that is not revoked."""


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Furnished:
    data = tmp_path_factory.mktemp("furnished") / "data"
    verdicts = {}
    with servers.ostiary(data, None, None, **ENVIRONMENT) as server, Line(server.port, server.key) as line:
        made = line.made("/v1/service-accounts", {"display_name": "Robo", "roles": [{"role": "developer"}]})
        owner = made["service_account"]["id"]
        for number in range(KEYS):
            key = line.made(f"/v1/service-accounts/{owner}/credentials", {"kind": "api_key"})
            verdicts[key["secret"]] = "revoked" if number % 2 else "valid"
            if number % 2:
                path = f"/v1/credentials/{key['credential']['id']}/revoke"
                assert line.ask("POST", path).status == 200
            else:
                active = key["credential"]["id"]
        first = server.first
    return Furnished(data, first, verdicts, active)


def copied(furnished: Furnished, place: Path) -> Path:
    data = Path(shutil.copytree(furnished.data, place / "data"))
    data.chmod(0o700)
    return data


def asked(line: Line, furnished: Furnished) -> Counter[str]:
    """Verify each key and revoke one. Returns how often each result occurred."""
    found: Counter[str] = Counter()
    for secret, verdict in furnished.verdicts.items():
        answer = line.ask("POST", "/v1/verify", {"credential": secret})
        if answer.status == 200:
            told = answer.json()["code"]
            found["right" if told == verdict else f"{told}, not {verdict}"] += 1
        else:
            found[
                f"{answer.status} {answer.headers.get('Retry-After', answer.headers.get('retry-after'))}"
            ] += 1
    answer = line.ask("POST", f"/v1/credentials/{furnished.active}/revoke")
    found["right" if answer.status == 200 else f"{answer.status} {answer.headers.get('retry-after')}"] += 1
    return found


RIGHT = {"right", "503 1"}
_figures: Counter[str] = Counter()


def examined(data: Path, code: int) -> str:
    return run_command("doctor", "--data", str(data), code=code, environment=ENVIRONMENT).stdout


def is_told(server: Ostiary, line: Line) -> None:
    answer = line.ask("GET", "/readyz")
    assert answer.status == 503
    assert DAMAGED in answer.json()["reasons"]
    wait_until("a line in the log", lambda: DAMAGED.encode() in server.log.read_bytes())


def noted(found: Counter[str]) -> None:
    assert set(found) <= RIGHT, found
    _figures["answers"] += found.total()
    _figures["of them right"] += found["right"]
    _figures["of them 503 with Retry-After"] += found["503 1"]
    _figures["of them anything else"] += found.total() - found["right"] - found["503 1"]


@pytest.mark.parametrize("seed", FILLINGS, ids=str)
@pytest.mark.parametrize("place", PLACES)
def test_a_page_that_was_damaged_while_the_service_was_stopped(
    furnished: Furnished, tmp_path: Path, place: str, seed: int | None
) -> None:
    """P1, P11 break: after a disk failure a revoked key is accepted, or the service only responds with 500."""
    data = copied(furnished, tmp_path)
    damage.overwrite(data / DATABASE_FILE, damage.leaves(data / DATABASE_FILE, place), seed)
    assert "✗ Integrity: " in examined(data, 1) or "✗ Database: " in examined(data, 1)
    _figures["pages of a stopped service"] += 1
    if place in ("organizations", "changes"):  # these are read first
        refuses_to_start(data)
        return
    with (
        servers.ostiary(data, furnished.first, None, **ENVIRONMENT) as server,
        Line(server.port, server.key) as line,
    ):
        found = asked(line, furnished)
        noted(found)
        assert found["503 1"] > 0
        is_told(server, line)


def refuses_to_start(data: Path) -> None:
    done = subprocess.run(
        [*servers.OSTIARY, "serve", "--data", str(data), "--port", str(servers.free_port())],
        env=clean_environment() | ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=servers.PATIENCE,
    )
    assert done.returncode == 3, done.stderr
    assert DAMAGED in done.stderr
    _figures["starts refused, with the reason"] += 1


@pytest.mark.parametrize("seed", FILLINGS, ids=str)
def test_a_header_that_was_damaged(furnished: Furnished, tmp_path: Path, seed: int | None) -> None:
    """P11 breaks: a service with an unreadable database starts, or ends without a reason."""
    data = copied(furnished, tmp_path)
    damage.overwrite(data / DATABASE_FILE, [1], seed)
    assert DAMAGED in examined(data, 1)
    refuses_to_start(data)


@pytest.fixture
def running(furnished: Furnished, tmp_path: Path) -> Iterator[Ostiary]:
    with servers.ostiary(copied(furnished, tmp_path), furnished.first, None, **ENVIRONMENT) as server:
        yield server
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(servers.PATIENCE) == 0, "it ends as it should all the same"


@pytest.mark.parametrize("seed", FILLINGS, ids=str)
@pytest.mark.parametrize("place", [*PLACES[:2], ""])
def test_a_page_that_is_damaged_under_the_service(
    furnished: Furnished, running: Ostiary, place: str, seed: int | None
) -> None:
    """P1, P11 break: with a damaged page a cached key is refused, or a revoked key is accepted."""
    path = running.data / DATABASE_FILE
    cached = [secret for secret, verdict in furnished.verdicts.items() if verdict == "valid"][:10]
    with Line(running.port, running.key) as line:
        assert [line.verify(secret) for secret in cached] == ["valid"] * 10
        damage.checkpoint(path)
        pages = damage.leaves(path, place) if place else [1]
        damage.overwrite(path, pages, seed)
        assert [line.verify(secret) for secret in cached] == ["valid"] * 10
        # A change makes connections drop their cached pages.
        line.ask("POST", "/v1/service-accounts", {"display_name": "Another"})
        found = asked(line, furnished)
        noted(found)
        assert found["503 1"] > 0
        is_told(running, line)
    _figures["pages of a service that ran"] += 1
    if PROVE and (place, seed) == ("", SEED):
        prove(
            "damage",
            "pages of the database that were overwritten",
            SEED,
            {"keys": KEYS, **_figures},
        )
