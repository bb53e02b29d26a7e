"""P5: uses and refusals of presented credentials are counted, and the API logs a refusal before the response."""

from typing import Any

import pytest

from ostiary.core.instant import SECOND, to_text
from ostiary.core.problem import Problem
from ostiary.services import credentials
from ostiary.storage import audit as audit_rows
from ostiary.storage import tables
from ostiary.storage.audit import Filter
from ostiary.storage.store import Tx
from tests.cast import NOON, Front
from tests.http.test_verify import never_made, wrong_secret

pytestmark = pytest.mark.promise("P5")


def counted(front: Front, organization_id: str | None = None) -> list[dict[str, Any]]:
    """Return the events about presented credentials in an organization's log, oldest first."""
    wanted = Filter(("credential.used", "credential.refused"))
    found = front.house.store.read(
        audit_rows.page, organization_id or front.house.acme.id, wanted, None, 100, True
    )
    return [
        {
            "action": each.action,
            "actor": each.actor_id,
            "credential": each.actor_credential_id,
            "target": each.target_id,
            "outcome": each.outcome,
            "reason": each.reason,
            "address": each.address,
            **each.details,
        }
        for each in found
    ]


def test_uses_become_one_event_and_a_last_use(front: Front) -> None:
    """P5 breaks: uses are lost, fill the log one by one, or the last use is wrong."""
    house = front.house
    key = house.key(house.account())
    credential = key.listed.credential
    for _ in range(3):
        house.clock.advance(SECOND)
        assert front.ask("GET", "/v1/capabilities", key=key.secret.reveal()).status == 200
    assert counted(front) == []
    front.write_counts()
    front.write_counts()
    expected = {
        "action": "credential.used",
        "actor": credential.owner_id,
        "credential": credential.id,
        "target": credential.id,
        "outcome": "success",
        "reason": "valid",
        "address": "192.0.2.1",
        "count": 3,
        "first": to_text(NOON + SECOND),
        "last": to_text(NOON + 3 * SECOND),
        "via": "capabilities",
    }
    assert counted(front) == [expected]
    found = house.store.read(credentials.get, house.alice, credential.id)
    assert found.credential.last_used_at == NOON + 3 * SECOND


@pytest.mark.promise("P1")
def test_refusals_are_counted_with_their_exact_cause(front: Front) -> None:
    """P5 breaks: the owner of a credential does not learn that it was refused, why, and from where."""
    house = front.house
    key = house.key(house.account())
    text, credential = key.secret.reveal(), key.listed.credential
    house.store.write(credentials.revoke, house.alice, credential.id)
    for _ in range(2):
        assert front.ask("GET", "/v1/authorize/-", key=text, peer="198.51.100.7").status == 401
    assert front.ask("GET", "/v1/service-accounts", key=text).status == 401
    for bad in (wrong_secret(text), never_made(), "nonsense"):
        assert front.ask("GET", "/v1/capabilities", key=bad).status == 401
    assert front.ask("GET", "/v1/capabilities").status == 401  # nothing was presented
    front.write_counts()
    found = {
        (each["credential"], each["reason"], each["via"], each["address"]): each["count"]
        for each in counted(front)
    }
    assert found == {
        (credential.id, "revoked", "authorize", "198.51.100.7"): 2,
        (credential.id, "revoked", "api", "192.0.2.1"): 1,
        # They belong to no organization, so they are in the operator's log, by address.
        (None, "unknown", "capabilities", "192.0.2.1"): 2,
        (None, "malformed", "capabilities", "192.0.2.1"): 1,
    }
    assert {each["action"] for each in counted(front)} == {"credential.refused"}
    assert house.store.read(credentials.get, house.alice, credential.id).credential.last_used_at is None


@pytest.mark.promise("P19")
def test_a_foreign_credential_is_counted_with_whoever_asked(front: Front) -> None:
    """P19 breaks: a check appears in the log of another organization than the one that called."""
    house = front.house
    key = house.key(house.account())
    front.verify(key.secret.reveal(), key=house.charlie_key)
    front.write_counts()
    assert counted(front) == []
    told = [
        (each["action"], each["credential"], each["reason"]) for each in counted(front, house.umbrella.id)
    ]
    charlies = house.store.read(credentials.list_page, house.charlie, None, None, 1)[0].credential.id
    assert sorted(told, key=repr) == [
        ("credential.refused", None, "unknown"),
        ("credential.used", charlies, "valid"),
    ]


def test_counts_that_could_not_be_written_are_kept(front: Front) -> None:
    """P5 breaks: a failed batch loses counts or writes them twice."""
    house = front.house
    key = house.key(house.account()).secret.reveal()
    front.ask("GET", "/v1/capabilities", key=key)
    with house.store.engines.writer.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE audit_events RENAME TO elsewhere")
    with pytest.raises(Problem, match="audit-unavailable"):
        front.write_counts()
    house.clock.advance(SECOND)
    front.ask("GET", "/v1/capabilities", key=key)
    with house.store.engines.writer.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO audit_events")
    front.write_counts()
    found = [(each["count"], each["first"], each["last"]) for each in counted(front)]
    assert found == [(2, to_text(NOON), to_text(NOON + SECOND))]

    def uses(tx: Tx) -> list[int]:
        return [row.uses for row in tx.execute(tables.generation_uses.select())]

    assert house.store.read(uses) == [2]


def test_refusals_of_one_address_are_one_event(front: Front) -> None:
    """P5 breaks: a client that tries many keys fills the log and the disk, or is not in the log."""
    house = front.house
    assert front.ask("GET", "/v1/capabilities", key=house.alice_key).status == 200  # the facts are in memory
    front.write_counts()
    asked = [(b"host", b"localhost"), (b"x-api-key", never_made()[:-1].encode())]
    for _ in range(10):
        house.clock.advance(SECOND)
        for _ in range(1_000):
            answer = front.door.answer_now(b"GET", b"/v1/authorize/-", asked, b"", "198.51.100.7")
            assert answer is not None
            assert answer.startswith(b"HTTP/1.1 401 ")
    front.write_counts()
    expected = {
        "action": "credential.refused",
        "actor": None,
        "credential": None,
        "target": None,
        "outcome": "refused",
        "reason": "malformed",
        "address": "198.51.100.7",
        "count": 10_000,
        "first": to_text(NOON + SECOND),
        "last": to_text(NOON + 10 * SECOND),
        "via": "authorize",
    }
    assert [each for each in counted(front) if each["credential"] is None] == [expected]


@pytest.mark.promise("P20")
def test_a_flood_of_questions_hides_nobody_and_fills_no_disk(front: Front) -> None:
    """P5, P20 break: checks with ever new addresses fill the disk, or hide another customer's uses."""
    house = front.house
    key = house.key(house.account())
    front.ask("GET", "/v1/capabilities", key=key.secret.reveal())
    front.write_counts()
    for number in range(400):
        front.verify("x", key=house.charlie_key, ip=f"10.0.{number // 256}.{number % 256}")
        front.verify(never_made(), key=house.charlie_key, ip=f"2001:db8::{number:x}")
    for _ in range(3):
        front.ask("GET", "/v1/capabilities", key=key.secret.reveal())
    front.write_counts()
    (used,) = [each for each in counted(front) if each["credential"] == key.listed.credential.id][1:]
    assert (used["count"], used["address"], used["reason"]) == (3, "192.0.2.1", "valid")

    def told(tx: Tx) -> list[tuple[str | None, str, int]]:
        rows = tx.execute(tables.audit_events.select())
        refused = [each for each in rows if each.action == "credential.refused"]
        assert {each.organization_id for each in refused} == {house.umbrella.id}
        return [(each.address, each.reason, each.details["count"]) for each in refused]

    found = house.store.read(told)
    assert sum(number for _, _, number in found) == 800
    assert len(found) == 301
    assert ("2001:db8::/64", "unknown", 400) in found
    assert (None, "malformed", 101) in found


def test_a_refusal_of_the_api_is_recorded_before_the_answer(front: Front) -> None:
    """P5 breaks: a refused API call is not in the log when the response arrives."""
    house = front.house
    robo = house.key(house.account())
    text, owner = robo.secret.reveal(), robo.listed.credential.owner_id
    for method, target, body, status, code, reason, route in (
        (
            "POST",
            "/v1/service-accounts",
            {"display_name": "Mine"},
            403,
            "insufficient-permissions",
            "lacks write:service-accounts",
            "/v1/service-accounts",
        ),
        (
            "GET",
            "/v1/service-accounts/sa_secret-name",
            None,
            404,
            "not-found",
            "no such id in this organization",
            "/v1/service-accounts/{account}",
        ),
    ):
        answer = front.ask(method, target, body, key=text, headers={"user-agent": "curl/8"})
        assert answer.status == status
        event = house.store.read(audit_rows.page, house.acme.id, Filter(), None, 1)[0]
        assert (event.action, event.outcome, event.reason) == ("request.refused", "refused", reason)
        assert event.details == {"method": method, "route": route, "status": status, "code": code}
        assert (event.actor_id, event.actor_credential_id) == (owner, robo.listed.credential.id)
        assert (event.address, event.user_agent) == ("192.0.2.1", "curl/8")
        assert event.request_id == answer.headers["x-request-id"]
    stranger = front.ask("GET", f"/v1/service-accounts/{owner}", key=house.charlie_key)
    assert stranger.status == 404
    # In the caller's log, not in the log of the resource's organization.
    assert (
        house.store.read(audit_rows.page, house.umbrella.id, Filter(), None, 1)[0].action == "request.refused"
    )
    acme = house.store.read(audit_rows.page, house.acme.id, Filter(("request.refused",)), None, 9)
    assert {event.actor_id for event in acme} == {owner}


def test_whoever_asks_is_counted_once_whatever_is_in_memory(front: Front) -> None:
    """P5 breaks: a caller whose check needs the database is counted twice."""
    house = front.house
    asked = house.key(house.account()).secret.reveal()
    front.ask("GET", "/v1/capabilities", key=house.alice_key)  # in memory from here on
    front.write_counts()
    front.verify(asked)
    front.verify(asked)
    front.write_counts()
    (asker,) = [each for each in counted(front) if each["actor"] == house.alice.actor.id][-1:]
    assert asker["count"] == 2
