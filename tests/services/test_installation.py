"""The setup of an installation, and its recovery."""

from pathlib import Path

import pytest

from ostiary.core.installation import Installation
from ostiary.core.keyring import derive
from ostiary.core.permission import FIRST_CATALOGUE
from ostiary.services import installation, members
from ostiary.services.callers import SYSTEM_CALLER
from ostiary.storage import credentials as credential_rows
from ostiary.storage import directory as directory_rows
from ostiary.storage import members as member_rows
from ostiary.storage import roles as role_rows
from ostiary.storage.engines import Engines
from ostiary.storage.store import Store
from tests.cast import MASTER_KEY, Clock, Entropy, House, move_in
from tests.services.questions import events, refused


@pytest.fixture
def store(database: Engines) -> Store:
    """A migrated database without any user."""
    return Store(
        database, Installation(derive([MASTER_KEY]), channel_host="keys.example"), Clock(), Entropy()
    )


def test_an_installation_begins_once(store: Store) -> None:
    """CLI breaks: a second `init` makes a second operator, or changes the first."""
    begun = store.write_on((), installation.begin, SYSTEM_CALLER, "Acme", "alice@acme.test", "hash")
    assert begun.organization.operator
    assert begun.organization.slug == "acme"
    facts = store.read(directory_rows.installation_facts)
    assert facts["channel_host"] == "keys.example"
    assert {name.partition(":")[0] for name in facts} == {"channel_host", "key_prefix", "pepper"}
    assert store.read(role_rows.scopes_of_catalogue) == frozenset(FIRST_CATALOGUE)
    with refused("wrong-state"):
        store.write_on((), installation.begin, SYSTEM_CALLER, "Evil", "eve@evil.test", "hash")
    found = store.read(directory_rows.find_operator)
    assert found is not None
    assert found.id == begun.organization.id
    assert store.read(member_rows.first_holder, found.id, "operator-admin") == (
        begun.user_id,
        "alice@acme.test",
    )
    assert store.read(credential_rows.count, found.id) == 1


def test_there_is_nothing_to_recover_in_an_empty_database(store: Store) -> None:
    """CLI breaks: `init --recover` creates an admin where there was none."""
    with refused("wrong-state"):
        store.write_on((), installation.recover, SYSTEM_CALLER, "hash")


def test_recovery_gives_the_first_admin_a_new_key(database: Engines, tmp_path: Path) -> None:
    """P5 breaks: a recovery leaves no event, recovers another person, or ends keys that still work."""
    house = move_in(database, tmp_path).with_policy(max_credentials_per_organization=0)
    seen = len(events(house))
    begun = house.store.write_on((), installation.recover, SYSTEM_CALLER, "new hash")
    assert (begun.email, begun.user_id) == ("alice@acme.test", house.alice.actor.id)
    assert begun.key.reveal() != house.alice_key
    assert house.store.read(credential_rows.count, house.acme.id) == 2
    found = [(each.action, each.actor_type, each.target_id) for each in events(house)[seen:]]
    assert found == [
        ("member.recovered", "system", begun.user_id),
        ("credential.created", "system", begun.key_id),
    ]


def test_recovery_gives_back_both_roles(house: House) -> None:
    """Recovery breaks: the owner of the data directory gets a key that reaches no other organization."""
    alice = str(house.alice.actor.id)
    only = (house.acme.id, alice, [members.ADMIN])
    house.store.write_on((house.acme.id,), role_rows.replace_role_bindings, *only)
    house.store.write_on((), installation.recover, SYSTEM_CALLER, "new hash")
    assert set(house.store.read(members.get, house.alice, alice).bindings) == {
        members.ADMIN,
        members.OPERATOR,
    }
    assert "member.roles_changed" in [each.action for each in events(house)]


def test_forms_of_secrets_are_remembered_for_good(database: Engines, tmp_path: Path) -> None:
    """P21 breaks: a prefix or pepper that was used is not stored, or stored twice."""
    house = move_in(database, tmp_path)
    first = house.store.read(directory_rows.installation_facts)
    keyring = derive([bytes(32), MASTER_KEY])
    newer = Store(database, Installation(keyring, ("new-", "ak-")), house.clock, house.store.entropy)
    for _ in range(2):
        newer.write_on((), installation.store_prefixes_and_peppers, SYSTEM_CALLER)
    facts = newer.read(directory_rows.installation_facts)
    assert facts.keys() - first.keys() == {"key_prefix:new-", f"pepper:{keyring.newest}"}
    assert first.items() <= facts.items()
