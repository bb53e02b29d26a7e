"""CLI: a person checks a credential with `ostiary verify`."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from ostiary.cli.main import run
from ostiary.cli.verifying import _WORDS
from ostiary.core.verdict import VerdictCode
from tests.cli.edge import Stranger, on_terminal
from tests.servers import Ostiary


def test_every_code_has_words() -> None:
    """CLI breaks: the output shows a code of the API without an explanation."""
    assert {"valid", *_WORDS} == set(get_args(VerdictCode))


@pytest.mark.full
def test_a_good_credential_is_told_with_what_it_may_do(
    service: Ostiary, robo: dict[str, Any], key: tuple[str, str]
) -> None:
    """CLI breaks: the output does not show a key's owner, scopes and rate limit."""
    service.command("credential", "update", key[0], "--rate-limit", "60")
    done = service.command("verify", "--scope", "read:agents", stdin=f"{key[1]}\n")
    lines = dict(line.split(":", 1) for line in done.stdout.splitlines())
    told = {name: value.strip() for name, value in lines.items()}
    assert (told["Valid"], told["Code"], told["Credential"]) == ("yes", "valid", key[0])
    assert robo["id"] in told["Owner"]
    assert "read:agents" in told["Scopes"]
    assert told["Expires"] == "never"
    assert told["Rate limit"].startswith("59 of 60 uses per minute are left")
    assert key[1][-12:] not in done.stdout + done.stderr


@pytest.mark.full
def test_a_bad_one_is_exit_1_with_the_reason(service: Ostiary, key: tuple[str, str], tmp_path: Path) -> None:
    """CLI breaks: a script accepts a revoked key, or one without the required scope or address."""
    file = tmp_path / "key"
    file.write_text(key[1])
    service.command("credential", "update", key[0], "--ip", "203.0.113.0/24", "--scope", "read:agents")
    asked = ("verify", "--file", str(file))
    right = ("--ip", "203.0.113.9")
    service.command(*asked, *right)
    for options, words in (
        (("--ip", "198.51.100.1"), "may not be used from this address"),
        ((*right, "--scope", "write:agents"), "does not have all requested scopes"),
        ((*right, "--project", "nowhere"), "may not be used on this project"),
    ):
        done = service.command(*asked, *options, code=1)
        assert words in done.stdout
        assert done.stderr == ""
    service.command("credential", "revoke", "--yes", key[0])
    found = json.loads(service.command(*asked, *right, "--json", code=1).stdout)
    assert (found["valid"], found["code"], found["credential_id"]) == (False, "revoked", key[0])


@pytest.mark.full
def test_who_asks_is_judged_first(service: Ostiary, key: tuple[str, str], bob: str) -> None:
    """P19 breaks: a caller who may not verify learns about a key, or a script takes the refusal for a verdict."""
    done = service.command("verify", stdin=key[1], code=4, OSTIARY_API_KEY=bob)
    assert (done.stdout, "lacks a scope" in done.stderr) == ("", True)
    assert "--ip" in service.command("verify", "--ip", "here", stdin=key[1], code=2).stderr


@pytest.mark.full
def test_a_person_is_asked_for_it_unseen(service: Ostiary, key: tuple[str, str]) -> None:
    """P7 breaks: the terminal shows the key that a person types."""
    environment = {"OSTIARY_URL": service.url, "OSTIARY_API_KEY": service.key}
    code, shown = on_terminal(
        "verify", environment=environment, answer=f"{key[1]}\n", question="Credential (not shown): "
    )
    assert (code, "yes" in shown, key[1][-12:] in shown) == (0, True, False)


def test_what_is_asked_stands_in_the_body(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CLI breaks: an option of `verify` does not reach the service, or a credential is an argument."""
    monkeypatch.setenv("OSTIARY_URL", stranger.url)
    monkeypatch.setenv("OSTIARY_API_KEY", "ak-somebody")
    members = {"credential_id": None, "rate_limit": None, "rotation": None}
    answer = {"valid": False, "code": "wrong_audience"} | members
    stranger.says((200, "application/json", json.dumps(answer).encode()))
    file = tmp_path / "key"
    file.write_text("old_key_1\n")
    words = "--scope a:b --scope c:d --project p --resource r/1 --ip 203.0.113.9 --audience https://x.test --no-count"
    assert run(["verify", "--file", str(file), *words.split()]) == 1
    assert "issued for another audience" in capsys.readouterr().out
    assert json.loads(stranger.bodies[0]) == {
        "credential": "old_key_1",
        "scopes": ["a:b", "c:d"],
        "project": "p",
        "resource": "r/1",
        "ip": "203.0.113.9",
        "audience": "https://x.test",
        "count": False,
    }
    file.write_text(" \n")
    for arguments in (["old_key_2"], ["--file", str(file)]):
        assert run(["verify", *arguments]) == 2
        shown = capsys.readouterr()
        assert "old_key_2" not in shown.out + shown.err
    assert len(stranger.asked) == 1
