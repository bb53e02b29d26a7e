"""`ostiary client …` and `ostiary grant …`: output as text and as JSON."""

import json

import pytest

from tests.servers import Ostiary

pytestmark = pytest.mark.full

CALLBACK = "https://app.test/callback"


def test_the_life_of_a_client(service: Ostiary) -> None:
    """CLI breaks: a client cannot be registered, found, changed, disabled or deleted from the command line."""
    made = json.loads(
        service.command(
            "client",
            "create",
            "--name",
            "Tracker",
            "--redirect-uri",
            CALLBACK,
            "--scope",
            "read:agents",
            "--json",
        ).stdout
    )
    assert (made["redirect_uris"], made["scopes"], made["access"]) == ([CALLBACK], ["read:agents"], "user")
    lines = service.command("client", "list", COLUMNS="200").stdout.splitlines()
    assert lines[0].split() == ["ID", "NAME", "ACCESS", "STATUS", "REDIRECTS", "TO", "CREATED"]
    assert CALLBACK in next(line for line in lines if made["id"] in line)
    changed = service.command("client", "update", made["id"], "--name", "Tracker 2", "--scope", "").stdout
    assert changed == "Tracker 2 is changed: name, scopes.\n"
    shown = service.command("client", "show", made["id"]).stdout
    assert "everything that the person may do" in shown
    assert "disabled" in service.command("client", "disable", made["id"]).stdout
    assert json.loads(service.command("client", "show", made["id"], "--json").stdout)["status"] == "disabled"
    service.command("client", "enable", made["id"])
    assert "is deleted" in service.command("client", "delete", "--yes", made["id"]).stdout
    service.command("client", "show", made["id"], code=1)


def test_what_is_wrong_is_told(service: Ostiary) -> None:
    """CLI breaks: the error for a mistyped argument does not name it, or lacks the next step."""
    wrong = service.command("client", "create", "--name", "x", "--redirect-uri", "http://app.test/", code=2)
    assert "--redirect-uri must" in wrong.stderr
    service.command("client", "update", "app_nothing", code=2)
    assert "`ostiary client list`" in service.command("client", "show", "app_nothing", code=1).stderr
    assert (
        "`ostiary grant list`" in service.command("grant", "withdraw", "--yes", "gra_nothing", code=1).stderr
    )
    assert isinstance(json.loads(service.command("grant", "list", "--json").stdout), list)
