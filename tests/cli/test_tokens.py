"""CLI, OAuth: `ostiary oauth-token` and `ostiary token`, and credentials that a command exchanges first."""

import base64
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from ostiary.cli.main import run
from ostiary.core.instant import SECOND
from tests.cli.edge import Stranger, on_terminal
from tests.servers import Ostiary, free_port, run_command
from tests.signers import login

pytestmark = pytest.mark.full

JSON = "application/json"
OPERATOR = {"OSTIARY_API_KEY": "the operator key"}
EMPTY = (200, JSON, b'{"data":[],"next_cursor":null}')
TRADED = (
    200,
    JSON,
    b'{"access_token":"eyJh.eyJz.c2ln","token_type":"Bearer","expires_in":60,"scope":"api"}',
)


CLIENT = {"OSTIARY_CLIENT_ID": "ostiary-sa-x", "OSTIARY_CLIENT_SECRET": "secret_x"}
NO_MORE = b'{"access_token":"t"}'
"""A response without scope and lifetime."""


@pytest.fixture
def client(service: Ostiary, robo: dict[str, Any]) -> dict[str, str]:
    """Robo as a client: the environment of a job."""
    done = service.command("client-secret", "generate", "--service-account", robo["id"], "--format", "env")
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


@pytest.fixture(params=["RS256", "EdDSA"])
def key_file(service: Ostiary, robo: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    out = tmp_path / "robo.json"
    options = ["--service-account", robo["id"], "--out", str(out), "--algorithm", request.param]
    service.command("key-file", "generate", *options)
    return out


def _as(
    service: Ostiary,
    environment: dict[str, str],
    *arguments: str,
    code: int = 0,
    stdin: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command with these variables, beside the URL."""
    named = {"OSTIARY_URL": service.url} | environment
    if environment == OPERATOR:
        named["OSTIARY_API_KEY"] = service.key
    return run_command(*arguments, code=code, stdin=stdin, environment=named)


def _claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def _whose(service: Ostiary, **environment: str) -> str:
    done = _as(service, environment, "whoami", "--json")
    return str(json.loads(done.stdout)["principal"]["id"])


# oauth-token generate


@pytest.mark.promise("P7")
def test_the_documents_line_prints_a_token_alone(service: Ostiary) -> None:
    """CLI, P7 break: the documented example prints more than the token, or a token that may do more."""
    done = service.command("oauth-token", "generate", "--scope", "read:plugins", "--scope", "write:agents")
    token = done.stdout.strip()
    assert done.stdout == f"{token}\n"
    assert _claims(token)["scope"] == "read:plugins write:agents"
    assert token.rpartition(".")[2] not in done.stderr
    assert service.key not in done.stderr
    held = json.loads(_as(service, {"OSTIARY_TOKEN": token}, "whoami", "--json").stdout)["scopes"]
    assert sorted(held) == ["read:plugins", "write:agents"]
    refused = _as(service, {"OSTIARY_TOKEN": token}, "service-account", "list", code=4)
    assert "Insufficient Permissions" in refused.stderr


def test_each_format_has_the_token(service: Ostiary, client: dict[str, str]) -> None:
    """CLI breaks: a script does not find the token or its expiry in the chosen format."""
    env = _as(service, client, "oauth-token", "generate", "--format", "env").stdout
    assert env.startswith("OSTIARY_TOKEN=eyJ")
    before = datetime.now(UTC)
    for options in (["--json"], ["--format", "json"]):
        found = json.loads(_as(service, client, "oauth-token", "generate", *options).stdout)
        assert (found["token_type"], found["scope"], found["expires_in"]) == ("Bearer", "api", 86400)
        ends = datetime.fromisoformat(found["expires_at"])
        assert (ends - before).days in (0, 1)
        assert abs(ends.timestamp() - _claims(found["access_token"])["exp"]) < 60


def test_a_client_gets_a_token_of_its_own(
    service: Ostiary, robo: dict[str, Any], client: dict[str, str], tmp_path: Path
) -> None:
    """OAuth breaks: OSTIARY_CLIENT_ID with its secret, or the file of it, is not the client that asks."""
    token = _as(service, client, "oauth-token", "generate").stdout.strip()
    assert (_claims(token)["sub"], _claims(token)["client_id"]) == (robo["id"], robo["client_id"])
    (tmp_path / "secret").write_text(client.pop("OSTIARY_CLIENT_SECRET") + "\n")
    client["OSTIARY_CLIENT_SECRET_FILE"] = str(tmp_path / "secret")
    assert _whose(service, **client) == robo["id"]


def test_a_key_file_gets_a_token_of_its_own(service: Ostiary, robo: dict[str, Any], key_file: Path) -> None:
    """OAuth, Files break: what the key file signs here, by either algorithm, is not taken by the service."""
    named = {"OSTIARY_KEY_FILE": str(key_file)}
    token = _as(service, named, "oauth-token", "generate", "--scope", "read:agents").stdout.strip()
    assert (_claims(token)["sub"], _claims(token)["scope"]) == (robo["id"], "read:agents")
    # Each assertion works once: the next command signs a new one.
    assert [_whose(service, **named) for _ in range(2)] == [robo["id"]] * 2


def test_a_token_is_bound_to_a_resource(service: Ostiary) -> None:
    """CLI breaks: `--resource` is ignored, or accepts an unknown audience."""
    service.command(
        "access-rule", "put", "tokens", "-", stdin='{"match":[],"audience":"https://agents.acme.test"}'
    )
    resource = ["--resource", "https://agents.acme.test"]
    token = service.command("oauth-token", "generate", *resource).stdout.strip()
    assert _claims(token)["aud"] == "https://agents.acme.test"
    _as(service, {"OSTIARY_TOKEN": token}, "whoami", code=4)
    refused = service.command("oauth-token", "generate", "--resource", "https://nobody.test", code=2)
    assert "audience of an access rule" in refused.stderr


@pytest.mark.parametrize(
    "options, environment, code, said",
    [
        (["--scope", "no:such"], OPERATOR, 4, "`ostiary whoami` shows"),
        (["--scope", ""], OPERATOR, 4, "The scope is empty"),
        ([], {"OSTIARY_API_KEY": "ak-nobody"}, 4, "Set OSTIARY_API_KEY to a valid key"),
        (
            [],
            {"OSTIARY_TOKEN": "eyJh.eyJz.c2ln"},
            4,
            "Unset OSTIARY_TOKEN, and get a new token with the credential that it was issued for.",
        ),
        (
            [],
            {"OSTIARY_CLIENT_ID": "ostiary-sa-x", "OSTIARY_CLIENT_SECRET": "secret_x"},
            4,
            "Set OSTIARY_CLIENT_ID and OSTIARY_CLIENT_SECRET",
        ),
        ([], {}, 2, "No credential"),
    ],
    ids=["scope", "empty scope", "key", "token", "client", "nothing"],
)
def test_a_refusal_says_what_to_do_next(
    service: Ostiary, options: list[str], environment: dict[str, str], code: int, said: str
) -> None:
    """CLI breaks: a refusal of the token endpoint gets another exit code, or leaves its user without the next step."""
    done = _as(service, environment, "oauth-token", "generate", *options, code=code)
    assert said in done.stderr
    assert done.stdout == ""


def test_no_service_no_token() -> None:
    """CLI breaks: a service that is down is not exit 3 where a token is asked for first."""
    environment = {
        "OSTIARY_URL": f"http://localhost:{free_port()}",
        "OSTIARY_CLIENT_ID": "ostiary-sa-x",
        "OSTIARY_CLIENT_SECRET": "secret_x",
    }
    for command in (["whoami"], ["oauth-token", "generate"], ["token", "revoke", "eyJh.eyJz.c2ln"]):
        assert "Is `ostiary serve` running" in run_command(*command, code=3, environment=environment).stderr


# Credentials that a command exchanges first


def test_a_command_fetches_one_token_and_carries_it(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLI, OAuth break: a client secret is sent beyond the token endpoint, or each request fetches a new token."""
    stranger.says(TRADED, (200, JSON, b'{"data":[],"next_cursor":"x"}'), EMPTY)
    for name, value in (("URL", stranger.url), ("CLIENT_ID", "ostiary-sa-x"), ("CLIENT_SECRET", "secret_%+")):
        monkeypatch.setenv(f"OSTIARY_{name}", value)
    assert run(["credential", "list"]) == 0
    (line, headers), *rest = stranger.asked
    assert line == "POST /oauth/token HTTP/1.1"
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert base64.b64decode(headers["authorization"].removeprefix("Basic ")) == b"ostiary-sa-x:secret_%25%2B"
    assert parse_qsl(stranger.bodies[0].decode()) == [("grant_type", "client_credentials")]
    assert [each["authorization"] for _, each in rest] == ["Bearer eyJh.eyJz.c2ln"] * 2


def test_a_key_is_exchanged_in_the_body_alone(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    """OAuth breaks: the exchanged credential is also in a header or the query, or several scopes are several parameters."""
    stranger.says(TRADED)
    monkeypatch.setenv("OSTIARY_URL", stranger.url)
    monkeypatch.setenv("OSTIARY_API_KEY", "ak-robo")
    options = ["--scope", "a:b", "--scope", "c:d", "--resource", "https://x", "--resource", "https://y"]
    assert run(["oauth-token", "generate", *options]) == 0
    [(line, headers)] = stranger.asked
    assert (line, headers.get("authorization")) == ("POST /oauth/token HTTP/1.1", None)
    assert parse_qsl(stranger.bodies[0].decode()) == [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("resource", "https://x"),
        ("resource", "https://y"),
        ("scope", "a:b c:d"),
        ("subject_token", "ak-robo"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        b"{}",
        b'{"access_token":7}',
        b'{"access_token":""}',
        b'{"access_token":"a b"}',
        b'{"access_token":"t"}',
    ],
)
def test_an_answer_without_a_token_is_no_answer(
    answer: bytes,
    stranger: Stranger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """CLI breaks: a response of another program is printed as a token, or gives a traceback."""
    stranger.says((200, JSON, answer))
    monkeypatch.setenv("OSTIARY_URL", stranger.url)
    for name, value in CLIENT.items():
        monkeypatch.setenv(name, value)
    # The second request would carry whatever the response contains.
    for command in (["oauth-token", "generate"], ["whoami"])[: 1 if answer == NO_MORE else 2]:
        assert run(command) == 1
        shown = capsys.readouterr()
        assert (shown.out, "OSTIARY_URL" in shown.err) == ("", True)
    assert {line.split()[1] for line, _ in stranger.asked} == {"/oauth/token"}


@pytest.mark.parametrize(
    "environment, said",
    [
        ({"OSTIARY_API_KEY": "ak-x", "OSTIARY_TOKEN": "t"}, ["OSTIARY_API_KEY", "OSTIARY_TOKEN"]),
        ({"OSTIARY_TOKEN": "t", "OSTIARY_KEY_FILE": "x"}, ["OSTIARY_TOKEN", "OSTIARY_KEY_FILE"]),
        (CLIENT | {"OSTIARY_KEY_FILE": "x"}, ["OSTIARY_KEY_FILE", "OSTIARY_CLIENT_ID"]),
        (CLIENT | {"OSTIARY_API_KEY_FILE": "x"}, ["OSTIARY_API_KEY_FILE", "OSTIARY_CLIENT_ID"]),
        (
            CLIENT | {"OSTIARY_CLIENT_SECRET_FILE": "x"},
            ["OSTIARY_CLIENT_SECRET", "OSTIARY_CLIENT_SECRET_FILE"],
        ),
        ({"OSTIARY_CLIENT_ID": "c"}, ["OSTIARY_CLIENT_ID", "not OSTIARY_CLIENT_SECRET"]),
        ({"OSTIARY_CLIENT_SECRET": "s"}, ["OSTIARY_CLIENT_SECRET", "not OSTIARY_CLIENT_ID"]),
        (
            {"OSTIARY_CLIENT_ID": "a b", "OSTIARY_CLIENT_SECRET": "s"},
            ["OSTIARY_CLIENT_ID is not a credential"],
        ),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_of_two_credentials_none_is_chosen(
    environment: dict[str, str],
    said: list[str],
    stranger: Stranger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """B9 breaks: with two credentials set, a command uses one, or the error does not name both."""
    stranger.says(EMPTY)
    monkeypatch.setenv("OSTIARY_URL", stranger.url)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run(["credential", "list"]) == 2
    shown = capsys.readouterr().err
    assert [each for each in said if each not in shown] == []
    assert stranger.asked == []


def test_a_context_may_hold_a_client(
    stranger: Stranger, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files break: the command line cannot use the configuration of a client secret."""
    text = (
        f'defaultContext = "robo"\n[contexts.robo]\nclientId = "ostiary-sa-x"\nclientSecret = "secret_x"\n'
        f'organization = "acme"\nproject = "*"\nurl = "{stranger.url}"\noktaAuthServer = "ostiary"\n'
    )
    config.write_text(text)
    config.chmod(0o600)
    stranger.says(TRADED, EMPTY)
    assert run(["credential", "list"]) == 0
    assert [line.split()[1] for line, _ in stranger.asked] == [
        "/oauth/token",
        "/v1/credentials?limit=200&organization=acme",
    ]
    assert run(["context", "list"]) == 0
    shown = capsys.readouterr().out
    assert "client ostiary-sa-x" in shown
    assert "secret_x" not in shown
    # A key beside it takes precedence: the client belongs to another program then.
    config.write_text(f'{text}apiKey = "ak-x"\n')
    stranger.says(EMPTY)
    assert run(["credential", "list"]) == 0
    assert stranger.asked[-1][1]["authorization"] == "Bearer ak-x"
    config.write_text(text.replace("clientId", "clientid"))
    assert run(["credential", "list"]) == 2
    assert "contexts.robo.clientId is missing" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["whoami"], ["oauth-token", "generate"]], ids=" ".join)
@pytest.mark.parametrize("variable", ["OSTIARY_CLIENT_SECRET", "OSTIARY_API_KEY", "OSTIARY_TOKEN"])
def test_nothing_is_traded_in_clear(
    command: list[str],
    variable: str,
    stranger: Stranger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """R22 breaks: a secret or a token goes over http to another machine."""
    _in_clear(stranger, monkeypatch)
    monkeypatch.setenv(variable, "secret_x" if variable == "OSTIARY_CLIENT_SECRET" else "of-robo")
    if variable == "OSTIARY_CLIENT_SECRET":
        monkeypatch.setenv("OSTIARY_CLIENT_ID", "ostiary-sa-x")
    assert run(command) == 2
    assert "https://" in capsys.readouterr().err
    assert stranger.asked == []


@pytest.mark.parametrize("command", [["revoke", "eyJh.eyJz.c2ln"], ["introspect"]], ids=lambda c: c[0])
def test_a_token_that_is_asked_about_goes_nowhere_in_clear(
    command: list[str],
    stranger: Stranger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """R22 breaks: a token in a body is sent unencrypted, because there is no credential in a header."""
    _in_clear(stranger, monkeypatch)
    monkeypatch.setenv("OSTIARY_TOKEN", "eyJh.eyJz.c2ln")
    assert run(["token", *command]) == 2
    assert "https://" in capsys.readouterr().err
    assert stranger.asked == []


def _in_clear(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger.says(TRADED)
    monkeypatch.setenv("HTTP_PROXY", stranger.url)  # whatever is sent over http ends there
    monkeypatch.setenv("OSTIARY_URL", "http://keys.example")


# Key files

PEM = "-----BEGIN PRIVATE KEY-----\nSHVudGVyMkh1bnRlcjI=\n-----END PRIVATE KEY-----\n"
CURVE = PEM.replace(
    "SHVudGVyMkh1bnRlcjI=",
    "MC4CAQAwBQYDK2VuBCIEIHcHbQpzGKV9PBbBclGyZkXfTC+H68CZKrF3+6UduSwq",
)
"""An X25519 key, which cannot sign."""
FILE = {
    "type": "service_account",
    "key_id": "k" * 32,
    "client_email": "robo@acme.test",
    "token_uri": "URL/oauth/token",
    "private_key": PEM,
}


@pytest.mark.promise("P7")
@pytest.mark.parametrize(
    "change, said",
    [
        ({"type": "authorized_user"}, "type is not"),
        ({"key_id": None}, "key_id is missing"),
        ({"client_email": 7}, "client_email is missing"),
        ({"private_key": ""}, "private_key is missing"),
        ({"private_key": "Hunter2"}, "private_key is not a supported"),
        ({}, "private_key is not a supported"),
        ({"private_key": CURVE}, "private_key is not a supported"),
        ({"token_uri": "https://evil.example/oauth/token"}, "token_uri belongs to another service"),
        ({"token_uri": "http://evil.example/oauth/token"}, "token_uri is neither https nor"),
        ({"token_uri": "URL/elsewhere/oauth/token"}, "token_uri belongs to another service"),
        ({"token_uri": "URL/oauth/token?x=1"}, "token_uri belongs to another service"),
        ({"token_uri": "https://x:y@127.0.0.1/oauth/token"}, "token_uri belongs to another service"),
        ({"token_uri": "https://["}, "token_uri belongs to another service"),
        ("not json", "type is not"),
        ("[]", "type is not"),
        (b"\xff", "is not UTF-8"),
        (0o640, "can be read by others"),
        (0o604, "can be read by others"),
        ("link", "is a symbolic link"),
        ("directory", "is not a regular file"),
        ("nowhere", "does not exist"),
        ("pasted", "OSTIARY_KEY_FILE"),
    ],
    ids=str,
)
def test_a_wrong_key_file_is_told_by_its_field(
    change: Any,
    said: str,
    stranger: Stranger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """B9, P7 break: a key file that others can read is used, an assertion is signed for somebody else's service,
    or a message repeats the key."""
    path = tmp_path / "robo.json"
    stranger.says(TRADED)
    monkeypatch.setenv("OSTIARY_URL", stranger.url)
    monkeypatch.setenv("OSTIARY_KEY_FILE", str(path))
    members = FILE | change if isinstance(change, dict) else FILE
    text = json.dumps(members).replace("URL", stranger.url)
    if isinstance(change, bytes):
        path.write_bytes(change)
    elif change in ("not json", "[]"):
        path.write_text(change)
    elif change == "link":
        (tmp_path / "real").write_text(text)
        (tmp_path / "real").chmod(0o600)
        path.symlink_to(tmp_path / "real")
    elif change == "directory":
        path.mkdir(mode=0o700)
    elif change == "pasted":
        monkeypatch.setenv("OSTIARY_KEY_FILE", text)
    elif change != "nowhere":
        path.write_text(text)
    if path.is_file() and not path.is_symlink():
        path.chmod(change if isinstance(change, int) else 0o600)
    assert run(["whoami"]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert "OSTIARY_KEY_FILE" in shown
    assert "unter" not in shown
    assert "evil" not in shown
    assert PEM.splitlines()[1] not in shown
    assert stranger.asked == []


def test_an_assertion_says_no_more_than_it_must(service: Ostiary, key_file: Path) -> None:
    """OAuth breaks: an assertion lives longer than five minutes, works twice, or works at another service."""
    from ostiary.cli.token_source import assertion, read_key_file

    file = read_key_file(str(key_file))
    first, second = (_claims(assertion(service.url, file)) for _ in range(2))
    assert set(first) == {"iss", "aud", "iat", "exp", "jti"}
    assert first["exp"] - first["iat"] == 300
    assert first["aud"] == json.loads(key_file.read_text())["token_uri"]
    assert len(first["jti"]) >= 16
    assert first["jti"] != second["jti"]


# token revoke, token introspect


@pytest.mark.promise("P7")
@pytest.mark.parametrize("way", ["argument", "stdin", "before", "after"])
def test_a_token_is_revoked_by_whoever_has_it(service: Ostiary, way: str, tmp_path: Path) -> None:
    """CLI, B9 break: `token revoke` needs more than the token, repeats it, or ends nothing."""
    token = service.command("oauth-token", "generate").stdout.strip()
    config = tmp_path / "ostiary"
    config.mkdir(mode=0o700)
    (config / "config.toml").write_text(f'[contexts.test]\nurl = "{service.url}"\n')
    (config / "config.toml").chmod(0o600)
    elsewhere = ["--context", "test"]
    before = elsewhere if way == "before" else []
    after = elsewhere if way == "after" else []
    shown = "-" if way == "stdin" else token
    options = [*before, "token", "revoke", *after, shown]
    named = {"XDG_CONFIG_HOME": str(config.parent)}
    done = _as(service, named, *options, stdin=f"{token}\n" if way == "stdin" else None)
    assert (done.stdout, done.stderr) == ("Token revoked.\n", "")
    refused = _as(service, {"OSTIARY_TOKEN": token}, "whoami", code=4)
    assert "that of OSTIARY_TOKEN" in refused.stderr
    again = _as(service, {}, "token", "revoke", "--json", token)
    assert json.loads(again.stdout) == {"revoked": False}
    assert _whose(service, OSTIARY_API_KEY=service.key)


@pytest.mark.parametrize("kind", ["token", "session"])
def test_only_what_was_ended_is_told_to_be_revoked(service: Ostiary, kind: str) -> None:
    """B9 breaks: `token revoke` reports success for an incomplete token, and the token stays valid."""
    nothing = "The token is not valid: it is expired, already revoked, or not copied completely.\n"
    if kind == "token":
        token = service.command("oauth-token", "generate").stdout.strip()
        # Two of three parts; and text with the form of a token, but other last characters.
        broken, cut = [token[:30], token.rpartition(".")[0], f"{token}.x"], [token[:-4], f"{token}AAAA"]
    else:
        token = _session(service)
        broken, cut = [token[:-1], f"{token}x", token[:40]], []
    for text in broken:
        done = service.command("token", "revoke", "-", stdin=text, code=2)
        assert (done.stdout, done.stderr) == ("", "Error: This is not a complete token.\n")
    for text in cut:
        assert service.command("token", "revoke", "-", stdin=text).stdout == nothing
    assert _as(service, {"OSTIARY_TOKEN": token}, "whoami")
    assert service.command("token", "revoke", "-", stdin=token).stdout == "Token revoked.\n"
    _as(service, {"OSTIARY_TOKEN": token}, "whoami", code=4)
    assert service.command("token", "revoke", "-", stdin=token).stdout == nothing


def test_what_cannot_be_seen_to_be_good_is_ended_all_the_same(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLI breaks: a token of a deactivated key is not revoked, and works again when the key is activated."""
    stranger.says((200, JSON, b'{"active":false}'), (200, JSON, b""))
    monkeypatch.setenv("OSTIARY_URL", stranger.url)
    assert run(["token", "revoke", "eyJh.eyJz.c2ln"]) == 0
    assert [line.split()[1] for line, _ in stranger.asked] == ["/oauth/introspect", "/oauth/token/revoke"]
    assert [json.loads(body) for body in stranger.bodies] == [{"token": "eyJh.eyJz.c2ln"}] * 2


def _session(service: Ostiary) -> str:
    body = {"display_name": "Session", "credential": {"kind": "key_file", "algorithm": "EdDSA"}}
    file = service.call("POST", "/v1/service-accounts", body).json()["secret"]
    signed = login(file["private_key"], file["key_id"], int(datetime.now(UTC).timestamp()) * SECOND)
    return str(service.call("POST", "/v1/sessions", {"token": signed}).json()["token"])


@pytest.mark.parametrize(
    "arguments",
    [["oauth-token", "generate"], ["token", "revoke", "-"], ["token", "introspect", "-"]],
    ids=" ".join,
)
def test_a_token_belongs_to_its_credentials_organization(service: Ostiary, arguments: list[str]) -> None:
    """CLI breaks: `--organization` seems to have an effect on a token."""
    token = service.command("oauth-token", "generate").stdout.strip()
    for command in (["--organization", "umbrella", *arguments], [*arguments, "--organization", "umbrella"]):
        assert "--organization" in service.command(*command, code=2).stderr
    said = "Note: a token belongs to its credential's organization; the one that is set is ignored.\n"
    done = service.command(*arguments, stdin=token, OSTIARY_ORGANIZATION="umbrella")
    assert done.stderr.startswith(said)
    assert said not in service.command("oauth-token", "generate").stderr


def test_a_refusal_that_says_what_to_do_is_not_contradicted(service: Ostiary) -> None:
    """CLI breaks: the next step of a refusal is the command that was refused."""
    token = service.command("oauth-token", "generate").stdout.strip()
    # The first came from a key; the second was exchanged for the first.
    token = _as(service, {"OSTIARY_TOKEN": token}, "oauth-token", "generate").stdout.strip()
    for refused, said in (
        (token, "Use the original key or token."),
        (_session(service), "Use the key file again."),
    ):
        done = _as(service, {"OSTIARY_TOKEN": refused}, "oauth-token", "generate", code=4)
        [line] = done.stderr.splitlines()
        assert said in line


def test_whoami_tells_a_token_from_its_credential(service: Ostiary, client: dict[str, str]) -> None:
    """CLI breaks: the output suggests that a client secret expires with its token."""
    token = _as(service, client, "oauth-token", "generate").stdout.strip()
    session = _session(service)
    for used, kind in ((token, "access token of "), (session, "session of ")):
        shown = _as(service, {"OSTIARY_TOKEN": used}, "whoami").stdout
        lines = dict(line.split(":", 1) for line in shown.splitlines())
        assert lines["Token"].strip().startswith(kind)
        assert "(cred_" in lines["Token"]
        assert "(in " in lines["Token ends"]
        assert lines["From"].strip() == "OSTIARY_TOKEN"
        assert not {"Credential", "Expires", "Key from"} & set(lines)


def test_a_key_is_no_token_to_revoke(service: Ostiary) -> None:
    """CLI breaks: `token revoke` seems to revoke an API key."""
    for options, stdin in (([service.key], None), (["-"], service.key)):
        done = service.command("token", "revoke", *options, stdin=stdin, code=2)
        assert "This is a key or secret. Revoke its credential" in done.stderr
        assert "`ostiary credential revoke ID` revokes it" in done.stderr
        assert service.key not in done.stderr
    assert _whose(service, OSTIARY_API_KEY=service.key)


@pytest.mark.parametrize("empty", ["", " \n", "two words"])
def test_nothing_is_no_token(service: Ostiary, empty: str) -> None:
    """B9 breaks: an empty variable or pipe is introspected, or reported as revoked."""
    for command in (["revoke", "-"], ["introspect", "-"], ["revoke", empty]):
        done = service.command("token", *command, stdin=empty, code=2)
        assert "is not a token" in done.stderr
        assert "two words" not in done.stderr


def test_what_a_token_is_worth(service: Ostiary, tmp_path: Path) -> None:
    """CLI, OAuth break: `token introspect` does not say what a token may do and until when, or a dead one is exit 0."""
    token = service.command("oauth-token", "generate", "--scope", "read:agents").stdout.strip()
    (tmp_path / "token").write_text(token)
    ways: list[tuple[list[str], str | None, dict[str, str]]] = [
        (["-"], token, {}),
        ([], None, {"OSTIARY_TOKEN": token}),
        ([], None, {"OSTIARY_TOKEN_FILE": str(tmp_path / "token")}),
    ]
    for options, stdin, environment in ways:
        done = _as(service, environment, "token", "introspect", *options, stdin=stdin)
        lines = dict(line.split(":", 1) for line in done.stdout.splitlines())
        assert (lines["Active"].strip(), lines["Scope"].strip()) == ("yes", "read:agents")
        assert "(in 1 hour)" in lines["Expires"] or "minutes)" in lines["Expires"]
    found = json.loads(service.command("token", "introspect", "-", "--json", stdin=token).stdout)
    assert found == {"active": True, "scope": "read:agents", "expires_at": _claims(token)["exp"]}
    service.command("token", "revoke", token)
    assert service.command("token", "introspect", "-", stdin=token, code=1).stdout == "Active: no\n"
    dead = service.command("token", "introspect", "-", "--json", stdin=token, code=1)
    assert json.loads(dead.stdout) == {"active": False}
    assert "set OSTIARY_TOKEN" in service.command("token", "introspect", code=2).stderr


@pytest.mark.promise("P7")
@pytest.mark.parametrize(
    "command",
    [
        "token introspect TOKEN",
        "api-call POST /oauth/introspect --data {'token':'TOKEN'}",
        "api-call GET /v1/capabilities?access_token=TOKEN",
        "token revoke TOKEN TOKEN",
        "--context TOKEN token revoke TOKEN",
        "token introspect revoke TOKEN",
        "whoami token revoke TOKEN",
    ],
)
@pytest.mark.parametrize("kind", ["token", "key"])
def test_a_token_is_no_argument_elsewhere(
    command: str, kind: str, stranger: Stranger, capsys: pytest.CaptureFixture[str]
) -> None:
    """B9, P7 break: a token as an argument, which all processes can read, is accepted."""
    key = "ak-1234567890abcdef1234567890abcdefABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqr"
    token = "eyJhbGciOiJF.eyJpc3MiOiJo.c2lnbmF0dXJl" if kind == "token" else key
    assert run(command.replace("TOKEN", token).split()) == 2
    shown = capsys.readouterr()
    assert "An argument contains a secret" in shown.err
    assert token not in shown.out + shown.err


def test_a_word_that_is_no_token_is_refused_too(capsys: pytest.CaptureFixture[str]) -> None:
    """B9 breaks: `token introspect` takes an argument of another form, or repeats it."""
    assert run(["token", "introspect", "Hunter2"]) == 2
    shown = capsys.readouterr().err
    assert "Do not give the token as an argument" in shown
    assert "Hunter2" not in shown


@pytest.mark.promise("P7")
def test_a_person_is_asked_for_the_token(service: Ostiary) -> None:
    """P7 breaks: the terminal shows a token that a person pastes."""
    token = service.command("oauth-token", "generate").stdout.strip()
    environment = {"OSTIARY_URL": service.url, "NO_COLOR": "1"}
    for command, said in ((["introspect"], "Active:  yes"), (["revoke"], "Token revoked.")):
        code, shown = on_terminal(
            "token", *command, "-", environment=environment, answer=f"{token}\n", question="(not shown): "
        )
        assert code == 0
        assert said in shown
        assert token[-20:] not in shown.replace("\n", "")


def test_the_log_shows_what_was_traded_and_ended(service: Ostiary, client: dict[str, str]) -> None:
    """CLI breaks: `audit logs --filter auth` does not show tokens."""
    token = _as(service, client, "oauth-token", "generate").stdout.strip()
    _as(service, {}, "token", "revoke", token)
    done = service.command("audit", "logs", "--filter", "auth", "--json")
    found = [
        each for each in json.loads(done.stdout) if each["details"].get("token") == _claims(token)["jti"]
    ]
    assert [each["action"] for each in found] == ["token.issued", "token.revoked"]
    assert token.rpartition(".")[2] not in done.stdout
    shown = service.command("audit", "logs", "--filter", "auth").stdout
    assert shown.count("token.revoked") >= 1
    assert "  grant_type client_credentials, scope api, " in shown
