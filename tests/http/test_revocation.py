"""P1 and P2 in one process: a revoked credential is refused by the next request, at every endpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ostiary.core.instant import DAY
from ostiary.services import credentials
from ostiary.services.credentials import Created
from ostiary.services.issuance import CredentialSpec
from ostiary.storage import credentials as credential_rows
from ostiary.storage import members as member_rows
from ostiary.storage import tables
from ostiary.storage.store import Tx
from tests.cast import Front
from tests.watch import statements

pytestmark = [pytest.mark.promise("P1"), pytest.mark.promise("P2")]


def seen(front: Front, key: Created) -> tuple[object, ...]:
    """How each endpoint treats a credential: verify, authorize, nginx, capabilities, the API."""
    text = key.secret.reveal()
    statuses = [
        front.ask("GET", target, key=text).status
        for target in (
            "/v1/authorize/-",
            "/v1/authorize-nginx/-",
            "/v1/capabilities",
            "/v1/service-accounts",
        )
    ]
    return front.verify(text)["code"], *statuses


GOOD = ("valid", 200, 200, 200, 200)


def refused(code: str) -> tuple[object, ...]:
    return code, 401, 401, 401, 401


def api(method: str, target: str, body: Any = None) -> Callable[[Front, Created], object]:
    """A change that Alice makes over the API."""

    def act(front: Front, key: Created) -> object:
        credential = key.listed.credential
        address = target.format(key=credential.id, account=credential.owner_id)
        answer = front.ask(method, address, body, key=front.house.alice_key)
        assert answer.status in (200, 204), answer.body
        return answer

    return act


def suspension(at: int | None) -> Callable[[Front, Created], object]:
    """A change that has no endpoint yet: suspending the organization."""

    def act(front: Front, _key: Created) -> None:
        def write(tx: Tx) -> None:
            tx.execute(tables.organizations.update().values(suspended_at=at))
            for organization in (front.house.acme, front.house.umbrella):
                tx.changed("organization", organization.id)

        front.house.store.write_on((), write)

    return act


def expiry(front: Front, _key: Created) -> None:
    front.house.clock.advance(DAY)


ACTS: list[
    tuple[str, Callable[[Front, Created], object], Callable[[Front, Created], object] | None, object]
] = [
    # name, the change, its reversal, and how the credential is treated in between
    ("revoked", api("POST", "/v1/credentials/{key}/revoke"), None, refused("revoked")),
    (
        "deactivated",
        api("POST", "/v1/credentials/{key}/deactivate"),
        api("POST", "/v1/credentials/{key}/activate"),
        refused("deactivated"),
    ),
    (
        "account disabled",
        api("POST", "/v1/service-accounts/{account}/disable"),
        api("POST", "/v1/service-accounts/{account}/enable"),
        refused("disabled"),
    ),
    ("account deleted", api("DELETE", "/v1/service-accounts/{account}"), None, refused("revoked")),
    ("expired", expiry, None, refused("expired")),
    (
        "roles taken away",
        api("PUT", "/v1/service-accounts/{account}/role-bindings", {"bindings": []}),
        api("PUT", "/v1/service-accounts/{account}/role-bindings", {"bindings": [{"role": "developer"}]}),
        ("valid", 200, 200, 200, 403),
    ),
    (
        "account narrowed",
        api("PATCH", "/v1/service-accounts/{account}", {"scopes": ["read:audit"]}),
        api("PATCH", "/v1/service-accounts/{account}", {"access_level": "full"}),
        ("valid", 200, 200, 200, 403),
    ),
    (
        "key narrowed",
        api("PATCH", "/v1/credentials/{key}", {"scopes": ["read:audit"]}),
        api("PATCH", "/v1/credentials/{key}", {"access_level": "full"}),
        ("valid", 200, 200, 200, 403),
    ),
    (
        "limited to resources",
        api("PATCH", "/v1/credentials/{key}", {"resources": ["agents/1"]}),
        api("PATCH", "/v1/credentials/{key}", {"resources": []}),
        ("resource_not_allowed", 403, 403, 200, 403),
    ),
    (
        "limited to addresses",
        api("PATCH", "/v1/credentials/{key}", {"allowed_ips": ["203.0.113.1"]}),
        api("PATCH", "/v1/credentials/{key}", {"allowed_ips": []}),
        ("ip_not_allowed", 403, 403, 403, 403),
    ),
]


@pytest.mark.parametrize(
    ("act", "undo", "between"), [case[1:] for case in ACTS], ids=[case[0] for case in ACTS]
)
def test_an_act_holds_from_its_answer_on(
    front: Front,
    act: Callable[[Front, Created], object],
    undo: Callable[[Front, Created], object] | None,
    between: object,
) -> None:
    """P1 breaks: a request that starts after the response to a change is judged by the state before it."""
    house = front.house
    robo = house.account()
    key = house.key(robo, expires_at=house.clock.now + DAY if act is expiry else None)
    bystander = house.key(house.account("Other"))
    assert seen(front, key) == seen(front, bystander) == GOOD
    act(front, key)
    assert seen(front, key) == between
    assert seen(front, bystander) == GOOD
    if undo is not None:
        undo(front, key)
        assert seen(front, key) == GOOD


def test_a_suspended_organization_takes_everything_along(front: Front) -> None:
    """P2 breaks: a key remains valid after its organization was suspended."""
    house = front.house
    assert front.verify(house.charlie_key)["code"] == "valid"
    key = house.key(house.account())
    assert seen(front, key) == GOOD
    suspension(1)(front, key)
    for text in (key.secret.reveal(), house.alice_key, house.charlie_key):
        for target in ("/v1/authorize/-", "/v1/capabilities", "/v1/service-accounts"):
            assert front.ask("GET", target, key=text).status == 401
    suspension(None)(front, key)
    assert seen(front, key) == GOOD


def test_a_removed_member_takes_direct_keys_along(front: Front) -> None:
    """P2 breaks: a direct key remains valid after its user left the organization."""
    house = front.house
    bob = house.store.write(credentials.create_direct, house.bob, CredentialSpec())
    assert seen(front, bob) == GOOD

    def remove(tx: Tx) -> None:
        member_rows.delete_member(tx, house.acme.id, str(house.bob.actor.id))
        tx.changed("organization", house.acme.id)

    house.store.write_on((), remove)
    assert seen(front, bob) == refused("disabled")
    assert front.verify(house.alice_key)["code"] == "valid"


def test_a_deleted_credential_is_unknown_at_once(front: Front, tmp_path: Path) -> None:
    """R5 breaks: the cache keeps a credential whose row was deleted."""
    quick = Front(front.house.with_policy(deletion_delay=0), tmp_path)
    house = quick.house
    key = house.key(house.account())
    house.store.write(credentials.revoke, house.alice, key.listed.credential.id)
    assert quick.verify(key.secret.reveal())["code"] == "revoked"
    api("DELETE", "/v1/credentials/{key}")(quick, key)
    found = quick.verify(key.secret.reveal())
    quick.close()
    assert (found["code"], found["credential_id"]) == ("unknown", None)


def test_a_change_that_nobody_announced_is_found_by_the_next_look(front: Front) -> None:
    """P1 breaks: this node never reads that another node revoked a credential."""
    house = front.house
    key = house.key(house.account())
    assert seen(front, key) == GOOD

    def elsewhere(tx: Tx) -> None:
        credential_rows.update(tx, key.listed.credential.id, {"revoked_at": tx.now})
        change = {"kind": "credential", "id": key.listed.credential.id, "at": tx.now}
        tx.execute(tables.changes.insert(), change)  # not `tx.changed`, which notifies this node too

    house.store.write_on((), elsewhere)
    assert front.verify(key.secret.reveal())["code"] == "valid"  # not notified, and not polled yet
    front.facts.sync()  # the periodic tasks do this each second
    assert seen(front, key) == refused("revoked")


def test_a_change_during_a_look_up_is_not_cached_over(front: Front) -> None:
    """P1 breaks: facts read just before a revocation are cached just after it, and used from then on."""
    house = front.house
    key = house.key(house.account())
    assert front.verify(house.alice_key)["valid"]
    revoked: list[str] = []

    def revoke(text: str) -> None:
        if "generations" in text and not revoked:
            revoked.append(key.listed.credential.id)
            house.store.write(credentials.revoke, house.alice, revoked[0])
            front.facts.sync()  # a concurrent poll drops only what is cached

    with statements(house.store.engines, revoke):
        assert front.ask("GET", "/v1/capabilities", key=key.secret.reveal()).status == 200  # began before
    assert revoked
    assert seen(front, key) == refused("revoked")
