"""OAuth clients of an organization: who may register them, what they may ask for, and what ends with them."""

from dataclasses import replace
from typing import Any

import pytest

from ostiary.core import limits
from ostiary.core.address import parse_address
from ostiary.core.client_metadata import read_registration
from ostiary.core.event import UNKNOWN
from ostiary.core.instant import SECOND
from ostiary.core.model import OAuthClient
from ostiary.services import clients, consents, projects
from ostiary.services.clients import ClientSpec
from ostiary.services.consents import ConsentRequest
from ostiary.storage import clients as rows
from tests.cast import House
from tests.services.questions import all_rows, events, refused

CALLBACK = ("https://app.test/callback",)
KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}


def make(house: House, **spec: Any) -> OAuthClient:
    return house.store.write(
        clients.create, house.alice, ClientSpec(**{"name": "Tracker", "redirect_uris": CALLBACK} | spec)
    )


def test_who_may_register(house: House) -> None:
    """P19 breaks: a viewer registers or reads clients, or a stranger finds one."""
    client = make(house)
    assert client.id.startswith("app_")
    assert house.store.read(clients.get, house.alice, client.id) == client
    spec = ClientSpec("Mine", CALLBACK)
    changes: list[Any] = [
        (clients.update, client.id, {"name": "Mine"}),
        (clients.set_disabled, client.id, True),
        (clients.delete, client.id),
    ]
    before = all_rows(house)
    for who, code in ((house.bob, "insufficient-permissions"), (house.charlie, "not-found")):
        for work, *arguments in changes:
            with refused(code):
                house.store.write(work, who, *arguments)
        with refused(code):
            house.store.read(clients.get, who, client.id)
    with refused("insufficient-permissions"):
        house.store.write(clients.create, house.bob, spec)
    with refused("insufficient-permissions"):
        house.store.read(clients.list_page, house.bob, None, 9)
    assert house.store.read(clients.list_page, house.charlie, None, 9) == []
    assert all_rows(house) == before


CONTRADICTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown scope": ({"scopes": ("read:agents", "fly:moon")}, "/scopes/1"),
    "no scope": ({"access": "organization"}, "/scopes"),
    "only offline": ({"access": "organization", "scopes": ("offline_access",)}, "/scopes"),
    "scope of this API": ({"access": "organization", "scopes": ("read:credentials",)}, "/scopes/0"),
    "everything": ({"access": "organization", "scopes": ("api",)}, "/scopes/0"),
    "device": (
        {"access": "organization", "scopes": ("read:agents",),
         "grant_types": ("authorization_code", "urn:ietf:params:oauth:grant-type:device_code")},
        "/grant_types",
    ),
    "project of nobody else's": ({"project": "shop"}, "/project"),
    "no redirect": ({"redirect_uris": ()}, "/redirect_uris"),
    "bad redirect": ({"redirect_uris": ("http://app.test/",)}, "/redirect_uris"),
    "keys without": ({"auth_method": "private_key_jwt"}, "/auth_method"),
    "two kinds of keys": (
        {"auth_method": "private_key_jwt", "jwks": {"keys": [KEY]}, "jwks_uri": "https://a.test/k"}, "/jwks"
    ),
    "long name": ({"name": "x" * 101}, "/name"),
}  # fmt: skip


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_what_contradicts_itself(sqlite_house: House, what: str) -> None:
    """B7 breaks: a client is registered that nobody can use, or that asks for scopes that cannot be given."""
    spec, pointer = CONTRADICTIONS[what]
    before = all_rows(sqlite_house)
    with refused("validation-failed") as caught:
        make(sqlite_house, **spec)
    assert [each.pointer for each in caught.value.errors] == [pointer]
    assert all_rows(sqlite_house) == before


def test_a_project_is_ones_own(house: House) -> None:
    """P19 breaks: a client belongs to another organization's project, or the response reveals that project."""
    theirs = house.store.write(projects.create, house.charlie, "Theirs", "theirs", "")
    own = house.store.write(projects.create, house.alice, "Own", "own", "")
    asked: dict[str, Any] = {"access": "organization", "scopes": ("read:agents",)}
    for name in ("theirs", theirs.id, "prj_x"):
        with refused("not-found"):
            make(house, project=name, **asked)
    client = make(house, project="own", **asked)
    assert client.project_id == own.id
    house.store.write(projects.delete, house.alice, "own")
    assert house.store.write(clients.update, house.alice, client.id, {"name": "Other"}).project_id == own.id
    assert house.store.write(clients.update, house.alice, client.id, {"project": None}).project_id is None


def test_changes(house: House) -> None:
    """API breaks: an update loses fields that were not sent, or leaves contradictory keys."""
    client = make(house, auth_method="private_key_jwt", jwks={"keys": [KEY | {"x5c": ["surplus"]}]})
    assert client.jwks == {"keys": [KEY]}

    def change(**changes: Any) -> OAuthClient:
        after = house.store.write(clients.update, house.alice, client.id, changes)
        assert house.store.read(rows.find, client.id) == after
        return after

    assert change(name="Other").jwks == {"keys": [KEY]}
    there = change(jwks_uri="https://app.test/keys")
    assert (there.jwks, there.jwks_uri) == (None, "https://app.test/keys")
    here = change(jwks={"keys": [KEY]})
    assert (here.jwks, here.jwks_uri) == ({"keys": [KEY]}, None)
    public = change(auth_method="none")
    assert (public.jwks, public.auth_method, public.name) == (None, "none", "Other")
    house.store.write(clients.set_disabled, house.alice, client.id, True)
    assert change(name="Third").disabled_at is not None
    changed = [each.details["changed"] for each in events(house) if each.action == "client.updated"]
    assert changed[0] == ["name"]
    assert changed[1] == ["jwks", "jwks_uri"]
    seen = len(events(house))
    change(name="Third")
    assert len(events(house)) == seen


def test_there_is_a_limit(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """P20 breaks: an organization registers an unlimited number of clients, or deleted ones count."""
    monkeypatch.setitem(limits.LIMITS, "clients", 2)
    first = make(house)
    make(house)
    with refused("limit-reached") as caught:
        make(house)
    assert caught.value.members == {"limit": "clients", "value": 2, "count": 2}
    house.store.write(clients.delete, house.alice, first.id)
    make(house)


@pytest.mark.promise("P12")
def test_a_full_registration_forgets_the_oldest_of_the_network_that_has_most(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P12 breaks: on one database, a flood of registrations displaces another network's new client."""
    monkeypatch.setattr(clients, "MAX_UNUSED", 3)
    metadata = read_registration({"redirect_uris": ["https://app.example/callback"]})

    def registered(address: str | None) -> str:
        house.clock.advance(SECOND)
        caller = replace(
            house.charlie, actor=UNKNOWN, address=None if address is None else parse_address(address)
        )
        return house.store.write_on((), clients.register, caller, metadata, None).id

    made = [registered(each) for each in ("192.0.2.1", None, None, None, "198.51.100.1")]
    left = [house.store.read(rows.find, each) is not None for each in made]
    assert left == [True, False, False, True, True]


@pytest.mark.promise("P2")
def test_what_ends_with_a_client(house: House) -> None:
    """P2 breaks: a consent outlives its client, or the client's id is used again."""
    client, other = make(house), make(house, name="Other")
    asked = [ConsentRequest(each, house.acme.id, ("read:agents",)) for each in (client, other)]
    given = [house.store.write(consents.give, house.alice, each) for each in asked]
    house.store.write(clients.delete, house.alice, client.id)
    ended, kept = (house.store.read(consents.get, house.alice, each.consent.id).consent for each in given)
    assert (ended.revoked_at, kept.revoked_at) == (house.clock.now, None)
    log = [each.action for each in events(house)][-2:]
    assert log == ["consent.withdrawn", "client.deleted"]
    for work in (clients.get, clients.delete):
        with refused("not-found"):
            house.store.write(work, house.alice, client.id)
    with refused("not-found"):
        house.store.write(consents.give, house.alice, asked[0])
    house.store.write(clients.set_disabled, house.alice, other.id, True)
    with refused("not-found"):
        house.store.write(consents.give, house.alice, asked[1])
