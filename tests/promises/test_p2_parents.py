"""P2: when a parent ends, all its children end, at every endpoint, from the next request on. Nothing else ends.

A parent is an account, an organization, a membership, a credential, a token, a session or a signing key. Its children
are keys, access tokens of every grant, and sessions.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ostiary.core.instant import MINUTE
from ostiary.core.permission import EVERYTHING, Caller
from ostiary.services import credentials, members, organizations, service_accounts, signing_keys
from ostiary.services.credentials import Created
from ostiary.services.issuance import CredentialSpec
from ostiary.storage.store import Tx
from tests.cast import SEED, Front, House, pair
from tests.conftest import PROVE
from tests.machines import (
    ALIAS_TOKEN,
    INTROSPECT,
    Machine,
    exchange,
    machine,
    post,
    session_of,
    token_of,
)
from tests.promises.line import prove

pytestmark = pytest.mark.promise("P2")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Child:
    """A key, token or session: its text, and the credential that it came from."""

    name: str
    text: str
    origin: Created | None
    purpose: str = ""
    """The purpose of the key that signed it."""
    exchangeable: bool = True
    by: str | None = None
    """The text of the token that it was exchanged for."""


def children(robo: Machine) -> list[Child]:
    """Create one child of each kind."""
    by_secret = token_of(robo.by_secret())
    signed = "access_token"
    return [
        Child("API key", robo.api_key, robo.key),
        Child("token by client secret", by_secret, robo.word, signed),
        Child("token by jwt-bearer", token_of(robo.by_grant()), robo.file, signed),
        Child("token by private_key_jwt", token_of(robo.by_key()), robo.file, signed),
        Child("token exchanged for an API key", token_of(robo.exchange(robo.api_key)), robo.key, signed),
        Child(
            "token exchanged for a token",
            token_of(robo.exchange(by_secret)),
            robo.word,
            signed,
            exchangeable=False,
            by=by_secret,
        ),
        Child("token of the alias", token_of(robo.by_secret(ALIAS_TOKEN)), robo.word, "m2m"),
        Child("session", session_of(robo.front.house, robo.file), robo.file, exchangeable=False),
    ]


# Endpoints: whether they accept what is presented

Endpoint = Callable[[Front, str, str], bool]


def _bearer(path: str) -> Endpoint:
    def ask(front: Front, text: str, peer: str) -> bool:
        answer = front.ask("GET", path, headers={"authorization": f"Bearer {text}"}, peer=peer)
        assert answer.status in (200, 401, 403), answer.body
        return answer.status == 200

    return ask


def _verify(front: Front, text: str, peer: str) -> bool:
    return bool(front.verify(text, ip=peer)["valid"])


def _introspect(front: Front, text: str, peer: str) -> bool:
    return bool(front.ask("POST", INTROSPECT, {"token": text}, peer=peer).json()["active"])


def _introspect_form(front: Front, text: str, peer: str) -> bool:
    fields = {"token": text, "ip": peer}
    return bool(post(front, INTROSPECT, fields, bearer=front.house.alice_key).json()["active"])


def _exchange(front: Front, text: str, peer: str) -> bool:
    answer = exchange(front, text, peer)
    assert answer.status in (200, 400), answer.body
    return answer.status == 200


ENDPOINTS: Mapping[str, Endpoint] = {
    "verify": _verify,
    "authorize": _bearer("/v1/authorize/-"),
    "capabilities": _bearer("/v1/capabilities"),
    "management": _bearer("/v1/service-accounts?limit=1"),
    "introspect, JSON": _introspect,
    "introspect, form": _introspect_form,
    "exchange": _exchange,
}


def doors_of(child: Child) -> list[str]:
    return [name for name in ENDPOINTS if child.exchangeable or name != "exchange"]


# Parents: how each one ends, and which children it has

Ends = Callable[[House, Machine, Child], None]
Dies = Callable[[Machine, Child, Child], bool]
"""Takes (owner, chosen child, another child of the same account). Returns whether the other child ends, too."""


@dataclass(frozen=True, slots=True)
class Parent:
    end: Ends
    also: Dies
    has: Callable[[Child], bool] = lambda _: True
    undo: Callable[[House], None] = lambda _: None


def _account(act: Callable[..., object], *arguments: object) -> Ends:
    def end(house: House, robo: Machine, _: Child) -> None:
        house.store.write(act, house.charlie, robo.view.account.id, *arguments)

    return end


def _credential(act: Callable[..., object], *arguments: object) -> Ends:
    def end(house: House, _: Machine, child: Child) -> None:
        assert child.origin is not None
        house.store.write(act, house.charlie, child.origin.listed.credential.id, *arguments)

    return end


def _expire(house: House, robo: Machine, child: Child) -> None:
    ends = {"expires_at": house.clock.now + MINUTE}
    _credential(credentials.update, ends)(house, robo, child)
    house.clock.advance(MINUTE)


def _suspend(house: House, suspended: bool) -> None:
    def act(tx: Tx, caller: Caller) -> None:
        organizations.update(tx, organizations.enter(tx, caller, "umbrella"), None, suspended)

    house.store.write(act, house.alice)


def _sign_out(house: House, robo: Machine, child: Child) -> None:
    """The holder of a token or session ends it."""
    answer = robo.front.ask("POST", "/oauth/token/revoke", {"token": child.text})
    assert answer.status == 200, answer.body


def _revoke_key(house: House, robo: Machine, child: Child) -> None:
    keys = house.store.read(signing_keys.list_all, house.alice)
    purpose: Any = child.purpose
    signer = keys.signer(purpose, house.clock.now)
    assert signer is not None
    new = pair(signer.key.algorithm, f"next {next(_numbers)}" if purpose != "m2m" else next(_numbers) % 3)
    house.store.write(signing_keys.revoke, house.alice, signer.key.kid, new)


_numbers = count()


def _same_credential(_: Machine, chosen: Child, other: Child) -> bool:
    return chosen.origin is other.origin


def _all(*_: object) -> bool:
    return True


def _exchanged(_: Machine, chosen: Child, other: Child) -> bool:
    return chosen is other or other.by == chosen.text


PARENTS: Mapping[str, Parent] = {
    "account disabled": Parent(_account(service_accounts.set_disabled, True), _all),
    "account deleted": Parent(_account(service_accounts.delete), _all),
    "organization suspended": Parent(
        lambda house, *_: _suspend(house, True), _all, undo=lambda house: _suspend(house, False)
    ),
    "credential deactivated": Parent(_credential(credentials.deactivate), _same_credential),
    "credential revoked": Parent(_credential(credentials.revoke), _same_credential),
    "credential deleted": Parent(_credential(credentials.delete), _same_credential),
    "credential expired": Parent(_expire, _same_credential),
    "addresses listed": Parent(
        _credential(credentials.update, {"allowed_ips": ("203.0.113.0/24",)}), _same_credential
    ),
    "token or session revoked": Parent(_sign_out, _exchanged, lambda child: child.name != "API key"),
    "signing key revoked": Parent(
        _revoke_key, lambda _, one, other: one.purpose == other.purpose, lambda child: child.purpose != ""
    ),
}
EVERYBODY = ("organization suspended", "signing key revoked")
"""Parents whose end also affects other accounts."""


@pytest.fixture
def front(house: House, tmp_path: Path) -> Iterator[Front]:
    """The application on each database, without rate limits."""
    unlimited = house.with_policy(rate_limit=None, max_credentials_per_organization=None, deletion_delay=0)
    unlimited.sign()
    found = Front(unlimited, tmp_path)
    yield found
    found.close()


def peers() -> Iterator[str]:
    """Yield a client address for each request. A single one would reach the limit for failures."""
    return (f"198.51.{number // 250 % 250}.{number % 250 + 1}" for number in count())


def rotated(values: list[T], by: int) -> list[T]:
    by %= len(values)
    return values[by:] + values[:by]


FIGURES: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def proof() -> Iterator[None]:
    FIGURES.clear()
    yield
    if PROVE:
        prove("P2", "whoever ends a parent ends all that came from it", SEED, dict(FIGURES))


@pytest.mark.parametrize("parent", PARENTS)
def test_what_came_from_a_parent_dies_with_it(front: Front, parent: str) -> None:
    """P2 breaks: a key, token or session is accepted after its parent ended, or an unrelated one is refused."""
    house, addresses, ended = front.house, peers(), PARENTS[parent]
    accepted, refused = Counter[str](), Counter[str]()
    asked = 0
    # The chosen child, and the first endpoint afterwards, vary with each run and each parent.
    first = list(PARENTS).index(parent)
    small = 4 if house.store.engines.name == "sqlite" else 1
    for number in range(first, first + (8 * len(ENDPOINTS) if PROVE else small)):
        robo, other = (
            machine(front, f"Robo {number}", house.charlie),
            machine(front, f"Other {number}", house.charlie),
        )
        ours, others = children(robo), children(other)
        for child in (*ours, *others):
            # First all children, then a single one, which loads it into the caches.
            for name in doors_of(child) if number == first else doors_of(child)[:1]:
                assert ENDPOINTS[name](front, child.text, next(addresses)), f"{child.name} at {name} before"
        chosen = rotated([child for child in ours if ended.has(child)], number)[0]
        dead = [child for child in ours if child is chosen or ended.also(robo, chosen, child)]
        alive = [child for child in ours if child not in dead]
        if parent == "organization suspended":
            dead += others
        elif parent == "signing key revoked":
            dead += [child for child in others if child.purpose == chosen.purpose]
            alive += [child for child in others if child.purpose != chosen.purpose]
        else:
            alive += others
        ended.end(house, robo, chosen)
        # The endpoint of the first request afterwards varies.
        for child in (chosen, *(each for each in dead if each is not chosen)):
            for name in rotated(doors_of(child), number):
                asked += 1
                accepted[f"{child.name} at {name}"] += ENDPOINTS[name](front, child.text, next(addresses))
        ended.undo(house)
        for child in (*alive, *(dead if parent == "organization suspended" else [])):
            for name in doors_of(child)[: None if number == first else 2]:
                refused[f"{child.name} at {name}"] += not ENDPOINTS[name](front, child.text, next(addresses))
    ends = number + 1 - first
    FIGURES["parents ended"] += ends
    FIGURES["requests after"] += asked
    FIGURES["of them accepted"] += accepted.total()
    FIGURES["of what lives on, refused"] += refused.total()
    print(f"{parent}: {ends} ended, {asked} requests after, {accepted.total()} accepted")
    assert not +accepted
    assert not +refused


@pytest.mark.parametrize("how", ["role taken", "account narrowed", "credential narrowed"])
def test_a_scope_goes_with_what_gave_it(front: Front, how: str) -> None:
    """P2 breaks: a token keeps permissions that its account or credential lost, or stops working altogether."""
    house = front.house
    for number in range(5):
        robo = machine(front, f"Robo {number}", house.charlie)
        ours = children(robo)
        account = robo.view.account.id
        for child in ours:
            assert "write:agents" in front.verify(child.text, ip="192.0.2.1")["scopes"]
        narrow = {"access_level": "fine_grained", "scopes": ("read:agents",)}
        match how:
            case "role taken":
                house.store.write(service_accounts.set_role_bindings, house.charlie, account, ())
                left: list[str] = []
            case "account narrowed":
                house.store.write(service_accounts.update, house.charlie, account, narrow)
                left = ["read:agents"]
            case _:
                for created in (robo.key, robo.word, robo.file):
                    credential = created.listed.credential.id
                    house.store.write(credentials.update, house.charlie, credential, narrow)
                left = ["read:agents"]
        for child in rotated(ours, number):
            bearer = {"authorization": f"Bearer {child.text}"}
            checks = rotated(["verify", "management", "capabilities", "authorize", "introspect"], number)
            for check in checks:
                if check == "verify":
                    told = front.verify(child.text, ip="192.0.2.1")
                    assert (told["valid"], told["scopes"]) == (True, left), child.name
                    assert front.verify(child.text, scopes=["write:agents"])["code"] == "insufficient_scope"
                elif check == "management":
                    assert front.ask("GET", "/v1/service-accounts", headers=bearer).status == 403
                elif check == "capabilities":
                    assert front.ask("GET", "/v1/capabilities", headers=bearer).json()["scopes"] == left
                elif check == "authorize":
                    assert front.ask("GET", "/v1/authorize/-", headers=bearer).headers[
                        "x-auth-scopes"
                    ] == " ".join(left)
                else:
                    told = post(front, INTROSPECT, {"token": child.text}, bearer=house.alice_key).json()
                    named = [each for each in told["scope"].split(" ") if each not in EVERYTHING]
                    assert (told["active"], named) == (True, left), child.name


def test_a_named_scope_that_is_gone_is_gone_from_the_token(front: Front) -> None:
    """P2 breaks: the scopes in a token count although no role grants them any more."""
    house = front.house
    robo = machine(front, "Robo", house.charlie)
    text = token_of(robo.by_secret(scope="read:agents write:agents"))
    assert front.verify(text)["scopes"] == ["read:agents", "write:agents"]
    narrow = {"access_level": "fine_grained", "scopes": ("read:agents",)}
    house.store.write(service_accounts.update, house.charlie, robo.view.account.id, narrow)
    assert front.verify(text)["scopes"] == ["read:agents"]
    house.store.write(service_accounts.set_role_bindings, house.charlie, robo.view.account.id, ())
    assert front.verify(text)["scopes"] == []
    assert front.verify(text, scopes=["read:agents"])["code"] == "insufficient_scope"


USERS: Mapping[str, Callable[[House, Caller, Created], None]] = {
    "membership ended": lambda house, user, _: house.store.write(members.remove, house.alice, user.actor.id),
    "key revoked": lambda house, user, key: _of_user(house, credentials.revoke, user, key),
    "key deactivated": lambda house, user, key: _of_user(house, credentials.deactivate, user, key),
    "key deleted": lambda house, user, key: _of_user(house, credentials.delete, user, key),
}


def _of_user(house: House, act: Callable[..., object], user: Caller, key: Created) -> None:
    house.store.write(act, replace(user, scopes=house.alice.scopes), key.listed.credential.id)


@pytest.mark.parametrize("parent", USERS)
def test_what_came_from_a_user_dies_with_its_membership(front: Front, parent: str) -> None:
    """P2 breaks: a user who left the organization still has access with a token of a direct key."""
    house, addresses = front.house, peers()
    key = house.store.write(credentials.create_direct, house.bob, CredentialSpec(name="Bob's"))
    text = key.secret.reveal()
    ours = [Child("direct key", text, key), Child("token of it", token_of(exchange(front, text)), key)]
    other = Child("of Alice's", token_of(exchange(front, house.alice_key)), None)
    for child in (*ours, other):
        for name in doors_of(child):
            assert ENDPOINTS[name](front, child.text, next(addresses)), f"{child.name} at {name} before"
    USERS[parent](house, house.bob, key)
    for child in ours:
        for name in doors_of(child):
            assert not ENDPOINTS[name](front, child.text, next(addresses)), f"{child.name} at {name}"
    for name in doors_of(other):
        assert ENDPOINTS[name](front, other.text, next(addresses)), f"{other.name} at {name}"


def test_a_token_revoked_takes_with_it_what_was_exchanged_for_it(front: Front) -> None:
    """P2 breaks: a token outlives the token that it was exchanged for."""
    robo = machine(front, "Robo", front.house.charlie)
    parent = token_of(robo.by_secret())
    cold, warm = (token_of(robo.exchange(parent)) for _ in range(2))
    assert front.verify(warm)["valid"]
    assert front.ask("POST", "/oauth/token/revoke", {"token": parent}).status == 200
    assert [front.verify(text)["code"] for text in (cold, warm, parent)] == ["revoked"] * 3
    assert front.verify(token_of(robo.by_secret()))["valid"]
