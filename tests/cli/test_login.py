"""CLI: `ostiary login` and `logout`, and the tokens that they store."""

import json
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl

import pytest

from ostiary.cli import logins
from ostiary.cli.logins import Login
from ostiary.cli.main import run
from ostiary.cli.profile import ProfileError
from ostiary.client.api import Client, RefusedError
from ostiary.config import Settings
from ostiary.core.event import Actor
from ostiary.core.permission import Caller
from ostiary.node import installation
from tests.cast import House
from tests.cli.edge import Stranger
from tests.devices import decide, enter
from tests.servers import Ostiary, free_port
from tests.visitors import Browser, browser_at, session_of

JSON = "application/json"
ASKED: dict[str, Any] = {
    "device_code": "device_x",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://keys.test/oauth/device/verify",
    "verification_uri_complete": "https://keys.test/oauth/device/verify?user_code=WDJB-MJHT",
    "expires_in": 1800,
    "interval": 5,
}
TOKENS = {
    "access_token": "eyJh.eyJz.c2ln",
    "token_type": "Bearer",
    "expires_in": 3600,
    "refresh_token": "refresh_1",
    "scope": "api",
}
WHO = {
    "principal": {"display_name": "alice@acme.test", "id": "usr_1"},
    "organization": {"name": "Acme", "id": "org_1"},
}


def ok(body: dict[str, Any]) -> tuple[int, str, bytes]:
    return 200, JSON, json.dumps(body).encode()


def no(code: str, status: int = 400) -> tuple[int, str, bytes]:
    return status, JSON, json.dumps({"error": code, "error_description": "No."}).encode()


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits of the command; the test controls the clock."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    return found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / ".ostiary"


def sent(stranger: Stranger) -> list[dict[str, str]]:
    return [dict(parse_qsl(body.decode())) for body in stranger.bodies]


@pytest.fixture
def alice(service: Ostiary) -> Iterator[Browser]:
    """The operator's browser."""
    who = service.call("GET", "/v1/capabilities").json()
    person = Caller(Actor("user", who["principal"]["id"], "alice"), who["organization"]["id"], frozenset())
    opened = installation.open_installation(Settings.model_validate({"data": service.data}))
    try:
        found = browser_at(service.url)
        found.cookies["ostiary_session"] = session_of(cast(House, opened), person)
        yield found
    finally:
        opened.close()


def approves(
    service: Ostiary, alice: Browser, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[], str]:
    """Approve the device while the command waits. Return the output so far."""
    printed = ""
    organization = service.call("GET", "/v1/capabilities").json()["organization"]["id"]

    def wait(_seconds: float) -> None:
        nonlocal printed
        if printed:
            return
        printed = capsys.readouterr().out
        code = printed.splitlines()[1].removeprefix("Code: ")
        assert enter(alice, code).status == 200
        assert b"connected" in decide(alice, code, "allow", organization).body

    monkeypatch.setattr(time, "sleep", wait)
    return lambda: printed


@pytest.mark.full
def test_a_login_from_its_first_line_to_its_end(
    service: Ostiary,
    alice: Browser,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """CLI breaks: a person cannot sign in at the command line, or not out."""
    monkeypatch.setenv("OSTIARY_URL", service.url)
    printed = approves(service, alice, monkeypatch, capsys)
    assert run(["login"]) == 0
    first, second = printed().splitlines()
    assert first == f"Please visit: http://localhost:{service.port}/oauth/device/verify"
    assert second.startswith("Code: ")
    assert len(second) == len("Code: WDJB-MJHT")
    assert f"Signed in to {service.url} as " in capsys.readouterr().out
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "token.json").stat().st_mode) == 0o600
    assert run(["whoami", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["principal"]["type"] == "user"
    assert run(["session", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [each["kind"] for each in listed].count("device") == 1
    kept = logins.find(service.url)
    assert kept is not None
    assert run(["logout"]) == 0
    assert logins.find(service.url) is None
    assert run(["whoami"]) == 2
    with pytest.raises(RefusedError) as refused:
        Client(service.url, kept.access_token).request("GET", "/v1/capabilities")
    assert refused.value.status == 401


def test_what_is_asked_and_shown(
    stranger: Stranger, capsys: pytest.CaptureFixture[str], slept: list[float]
) -> None:
    """CLI breaks: scripts and people do not find the two lines of `login`."""
    stranger.says(ok(ASKED), no("authorization_pending"), ok(TOKENS), ok(WHO))
    assert run(["login", "--url", stranger.url]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        "Please visit: https://keys.test/oauth/device/verify",
        "Code: WDJB-MJHT",
        f"Signed in to {stranger.url} as alice@acme.test, in Acme.",
    ]
    assert ASKED["verification_uri_complete"] in shown.err
    assert "Waiting" not in shown.err
    for text in ("device_x", "refresh_1", "eyJh"):
        assert text not in shown.out + shown.err
    assert [line.split()[1] for line, _ in stranger.asked] == [
        "/oauth/device/authorize",
        "/oauth/token",
        "/oauth/token",
        "/v1/capabilities",
    ]
    assert sent(stranger)[0] == {"client_id": "ostiary-cli", "scope": "api offline_access"}
    assert sent(stranger)[1] == {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": "device_x",
        "client_id": "ostiary-cli",
    }
    assert slept == [5, 5]


@pytest.mark.parametrize("member", ["interval", "expires_in"])
@pytest.mark.parametrize("value", ["1e999", "1000000000000000000000", "-1", '"\x1b"', "null"])
def test_a_strangers_numbers_are_not_waited_for(
    stranger: Stranger, capsys: pytest.CaptureFixture[str], slept: list[float], member: str, value: str
) -> None:
    """B9 breaks: implausible seconds from a service block the command, or end it with a traceback."""
    body = json.dumps({**ASKED, member: "@"}).replace('"@"', value.replace("\x1b", "\\u001b"))
    stranger.says((200, JSON, body.encode()))
    assert run(["login", "--url", stranger.url]) == 1
    assert "not as this version of Ostiary does" in capsys.readouterr().err
    assert not slept


def test_less_can_be_asked_for(stranger: Stranger) -> None:
    """CLI breaks: a login always has all scopes."""
    stranger.says(ok(ASKED), ok(TOKENS), ok(WHO))
    assert run(["login", "--url", stranger.url, "--scope", "read:agents", "--scope", "read:audit"]) == 0
    assert sent(stranger)[0]["scope"] == "read:agents read:audit offline_access"


def test_whoever_asks_too_often_waits_longer_from_then_on(stranger: Stranger, slept: list[float]) -> None:
    """RFC 8628 §3.5 breaks: the command ignores slow_down."""
    busy = (503, JSON, b"{}")
    answers = [no("slow_down"), no("authorization_pending"), no("slow_down"), busy, ok(TOKENS)]
    stranger.says(ok(ASKED), *answers, ok(WHO))
    assert run(["login", "--url", stranger.url]) == 0
    assert slept == [5, 10, 10, 15, 30]


@pytest.mark.parametrize(
    "answer, code, said",
    [
        (no("access_denied"), 4, "Access was denied."),
        (no("expired_token"), 4, "The code has expired."),
        (no("invalid_grant"), 4, "Invalid grant"),
        ((200, JSON, b'{"access_token":"x y"}'), 1, "not as an Ostiary service does"),
    ],
)
def test_a_login_that_comes_to_nothing(
    stranger: Stranger,
    capsys: pytest.CaptureFixture[str],
    home: Path,
    answer: tuple[int, str, bytes],
    code: int,
    said: str,
) -> None:
    """CLI breaks: a refused login looks successful, or stores tokens."""
    stranger.says(ok(ASKED), answer)
    assert run(["login", "--url", stranger.url]) == code
    assert said in capsys.readouterr().err
    assert not (home / "token.json").exists()


def test_a_browser_is_opened_where_there_is_one(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    """CLI breaks: a browser opens where nobody sees it, or although it was not wanted."""
    import webbrowser

    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr("sys.platform", "linux")
    for options, display in (([], ""), (["--no-browser"], ":0"), ([], ":0")):
        monkeypatch.setenv("DISPLAY", display)
        stranger.says(ok(ASKED), ok(TOKENS), ok(WHO))
        assert run(["login", "--url", stranger.url, *options]) == 0
    assert opened == [ASKED["verification_uri_complete"]]


def test_no_code_travels_in_clear(capsys: pytest.CaptureFixture[str]) -> None:
    """P7 breaks: tokens are sent unencrypted."""
    assert run(["login", "--url", "http://keys.example.com"]) == 2
    assert "unencrypted" in capsys.readouterr().err


def login(stranger: Stranger, seconds: int, refresh: str | None = "refresh_1") -> None:
    """Store a login whose access token is valid for this many seconds."""
    logins.keep(stranger.url, Login("eyJo.bGQ.eA", int(time.time()) + seconds, refresh))


def test_a_login_is_used_where_nothing_else_is_given(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLI breaks: a login is not used, or is used instead of the chosen credential, or at another service."""
    login(stranger, 3600)
    monkeypatch.setenv("OSTIARY_URL", stranger.url.upper().replace("HTTP:", "http:") + "/")
    stranger.says(ok({"data": [], "next_cursor": None}))
    assert run(["role", "list"]) == 0
    assert stranger.asked[-1][1]["authorization"] == "Bearer eyJo.bGQ.eA"
    monkeypatch.setenv("OSTIARY_API_KEY", "ak-other")
    assert run(["role", "list"]) == 0
    assert stranger.asked[-1][1]["authorization"] == "Bearer ak-other"
    monkeypatch.delenv("OSTIARY_API_KEY")
    monkeypatch.setenv("OSTIARY_URL", stranger.url + "/elsewhere")
    assert run(["role", "list"]) == 2
    assert len(stranger.asked) == 2


def test_a_token_is_refreshed_before_it_ends(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    """CLI breaks: a person must sign in each hour."""
    login(stranger, 59)
    monkeypatch.setenv("OSTIARY_URL", stranger.url)
    stranger.says(ok(TOKENS | {"refresh_token": "refresh_2"}), ok({"data": [], "next_cursor": None}))
    assert run(["role", "list"]) == 0
    assert sent(stranger)[0] == {
        "grant_type": "refresh_token",
        "refresh_token": "refresh_1",
        "client_id": "ostiary-cli",
    }
    assert stranger.asked[1][1]["authorization"] == "Bearer eyJh.eyJz.c2ln"
    kept = logins.find(stranger.url)
    assert kept is not None
    assert kept.refresh_token == "refresh_2"


def test_two_commands_do_not_refresh_at_once(stranger: Stranger) -> None:
    """P9 breaks: two commands use one refresh token, and the service ends the login."""
    login(stranger, 0)
    stranger.says(ok(TOKENS))
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(logins.token(stranger.url))) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == ["eyJh.eyJz.c2ln"] * 8
    assert len(stranger.asked) == 1


@pytest.mark.parametrize("refresh", ["refresh_1", None])
def test_a_login_that_has_ended_says_what_to_do(
    stranger: Stranger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    refresh: str | None,
) -> None:
    """CLI breaks: a script cannot detect that a person must sign in again."""
    login(stranger, 0, refresh)
    monkeypatch.setenv("OSTIARY_URL", stranger.url)
    stranger.says(no("invalid_grant"))
    assert run(["role", "list"]) == 4
    assert f"ostiary login --url {stranger.url}" in capsys.readouterr().err


def test_a_service_that_is_away_ends_no_login(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    """P9 breaks: a busy service makes the command lose the login."""
    login(stranger, 0)
    monkeypatch.setenv("OSTIARY_URL", stranger.url)
    stranger.says((503, JSON, b"{}"))
    assert run(["role", "list"]) == 3
    stranger.says(ok(TOKENS), ok({"data": [], "next_cursor": None}))
    assert run(["role", "list"]) == 0


def test_to_sign_out_forgets_even_if_nobody_answers(
    stranger: Stranger, capsys: pytest.CaptureFixture[str]
) -> None:
    """CLI breaks: a token remains because the service was away, or no message says that the session lives."""
    away = f"http://127.0.0.1:{free_port()}"
    logins.keep(away, Login("eyJo.bGQ.eA", 0, "refresh_1"))
    login(stranger, 3600)
    assert run(["logout", "--url", away]) == 3
    assert "did not end" in capsys.readouterr().err
    assert logins.find(away) is None
    assert logins.find(stranger.url) is not None
    stranger.says((200, JSON, b""))
    assert run(["logout", "--url", stranger.url]) == 0
    assert sent(stranger)[0] == {"token": "refresh_1", "client_id": "ostiary-cli"}
    assert logins.find(stranger.url) is None
    assert run(["logout", "--url", stranger.url]) == 2


def test_tokens_are_kept_where_nobody_else_reads_them(stranger: Stranger, home: Path, tmp_path: Path) -> None:
    """P7 breaks: other users of the machine can read the tokens."""
    login(stranger, 3600)
    file = home / "token.json"
    file.chmod(0o644)
    with pytest.raises(ProfileError, match="can be read by others"):
        logins.find(stranger.url)
    target = tmp_path / "elsewhere"
    target.write_text(file.read_text())
    target.chmod(0o600)
    file.unlink()
    file.symlink_to(target)
    with pytest.raises(ProfileError, match="symbolic link"):
        logins.find(stranger.url)
    file.unlink()
    home.chmod(0o777)
    with pytest.raises(ProfileError, match="other users can write"):
        login(stranger, 3600)


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"logins":[]}', '{"logins":{"URL":{}}}', '{"logins":{"URL":{"access_token":1}}}', "{" * 9999],
)
def test_a_file_that_is_none_is_told(stranger: Stranger, home: Path, text: str) -> None:
    """CLI breaks: an invalid file ends every command with a traceback, which may contain a token."""
    home.mkdir(mode=0o700)
    (home / "token.json").write_text(text.replace("URL", stranger.url))
    (home / "token.json").chmod(0o600)
    with pytest.raises(ProfileError, match="not a valid file of logins"):
        logins.find(stranger.url)
