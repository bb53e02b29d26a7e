"""CLI: a person rotates a key, follows who still uses the old one, and ends it."""

import json

import pytest

from tests.servers import Ostiary

pytestmark = pytest.mark.full


def test_a_rotation_from_its_beginning_to_its_end(service: Ostiary, key: tuple[str, str]) -> None:
    """P1, Rotation break: the new key is not alone on standard output, or the old one outlives its end."""
    credential, old = key
    done = service.command("credential", "rotate", credential)
    new = done.stdout.strip()
    assert "\n" not in new
    assert f"ostiary credential rotation complete {credential}" in done.stderr
    for each in (old, new):
        service.command("whoami", OSTIARY_API_KEY=each)
    shown = service.command("credential", "rotation", "show", credential).stdout
    assert "under way" in shown
    assert f"…{old[-6:]}" in shown
    assert f"…{new[-6:]}" in shown
    assert "not yet" in shown
    again = service.command("credential", "rotate", credential, code=1)
    assert "under way" in again.stderr
    assert "completed" in service.command("credential", "rotation", "complete", "--yes", credential).stdout
    service.command("whoami", OSTIARY_API_KEY=new)
    service.command("whoami", code=4, OSTIARY_API_KEY=old)


def test_a_cancelled_rotation_and_one_with_an_end(service: Ostiary, key: tuple[str, str]) -> None:
    """Rotation breaks: cancelling ends the old key, or an overlap has no end."""
    credential, old = key
    new = service.command("credential", "rotate", credential, "--overlap", "24h", "--format", "env").stdout
    assert new.startswith("OSTIARY_API_KEY=ak-")
    done = service.command("credential", "rotation", "cancel", "--yes", credential, "--json")
    assert json.loads(done.stdout)["state"] == "cancelled"
    service.command("whoami", OSTIARY_API_KEY=old)
    service.command("whoami", code=4, OSTIARY_API_KEY=new.strip().partition("=")[2])
    made = json.loads(
        service.command("credential", "rotate", credential, "--overlap", "24h", "--json").stdout
    )
    assert made["credential"]["rotation"]["ends_at"] is not None
    assert "Old key" in service.command("credential", "show", credential).stdout
    wrong = service.command("credential", "rotate", credential, "--overlap", "soon", code=2)
    assert "--overlap" in wrong.stderr
