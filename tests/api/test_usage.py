"""API: `/v1/usage` counts the requests that were made."""

from typing import Any

import pytest

from ostiary.core.instant import HOUR, to_text
from tests.cast import NOON, Front
from tests.http.test_verify import never_made

HERE = NOON // HOUR * HOUR


def ask(front: Front, query: str = "", key: str | None = None) -> Any:
    answer = front.ask("GET", f"/v1/usage{query}", key=key or front.house.alice_key)
    assert answer.status == 200, answer.body
    return answer.json()


def test_what_the_door_saw_is_told(front: Front) -> None:
    """API breaks: a chart shows other numbers than there were requests, or omits the hours without requests."""
    house = front.house
    made = house.key(house.account())
    key, credential = made.secret.reveal(), made.listed.credential
    for _ in range(3):
        front.ask("GET", "/v1/authorize/-", key=key)
    front.verify(key, scopes=["write:organization"])
    front.verify(key, count=False)
    front.ask("GET", "/v1/capabilities", key=never_made())
    front.write_counts()
    since = to_text(HERE - 2 * HOUR + 1)
    found = ask(front, f"?service_account={credential.owner_id}&since={since}")
    assert found == {
        "data": [
            {"from": to_text(HERE - 2 * HOUR), "accepted": 0, "refused": {}},
            {"from": to_text(HERE - HOUR), "accepted": 0, "refused": {}},
            {"from": to_text(HERE), "accepted": 3, "refused": {"insufficient_scope": 1}},
        ],
        "totals": {
            "accepted": 3,
            "refused": {"insufficient_scope": 1},
            "via": {"authorize": 3, "verify": 1},
        },
    }
    assert ask(front, f"?credential={credential.id}&since={since}") == found
    everything = ask(front, "?interval=day")
    assert len(everything["data"]) == 30
    # Alice's two requests, and the requests with unknown credentials.
    assert everything["totals"] == {
        "accepted": 3 + 2,
        "refused": {"insufficient_scope": 1, "unknown": 1},
        "via": {"authorize": 3, "verify": 3, "capabilities": 1},
    }
    # Charlie's own list is empty, and Alice may see that.
    mine = ask(front, key=house.charlie_key)
    assert mine["totals"] == {"accepted": 0, "refused": {}, "via": {}}
    assert ask(front, f"?organization={house.umbrella.id}") == mine


@pytest.mark.parametrize(
    "query, pointer",
    [
        ("interval=week", "/interval"),
        ("interval=", "/interval"),
        ("since=yesterday", "/since"),
        ("until=2026-11-22T00:00:00", "/until"),
        ("since=2026-11-22T00:00:00Z&until=2026-11-21T00:00:00Z", "/since"),
        ("since=0001-01-01T00:00:00Z", "/since"),
        ("since=0001-01-01T00:00:00Z&until=9999-12-31T23:59:59Z&interval=day", "/since"),
        ("credential=a&service_account=b", "/credential"),
        ("via=api", "/via"),
    ],
)
def test_a_question_that_cannot_be_meant(front: Front, query: str, pointer: str) -> None:
    """B8 breaks: an invalid filter is ignored or misread, and the client misunderstands the response."""
    answer = front.ask("GET", f"/v1/usage?{query}", key=front.house.alice_key)
    assert answer.status == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize("edge", ["0001-01-01T00:30:00Z", "9999-12-31T23:59:59.999Z"])
def test_the_edges_of_time(front: Front, edge: str) -> None:
    """P20 breaks: a valid time in a query causes an error."""
    for interval in ("hour", "day"):
        (found,) = ask(front, f"?since={edge}&until={edge}&interval={interval}")["data"]
        assert found["accepted"] == 0
