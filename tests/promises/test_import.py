"""A full import: a million keys, interrupted once by `kill -9`, resumed, and verified while the service runs."""

import os
import random
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

from tests import servers
from tests.cast import SEED
from tests.conftest import PROVE
from tests.promises.line import Line, prove
from tests.servers import OSTIARY, Ostiary

pytestmark = [pytest.mark.promise("import"), pytest.mark.full]

KEYS = int(os.environ.get("OSTIARY_PROVE_KEYS", "1000000" if PROVE else "12000"))
VERIFIED = min(KEYS, 200_000 if PROVE else 600)
THREADS = 3
PREFIX = "sk_live_"


def text_of(number: int) -> str:
    """A key of the other system."""
    return f"{PREFIX}{sha256(f'{SEED} {number}'.encode()).hexdigest()[:40]}"


def write_file(path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write("sha256,name\n")
        for number in range(KEYS):
            file.write(f"{sha256(text_of(number).encode()).hexdigest()},key {number}\n")


def command(server: Ostiary, path: Path) -> list[str]:
    return [
        *OSTIARY, "import", str(path), "--data", str(server.data), "--service-account", "old",
        "--prefix", PREFIX, "--register", "--exceed-limits",
    ]  # fmt: skip


def interrupt(server: Ostiary, path: Path) -> None:
    """Start the import, and kill it after its first batch is acknowledged."""
    with subprocess.Popen(
        command(server, path), env=servers.clean_environment(), stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        assert b"imported" in process.stderr.readline()
        process.send_signal(signal.SIGKILL)


def count(server: Ostiary) -> int:
    found: int = server.call("GET", "/v1/service-accounts?username=old").json()["data"][0]["credentials"]
    return found


def wrongly(server: Ostiary, numbers: list[int]) -> int:
    """Return how many of these keys are not valid."""
    with Line(server.port, server.key) as line:
        return sum(line.verify(text_of(number)) != "valid" for number in numbers)


def test_an_import_that_was_killed_goes_on_and_every_key_verifies(tmp_path: Path) -> None:
    """P3, Import break: a killed import loses keys, imports some twice, or must start again."""
    path = tmp_path / "keys.csv"
    write_file(path)
    with servers.ostiary(tmp_path / "data", OSTIARY_DEFAULT_RATE_LIMIT="none") as server:
        server.command(
            "service-account", "create", "--name", "Old", "--role", "developer", "--credential", "none"
        )
        interrupt(server, path)
        first = count(server)
        assert 0 < first < KEYS
        assert first % 5_000 == 0
        begun = time.monotonic()
        resumed = subprocess.run(
            command(server, path), env=servers.clean_environment(), capture_output=True, text=True, check=True
        )
        took = time.monotonic() - begun
        assert f"{KEYS - first:,} keys imported for Old.\n{first:,} skipped" in resumed.stdout
        assert count(server) == KEYS
        chosen = random.Random(SEED).sample(range(KEYS), VERIFIED)
        with ThreadPoolExecutor(THREADS) as threads:
            parts = [chosen[number::THREADS] for number in range(THREADS)]
            wrong = sum(threads.map(lambda part: wrongly(server, part), parts))
        assert wrong == 0
        assert wrongly(server, [KEYS]) == 1
        again = subprocess.run(
            command(server, path), env=servers.clean_environment(), capture_output=True, text=True, check=True
        )
        assert f"0 keys imported for Old.\n{KEYS:,} skipped" in again.stdout
        imported = server.call("GET", "/v1/audit-events?action=credentials.imported&limit=200").json()["data"]
        assert sum(each["details"]["imported"] for each in imported) == KEYS
    if PROVE:
        prove(
            "import",
            "keys of another system, interrupted once",
            SEED,
            {
                "keys": KEYS,
                "imported before the kill": first,
                "imported after it, by the same command": KEYS - first,
                "keys a second, after it": round((KEYS - first) / took),
                "verified over HTTP, chosen at random": VERIFIED,
                "of them not valid": wrong,
                "credentials of the account at the end": KEYS,
                "imported by a third run": 0,
            },
        )
