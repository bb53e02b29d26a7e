"""CLI: a person sees how often keys are used with `ostiary usage`."""

import json
from typing import Any

import httpx2
import pytest

from tests.cli.edge import Stranger, on_terminal
from tests.servers import Ostiary, run_command, wait_until

ANSWER = {
    "data": [
        {"from": "2026-11-21T10:00:00.000Z", "accepted": 0, "refused": {}},
        {"from": "2026-11-21T11:00:00.000Z", "accepted": 90, "refused": {"revoked": 9, "expired": 21}},
        {"from": "2026-11-21T12:00:00.000Z", "accepted": 1, "refused": {}},
    ],
    "totals": {"accepted": 91, "refused": {"revoked": 9, "expired": 21}, "via": {"authorize": 121}},
}
NOTHING = {
    "data": [{"from": "2026-11-21T10:00:00.000Z", "accepted": 0, "refused": {}}],
    "totals": {"accepted": 0, "refused": {}, "via": {}},
}


def says(stranger: Stranger, answer: object) -> dict[str, str]:
    stranger.says((200, "application/json", json.dumps(answer).encode()))
    return {"OSTIARY_URL": stranger.url, "OSTIARY_API_KEY": "ak-" + "0" * 32 + "x" * 44}


@pytest.mark.full
def test_uses_of_a_key_are_seen(service: Ostiary, robo: dict[str, Any], key: tuple[str, str]) -> None:
    """CLI breaks: the counts differ from the uses."""
    for _ in range(3):
        used = httpx2.get(f"{service.url}/v1/authorize/-", headers={"x-api-key": key[1]})
        assert used.status_code == 200
    service.command("credential", "revoke", "--yes", key[0])
    refused = httpx2.get(f"{service.url}/v1/authorize/-", headers={"x-api-key": key[1]})
    assert refused.status_code == 401

    def total(*of: str) -> Any:
        return json.loads(service.command("usage", *of, "--since", "2h", "--json").stdout)["totals"]

    expected = {"accepted": 3, "refused": {"revoked": 1}, "via": {"authorize": 4}}
    wait_until("the counts", lambda: total("--credential", key[0]) == expected)
    assert total("--service-account", robo["username"]) == expected
    shown = service.command("usage", "--credential", key[0], "--interval", "day").stdout.splitlines()
    assert shown[0].split() == ["FROM", "ACCEPTED", "REFUSED", "WHY"]
    assert shown[-1].split() == ["total", "3", "1", "revoked", "1"]
    missing = service.command("usage", "--credential", "cred_x", code=1)
    assert "no such credential" in missing.stderr


def test_a_table_for_people(stranger: Stranger) -> None:
    """CLI breaks: the table cannot be read, or hides hours with refusals."""
    environment = says(stranger, ANSWER)
    shown = run_command("usage", "--since", "2026-11-21", environment=environment).stdout.splitlines()
    assert [line.split() for line in shown] == [
        ["FROM", "ACCEPTED", "REFUSED", "WHY"],
        ["2026-11-21", "10:00", "0", "0"],
        ["2026-11-21", "11:00", "90", "30", "expired", "21,", "revoked", "9"],
        ["2026-11-21", "12:00", "1", "0"],
        ["total", "91", "30", "expired", "21,", "revoked", "9"],
    ]
    assert stranger.asked[-1][0].startswith("GET /v1/usage?since=2026-11-21T00%3A00%3A00Z&interval=hour ")
    assert json.loads(run_command("usage", "--json", environment=environment).stdout) == ANSWER


def test_a_terminal_gets_bars(stranger: Stranger) -> None:
    """CLI breaks: the bars do not fit the terminal, or hide small counts."""
    environment = says(stranger, ANSWER) | {"NO_COLOR": "1"}
    bars = [
        "".join(each for each in line if each in "█░")
        for line in on_terminal("usage", environment=environment)[1].splitlines()
    ]
    assert bars == ["", "", "█" * 14 + "░" * 4, "█", ""]
    code, narrow = on_terminal("usage", environment=environment, columns=40)
    assert code == 0
    assert "WHY:      expired 21, revoked 9" in narrow  # one record for each row, nothing cut
    assert max(len(line.rstrip()) for line in narrow.splitlines()) <= 40, narrow


def test_reasons_have_room_before_bars(stranger: Stranger) -> None:
    """CLI breaks: on a usual terminal, the reasons of refusals do not fit, without a hint."""
    refused = {"rate_limited": 11, "ip_not_allowed": 2}
    environment = says(
        stranger,
        {
            "data": [{"from": "2026-11-21T11:00:00.000Z", "accepted": 90, "refused": refused}],
            "totals": {"accepted": 90, "refused": refused, "via": {}},
        },
    ) | {"NO_COLOR": "1"}
    usual = on_terminal("usage", environment=environment)[1]
    assert usual.count("rate_limited 11, ip_not_allowed 2") == 2
    assert "█" in usual
    small = on_terminal("usage", environment=environment, columns=72)[1]
    assert small.count("rate_limited 11, ip_not_allowed 2") == 2
    assert "left out: BAR." in small
    smaller = on_terminal("usage", environment=environment, columns=60)[1]
    assert smaller.count("WHY:      rate_limited 11, ip_not_allowed 2") == 2


def test_nothing_used_teaches(stranger: Stranger) -> None:
    """CLI breaks: an empty result gives no next step, or prints it where a script expects a table."""
    done = run_command("usage", environment=says(stranger, NOTHING))
    assert done.stdout == ""
    assert "No uses in this period" in done.stderr
    assert "curl -H" in done.stderr
    assert "--interval day" in done.stderr
    days = run_command("usage", "--interval", "day", environment=says(stranger, NOTHING))
    assert "--interval day" not in days.stderr


@pytest.mark.parametrize(
    "options, said",
    [
        (["--interval", "week"], "'week' is not one of"),
        (["--since", "yesterday"], "--since"),
        (["--credential", "cred_1", "--service-account", "robo"], "not both"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use(stranger: Stranger, options: list[str], said: str) -> None:
    """B9 breaks: an invalid option shows other counts than requested."""
    done = run_command("usage", *options, code=2, environment=says(stranger, NOTHING))
    assert said in done.stderr
    assert stranger.asked == []
