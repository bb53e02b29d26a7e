"""Rotation in the API: the responses, the notice to users of an old secret, and the alert after its end."""

from typing import Any

import pytest

from ostiary.core.instant import DAY, HOUR, MINUTE, to_text
from ostiary.services import credentials
from ostiary.services.issuance import CredentialSpec
from tests.cast import NOON, Front
from tests.services.questions import events


def start(front: Front, **body: Any) -> tuple[str, str, str, dict[str, Any]]:
    """Rotate Robo's key. Return its id, the old secret, the new secret, and the response."""
    made = front.house.key(front.house.account())
    credential = made.listed.credential.id
    answer = front.ask("POST", f"/v1/credentials/{credential}/rotate", body, key=front.house.alice_key)
    assert answer.status == 201, answer.body
    assert answer.headers["cache-control"] == "no-store"
    return credential, made.secret.reveal(), answer.json()["secret"], answer.json()["credential"]


def end(front: Front, credential: str, action: str) -> Any:
    return front.ask(
        "POST", f"/v1/credentials/{credential}/rotation", {"action": action}, key=front.house.alice_key
    )


def test_an_old_secret_is_told_that_it_is_old(front: Front) -> None:
    """Rotation breaks: a user of the old secret is not notified during the overlap."""
    credential, old, new, told = start(front, overlap="24h")
    ends_at = to_text(NOON + DAY)
    assert told["id"] == credential
    assert (told["generation"], told["last6"], told["rotated_at"]) == (2, new[-6:], to_text(NOON))
    assert told["rotation"] == {"previous_last6": old[-6:], "ends_at": ends_at}
    assert front.verify(old)["rotation"] == {"superseded_at": to_text(NOON), "ends_at": ends_at}
    assert front.verify(new)["rotation"] is None
    for target in ("/v1/capabilities", "/v1/authorize/-", "/v1/authorize-nginx/-", "/v1/agents"):
        assert front.ask("GET", target, key=old).headers["x-credential-superseded"] == f"until={ends_at}", (
            target
        )
        assert "x-credential-superseded" not in front.ask("GET", target, key=new).headers, target
    answer = front.ask("GET", "/v1/capabilities", key=old).json()
    assert answer["credential"]["rotation"]["ends_at"] == ends_at


@pytest.mark.promise("P19")
def test_an_old_secret_does_not_prolong_itself(front: Front) -> None:
    """P19 breaks: a stolen key that was replaced creates another key before its overlap ends, or extends its
    own use.
    """
    house = front.house
    bobs = house.store.write(credentials.create_direct, house.bob, CredentialSpec())
    address, old = f"/v1/credentials/{bobs.listed.credential.id}", bobs.secret.reveal()
    new = front.ask("POST", f"{address}/rotate", {"overlap": "1h"}, key=old).json()["secret"]
    for method, target, body in (
        ("POST", "/v1/api-keys", {}),
        ("POST", "/v1/api-keys", {"expires_at": to_text(NOON + HOUR + MINUTE)}),
        ("POST", f"{address}/rotation", {"action": "cancel"}),
    ):
        answer = front.ask(method, target, body, key=old)
        assert (answer.status, answer.json()["code"]) == (403, "scope-exceeds-grantor"), target
    assert front.ask("POST", "/v1/api-keys", {"expires_at": to_text(NOON + HOUR)}, key=old).status == 201
    assert front.ask("POST", "/v1/api-keys", {}, key=new).status == 201
    assert front.ask("POST", f"{address}/rotation", {"action": "cancel"}, key=new).status == 200


@pytest.mark.promise("P1")
@pytest.mark.parametrize("action", ["complete", "cancel", "revoke", "wait"])
def test_a_secret_that_was_ended_is_dead_at_once_and_its_use_raises_the_alert(
    front: Front, action: str
) -> None:
    """P1 breaks: an ended secret is accepted from a cache, or its use after the rotation goes unnoticed."""
    credential, old, new, _ = start(front, **({"overlap": "1h"} if action == "wait" else {}))
    dead = new if action == "cancel" else old
    for secret in (old, new):
        assert front.verify(secret)["valid"]
    match action:
        case "wait":
            front.house.clock.advance(HOUR)
        case "revoke":
            front.ask("POST", f"/v1/credentials/{credential}/revoke", key=front.house.alice_key)
        case _:
            assert end(front, credential, action).status == 200
    front.house.clock.advance(DAY - 1)
    found = front.verify(dead, count=True)
    assert (found["valid"], found["code"], found["credential_id"]) == (False, "revoked", credential)
    assert found["rotation"] is None
    refused = front.ask("GET", "/v1/agents", key=dead)
    assert refused.status == 401
    assert "x-credential-superseded" not in refused.headers
    front.write_counts()
    alerts = [each for each in events(front.house) if each.action == "credential.used_after_rotation"]
    assert {(each.target_id, each.outcome, each.reason) for each in alerts} == {
        (credential, "refused", "revoked")
    }


def test_the_second_documents_way_raises_the_same_alert(front: Front) -> None:
    """Rotation breaks: a second key is created, the first is revoked, and its later use raises no alert."""
    house = front.house
    account, other = house.account(), house.account("Other")
    first, alone = house.key(account), house.key(other)
    house.clock.advance(1)
    second = house.key(account)
    # Revoking the newer of two keys is not a rotation. Neither is revoking the only key.
    house.clock.advance(1)
    third = house.key(account)
    for each in (third, first, alone):
        house.store.write(credentials.revoke, house.alice, each.listed.credential.id)
        assert front.ask("GET", "/v1/agents", key=each.secret.reveal()).status == 401
    assert front.ask("GET", "/v1/agents", key=second.secret.reveal()).status == 200
    front.write_counts()
    found = {each.target_id: each.action for each in events(house) if each.outcome == "refused"}
    assert found == {
        third.listed.credential.id: "credential.refused",
        first.listed.credential.id: "credential.used_after_rotation",
        alone.listed.credential.id: "credential.refused",
    }


def test_a_rotation_is_followed_by_api(front: Front) -> None:
    """API breaks: the status of a rotation has another form or another value."""
    credential, old, new, _ = start(front)
    key = front.house.alice_key
    front.verify(new)
    front.write_counts()
    found = front.ask("GET", f"/v1/credentials/{credential}/rotation", key=key).json()
    assert (found["credential"], found["state"], found["safe_to_revoke"]) == (credential, "overlap", False)
    assert found["reasons"] == ["watched_too_briefly"]
    assert (found["old"]["last6"], found["old"]["uses"], found["old"]["ends_at"]) == (old[-6:], 0, None)
    assert (found["new"]["last6"], found["new"]["uses"], found["new"]["last_used_at"]) == (
        new[-6:],
        1,
        to_text(NOON),
    )
    front.house.clock.advance(DAY)
    found = front.ask("GET", f"/v1/credentials/{credential}/rotation", key=key).json()
    assert (found["safe_to_revoke"], found["reasons"]) == (True, [])
    done = end(front, credential, "complete").json()
    assert (done["state"], done["old"]["ended_at"]) == ("completed", to_text(NOON + DAY))
    assert end(front, credential, "complete").json() == done
    answer = end(front, credential, "cancel")
    assert (answer.status, answer.json()["code"]) == (409, "wrong-state")


def test_a_repeated_rotation_is_one_rotation(front: Front) -> None:
    """API breaks: a rotation that is sent twice rotates twice, or shows its secret twice."""
    made = front.house.key(front.house.account())
    target = f"/v1/credentials/{made.listed.credential.id}/rotate"
    first, again = (
        front.ask("POST", target, {"overlap": "1h"}, front.house.alice_key, {"idempotency-key": "r1"})
        for _ in range(2)
    )
    assert (first.status, again.status) == (201, 201)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json() | {"secret": None}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"overlap": "31d"}, "/overlap"),
        ({"overlap": "soon"}, "/overlap"),
        ({"overlap": 3600}, "/overlap"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"expires": "2030-01-01T00:00:00Z"}, "/expires"),
    ],
)
def test_a_wrong_rotation_names_its_field(front: Front, body: dict[str, Any], pointer: str) -> None:
    """B8 breaks: an invalid request rotates a credential."""
    made = front.house.key(front.house.account())
    answer = front.ask(
        "POST", f"/v1/credentials/{made.listed.credential.id}/rotate", body, key=front.house.alice_key
    )
    assert answer.status == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]
    assert front.verify(made.secret.reveal())["rotation"] is None
