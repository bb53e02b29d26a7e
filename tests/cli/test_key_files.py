"""CLI: `ostiary key-file generate` writes a key file once, readable by its owner only, or sends no request."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.servers import Ostiary

pytestmark = pytest.mark.full


def _count(service: Ostiary, account: str) -> int:
    shown = service.command("service-account", "show", account, "--json").stdout
    return int(json.loads(shown)["credentials"])


@pytest.mark.promise("P7")
def test_the_file_is_its_owners_and_the_key_is_nowhere_else(
    service: Ostiary, robo: dict[str, Any], tmp_path: Path
) -> None:
    """P7, B9 break: other users can read a key file, or its key is printed."""
    out = tmp_path / "robo.json"
    done = service.command(
        "key-file", "generate", "--service-account", robo["username"], "--out", str(out), "--compat", "google"
    )
    file = json.loads(out.read_text())
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [out]
    assert done.stdout == f"Key File: {out}\nKey ID: {file['key_id']}\n"
    assert file["private_key"].splitlines()[5] not in done.stderr
    assert file["client_id"] == robo["client_id"]
    assert file["token_uri"] == f"http://localhost:{service.port}/oauth/token"
    load_pem_private_key(file["private_key"].encode(), None)


@pytest.mark.parametrize("way", ["file", "link", "directory", "nowhere"])
def test_where_nothing_can_be_written_nothing_is_made(
    service: Ostiary, robo: dict[str, Any], tmp_path: Path, way: str
) -> None:
    """B9 breaks: a key file overwrites another file, or a key is created that is written nowhere."""
    out = tmp_path / "robo.json"
    if way == "file":
        out.write_text("kept")
    elif way == "link":
        out.symlink_to(tmp_path / "elsewhere")
    elif way == "directory":
        out.mkdir()
    else:
        out = tmp_path / "nowhere" / "robo.json"
    before = sorted(tmp_path.iterdir())
    options = ["key-file", "generate", "--service-account", robo["id"], "--out", str(out)]
    done = service.command(*options, code=2)
    assert str(out) in done.stderr
    assert sorted(tmp_path.iterdir()) == before
    assert way != "file" or out.read_text() == "kept"
    assert _count(service, robo["id"]) == 0


def test_a_key_file_is_not_printed(
    service: Ostiary, robo: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B9 breaks: `--out -` leaves a private key in a file of that name."""
    monkeypatch.chdir(tmp_path)
    for command in (
        ["key-file", "generate", "--service-account", robo["id"], "--out", "-"],
        ["credential", "rotate", "cred_x", "--out=-"],
    ):
        done = service.command(*command, code=2)
        assert "--out must be the name of a file. A key file is never printed." in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert _count(service, robo["id"]) == 0


def test_a_refused_key_leaves_no_file(service: Ostiary, robo: dict[str, Any], tmp_path: Path) -> None:
    """B9 breaks: an incomplete file remains when the service refuses."""
    out = tmp_path / "robo.json"
    options = ["key-file", "generate", "--service-account", robo["id"], "--out", str(out)]
    done = service.command(*options, "--algorithm", "EdDSA", "--compat", "google", code=2)
    assert "--compat is for key files with the algorithm RS256 only" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_rotation_writes_another_file(service: Ostiary, robo: dict[str, Any], tmp_path: Path) -> None:
    """CLI breaks: a rotated key file is printed or lost, or `--out` is taken for what has no file."""
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    made = json.loads(
        service.command(
            "key-file", "generate", "--service-account", robo["id"], "--out", str(first), "--algorithm", "EdDSA",
            "--json",
        ).stdout
    )  # fmt: skip
    assert made["file"] == str(first)
    assert "secret" not in made
    credential = made["credential"]["id"]
    rotate = ["credential", "rotate", credential, "--overlap", "1h"]
    assert "Name the new file with --out" in service.command(*rotate, code=2).stderr
    assert "exists" in service.command(*rotate, "--out", str(first), code=2).stderr
    done = service.command(*rotate, "--out", str(second))
    assert done.stdout.startswith(f"Key File: {second}\n")
    assert "The old key is accepted until" in done.stderr
    old, new = (json.loads(path.read_text()) for path in (first, second))
    assert old["key_id"] != new["key_id"]
    assert len(old["private_key"]) == len(new["private_key"])
    key = service.command("api-key", "generate", "--service-account", robo["id"], "--json").stdout
    wrong = ["credential", "rotate", json.loads(key)["credential"]["id"], "--out", str(tmp_path / "x")]
    assert "--out is for key files" in service.command(*wrong, code=2).stderr


def test_whoever_may_not_read_still_gets_what_they_rotate(
    service: Ostiary, robo: dict[str, Any], tmp_path: Path
) -> None:
    """CLI breaks: a rotation loses the new key because the credential's kind could not be read."""
    out = tmp_path / "robo.json"
    options = ["key-file", "generate", "--service-account", robo["id"], "--out", str(out), "--json"]
    credential = json.loads(service.command(*options).stdout)["credential"]["id"]
    scopes = ["write:credentials", "read:agents", "write:agents", "read:plugins", "write:plugins"]
    given = [part for scope in [*scopes, "read:service-accounts"] for part in ("--scope", scope)]
    key = service.command("api-key", "generate", *given).stdout.strip()
    done = service.command("credential", "rotate", credential, OSTIARY_API_KEY=key)
    assert json.loads(done.stdout)["secret"]["private_key"].startswith("-----BEGIN PRIVATE KEY-----")
