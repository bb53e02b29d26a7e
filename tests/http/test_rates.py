"""P10 on the wire: which limit a request is charged to, what responses say, and whom an address's failures
affect.
"""

from collections.abc import Callable
from typing import Any

import pytest

from ostiary.auth.rates import FAILURES
from ostiary.core import secret
from ostiary.core.instant import MINUTE, SECOND
from ostiary.services import credentials, imports, organizations, rotation
from ostiary.services.credentials import Created
from ostiary.services.issuance import CredentialSpec
from tests.cast import Answer, Front, House
from tests.http.test_any_endpoint import is_problem
from tests.http.test_verify import wrong_secret
from tests.node.test_counts import counted
from tests.node.test_outage import is_unavailable, outage
from tests.watch import statements

pytestmark = pytest.mark.promise("P10")

PROXY = "127.0.0.1"
POLICY = '"default";q=2;w=60'


def limited(house: House, limit: int = 2, roles: tuple[str, ...] = ("developer",), **spec: Any) -> Created:
    return house.key(house.account(f"{len(roles)} {limit}", roles=roles), rate_limit=limit, **spec)


def key_of(created: Created) -> str:
    return created.secret.reveal()


def capabilities(front: Front, key: str, peer: str = "192.0.2.1") -> Answer:
    return front.ask("GET", "/v1/capabilities", key=key, peer=peer)


ADDRESSES = {
    "capabilities": ("GET", "/v1/capabilities"),
    "authorize": ("GET", "/v1/authorize/-"),
    "authorize below a rule": ("GET", "/v1/authorize/-/v1/agents"),
    "management": ("GET", "/v1/service-accounts"),
    "management that is refused": ("GET", "/v1/audit-events"),
    "management that finds nothing": ("GET", "/v1/service-accounts/nobody"),
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_limit_holds_and_tells(front: Front, address: str) -> None:
    """P10 breaks: an endpoint does not charge, or its responses omit what is left and how long to wait."""
    key = key_of(limited(front.house))
    method, target = ADDRESSES[address]
    for remaining in (1, 0):
        answer = front.ask(method, target, key=key)
        assert answer.status in (200, 403, 404)
        assert answer.headers["ratelimit-policy"] == POLICY
        assert answer.headers["ratelimit"] == f'"default";r={remaining};t=30'
    refused = front.ask(method, target, key=key)
    is_problem(refused, 429, "rate-limited")
    assert (refused.json()["limit"], refused.json()["retry_after"]) == (2, 30)
    assert refused.headers["retry-after"] == "30"
    assert "www-authenticate" not in refused.headers
    front.house.clock.advance(30 * SECOND)
    assert front.ask(method, target, key=key).status != 429
    assert front.ask(method, target, key=key).status == 429


def test_without_a_limit_nothing_is_told(front: Front) -> None:
    """P10 breaks: a response describes a rate limit although the credential has none."""
    house = front.house
    house.store.write(organizations.update_policies, house.alice, {"rate_limit": None}, {}, frozenset())
    key = key_of(house.key(house.account()))
    for target in ("/v1/capabilities", "/v1/authorize/-", "/v1/service-accounts"):
        assert not [
            name for name in front.ask("GET", target, key=key).headers if name.startswith("ratelimit")
        ]
    assert capabilities(front, key).json()["limits"]["rate_limit"] is None
    assert front.verify(key)["rate_limit"] is None


def test_verify_tells_the_resource_server(front: Front) -> None:
    """P10 breaks: `/v1/verify` reports a credential over its limit as valid, or its status is not 200."""
    created = limited(front.house)
    key, name = key_of(created), created.listed.credential.id
    assert front.verify(key)["rate_limit"] == {"limit": 2, "remaining": 1, "reset": 30}
    assert front.verify(key)["rate_limit"] == {"limit": 2, "remaining": 0, "reset": 60}
    refused = front.verify(key)
    assert (refused["valid"], refused["code"], refused["credential_id"]) == (False, "rate_limited", name)
    assert refused["rate_limit"] == {"limit": 2, "remaining": 0, "reset": 60}
    told = ("valid", "code", "credential_id", "rate_limit")
    assert {value for member, value in refused.items() if member not in told} == {None}


def test_a_refusal_for_another_cause_tells_no_limit(front: Front) -> None:
    """P10 breaks: a client that may not use a key here learns how often the key is used."""
    key = key_of(limited(front.house))
    refused = front.verify(key, scopes=["fly:moon"])
    assert (refused["code"], refused["rate_limit"]) == ("insufficient_scope", None)
    assert front.verify(key)["rate_limit"]["remaining"] == 0


def test_a_question_that_does_not_count_takes_nothing(front: Front) -> None:
    """P10 breaks: a request with `"count": false` uses up the limit, shows it, or is refused by it."""
    key = key_of(limited(front.house))
    for _ in range(5):
        found = front.verify(key, count=False)
        assert (found["valid"], found["rate_limit"]) == (True, None)
    assert front.verify(key)["rate_limit"]["remaining"] == 1
    front.verify(key)
    assert front.verify(key)["code"] == "rate_limited"
    assert front.verify(key, count=False)["valid"]


def test_who_asks_is_not_charged(front: Front) -> None:
    """P10 breaks: a resource server is limited to its client's rate."""
    asking = key_of(limited(front.house, roles=("resource-server",)))
    for _ in range(5):
        assert front.verify(front.house.charlie_key, key=asking)["code"] == "valid"


def test_nginx_gets_one_of_its_three_statuses(front: Front) -> None:
    """API breaks: nginx's `auth_request` turns a 429 into a 500."""
    key = key_of(limited(front.house))
    for remaining in (1, 0):
        answer = front.ask("GET", "/v1/authorize-nginx/-", key=key, peer=PROXY)
        assert (answer.status, answer.headers["ratelimit"]) == (200, f'"default";r={remaining};t=30')
    answer = front.ask("GET", "/v1/authorize-nginx/-", key=key, peer=PROXY)
    assert (answer.status, answer.headers["x-auth-error"], answer.headers["retry-after"]) == (
        403,
        "rate_limited",
        "30",
    )
    assert front.ask("GET", "/v1/authorize/-", key=key).headers["x-auth-error"] == "rate_limited"


def test_all_addresses_share_one_bucket(front: Front) -> None:
    """P10 breaks: each endpoint has a limit of its own."""
    key = key_of(limited(front.house, 4))
    assert front.verify(key)["valid"]
    assert capabilities(front, key).status == 200
    assert front.ask("GET", "/v1/authorize/-", key=key).status == 200
    assert front.ask("GET", "/v1/agents", key=key).status == 200
    assert front.ask("GET", "/v1/agents", key=key).status == 429
    assert front.verify(key)["code"] == "rate_limited"


def test_a_403_is_a_use_and_a_401_is_none(front: Front) -> None:
    """P10 breaks: a loop of 403 responses costs nothing, or a client without the secret uses up a key."""
    house = front.house
    created = limited(house, allowed_ips=("192.0.2.0/24",))
    key = key_of(created)
    for _ in range(5):
        assert capabilities(front, wrong_secret(key)).status == 401
    house.store.write(credentials.deactivate, house.alice, created.listed.credential.id)
    assert capabilities(front, key).status == 401
    house.store.write(credentials.activate, house.alice, created.listed.credential.id)
    assert capabilities(front, key, peer="198.51.100.1").status == 403
    answer = front.ask("GET", "/v1/authorize/no-such-rule/x", key=key)
    assert (answer.status, answer.headers["ratelimit"]) == (403, '"default";r=0;t=30')
    assert front.ask("GET", "/v1/authorize/no-such-rule/x", key=key).status == 429
    assert capabilities(front, key, peer="198.51.100.1").status == 429
    assert front.verify(key, scopes=["fly:moon"])["code"] == "rate_limited"


def test_another_organizations_question_takes_nothing(front: Front) -> None:
    """P19 breaks: a customer uses up another one's key by verifying it, and learns that it exists."""
    house = front.house
    key = key_of(limited(house))
    for _ in range(5):
        assert front.verify(key, key=house.charlie_key)["code"] == "unknown"
    assert front.verify(key)["rate_limit"]["remaining"] == 1


def test_both_secrets_of_a_rotation_share_one_bucket(front: Front) -> None:
    """P10 breaks: a rotation resets the limit."""
    house = front.house
    created = limited(house)
    new = house.store.write(rotation.rotate, house.alice, created.listed.credential.id, None, None)
    assert capabilities(front, key_of(created)).status == 200
    assert capabilities(front, key_of(new)).status == 200
    assert capabilities(front, key_of(created)).status == 429
    assert capabilities(front, key_of(new)).status == 429


def test_a_limit_that_is_changed_holds_with_the_next_request(front: Front) -> None:
    """P10 breaks: a changed limit has no effect until the cache drops the credential."""
    house = front.house
    created = house.key(house.account())
    key, path = key_of(created), f"/v1/credentials/{created.listed.credential.id}"

    def limit() -> object:
        told = front.verify(key)["rate_limit"]
        return None if told is None else told["limit"]

    def policy(**limits: Any) -> None:
        body: dict[str, Any] = limits
        answer = front.ask("PATCH", "/v1/organizations/-/policies", body, key=house.alice_key)
        assert answer.status == 200, answer.body

    assert limit() == 1000
    assert front.ask("PATCH", path, {"rate_limit": 60}, key=house.alice_key).json()["rate_limit"] == 60
    assert limit() == 60
    policy(rate_limit=30)
    assert limit() == 30
    policy(rate_limit="none")
    assert limit() == 60
    assert front.ask("PATCH", path, {"rate_limit": None}, key=house.alice_key).json()["rate_limit"] is None
    assert limit() is None
    policy(rate_limit=None, ceilings={"rate_limit": 20})
    assert limit() == 20
    policy(ceilings={"rate_limit": None})
    assert limit() == 1000


def test_what_is_over_a_limit_is_counted_as_that(front: Front) -> None:
    """P5 breaks: the log does not say that a key was refused because of its limit."""
    created = limited(front.house, 1)
    for _ in range(3):
        capabilities(front, key_of(created))
    front.write_counts()
    told = [(each["reason"], each["credential"], each["count"]) for each in counted(front)]
    assert told == [
        ("valid", created.listed.credential.id, 1),
        ("rate_limited", created.listed.credential.id, 2),
    ]


# Failures of an address


def unknown(number: int) -> str:
    """A well-formed key that does not exist."""
    body = f"ak-{number:032x}" + "x" * 38
    return body + secret.checksum(body.encode())


def asked_for(found: list[str]) -> int:
    return sum("FROM generations" in each for each in found)


WAYS: dict[str, Callable[[Front, str], object]] = {
    "capabilities": lambda front, key: capabilities(front, key).status,
    "authorize": lambda front, key: front.ask("GET", "/v1/authorize/-", key=key).status,
    "management": lambda front, key: front.ask("GET", "/v1/agents", key=key).status,
    "who asks": lambda front, key: front.ask("POST", "/v1/verify", {"credential": "x"}, key=key).status,
    "verify": lambda front, key: front.verify(key, ip="192.0.2.1")["code"],
    "nginx": lambda front, key: front.ask("GET", "/v1/authorize-nginx/-", key=key).status,
}


@pytest.mark.parametrize("way", WAYS)
def test_ten_thousand_bad_keys_cost_few_queries(front: Front, way: str) -> None:
    """R15 breaks: every unknown key costs a database query."""
    refused = {"verify": "rate_limited", "nginx": 403}.get(way, 429)
    neutral = {"verify": "unknown"}.get(way, 401)
    WAYS[way](front, unknown(0))
    with statements(front.house.store.engines) as found:
        answers = [WAYS[way](front, unknown(number)) for number in range(1, 500)]
    assert asked_for(found) <= FAILURES
    assert answers == [neutral] * (FAILURES - 1) + [refused] * (500 - FAILURES)
    front.house.clock.advance(2 * MINUTE)
    assert WAYS[way](front, unknown(1000)) == neutral


def test_who_is_known_already_is_not_locked_out(front: Front) -> None:
    """R15 breaks: a client with the same address makes the service refuse valid keys."""
    house = front.house
    known = key_of(house.key(house.account()))
    new = key_of(house.key(house.account("New")))
    assert capabilities(front, known).status == 200
    for number in range(60):
        capabilities(front, unknown(number))
    assert capabilities(front, known).status == 200
    assert capabilities(front, wrong_secret(known)).status == 401
    assert capabilities(front, known[:-1]).status == 401
    answer = capabilities(front, new)
    is_problem(answer, 429, "rate-limited")
    assert answer.headers["retry-after"] == "2"
    assert capabilities(front, new, peer="192.0.2.2").status == 200
    assert capabilities(front, new).status == 200


def test_a_change_makes_nobody_unknown(front: Front) -> None:
    """R15 breaks: after a change in its organization a valid key is refused while another client guesses
    keys.
    """
    house = front.house
    known = key_of(house.key(house.account()))
    assert capabilities(front, known).status == 200
    for number in range(60):
        capabilities(front, unknown(number))
    for number in range(3):
        renamed = front.ask(
            "PATCH",
            f"/v1/organizations/{house.acme.id}",
            {"name": f"Acme {number}"},
            key=house.alice_key,
            peer="192.0.2.99",
        )
        assert renamed.status == 200
        assert capabilities(front, known).status == 200
        assert capabilities(front, unknown(100 + number)).status == 429


def test_what_a_tenant_says_of_an_address_is_not_held_against_it(front: Front) -> None:
    """R15, P19 break: a resource server locks out an address by sending invented keys in its name."""
    house = front.house
    new, another = key_of(house.key(house.account())), key_of(house.key(house.account("Another")))
    for number in range(60):
        front.verify(unknown(number), key=house.charlie_key, ip="192.0.2.1")
    assert front.verify(unknown(99), key=house.charlie_key, ip="192.0.2.1")["code"] == "rate_limited"
    assert capabilities(front, new, peer="192.0.2.1").status == 200
    assert front.verify(another, ip="192.0.2.1")["code"] == "valid"


def test_wrong_secrets_and_imported_prefixes_are_failures_too(front: Front) -> None:
    """R15 breaks: lookups that fail in another way are not charged."""
    house = front.house
    house.store.write(imports.register_prefix, house.alice, "sk_live_")
    account = house.account()
    keys = [wrong_secret(key_of(house.key(account))) for _ in range(10)]
    for number, key in enumerate(keys + [f"sk_live_{number}" for number in range(40)]):
        assert capabilities(front, key).status == 401, number
    assert capabilities(front, unknown(1)).status == 429
    assert capabilities(front, "sk_live_more").status == 429


def test_good_keys_are_no_failures(front: Front) -> None:
    """R15 breaks: an address is refused because it presents many valid keys for the first time."""
    house = front.house
    keys = []
    for number in range(8):
        account = house.account(f"Robo {number}")
        keys += [key_of(house.key(account)) for _ in range(10)]
    assert [capabilities(front, key).status for key in keys] == [200] * len(keys)


def test_whose_failures_are_counted_together(front: Front) -> None:
    """R15 breaks: each address of an IPv6 network has its own budget, or all addresses share one."""
    for number in range(60):
        capabilities(front, unknown(number), peer=f"2001:db8:0:1::{number:x}")
    assert capabilities(front, unknown(100), peer="2001:db8:0:1:ffff::1").status == 429
    assert capabilities(front, unknown(100), peer="2001:db8:0:2::1").status == 401
    assert capabilities(front, unknown(101), peer="192.0.2.1").status == 401
    # Behind a trusted proxy that names no address, all clients count as one.
    for number in range(200, 260):
        front.ask(
            "GET", "/v1/agents", key=unknown(number), peer=PROXY, headers={"x-forwarded-for": f"?{number}"}
        )
    hidden = front.ask("GET", "/v1/agents", key=unknown(300), peer=PROXY, headers={"x-forwarded-for": "?"})
    assert hidden.status == 429


def test_bad_signatures_are_failures_and_lock_no_good_token_out(front: Front) -> None:
    """R15 breaks: forged tokens cost nothing, or they lock out valid tokens from the same address."""
    front.house.sign()
    robo = front.house.account()
    form = {
        "grant_type": "client_credentials",
        "client_id": robo.account.client_id,
        "client_secret": key_of(front.house.key(robo, kind="client_secret")),
    }
    seen, unseen = (front.ask("POST", "/oauth/token", form).json()["access_token"] for _ in range(2))
    head, claims, _ = seen.split(".")

    def forged(number: int) -> str:
        return f"{head}.{claims}.{number:085d}A"

    def shown(text: str, peer: str = "192.0.2.1") -> int:
        return front.ask(
            "GET", "/v1/capabilities", headers={"authorization": f"Bearer {text}"}, peer=peer
        ).status

    assert shown(seen) == 200
    assert [shown(forged(number)) for number in range(FAILURES)] == [401] * FAILURES
    assert shown(forged(FAILURES)) == 429
    assert capabilities(front, unknown(1)).status == 429
    assert (shown(seen), shown(unseen)) == (200, 200)
    assert shown(forged(0), peer="192.0.2.2") == 401


def test_a_question_without_an_address_spends_nothing(front: Front) -> None:
    """R15 breaks: at `/v1/verify` a resource server's own address is charged for its clients' keys."""
    for number in range(60):
        assert front.verify(unknown(number))["code"] == "unknown"
    for number in range(100, 160):
        front.verify(unknown(number), ip="203.0.113.9")
    assert front.verify(unknown(200), ip="203.0.113.9")["code"] == "rate_limited"
    assert front.verify(unknown(200), ip="203.0.113.10")["code"] == "unknown"
    assert capabilities(front, unknown(201)).status == 401


def test_an_address_that_is_refused_stands_in_the_log(front: Front) -> None:
    """P5 breaks: the log does not show that an address tries keys."""
    for number in range(FAILURES + 7):
        capabilities(front, unknown(number))
    front.write_counts()
    told = [(each["reason"], each["address"], each["count"]) for each in counted(front)]
    assert told == [("unknown", "192.0.2.1", FAILURES), ("rate_limited", "192.0.2.1", 7)]


def test_a_look_up_that_could_not_be_made_is_no_failure(front: Front) -> None:
    """R15 breaks: lookups that fail because of an outage use up the failures of addresses."""
    key = key_of(front.house.key(front.house.account()))
    capabilities(front, front.house.alice_key)
    with outage(front):
        for number in range(80):
            is_unavailable(capabilities(front, unknown(number)))
    assert capabilities(front, key).status == 200
    assert capabilities(front, unknown(1)).status == 401


def test_a_direct_key_cannot_lift_its_own_limit(front: Front) -> None:
    """P19 breaks: the holder of a direct key raises its own rate limit, or creates
    a key with a higher one.
    """
    house = front.house
    made = house.store.write(credentials.create_direct, house.bob, CredentialSpec(rate_limit=60))
    key, path = key_of(made), f"/v1/credentials/{made.listed.credential.id}"
    for body in ({"rate_limit": 61}, {"rate_limit": None}):
        is_problem(front.ask("PATCH", path, body, key=key), 403, "scope-exceeds-grantor")
        is_problem(front.ask("POST", "/v1/api-keys", body, key=key), 403, "scope-exceeds-grantor")
    assert front.ask("PATCH", path, {"rate_limit": 59}, key=key).json()["rate_limit"] == 59
    assert front.ask("POST", "/v1/api-keys", {"rate_limit": 59}, key=key).status == 201
