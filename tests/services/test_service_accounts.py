"""Service accounts: their names, how they are found, and how their state affects their keys."""

import pytest

from ostiary.core import check
from ostiary.core.model import RoleBinding
from ostiary.core.permission import FIRST_CATALOGUE
from ostiary.services import credentials, service_accounts
from ostiary.services.roles import RoleSpec
from ostiary.services.service_accounts import AccountSpec, AccountView
from ostiary.storage import directory as directory_rows
from ostiary.storage.store import Tx
from tests.cast import House
from tests.services.questions import events, refused, verdict
from tests.watch import statements


def names(view: AccountView) -> tuple[str, str, str]:
    return view.account.id, view.account.client_id, view.channel_identifier


def test_usernames_are_derived_unique_and_never_given_out_again(house: House) -> None:
    """Unique breaks: two accounts have one username, even if one of them is deleted."""
    first = house.account("CI bot (staging)")
    assert first.account.username == "ci-bot-staging"
    assert house.account("CI bot (staging)").account.username == "ci-bot-staging-2"
    house.store.write(service_accounts.delete, house.alice, first.account.id)
    assert house.account("CI bot (staging)").account.username == "ci-bot-staging-3"
    with refused("name-taken"):
        house.account("Other", username="ci-bot-staging")
    with refused("name-taken"):
        house.account("Other", username="ci-bot-staging-2")


@pytest.mark.parametrize("name", ["机器人", "--", "x" * 253, "É", "0"])
def test_any_display_name_gives_a_username_of_the_right_form(sqlite_house: House, name: str) -> None:
    """Unique breaks: a derived username is not valid, or two names collide."""
    for _ in range(2):
        username = sqlite_house.account(name).account.username
        assert check.username(username) == username


def test_a_username_is_unique_in_its_organization_only(house: House) -> None:
    """P19 breaks: a refusal reveals another tenant's usernames."""
    house.account("Robo", username="robo")
    spec = AccountSpec("Robo", username="robo")
    theirs = house.store.write(service_accounts.create, house.charlie, spec)
    assert theirs.channel_identifier == "robo@umbrella.localhost"


def test_an_account_answers_to_its_id_client_id_and_channel_identifier(house: House) -> None:
    """API breaks: a call that names a service account does not take all of its names."""
    robo = house.account()
    assert robo.account.client_id == f"ostiary-sa-{robo.account.id.removeprefix('sa_')}"
    assert robo.channel_identifier == "robo@acme.localhost"
    for name in (*names(robo), "robo@acme.elsewhere.example"):
        found = house.store.read(service_accounts.get, house.alice, name)
        assert found.account.id == robo.account.id
        assert len(house.store.read(credentials.list_page, house.alice, name, None, 9)) == 0
    for name in ("robo", "robo@umbrella.localhost", "robo@", "@acme", "sa_", "ostiary-sa-", "", "robo@acm"):
        with refused("not-found"):
            house.store.read(service_accounts.get, house.alice, name)


@pytest.mark.promise("P2")
def test_disabling_and_deleting_take_the_keys_along(house: House) -> None:
    """P2 breaks: a key outlives its account's disabling or deletion, or another account's key does not."""
    robo, other = house.account(), house.account("Other")
    keys = [house.key(robo), house.key(robo)]
    bystander = house.key(other)

    def codes() -> list[str]:
        return [verdict(house, each).code for each in (*keys, bystander)]

    house.store.write(service_accounts.set_disabled, house.alice, robo.account.id, True)
    assert codes() == ["disabled", "disabled", "valid"]
    with refused("account-disabled"):
        house.key(robo)
    house.store.write(service_accounts.set_disabled, house.alice, robo.account.id, False)
    assert codes() == ["valid", "valid", "valid"]
    house.store.write(service_accounts.delete, house.alice, robo.account.id)
    assert codes() == ["revoked", "revoked", "valid"]
    for name in names(robo):
        with refused("not-found"):
            house.store.read(service_accounts.get, house.alice, name)
        with refused("not-found"):
            house.key(robo)


def test_a_deletion_names_each_credential_that_it_revoked(house: House) -> None:
    """P5 breaks: the log does not say which credentials a deletion ended, by the names they had."""
    robo = house.account()
    kept = [house.key(robo, name=f"Key {number}").listed.credential for number in range(2)]
    gone = house.key(robo).listed.credential
    house.store.write(credentials.revoke, house.alice, gone.id)
    before = len(events(house))
    house.store.write(service_accounts.delete, house.alice, robo.account.id)
    found = [(each.action, each.target_id, each.target_display) for each in events(house)[before:]]
    assert sorted(found[:-1]) == sorted(
        ("credential.revoked", each.id, f"{each.name} (…{each.last6})") for each in kept
    )
    assert found[-1] == ("service_account.deleted", robo.account.id, "Robo")


def test_a_deletion_takes_few_statements(sqlite_house: House) -> None:
    """P11 breaks: the deletion of an account with many keys keeps other writers waiting, a statement for each key."""

    def sent(keys: int) -> int:
        robo = sqlite_house.account(f"With {keys}")
        for _ in range(keys):
            sqlite_house.key(robo)
        with statements(sqlite_house.store.engines) as found:
            sqlite_house.store.write(service_accounts.delete, sqlite_house.alice, robo.account.id)
        return len(found)

    assert sent(keys=5) == sent(keys=1)


# Role bindings


def test_roles_hold_where_they_are_bound(house: House) -> None:
    """P19 breaks: a role on one project counts in another, or in the whole organization."""

    def projects(tx: Tx) -> None:
        directory_rows.insert_project(tx, "prj_one", house.acme.id, "one", "One")
        directory_rows.insert_project(tx, "prj_two", house.acme.id, "two", "Two")
        directory_rows.insert_project(tx, "prj_theirs", house.umbrella.id, "theirs", "Theirs")

    house.store.write_on((), projects)
    robo = house.account(roles=())
    key = house.key(robo)
    bound = house.store.write(
        service_accounts.set_role_bindings,
        house.alice,
        robo.account.id,
        [
            RoleSpec("viewer", house.acme.id),
            RoleSpec("viewer"),
            RoleSpec("developer", "one"),
            RoleSpec("developer", "prj_one"),
        ],
    )
    assert bound == (RoleBinding("viewer", None), RoleBinding("developer", "prj_one"))
    assert set(house.store.read(service_accounts.list_role_bindings, house.alice, robo.account.id)) == set(
        bound
    )
    writes = {
        project: "write:agents" in verdict(house, key, project).scopes
        for project in (None, "prj_one", "prj_two")
    }
    assert writes == {None: False, "prj_one": True, "prj_two": False}
    assert "read:agents" in verdict(house, key, "prj_two").scopes
    for elsewhere in ("theirs", "prj_theirs", house.umbrella.id, "org_nowhere"):
        with refused("not-found"):
            house.store.write(
                service_accounts.set_role_bindings,
                house.alice,
                robo.account.id,
                [RoleSpec("viewer", elsewhere)],
            )
    with refused("validation-failed") as caught:
        house.store.write(
            service_accounts.set_role_bindings,
            house.alice,
            robo.account.id,
            [RoleSpec("viewer"), RoleSpec("king")],
        )
    assert [each.pointer for each in caught.value.errors] == ["/bindings/1/role"]


def test_binding_the_same_roles_again_changes_nothing(house: House) -> None:
    """P5 breaks: an event says that roles changed when they did not."""
    robo = house.account()
    roles = [RoleSpec("viewer"), RoleSpec("developer"), RoleSpec("resource-server")]
    house.store.write(service_accounts.set_role_bindings, house.alice, robo.account.id, roles)
    seen = len(events(house))
    for again in (roles, roles[::-1], roles[1:] + roles[:1]):
        house.store.write(service_accounts.set_role_bindings, house.alice, robo.account.id, again)
    assert [each.action for each in events(house)[seen:]] == []


def test_a_credential_without_roles_is_valid_and_may_do_nothing(house: House) -> None:
    """P19 breaks: an account without a role may do something."""
    found = verdict(house, house.key(house.account(roles=())))
    assert (found.code, found.scopes) == ("valid", frozenset())


@pytest.mark.parametrize(
    ("account", "key", "left"),
    [
        ({}, {}, {*FIRST_CATALOGUE, "read:service-accounts"}),
        ({"access_level": "fine_grained", "scopes": ("read:agents",)}, {}, {"read:agents"}),
        ({}, {"scopes": ("read:agents", "verify:credentials")}, {"read:agents"}),
        ({"scopes": ("read:agents",)}, {"scopes": ("write:agents",)}, set()),
        ({"scopes": ("api",)}, {"scopes": ("read:agents",)}, {"read:agents"}),
    ],
    ids=["full", "ceiling", "narrow key", "disjoint", "api ceiling"],
)
def test_what_a_credential_may_do(
    sqlite_house: House, account: dict[str, object], key: dict[str, object], left: set[str]
) -> None:
    """P19 breaks: a verdict's scopes are not roles ∩ the account's limits ∩ the credential's own list."""
    made = sqlite_house.key(sqlite_house.account(**account), **key)  # type: ignore[arg-type] # fields of a spec
    assert verdict(sqlite_house, made).scopes == left
