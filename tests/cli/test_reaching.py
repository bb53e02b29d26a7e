"""CLI: where a command sends its requests, with which credential, and the exit code of each failure.

These tests run in this process, against a server that is not Ostiary, or none.
"""

import json
import socket
import subprocess
from pathlib import Path

import pytest

from ostiary.cli.main import run
from tests.cli.edge import Stranger, interrupt
from tests.servers import OSTIARY, PATIENCE, clean_environment, free_port

KEY = "ak-1234567890abcdef1234567890abcdefABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqr"
"""A key with a valid form that belongs to nobody."""
JSON = "application/json"


@pytest.fixture(autouse=True)
def _a_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTIARY_API_KEY", "ak-somebody")


def _problem(code: str, **members: object) -> bytes:
    return json.dumps({"title": "Title", "detail": "Detail.", "code": code} | members).encode()


def _row(**members: object) -> bytes:
    """A credential as in a list, with the given fields changed."""
    owner = {"type": "user", "id": "usr_1", "display_name": "Bob"}
    names = ("id", "name", "last6", "display", "status", "kind", "created_at", "last_used_at")
    row = dict.fromkeys(names, "2026-11-22T00:00:00Z") | {"owner": owner, "rotation": None} | members
    return json.dumps({"data": [row], "next_cursor": None}).encode()


@pytest.mark.parametrize(
    "answer, code, said",
    [
        ((401, JSON, _problem("invalid-credential")), 4, "OSTIARY_API_KEY to a valid key"),
        ((403, JSON, _problem("insufficient-permissions")), 4, "`ostiary whoami` shows"),
        ((404, JSON, _problem("not-found")), 1, "`ostiary credential list` shows"),
        ((409, JSON, _problem("too-early", earliest="2026-11-23T00:00:00Z")), 1, "from 2026-11-23T00:00:00Z"),
        (
            (422, JSON, _problem("validation-failed", errors=[{"pointer": "/limit", "detail": "is odd"}])),
            2,
            "--limit is odd",
        ),
        ((503, JSON, _problem("unavailable")), 3, "Detail."),
        ((502, "text/html", b"bad gateway"), 3, "HTTP 502"),
        ((500, "text/html", b"boom"), 1, "not answer as an Ostiary service"),
        ((302, "text/html", b""), 1, "https://elsewhere.example/"),
        ((200, "text/html", b"<h1>hello</h1>"), 1, "Is OSTIARY_URL right?"),
        ((200, JSON, b"[1]"), 1, "Is OSTIARY_URL right?"),
        ((200, JSON, b"{}"), 1, "If OSTIARY_URL is right"),
        ((200, JSON, b"\xff\xfe{"), 1, "Is OSTIARY_URL right?"),
        ((422, JSON, b'{"detail":[{"x":1}],"errors":{"a":1}}'), 1, "HTTP 422"),
        ((422, JSON, _problem("validation-failed", errors=[1, {"pointer": "/x"}])), 2, "--x is wrong"),
        ((200, JSON, _row(expires_at="\x1b[31mtomorrow")), 1, "Is OSTIARY_URL right?"),
        ((401, "text/html", b"no"), 4, "Is OSTIARY_URL right?"),
        ((401, JSON, b'{"message":"no"}'), 4, "Is OSTIARY_URL right?"),
    ],
    ids=lambda value: (
        f"{value[0]}-{value[2][:16].decode(errors='replace')}" if isinstance(value, tuple) else ""
    ),
)
def test_every_answer_has_its_exit_code_and_next_step(
    answer: tuple[int, str, bytes],
    code: int,
    said: str,
    stranger: Stranger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """CLI breaks: a response gives another exit code, no next step, or a traceback."""
    monkeypatch.setenv("OSTIARY_URL", stranger.url)
    stranger.says(answer)
    assert run(["credential", "list"]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("Error: ")
    assert said in shown.err


def test_a_silent_server_is_not_reachable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """CLI breaks: a server that is down is not exit 3."""
    monkeypatch.setenv("OSTIARY_URL", f"http://127.0.0.1:{free_port()}")
    assert run(["whoami"]) == 3
    assert "Is `ostiary serve` running" in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.1",
        "http://keys.example",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://localhost\\@evil.example",
        "http://0x7f.1",
        "http://[::ffff:192.0.2.1]",
        "http://localhost@evil.example",
        "http://user:hunter2@localhost",
        "http://localhost?x=",
        "http://localhost#x",
        "http://localhost:99999",
        "http://[::1",
        "http://",
        "localhost:8080",
        "ftp://localhost",
        "file:///etc/passwd",
    ],
)
def test_no_credential_goes_where_others_could_read_it(
    url: str, stranger: Stranger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """R22 breaks: a credential would be sent unencrypted, or a wrong URL does not exit with 2."""
    stranger.says((200, JSON, b"{}"))
    monkeypatch.setenv("HTTP_PROXY", stranger.url)  # whatever is sent over http ends there
    monkeypatch.setenv("OSTIARY_URL", url)
    assert run(["whoami"]) == 2
    shown = capsys.readouterr()
    assert "https://" in shown.err
    assert "hunter2" not in shown.err
    assert stranger.asked == []


def test_no_proxy_reads_what_goes_to_this_machine(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R22 breaks: a proxy from HTTP_PROXY gets a credential unencrypted."""
    stranger.says((200, JSON, b"{}"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, stranger.url)
    monkeypatch.setenv("OSTIARY_URL", f"http://127.0.0.1:{free_port()}")
    assert run(["whoami"]) == 3
    assert stranger.asked == []


@pytest.mark.parametrize("variable", ["OSTIARY_API_KEY", "OSTIARY_TOKEN"])
@pytest.mark.parametrize("in_file", [False, True], ids=["plain", "file"])
def test_the_credential_comes_from_the_environment(
    variable: str, in_file: bool, stranger: Stranger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """CLI breaks: a credential from the environment, or from its file, is not the one that is sent."""
    stranger.says((200, JSON, b'{"data":[],"next_cursor":null}'))
    monkeypatch.setenv("OSTIARY_URL", stranger.url)
    monkeypatch.delenv("OSTIARY_API_KEY")
    if in_file:
        (tmp_path / "secret").write_text("of-robo\n")
        monkeypatch.setenv(f"{variable}_FILE", str(tmp_path / "secret"))
    else:
        monkeypatch.setenv(variable, "of-robo")
    assert run(["credential", "list"]) == 0
    assert [headers["authorization"] for _, headers in stranger.asked] == ["Bearer of-robo"]


@pytest.mark.parametrize(
    "environment, said",
    [
        ({}, "set OSTIARY_API_KEY, OSTIARY_TOKEN, OSTIARY_KEY_FILE, or OSTIARY_CLIENT_ID with"),
        ({"OSTIARY_API_KEY": "two words"}, "OSTIARY_API_KEY is not a credential"),
        ({"OSTIARY_API_KEY": "ak-é"}, "OSTIARY_API_KEY is not a credential"),
        ({"OSTIARY_API_KEY_FILE": "/nowhere/key"}, "OSTIARY_API_KEY_FILE names a file that does not exist"),
        ({"OSTIARY_TOKEN_FILE": "/"}, "cannot be read"),
        ({"OSTIARY_API_KEY": "ak-x", "OSTIARY_API_KEY_FILE": "/nowhere/key"}, "choose one"),
    ],
    ids=["none", "white space", "not ASCII", "no such file", "directory", "both"],
)
def test_a_credential_that_cannot_be_meant_is_wrong_use(
    environment: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """B9 breaks: a missing or unusable credential is not exit 2, or its value is repeated."""
    monkeypatch.delenv("OSTIARY_API_KEY")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run(["whoami"]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert "two words" not in shown
    assert "é" not in shown


TOKEN = "eyJhbGciOiJF.eyJpc3MiOiJo.c2lnbmF0dXJl"


@pytest.mark.promise("P7")
@pytest.mark.parametrize("in_file", [False, True], ids=["plain", "file"])
@pytest.mark.parametrize(
    "variable, value, kind, right",
    [
        ("API_KEY", "secret_x", "a client secret", "CLIENT_SECRET"),
        ("API_KEY", "session_x", "a session", "TOKEN"),
        ("API_KEY", TOKEN, "an access token", "TOKEN"),
        ("TOKEN", "ak-x", "an API key", "API_KEY"),
        ("TOKEN", KEY.replace("ak-", "acme-"), "an API key", "API_KEY"),
        ("TOKEN", "secret_x", "a client secret", "CLIENT_SECRET"),
        ("CLIENT_SECRET", KEY, "an API key", "API_KEY"),
        ("CLIENT_ID", "secret_x", "a client secret", "CLIENT_SECRET"),
    ],
)
def test_a_credential_in_the_wrong_variable_is_told_the_right_one(
    variable: str,
    value: str,
    kind: str,
    right: str,
    in_file: bool,
    stranger: Stranger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """B9, P7 break: a credential in the wrong variable is sent, or is repeated in a message."""
    stranger.says((200, JSON, b"{}"))
    monkeypatch.delenv("OSTIARY_API_KEY")
    for name, given in (("URL", stranger.url), ("CLIENT_ID", "ostiary-sa-x"), ("CLIENT_SECRET", "secret_y")):
        if name == "URL" or variable.startswith("CLIENT"):
            monkeypatch.setenv(f"OSTIARY_{name}", given)
    if in_file and variable != "CLIENT_ID":
        (tmp_path / "secret").write_text(value)
        monkeypatch.delenv(f"OSTIARY_{variable}", raising=False)
        variable += "_FILE"
        value = str(tmp_path / "secret")
    monkeypatch.setenv(f"OSTIARY_{variable}", value)
    assert run(["whoami"]) == 2
    shown = capsys.readouterr().err
    assert (
        f"OSTIARY_{variable} contains {kind}.\nUnset OSTIARY_{variable}, and set OSTIARY_{right} instead"
        in shown
    )
    assert value not in shown
    assert stranger.asked == []


@pytest.mark.promise("P7")
@pytest.mark.parametrize(
    "arguments",
    [
        ["whoami", KEY],
        ["credential", "show", KEY],
        ["api-call", "POST", "/v1/verify", "--data", f'{{"credential":"{KEY}"}}'],
        ["api-call", "GET", f"/v1/agents?access_token={KEY}"],
        ["serve", f"--config={KEY}"],
    ],
    ids=["argument", "id", "body", "query", "option"],
)
def test_a_secret_on_the_command_line_is_refused(
    arguments: list[str],
    stranger: Stranger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """P7, B9 break: a secret given as an argument is used or repeated."""
    stranger.says((200, JSON, b"{}"))
    monkeypatch.setenv("OSTIARY_URL", stranger.url)
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert "Revoke that secret." in shown.err
    assert KEY[-20:] not in shown.err + shown.out
    assert stranger.asked == []


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ('{"match":[],"match":[{"path":"/**"}]}', "twice"),
        ('{"match":NaN}', "NaN"),
        ('{"match":-Infinity}', "infinity"),
        ('{"match":1e999}', "too large"),
        ('{"match":' + "1" * 5000 + "}", "larger than 2⁵³"),
        ("[" * 60_000, "more than 32 levels"),
        ('{"match":', "is not JSON"),
        ("", "is not JSON"),
    ],
    ids=["duplicate member", "NaN", "infinity", "1e999", "5000 digits", "nesting", "half", "nothing"],
)
def test_a_document_that_could_be_misread_is_wrong_use(
    document: str,
    why: str,
    stranger: Stranger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """B8 breaks: a JSON document is changed before it is sent, or gives a traceback."""
    stranger.says((200, JSON, b'{"match":[]}'))
    monkeypatch.setenv("OSTIARY_URL", stranger.url)
    file = tmp_path / "document.json"
    file.write_text(document)
    for arguments in (
        ["api-call", "PUT", "/v1/access-rules/web", "--data", document],
        ["api-call", "PUT", "/v1/access-rules/web", "--data", f"@{file}"],
        ["access-rule", "put", "web", str(file)],
    ):
        assert run(arguments) == 2, arguments[:2]
        assert why in capsys.readouterr().err
    assert stranger.asked == []


EVIL = "\x1b]0;owned\x07\x1b[31mred\x9b2J\u202e\ud800"


@pytest.mark.parametrize(
    "arguments, answer",
    [
        (["whoami"], (404, JSON, _problem("x", title=EVIL, detail=EVIL))),
        (
            ["whoami"],
            (422, JSON, _problem("x", errors=[{"pointer": f"/{EVIL}", "detail": EVIL}])),
        ),
        (["api-call", "GET", "/"], (200, JSON, json.dumps({"name": EVIL}).encode())),
        (
            ["credential", "list"],
            (
                200,
                JSON,
                json.dumps(
                    {
                        "data": [
                            {
                                "id": EVIL,
                                "name": EVIL,
                                "owner": {"display_name": EVIL},
                                "kind": EVIL,
                                "last6": EVIL,
                                "status": EVIL,
                                "created_at": "2026-11-22T00:00:00Z",
                                "last_used_at": None,
                                "expires_at": None,
                            }
                        ],
                        "next_cursor": None,
                    }
                ).encode(),
            ),
        ),
        (
            ["api-key", "generate"],
            (
                201,
                JSON,
                json.dumps(
                    {
                        "credential": {"id": EVIL, "kind": EVIL, "last6": EVIL, "expires_at": EVIL},
                        "secret": EVIL,
                    }
                ).encode(),
            ),
        ),
    ],
    ids=["problem", "field", "JSON", "table", "key"],
)
def test_no_control_character_of_others_reaches_the_terminal(
    arguments: list[str],
    answer: tuple[int, str, bytes],
    stranger: Stranger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """B9 breaks: a name or response sends control characters to the terminal."""
    monkeypatch.setenv("OSTIARY_URL", stranger.url)
    stranger.says(answer)
    run(arguments)
    shown = capsys.readouterr()
    text = shown.out + shown.err
    assert "owned" in text
    assert [c for c in text if not c.isprintable() and c != "\n"] == []


@pytest.mark.parametrize(
    "given",
    ["90", "soon", "2027-02-31", "2027-1-31", "20270131", "2027-01-31T00:00:00", "9999999d", "-1d", ""],
)
def test_an_expiry_that_could_be_misread_is_wrong_use(
    given: str, stranger: Stranger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """B8 breaks: an expiry without a unit or time zone gives another lifetime than intended."""
    stranger.says((200, JSON, b"{}"))
    monkeypatch.setenv("OSTIARY_URL", stranger.url)
    assert run(["api-key", "generate", f"--expires={given}"]) == 2
    assert "90d or 12h" in capsys.readouterr().err
    assert stranger.asked == []


def test_a_date_alone_is_its_first_moment_in_utc(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    """CLI breaks: `--expires 2027-01-31` is refused, or means midnight in another time zone."""
    stranger.says((200, JSON, b"{}"))
    monkeypatch.setenv("OSTIARY_URL", stranger.url)
    run(["api-key", "generate", "--expires", "2027-01-31"])
    assert [json.loads(body) for body in stranger.bodies] == [{"expires_at": "2027-01-31T00:00:00Z"}]


@pytest.mark.parametrize("command", ["client show", "grant withdraw --yes", "access-rule delete --yes"])
@pytest.mark.parametrize(
    "name, path", [("", None), (".", None), ("..", None), ("a/b?c#d%", "a%2Fb%3Fc%23d%25")]
)
def test_a_name_never_becomes_another_address(
    command: str, name: str, path: str | None, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLI breaks: an id argument changes the path of the request."""
    stranger.says((404, JSON, _problem("not-found")))
    monkeypatch.setenv("OSTIARY_URL", stranger.url)
    assert run([*command.split(), name]) == (2 if path is None else 1)
    lines = [line for line, _ in stranger.asked]
    assert lines == [] if path is None else f"/{path}" in lines[0]


def test_ctrl_c_ends_a_waiting_command_quietly() -> None:
    """CLI breaks: Ctrl-C shows a traceback, or does not stop a loop in a shell."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        process = subprocess.Popen(
            [*OSTIARY, "whoami"],
            env=clean_environment()
            | {"OSTIARY_URL": f"http://127.0.0.1:{mute.getsockname()[1]}", "OSTIARY_API_KEY": "ak-x"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        mute.settimeout(PATIENCE)
        connection, _ = mute.accept()
        with connection:
            connection.settimeout(PATIENCE)
            assert connection.recv(1000).startswith(b"GET /v1/capabilities")
            interrupt(process)
            out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert (out, err.strip()) == (b"", b"")


def test_a_reader_that_has_seen_enough_is_no_fault(stranger: Stranger) -> None:
    """CLI breaks: `ostiary … | head -1` shows a traceback."""
    stranger.says((200, JSON, json.dumps({"many": ["x" * 80] * 5000}).encode()))
    process = subprocess.Popen(
        [*OSTIARY, "api-call", "GET", "/"],
        env=clean_environment() | {"OSTIARY_URL": stranger.url, "OSTIARY_API_KEY": "ak-x"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"{\n"
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(PATIENCE) in (0, 1)  # the kernel decides whether the last write was seen
