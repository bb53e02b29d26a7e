"""Fixtures for tests of the command line."""

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ostiary.cli.profile import profile_path
from tests.cli import edge
from tests.cli.edge import Stranger
from tests.servers import Ostiary

_numbers = itertools.count(1)


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    """A server that is not Ostiary."""
    with edge.stranger() as found:
        yield found


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the developer's own environment and profile out of the tests."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in list(os.environ):
        if name.startswith("OSTIARY_") or name.upper() in {"HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "NO_COLOR"}:
            monkeypatch.delenv(name)


@pytest.fixture
def config() -> Path:
    """The path of this test's profile. Its directory exists, the file does not."""
    path = profile_path()
    path.parent.mkdir(mode=0o700, parents=True)
    return path


@pytest.fixture
def robo(service: Ostiary) -> dict[str, Any]:
    """A service account for each test, created by the command line."""
    name = f"Robo {next(_numbers)}"
    done = service.command(
        "service-account", "create", "--name", name, "--role", "developer", "--credential", "none", "--json"
    )
    account: dict[str, Any] = json.loads(done.stdout)["service_account"]
    return account


@pytest.fixture
def key(service: Ostiary, robo: dict[str, Any]) -> tuple[str, str]:
    """An API key of Robo's: its id and the key."""
    done = service.command("api-key", "generate", "--service-account", robo["username"], "--json")
    made = json.loads(done.stdout)
    return made["credential"]["id"], made["secret"]


@pytest.fixture
def bob(service: Ostiary) -> str:
    """A key of a viewer."""
    done = service.command(
        "service-account", "create", "--name", "Bob", "--role", "viewer", "--credential", "api-key", "--json"
    )
    return str(json.loads(done.stdout)["secret"])
