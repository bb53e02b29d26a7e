"""P12: the whole service works on PostgreSQL as on SQLite, also with a second node on the same database."""

import base64
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import servers
from tests.promises.line import Line
from tests.servers import Ostiary

pytestmark = [pytest.mark.promise("P12"), pytest.mark.full]

MASTER_KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def environment(postgres_url: str) -> dict[str, str]:
    return {"OSTIARY_DATABASE_URL": postgres_url, "OSTIARY_MASTER_KEY": MASTER_KEY, "OSTIARY_WORKERS": "2"}


@pytest.fixture
def nodes(environment: dict[str, str], tmp_path: Path) -> Iterator[tuple[Ostiary, Ostiary]]:
    """Two services with separate data directories on one database."""
    with ExitStack() as stack:
        one = stack.enter_context(servers.ostiary(tmp_path / "one", None, None, **environment))
        two = stack.enter_context(servers.ostiary(tmp_path / "two", one.first, None, **environment))
        yield one, two


def test_the_service_works_on_postgresql(nodes: tuple[Ostiary, Ostiary]) -> None:
    """P12 breaks: a function of the embedded database does not work on PostgreSQL."""
    server, _ = nodes
    server.command("service-account", "create", "--name", "CI bot", "--role", "developer")
    key = server.command("api-key", "generate", "--service-account", "ci-bot").stdout.strip()
    assert server.call("GET", "/readyz").json() == {"status": "ready"}
    with Line(server.port, server.key) as line:
        assert line.verify(key) == "valid"
        assert (
            line.ask("GET", "/v1/capabilities", key=key).json()["principal"]["username"]
            == "ci-bot@acme.localhost"
        )
        credential = next(
            each for each in line.ask("GET", "/v1/credentials").json()["data"] if key.endswith(each["last6"])
        )
        server.command("credential", "revoke", "--yes", credential["id"])
        assert line.verify(key) == "revoked"
        assert line.ask("GET", "/v1/capabilities", key=key).status == 401
    logs = server.command("audit", "logs", "--action", "credential.revoked").stdout
    assert credential["last6"] in logs
    # The master key is in the environment and the data is on the PostgreSQL server, so neither is in this directory.
    assert sorted(path.name for path in server.data.iterdir()) == [
        ".gitignore",
        "changes.number",
        "failures.permits",
        "metrics",
        "serving.lock",
        "troubles.times",
        "uses.permits",
    ]


def test_another_node_refuses_what_was_ended(nodes: tuple[Ostiary, Ostiary]) -> None:
    """P1, P12 break: a node still accepts a credential that was revoked on another node."""
    one, two = nodes
    with Line(one.port, one.key) as here, Line(two.port, one.key) as there:
        account = here.made("/v1/service-accounts", {"display_name": "Robo"})["service_account"]["id"]
        for end, back, code in (
            (f"/v1/service-accounts/{account}/disable", f"/v1/service-accounts/{account}/enable", "disabled"),
            ("/v1/credentials/{}/deactivate", "/v1/credentials/{}/activate", "deactivated"),
            ("/v1/credentials/{}/revoke", "", "revoked"),
        ):
            made = here.made(f"/v1/service-accounts/{account}/credentials", {"kind": "api_key"})
            secret, credential = made["secret"], made["credential"]["id"]
            assert there.verify(secret) == "valid"
            assert here.ask("POST", end.format(credential)).status == 200
            assert here.verify(secret) == code
            # A node looks for changes once a second. The test checks the refusal and its reason, not the time.
            servers.wait_until(f"a refusal, {code}", lambda: there.verify(secret) == code)  # noqa: B023
            if back:
                assert here.ask("POST", back.format(credential)).status == 200
                servers.wait_until("the return", lambda: there.verify(secret) == "valid")  # noqa: B023


def test_nodes_of_different_master_keys_do_not_share_a_database(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """P23 breaks: a node with the wrong master key starts, and refuses everybody."""
    servers.initialise(tmp_path / "one", **environment)
    other = environment | {"OSTIARY_MASTER_KEY": base64.b64encode(bytes(range(1, 33))).decode()}
    done = servers.run_command("serve", "--data", str(tmp_path / "two"), code=2, environment=other)
    assert "OSTIARY_MASTER_KEY" in done.stderr
    assert not any(secret in done.stderr for secret in other.values())


def test_an_empty_database_is_not_served(environment: dict[str, str], tmp_path: Path) -> None:
    """P23 breaks: a service starts on a database that was not initialized."""
    done = servers.run_command("serve", "--data", str(tmp_path / "data"), code=2, environment=environment)
    assert "OSTIARY_DATABASE_URL" in done.stderr
    assert "ostiary init" in done.stderr
    assert environment["OSTIARY_DATABASE_URL"] not in done.stderr


def test_two_inits_of_one_database_make_one_beginning(environment: dict[str, str], tmp_path: Path) -> None:
    """P12 breaks: `init` on a second node creates a second operator."""
    first = servers.initialise(tmp_path / "one", **environment)
    servers.run_command(
        "init", "--data", str(tmp_path / "two"), "--organization", "Umbrella", "--email", "charlie@umbrella.test",
        code=2, environment=environment,
    )  # fmt: skip
    with servers.ostiary(tmp_path / "two", first, None, **environment) as server:
        assert server.call("GET", "/v1/capabilities").json()["organization"]["name"] == "Acme"
