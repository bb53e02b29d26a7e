"""The catalogue and an organization's roles, which are read once in a transaction."""

from ostiary.core.model import Role
from ostiary.storage import roles
from ostiary.storage.store import Tx
from tests.cast import House
from tests.watch import statements


def test_a_transaction_sees_the_roles_and_scopes_that_it_changes(house: House) -> None:
    """Roles breaks: a role that was changed a moment ago still gives its former scopes."""
    home = house.acme.id

    def change(tx: Tx) -> None:
        assert not roles.catalogue_of(tx, home).has_role("clerk")
        role = Role(tx.new_id("role"), "clerk", "", ("read:agents",))
        roles.insert_role(tx, home, role)
        assert roles.catalogue_of(tx, home).role("clerk") == {"read:agents"}
        roles.update_role(tx, str(role.id), {"scopes": ()})
        assert roles.catalogue_of(tx, home).role("clerk") == set()
        assert not roles.catalogue_of(tx, house.umbrella.id).has_role("clerk")
        roles.delete_role(tx, str(role.id))
        assert not roles.catalogue_of(tx, home).has_role("clerk")
        roles.insert_scopes(tx, ["read:boats"])
        assert roles.catalogue_of(tx, home).knows("read:boats")
        roles.delete_scope(tx, "read:boats")
        assert not roles.catalogue_of(tx, home).knows("read:boats")

    house.store.write_on((home,), change)


def test_a_catalogue_is_read_once_in_a_transaction(sqlite_house: House) -> None:
    """Writes get slow: each check reads all roles and scopes again."""

    def read(tx: Tx) -> int:
        with statements(sqlite_house.store.engines) as sent:
            assert roles.catalogue_of(tx, sqlite_house.acme.id) == roles.catalogue_of(
                tx, sqlite_house.acme.id
            )
        return len(sent)

    assert sqlite_house.store.read(read) == 1
