"""A command line that meets an older or a newer service: it shows what there is, and says what it cannot do without."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import click
import pytest

from ostiary.cli.main import ostiary, run

DOCUMENT = json.loads(files("ostiary.api").joinpath("openapi.json").read_text("utf-8"))
SHOWN = (
    "whoami",
    "organization list",
    "organization show acme",
    "policy show",
    "project list",
    "project show shop",
    "project roles shop",
    "member list",
    "member show usr_1",
    "invitation list",
    "role list",
    "role show reader",
    "scope list",
    "service-account list",
    "service-account show sa_01m7q5cqg0vyx174vj8c0zxm1q",
    "service-account roles sa_01m7q5cqg0vyx174vj8c0zxm1q",
    "service-account activity sa_01m7q5cqg0vyx174vj8c0zxm1q",
    "credential list",
    "credential show cred_01m7q5cqg07bv5pdnmqw16yvxe",
    "credential rotation show cred_01m7q5cqg07bv5pdnmqw16yvxe",
    "session list",
    "client list",
    "client show app_1",
    "grant list",
    "grant show gra_1",
    "access-rule list",
    "audit logs",
    "usage",
)
"""The commands that list or show something."""
ELSEWHERE = {"access-rule show", "context list", "context show", "keys list"}
"""They print what was sent as it is, or ask no service."""


def _commands(group: click.Group, name: str = "") -> Iterator[str]:
    """Every command below this one, by its words."""
    context = click.Context(group)
    for each in group.list_commands(context):
        command = group.get_command(context, each)
        if isinstance(command, click.Group):
            yield from _commands(command, f"{name}{each} ")
        else:
            yield f"{name}{each}"


def test_each_command_that_shows_something_is_tried() -> None:
    """Tests break: a new `list` or `show` is not tried against another version of the service."""
    found = {each for each in _commands(ostiary) if each.split()[-1] in ("list", "show")} - ELSEWHERE
    assert {each for each in found if not any(f"{shown} ".startswith(f"{each} ") for shown in SHOWN)} == set()


def _example(path: str) -> Any:
    """What the OpenAPI document gives as the answer to a GET of this path."""
    for template, operations in DOCUMENT["paths"].items():
        if "get" in operations and re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", template), path):
            found = operations["get"]["responses"]["200"]["content"]["application/json"]["example"]
            return found | {"next_cursor": None} if "next_cursor" in found else found
    raise AssertionError(f"no GET of {path}")


class Service:
    """A service whose answers are those of the document, with `change` applied."""

    def __init__(self) -> None:
        self.url = ""
        self.change: Any = lambda answer: answer
        self.asked: list[tuple[str, str]] = []


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with _served() as found:
        yield found


@contextmanager
def _served() -> Iterator[Service]:
    found = Service()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            path = urlsplit(self.path).path
            found.asked.append((self.command, path))
            answer = _example(path) if self.command == "GET" else {}
            body = json.dumps(found.change(answer)).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = _answer  # noqa: N815 - http.server's names

        def log_message(self, *_args: object) -> None:
            """Nothing: the test says what matters."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def _used(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.asked.clear()
    monkeypatch.setenv("OSTIARY_URL", service.url)
    monkeypatch.setenv("OSTIARY_API_KEY", "ak-none")


def _with_more(value: Any) -> Any:
    """The same, with a field more in every object that has any."""
    if isinstance(value, dict):
        return {"of_tomorrow": {"deep": [1]}} | {name: _with_more(each) for name, each in value.items()}
    return [_with_more(each) for each in value] if isinstance(value, list) else value


def _emptied(answer: Any) -> Any:
    """A page, or an object that says what there is, with nothing in any of it; another object is empty."""
    if "data" in answer:
        return {"data": [{} for _ in answer["data"]], "totals": {}}
    kept = {name: each for name, each in answer.items() if name in ("bindings", "limits")}
    return {n: [{}] if isinstance(each, list) else {key: {} for key in each} for n, each in kept.items()}


def _less(answer: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in names}


def _of_each(page: dict[str, Any], name: str) -> dict[str, Any]:
    """A page without this field of its rows."""
    return {"data": [_less(each, name) for each in page["data"]]}


def _said(service: Service, command: str, change: Any, capsys: pytest.CaptureFixture[str]) -> str:
    service.change = change
    code = run(command.split())
    told = capsys.readouterr()
    assert code == 0, f"{command}: {told.err}"
    return told.out


@pytest.mark.parametrize("command", SHOWN)
def test_what_is_not_known_is_ignored_and_what_is_missing_is_a_dash(
    command: str, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line breaks at each upgrade of the service: it shows nothing because of one field that it would show."""
    whole = _said(service, command, lambda answer: answer, capsys)
    if command not in OF_ANY_NAME:
        assert _said(service, command, _with_more, capsys) == whole
    assert "–" in _said(service, command, _emptied, capsys)


OF_ANY_NAME = {"usage", "policy show", "audit logs", "service-account activity sa_01m7q5cqg0vyx174vj8c0zxm1q"}
"""They show whatever names the service gives: reasons, limits, details."""


def test_only_what_is_missing_is_a_dash(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    """Users break: what an older service does not say is shown as if it had said that there is no limit."""
    told = _said(service, "client show app_1", lambda answer: _less(answer, "scopes", "created_at"), capsys)
    fields = dict(line.split(":", 1) for line in told.splitlines())
    assert fields["Name"].strip() == "Delivery tracker"
    assert (fields["May ask for"].strip(), fields["Created"].strip()) == ("–", "–")
    listed = _said(service, "credential list", lambda answer: _of_each(answer, "expires_at"), capsys)
    header, row = listed.splitlines()[:2]
    assert row[header.index("EXPIRES") :].startswith("–")
    assert row.startswith("cred_")


def test_a_change_that_was_made_is_told_as_such(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    """Users break: a change is reported as failed because its answer lacks a field of the sentence."""
    assert _said(service, "client disable app_1", lambda _: {}, capsys) == "Done.\n"


def test_json_is_what_the_service_sent(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    """A script breaks: --json leaves out what this version does not know, or invents what is missing."""
    sent = {"id": "app_1", "of_tomorrow": {"deep": [1]}}
    assert json.loads(_said(service, "client show app_1 --json", lambda _: sent, capsys)) == sent
    listed = {"data": [sent]}
    assert json.loads(_said(service, "client list --json", lambda _: listed, capsys)) == [sent]


@pytest.mark.parametrize(
    "command, missing",
    [
        ("service-account disable ci-bot", "'id'"),  # found by its username, acted on by its id
        ("credential revoke nightly --yes", "'id'"),
        ("api-key generate --service-account sa_01m7q5cqg0vyx174vj8c0zxm1q", "'credential'"),
    ],
)
def test_a_missing_field_that_is_needed_is_named(
    command: str, missing: str, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    """Users break: a command acts on a wrong thing, hands out a dash as a key, or ends in a traceback."""
    service.change = lambda answer: {"data": [{"name": "nightly", "last6": "x"}]} if "data" in answer else {}
    assert run(command.split()) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert f"has no field {missing}, which this command needs" in told.err
    assert "has another version than this command" in told.err
    assert {method for method, path in service.asked if "–" in path} == set()
