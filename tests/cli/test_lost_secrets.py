"""Secrets that could not be delivered: the command says so, and undoes the creation."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ostiary.cli.secret_request import CreatedSecret, hand_over
from tests.cli.edge import Stranger
from tests.servers import OSTIARY, PATIENCE, Ostiary, clean_environment

pytestmark = pytest.mark.full

FULL = ">/dev/full"
CLOSED = ">&-"
SMALL_FILES = "ulimit -f 0;"
"""A file size limit of 0, as on a full disk. The shell's own messages are discarded, too."""


def sh(service: Ostiary, line: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `ostiary …` in a shell line, as `$@`."""
    own = {"OSTIARY_URL": service.url, "OSTIARY_API_KEY": service.key}
    return subprocess.run(
        ["sh", "-c", line, "sh", *OSTIARY, *arguments],
        env=clean_environment() | own | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def shown(service: Ostiary, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The credential that standard error names."""
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    found = re.findall(r"cred_[0-9a-z]+", done.stderr)
    assert len(set(found)) == 1, done.stderr
    credential: dict[str, Any] = service.call("GET", f"/v1/credentials/{found[0]}").json()
    return credential


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("api-key generate --service-account $ROBO", FULL),
        ("api-key generate --json", CLOSED),
        ("client-secret generate --format toml --service-account $ROBO", FULL),
        ("api-call POST /v1/api-keys --data {}", FULL),
        ("service-account create --name Lost", FULL),
    ],
)
def test_a_secret_that_cannot_be_written_is_revoked(
    service: Ostiary, robo: dict[str, Any], command: str, output: str
) -> None:
    """P1, P7 break: on a full disk, an undelivered credential stays active without a message."""
    words = [robo["username"] if each == "$ROBO" else each for each in command.split()]
    done = sh(service, f'"$@" {output}', *words)
    credential = shown(service, done)
    assert credential["status"] == "revoked"
    assert f"{credential['id']} is revoked." in done.stderr
    # The key is named before it is printed, so it can be found however the command ends.
    assert done.stderr.index(credential["id"]) < done.stderr.index("could not be written")


def test_a_secret_that_nobody_reads_is_revoked(service: Ostiary, robo: dict[str, Any]) -> None:
    """P1, P7 break: `… | true` leaves an active key."""
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        [*OSTIARY, "api-key", "generate", "--service-account", robo["username"]],
        env=clean_environment() | {"OSTIARY_URL": service.url, "OSTIARY_API_KEY": service.key},
        stdout=writes, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    os.close(writes)
    assert shown(service, done)["status"] == "revoked"


def test_a_key_file_that_cannot_be_finished_is_revoked(
    service: Ostiary, robo: dict[str, Any], tmp_path: Path
) -> None:
    """P1, P7 break: the key of an incomplete file stays active."""
    out = tmp_path / "key.json"
    done = sh(
        service, f'{SMALL_FILES} exec "$@"',
        "key-file", "generate", "--service-account", robo["username"], "--out", str(out),
    )  # fmt: skip
    assert shown(service, done)["status"] == "revoked"
    assert list(tmp_path.glob("*key.json*")) == []


@pytest.mark.parametrize("overlap", [[], ["--overlap", "24h"], ["--overlap", "0", "--yes"]])
def test_a_rotation_whose_secret_is_lost_is_cancelled(
    service: Ostiary, key: tuple[str, str], overlap: list[str]
) -> None:
    """Rotation breaks: the old key ends, although the new one was not delivered."""
    credential, old = key
    done = sh(service, f'"$@" {FULL}', "credential", "rotate", credential, *overlap)
    found = shown(service, done)
    assert (found["status"], found["last6"], found["rotation"]) == ("active", old[-6:], None)
    assert f"The rotation of {credential} is cancelled" in done.stderr
    service.command("whoami", OSTIARY_API_KEY=old)


def test_links_and_tokens_are_taken_back_too(service: Ostiary) -> None:
    """CLI breaks: an undelivered link or token stays valid, or the message does not name it."""
    done = sh(service, f'"$@" {FULL}', "member", "invite", "lost@acme.test", "--role", "viewer")
    assert (done.returncode, "is withdrawn" in done.stderr) == (1, True), done.stderr
    kept = service.call("GET", "/v1/invitations").json()["data"]
    assert "lost@acme.test" not in [each["email"] for each in kept]
    done = sh(service, f'"$@" {FULL}', "member", "reset-password", "alice@acme.test")
    assert (done.returncode, "The link was not delivered" in done.stderr) == (1, True), done.stderr
    done = sh(service, f'"$@" {FULL}', "oauth-token", "generate")
    assert (done.returncode, "The token is revoked." in done.stderr) == (1, True), done.stderr


def test_a_first_key_that_is_lost_is_revoked_and_made_again(tmp_path: Path) -> None:
    """CLI breaks: on a full disk, `init` leaves an undelivered operator key, and no way to continue."""
    data = tmp_path / "data"
    words = ["init", "--data", str(data), "--organization", "Acme", "--email", "alice@acme.test"]
    done = subprocess.run(
        ["sh", "-c", f'"$@" {FULL}', "sh", *OSTIARY, *words],
        env=clean_environment(), capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert re.search(r"The operator key cred_\w+ is revoked", done.stderr)
    line = done.stderr.strip().splitlines()[-1].partition(": ")[2]
    assert line == f"ostiary init --recover --data {data}"
    again = subprocess.run(
        [*OSTIARY, *line.split()[1:], "--json"],
        env=clean_environment(), capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    assert json.loads(again.stdout)["api_key"].startswith("ak-")


@pytest.mark.parametrize(
    ("command", "output"), [("credential list --json", FULL), ("whoami", CLOSED), ("--help", FULL)]
)
def test_an_output_that_cannot_be_written_is_said(service: Ostiary, command: str, output: str) -> None:
    """CLI breaks: on a full disk a command shows a traceback, or exits 0 as if all had been written."""
    done = sh(service, f'"$@" {output}', *command.split())
    assert done.returncode == 1, done
    assert "Standard output cannot be written" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_command_whose_messages_cannot_be_written_fails(service: Ostiary, robo: dict[str, Any]) -> None:
    """P7 breaks: a key is printed although standard error could not name it first."""
    done = sh(service, '"$@" 2>/dev/full', "api-key", "generate", "--service-account", robo["username"])
    assert (done.returncode, done.stdout) == (1, "")
    address = f"/v1/service-accounts/{robo['id']}/credentials"
    assert [each["status"] for each in service.call("GET", address).json()["data"]] == ["revoked"]


MADE = {"credential": {"id": "cred_1", "kind": "api_key"}, "secret": None}
JSON = "application/json"


def test_an_answer_that_was_lost_is_asked_for_again(stranger: Stranger) -> None:
    """P1 breaks: a lost connection leaves an active key that nobody can identify."""
    stranger.says((502, JSON, b"{}"), (201, JSON, json.dumps(MADE).encode()), (200, JSON, b"{}"))
    done = subprocess.run(
        [*OSTIARY, "api-key", "generate"],
        env=clean_environment() | {"OSTIARY_URL": stranger.url, "OSTIARY_API_KEY": "ak-x"},
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "The response with the secret was lost.\ncred_1 is revoked." in done.stderr
    lines, fields = zip(*stranger.asked, strict=True)
    assert [line.split()[1] for line in lines] == [
        "/v1/api-keys", "/v1/api-keys", "/v1/credentials/cred_1/revoke",
    ]  # fmt: skip
    keys = [each.get("idempotency-key") for each in fields]
    assert keys[0] is not None
    assert keys[0] == keys[1]
    assert keys[2] is None


def test_an_answer_that_is_lost_for_good_is_said(stranger: Stranger) -> None:
    """CLI breaks: no message says that an undelivered key may exist, or how to find it."""
    stranger.says((504, JSON, b"{}"))
    done = subprocess.run(
        [*OSTIARY, "api-key", "generate"],
        env=clean_environment() | {"OSTIARY_URL": stranger.url, "OSTIARY_API_KEY": "ak-x"},
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "Find it with `ostiary credential list` and revoke it" in done.stderr


def test_ctrl_c_before_the_secret_is_out_takes_it_back() -> None:
    """P1 breaks: Ctrl-C between the response and the output leaves an active, undelivered key."""
    undone: list[str] = []

    def put(_answer: str) -> None:
        raise KeyboardInterrupt

    def made(answer: str) -> CreatedSecret:
        return CreatedSecret("", lambda: undone.append(answer), "", "")

    with pytest.raises(KeyboardInterrupt):
        hand_over(lambda: "cred_1", made, put)
    assert undone == ["cred_1"]
