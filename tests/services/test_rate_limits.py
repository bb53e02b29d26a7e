"""P10 in the services: which rate limit applies, and that nobody raises one above the policy."""

from typing import Any

import pytest

from ostiary.core.permission import Caller
from ostiary.core.problem import Problem
from ostiary.services import credentials, imports, organizations, rotation
from ostiary.services.credentials import Created
from ostiary.services.issuance import CredentialSpec
from ostiary.storage import roles as role_rows
from ostiary.storage import standing_queries as rows
from ostiary.storage.store import Tx
from tests.cast import House

pytestmark = pytest.mark.promise("P10")


def limit_of(house: House, created: Created) -> int | None:
    """What a verdict on this credential reads."""

    def read(tx: Tx) -> int | None:
        credential = created.listed.credential
        found = rows.find_standing(
            tx, credential.access_id, role_rows.catalogue_of(tx, credential.organization_id)
        )
        assert found is not None
        return found.rate_limit

    return house.store.read(read)


def choose(house: House, who: Caller, ceilings: dict[str, Any] | None = None, **limits: Any) -> None:
    house.store.write(organizations.update_policies, who, limits, ceilings or {}, frozenset())


def test_the_lower_of_its_own_and_the_policys_holds(house: House) -> None:
    """P10 breaks: a limit of the credential or of the policy is not held."""
    robo = house.account()
    free, slow = house.key(robo), house.key(robo, rate_limit=60)
    assert (limit_of(house, free), limit_of(house, slow)) == (1000, 60)
    choose(house, house.alice, rate_limit=30)
    assert (limit_of(house, free), limit_of(house, slow)) == (30, 30)
    choose(house, house.alice, rate_limit=None)
    assert (limit_of(house, free), limit_of(house, slow)) == (None, 60)


def test_a_policy_is_one_organizations(house: House) -> None:
    """P19 breaks: a customer's limit holds for another one's keys."""
    theirs = house.store.write(credentials.create_direct, house.charlie, CredentialSpec())
    ours = house.key(house.account())
    choose(house, house.charlie, rate_limit=5)
    assert (limit_of(house, theirs), limit_of(house, ours)) == (5, 1000)
    with pytest.raises(Problem) as found:
        choose(house, house.charlie, rate_limit=1001)
    assert [(each.pointer, each.code) for each in found.value.errors] == [("/rate_limit", "beyond-ceiling")]
    operator = Caller(house.alice.actor, house.umbrella.id, house.alice.scopes, operator_admin=True)
    choose(house, operator, ceilings={"rate_limit": 3})
    assert limit_of(house, theirs) == 5
    house.store.write(
        organizations.update_policies, house.charlie, {}, {}, frozenset({"rate_limit"}), frozenset()
    )
    assert limit_of(house, theirs) == 3


def test_a_limit_above_the_policys_is_refused(house: House) -> None:
    """P10 breaks: a caller who may create keys creates ones with a rate limit above the policy's."""
    choose(house, house.alice, rate_limit=100)
    robo = house.account()
    key = house.key(robo, rate_limit=100)
    for work in (
        lambda: house.key(robo, rate_limit=101),
        lambda: house.store.write(credentials.create_direct, house.alice, CredentialSpec(rate_limit=101)),
        lambda: house.store.write(
            credentials.update, house.alice, key.listed.credential.id, {"rate_limit": 101}
        ),
    ):
        with pytest.raises(Problem) as found:
            work()
        assert [(each.pointer, each.code) for each in found.value.errors] == [
            ("/rate_limit", "beyond-policy")
        ]
    # All other fields of an existing credential can still be changed.
    choose(house, house.alice, rate_limit=50)
    changed = house.store.write(credentials.update, house.alice, key.listed.credential.id, {"name": "Slow"})
    assert (changed.credential.rate_limit, limit_of(house, key)) == (100, 50)


def test_a_rotation_keeps_the_limit_and_an_import_has_none_of_its_own(house: House) -> None:
    """P10 breaks: a new secret loses the rate limit, or an imported key has none."""
    robo = house.account()
    key = house.key(robo, rate_limit=60)
    rotated = house.store.write(rotation.rotate, house.alice, key.listed.credential.id, None, None)
    assert (limit_of(house, key), limit_of(house, rotated)) == (60, 60)
    house.store.write(imports.register_prefix, house.alice, "sk_live_")
    listed = house.store.read(credentials.list_page, house.alice, None, None, 10)
    assert {each.credential.rate_limit for each in listed} == {None, 60}
