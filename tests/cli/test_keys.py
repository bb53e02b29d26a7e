"""CLI: the keys that sign tokens, in the data directory of a running service."""

import json
from pathlib import Path
from typing import Any

import pytest

from ostiary.cli.main import run
from tests.servers import Ostiary, initialise, ostiary

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Any:
    data = tmp_path_factory.mktemp("keys") / "data"
    with ostiary(data) as service:
        yield service, data


def published(service: Ostiary, address: str = "/.well-known/jwks.json") -> set[str]:
    return {key["kid"] for key in service.call("GET", address).json()["keys"]}


def keys(data: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert run(["keys", *arguments, "--data", str(data), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_running_service_obeys(served: tuple[Ostiary, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """P1 breaks: a running service does not learn of a rotation or a revocation before the command ends."""
    service, data = served
    first = keys(data, capsys, "list")
    assert {(key["purpose"], key["state"]) for key in first} == {
        ("access_token", "signing"),
        ("assertion", "signing"),
        ("m2m", "signing"),
    }
    assert published(service) == {key["kid"] for key in first}
    (waiting,) = keys(data, capsys, "rotate", "--purpose", "m2m")
    assert waiting["signs_from"] > waiting["created_at"]
    assert waiting["kid"] in published(service, "/oauth2/ostiary/v1/keys")
    assert len(keys(data, capsys, "rotate", "--now")) == 3
    signing = [key for key in keys(data, capsys, "list") if key["state"] == "signing"]
    assert len(signing) == 3
    gone = signing[0]["kid"]
    assert gone in published(service)
    done = keys(data, capsys, "revoke", "--yes", gone)
    assert gone not in published(service)
    assert done["successor"] in published(service)
    assert keys(data, capsys, "revoke", "--yes", gone) == {"revoked": gone, "successor": None}


def test_people_read_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """CLI breaks: an empty list, an unknown key or an invalid purpose gives no useful message."""
    data = tmp_path / "data"
    initialise(data)
    assert run(["keys", "list", "--data", str(data)]) == 0
    assert "`ostiary serve` creates them" in capsys.readouterr().err
    assert run(["keys", "rotate", "--purpose", "m2m", "--data", str(data)]) == 0
    said = capsys.readouterr().out.split()
    assert said[1:3] == ["signs", "m2m"]
    assert run(["keys", "revoke", "--yes", "key_x", "--data", str(data)]) == 1
    assert "no such signing key" in capsys.readouterr().err
    assert run(["keys", "revoke", "--yes", said[0], "--data", str(data)]) == 0
    assert f"{said[0]} is revoked. key_" in capsys.readouterr().out
    assert run(["keys", "rotate", "--purpose", "tea", "--data", str(data)]) == 2
