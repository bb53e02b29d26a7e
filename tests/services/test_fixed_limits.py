"""P20: the number of every kind of object that an organization creates is limited."""

from collections.abc import Callable

import pytest

from ostiary.core import limits
from ostiary.core.instant import DAY, HOUR
from ostiary.core.model import RoleBinding
from ostiary.services import (
    access_rules,
    clients,
    consents,
    imports,
    members,
    password_resets,
    projects,
    roles,
    rotation,
    service_accounts,
)
from ostiary.services.clients import ClientSpec
from ostiary.services.consents import ConsentRequest
from ostiary.services.projects import ProjectBinding
from ostiary.services.service_accounts import AccountSpec
from tests.applications import application
from tests.cast import House
from tests.services.questions import refused

pytestmark = pytest.mark.promise("P20")

Make = Callable[[House, int], object]
"""Create the object with this number. Number 0 must be possible."""


def bind(house: House, number: int) -> object:
    project = house.store.write(projects.create, house.alice, f"P{number}", f"p{number}", "")
    binding = ProjectBinding(str(house.bob.actor.id), "viewer")
    return house.store.write(projects.set_role_bindings, house.alice, project.id, (binding,))


def consent(house: House, _number: int) -> object:
    asked = ConsentRequest(application(house), house.acme.id, ("read:agents",))
    return house.store.write(consents.give, house.bob, asked)


# How each kind is created, and how many of it the cast has already.
MAKES: dict[str, tuple[int, Make]] = {
    "service_accounts": (0, lambda house, number: house.account(f"Robo {number}")),
    "projects": (
        0,
        lambda house, number: house.store.write(projects.create, house.alice, f"P{number}", None, ""),
    ),
    "members": (
        2,
        lambda house, number: house.store.write(members.invite, house.alice, f"m{number}@acme.test", []),
    ),
    "invitations": (
        0,
        lambda house, number: house.store.write(members.invite, house.alice, f"m{number}@acme.test", []),
    ),
    "roles": (
        0,
        lambda house, number: house.store.write(roles.create_role, house.alice, f"r-{number}", "", ()),
    ),
    "clients": (
        0,
        lambda house, number: house.store.write(
            clients.create, house.alice, ClientSpec(f"App {number}", ("https://app.acme.test/callback",))
        ),
    ),
    "role_bindings": (1, bind),
    "consents": (0, consent),
    "password_resets": (
        0,
        lambda house, _: house.store.write(password_resets.create, house.alice, str(house.bob.actor.id)),
    ),
    "access_rules": (
        0,
        lambda house, number: house.store.write(
            access_rules.put_rule, house.alice, f"rule-{number}", {"match": []}
        ),
    ),
    "import_prefixes": (
        0,
        lambda house, number: house.store.write(imports.register_prefix, house.alice, f"sk_{number}_"),
    ),
}


def test_every_limit_is_tried() -> None:
    """P20 breaks: a limit in the table is never checked."""
    assert MAKES.keys() | {"rotations", "catalogue_characters"} == limits.LIMITS.keys()


@pytest.mark.parametrize("name", MAKES)
def test_there_is_an_end(sqlite_house: House, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """P20 breaks: a caller fills the database, or the refusal does not name the limit."""
    before, make = MAKES[name]
    monkeypatch.setitem(limits.LIMITS, name, before + 2)
    for number in range(2):
        make(sqlite_house, number)
    with refused("limit-reached") as caught:
        make(sqlite_house, 2)
    told = caught.value.members
    assert (told["limit"], told["value"]) == (name, before + 2)
    assert told["count"] == before + (3 if name == "role_bindings" else 2)  # those come several at once


def test_rotations_have_an_end(sqlite_house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """P20 breaks: a loop of rotations fills the table of secrets, or daily rotations reach the limit."""
    house = sqlite_house
    monkeypatch.setitem(limits.LIMITS, "rotations", 3)
    key = house.key(house.account()).listed.credential.id
    for _ in range(2):
        house.store.write(rotation.rotate, house.alice, key, 0, None)
    with refused("limit-reached"):
        house.store.write(rotation.rotate, house.alice, key, 0, None)
    house.clock.advance(31 * DAY)
    house.store.write(rotation.rotate, house.alice, key, 0, None)


def test_what_is_over_does_not_count(sqlite_house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """P20 breaks the other way: deleted, accepted or expired objects count for the limit."""
    house = sqlite_house
    for name in ("invitations", "projects", "service_accounts", "password_resets"):
        monkeypatch.setitem(limits.LIMITS, name, 1)
    for _ in range(2):
        house.store.write(members.invite, house.alice, "eve@acme.test", [])
        bob = str(house.bob.actor.id)
        house.store.write(password_resets.create, house.alice, bob)
        account = house.account("Robo", roles=()).account.id
        house.store.write(service_accounts.delete, house.alice, account)
        project = house.store.write(projects.create, house.alice, "Alpha", None, "").id
        house.store.write(projects.delete, house.alice, project)
        house.clock.advance(7 * DAY + HOUR)


def test_what_exists_beyond_a_limit_stays(sqlite_house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """P20 breaks the other way: a principal with more roles than the limit cannot lose one."""
    house = sqlite_house
    for number in range(3):
        bind(house, number)
    monkeypatch.setitem(limits.LIMITS, "role_bindings", 2)
    house.store.write(projects.set_role_bindings, house.alice, "p0", ())
    left = house.store.read(members.get, house.alice, str(house.bob.actor.id)).bindings
    assert RoleBinding("viewer", None) in left
    assert len(left) == 3


def test_another_organizations_do_not_count(sqlite_house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tenancy breaks: one organization's objects count for another's limit."""
    house = sqlite_house
    monkeypatch.setitem(limits.LIMITS, "service_accounts", 1)
    house.account()
    house.store.write(service_accounts.create, house.charlie, AccountSpec("Theirs"))
