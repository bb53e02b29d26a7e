"""An account that is limited to some projects, on both databases."""

from dataclasses import replace

import pytest

from ostiary.services import credentials, projects, service_accounts
from ostiary.services.issuance import CredentialSpec
from ostiary.services.service_accounts import AccountSpec
from tests.cast import House
from tests.services.questions import refused, verdict


def website(house: House, name: str = "Website") -> str:
    return house.store.write(projects.create, house.alice, name, None, "").id


def test_its_keys_are_good_for_these_projects_and_nothing_else(house: House) -> None:
    """Roles break: an account that is limited to projects acts in others, or in the organization."""
    one, two = website(house), website(house, "Shop")
    robo = house.account(projects=("website", one))
    assert robo.account.projects == (one,)
    key = house.key(robo)
    assert [verdict(house, key, each).code for each in (one, two, None)] == [
        "valid",
        "project_not_allowed",
        "project_not_allowed",
    ]
    bound = house.key(robo, project="website")
    assert verdict(house, bound).code == "valid"
    with refused("validation-failed"):
        house.key(robo, project="shop")
    house.store.write(service_accounts.update, house.alice, robo.account.id, {"projects": ()})
    assert [verdict(house, key, each).code for each in (one, two, None)] == ["valid", "valid", "valid"]


def test_a_deleted_project_does_not_lift_the_limit(house: House) -> None:
    """P19 breaks: the last project of an account goes, and its keys may do everything."""
    one = website(house)
    robo = house.account(projects=("website",))
    key = house.key(robo)
    house.store.write(projects.delete, house.alice, one)
    assert verdict(house, key).code == "project_not_allowed"
    after = house.store.write(service_accounts.update, house.alice, robo.account.id, {"projects": (one,)})
    assert after.account.projects == (one,)


@pytest.mark.promise("P19")
def test_who_may_lift_it_and_whose_projects_count(house: House) -> None:
    """P19 breaks: somebody lifts a limit and gives more than they hold, or names another tenant's project."""
    one = website(house)
    robo = house.account(projects=("website",))
    narrow = replace(house.alice, scopes=frozenset({"write:service-accounts"}))
    with refused("scope-exceeds-grantor"):
        house.store.write(service_accounts.update, narrow, robo.account.id, {"projects": ()})
    for name in (one, "website", "nothing"):
        with refused("not-found"):
            house.store.write(service_accounts.create, house.charlie, AccountSpec("Hers", projects=(name,)))
    assert house.store.read(service_accounts.get, house.alice, robo.account.id).account.projects == (one,)
    house.store.write(credentials.create, house.alice, robo.account.id, CredentialSpec())
