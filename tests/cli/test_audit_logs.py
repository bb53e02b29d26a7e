"""CLI, B9: a person reads, follows and exports the audit log with `ostiary audit logs`."""

import json
import stat
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from ostiary.cli.main import run
from tests.cli.edge import Stranger, interrupt
from tests.servers import OSTIARY, PATIENCE, Ostiary, clean_environment


@pytest.mark.full
def test_events_of_a_target_newest_last(service: Ostiary, robo: dict[str, Any], key: tuple[str, str]) -> None:
    """P5 breaks: the log that a person reads lacks what was done to an account and its key."""
    service.command("credential", "revoke", "--yes", key[0])
    shown = service.command("audit", "logs", "--target", key[0], "--since", "1h").stdout.splitlines()
    assert shown[0].split() == ["TIME", "ACTION", "OUTCOME", "ACTOR", "TARGET", "DETAILS"]
    assert [line.split()[1] for line in shown[1:]] == ["credential.created", "credential.revoked"]
    assert "alice@acme.test (API key)" in shown[1]
    found = json.loads(service.command("audit", "logs", "--target", robo["id"], "--json").stdout)
    assert [each["action"] for each in found] == ["service_account.created"]


@pytest.mark.full
def test_an_actor_goes_by_a_name_and_nobody_is_told(service: Ostiary, robo: dict[str, Any]) -> None:
    """B9 breaks: `--actor` finds nothing for a known name, or a mistyped name looks like one without events."""
    about = ("audit", "logs", "--target", robo["id"])
    assert "service_account.created" in service.command(*about, "--actor", "alice@acme.test").stdout
    for name in (robo["display_name"], robo["username"]):
        done = service.command(*about, "--actor", name)
        assert (done.stdout, done.stderr) == ("", "No events match.\n"), name
    note, rest = service.command(*about, "--actor", "robbo").stderr.splitlines()
    assert note == "Note: robbo matches no actor in the organization or in its audit log."
    assert rest == "No events match."
    assert json.loads(service.command(*about, "--actor", "robbo", "--json").stdout) == []


@pytest.mark.full
def test_an_update_reads_as_from_what_to_what(service: Ostiary, robo: dict[str, Any]) -> None:
    """P5 breaks: a person cannot read what an update changed."""
    service.command(
        "service-account", "update", robo["username"], "--email", "ops@acme.test", "--scope", "api"
    )
    shown = service.command(
        "audit", "logs", "--target", robo["id"], "--action", "service_account.updated"
    ).stdout
    for words in (
        "access_level full -> fine_grained",
        "contact_email none -> ops@acme.test",
        "scopes none -> api",
    ):
        assert words in shown


@pytest.mark.full
@pytest.mark.promise("P7")
def test_no_secret_stands_in_the_log(service: Ostiary, key: tuple[str, str]) -> None:
    """P7 breaks: the audit log that a person reads holds a key."""
    shown = service.command("audit", "logs", "--limit", "1000", "--json").stdout
    assert key[0] in shown
    assert key[1][-12:] not in shown


@pytest.mark.full
@pytest.mark.parametrize(
    "options, said",
    [
        (["--since", "1h", "--until", "2h"], "--since must not lie after until"),
        (["--since", "yesterday"], "--since"),
        (["--since", "9999999d"], "--since"),
        (["--filter", "all"], "'all' is not one of"),
        (["--action", "credential.eaten"], "--action is not in the list of events"),
        (["--limit", "0"], "--limit"),
        (["--follow", "--export", "x"], "choose one"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_filter_is_wrong_use(service: Ostiary, options: list[str], said: str) -> None:
    """B9 breaks: an invalid filter shows other events than requested."""
    done = service.command("audit", "logs", *options, code=2)
    assert said in done.stderr
    assert done.stdout == ""


@pytest.mark.full
def test_follow_prints_each_event_once_and_ends_on_ctrl_c(service: Ostiary) -> None:
    """CLI breaks: `--follow` misses or repeats an event, or Ctrl-C ends it with a traceback."""
    process = subprocess.Popen(
        [
            *OSTIARY,
            "audit",
            "logs",
            "--action",
            "service_account.created",
            "--limit",
            "2",
            "--follow",
            "--json",
        ],
        env=clean_environment() | {"OSTIARY_URL": service.url, "OSTIARY_API_KEY": service.key},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    guard = threading.Timer(PATIENCE, process.kill)
    guard.start()
    assert process.stdout is not None
    seen: list[dict[str, Any]] = []
    try:
        for name in ("first", "second"):
            made = service.call("POST", "/v1/service-accounts", {"display_name": f"Followed {name}"}).json()
            while made["service_account"]["id"] not in [each["target"]["id"] for each in seen]:
                line = process.stdout.readline()
                assert line, "the command ended by itself"
                seen.append(json.loads(line))
        interrupt(process)
        rest, complaint = process.communicate(timeout=PATIENCE)
    finally:
        guard.cancel()
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert complaint.strip() == ""
    seen += [json.loads(line) for line in rest.splitlines()]
    assert len(seen) == len({each["id"] for each in seen})


@pytest.mark.full
def test_an_export_is_whole_private_and_never_over_a_file(
    service: Ostiary, robo: dict[str, Any], tmp_path: Path
) -> None:
    """B9 breaks: an exported log can be read by others, leaves events out, or replaces what was there."""
    path = tmp_path / "events.jsonl"
    done = service.command("audit", "logs", "--target", robo["id"], "--export", str(path))
    assert (done.stdout, done.stderr) == ("", f"1 event in {path}.\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [each["target"]["id"] for each in events] == [robo["id"]]
    before = path.read_bytes()
    link = tmp_path / "link.jsonl"
    link.symlink_to(tmp_path / "nowhere")
    for taken in (path, link, tmp_path):
        assert "exists" in service.command("audit", "logs", "--export", str(taken), code=2).stderr
    assert path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["events.jsonl", "link.jsonl"]


@pytest.mark.full
def test_without_permission_there_is_no_file(service: Ostiary, tmp_path: Path) -> None:
    """P19 breaks: a caller without permission gets the log, or an empty file that looks like it."""
    made = service.call(
        "POST", "/v1/service-accounts", {"display_name": "Charlie", "credential": {"kind": "api_key"}}
    ).json()
    path = tmp_path / "events.jsonl"
    service.command("audit", "logs", "--export", str(path), code=4, OSTIARY_API_KEY=made["secret"])
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_breaks_off_leaves_nothing(
    stranger: Stranger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """B9 breaks: a service that fails between two pages leaves half a file."""
    stranger.says(
        (200, "application/json", b'{"data":[{"id":"evt_1"}],"next_cursor":"more"}'),
        (503, "application/json", b'{"title":"Service Unavailable","detail":"Later."}'),
    )
    monkeypatch.setenv("OSTIARY_URL", stranger.url)
    monkeypatch.setenv("OSTIARY_API_KEY", "ak-somebody")
    assert run(["audit", "logs", "--export", str(tmp_path / "events.jsonl")]) == 3
    assert list(tmp_path.iterdir()) == []
    assert len(stranger.asked) == 2
    assert "Later." in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_wrong_use(
    stranger: Stranger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """CLI breaks: a missing directory gives a traceback, or is reported only after the whole export."""
    stranger.says((200, "application/json", b'{"data":[],"next_cursor":null}'))
    monkeypatch.setenv("OSTIARY_URL", stranger.url)
    monkeypatch.setenv("OSTIARY_API_KEY", "ak-somebody")
    assert run(["audit", "logs", "--export", str(tmp_path / "no" / "events.jsonl")]) == 2
    assert "cannot be written: No such file or directory" in capsys.readouterr().err
    assert stranger.asked == []
