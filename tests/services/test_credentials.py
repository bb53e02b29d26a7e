"""The life of a credential, on both databases."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ostiary.core.instant import DAY, HOUR, SECOND, to_text
from ostiary.core.model import CredentialFilter
from ostiary.services import credentials, service_accounts
from ostiary.services.credentials import Created
from ostiary.services.issuance import CredentialSpec
from ostiary.services.service_accounts import AccountSpec
from ostiary.storage import directory as directory_rows
from ostiary.storage import members as member_rows
from ostiary.storage.store import Tx
from ostiary.storage.tables import generation_uses
from tests.cast import NOON, House
from tests.services.questions import events, refused, verdict

STATES = ("active", "deactivated", "revoked", "expired")
ACTS: dict[str, Callable[[House, str], object]] = {
    "deactivate": lambda house, key: house.store.write(credentials.deactivate, house.alice, key),
    "activate": lambda house, key: house.store.write(credentials.activate, house.alice, key),
    "update": lambda house, key: house.store.write(credentials.update, house.alice, key, {"name": "New"}),
    "extend": lambda house, key: house.store.write(
        credentials.update, house.alice, key, {"expires_at": house.clock.now + DAY}
    ),
    "revoke": lambda house, key: house.store.write(credentials.revoke, house.alice, key),
    "delete": lambda house, key: house.store.write(credentials.delete, house.alice, key),
}

AFTER = """
            deactivate   activate     update       extend       revoke
active      deactivated  active       active       active       revoked
deactivated deactivated  active       deactivated  deactivated  revoked
revoked     wrong-state  wrong-state  wrong-state  wrong-state  revoked
expired     wrong-state  wrong-state  wrong-state  wrong-state  revoked
"""


def id_of(created: Created) -> str:
    return created.listed.credential.id


def in_state(house: House, state: str, account_id: str | None = None) -> Created:
    """A key of Robo's in this state. An expired one expires at this instant."""
    account_id = account_id or house.account().account.id
    expires_at = house.clock.now + SECOND if state == "expired" else None
    made = house.store.write(
        credentials.create, house.alice, account_id, CredentialSpec(expires_at=expires_at)
    )
    match state:
        case "expired":
            house.clock.advance(SECOND)
        case "deactivated":
            ACTS["deactivate"](house, id_of(made))
        case "revoked":
            ACTS["revoke"](house, id_of(made))
    return made


def status(house: House, created: Created) -> str:
    listed = house.store.read(credentials.get, house.alice, id_of(created))
    return listed.credential.status(listed.read_at)


def test_every_act_in_every_state(house: House) -> None:
    """P1 breaks: an operation reaches a state that the life cycle does not have, such as active after revoked."""
    columns, *lines = (line.split() for line in AFTER.strip().splitlines())
    for state, *outcomes in lines:
        account_id = house.account().account.id
        for act, outcome in zip(columns, outcomes, strict=True):
            made = in_state(house, state, account_id)
            assert verdict(house, made).code == ("valid" if state == "active" else state)
            if outcome in STATES:
                ACTS[act](house, id_of(made))
                assert status(house, made) == outcome, (state, act)
                assert verdict(house, made).code == ("valid" if outcome == "active" else outcome)
            else:
                with refused(outcome):
                    ACTS[act](house, id_of(made))
                assert status(house, made) == state, (state, act)


def test_the_first_revocation_stays(house: House) -> None:
    """P1 breaks: a second revocation changes the time from which the deletion delay counts."""
    made = in_state(house, "revoked")
    house.clock.advance(HOUR)
    again = house.store.write(credentials.revoke, house.alice, id_of(made))
    assert again.credential.revoked_at == NOON


def test_a_secret_is_shown_once_and_kept_as_a_digest(house: House) -> None:
    """P7 breaks: reading a credential returns its secret."""
    made = house.key(house.account(), name="Deploy")
    text = made.secret.reveal()
    assert text.startswith("ak-")
    assert len(text) == 3 + 32 + 44
    shown = house.store.read(credentials.get, house.alice, id_of(made))
    assert text[35:-6] not in repr(shown)
    assert str(made.secret) == "***"
    assert shown.credential.last6 == text[-6:]
    assert (shown.credential.name, shown.owner_name) == ("Deploy", "Robo")


# Deletion


@pytest.mark.parametrize(
    ("state", "later", "outcome"),
    [
        ("active", 30 * DAY, "wrong-state"),
        ("deactivated", 30 * DAY, "wrong-state"),
        ("revoked", 0, "too-early"),
        ("revoked", DAY - 1, "too-early"),
        ("revoked", DAY, "deleted"),
        ("expired", DAY - 1, "too-early"),
        ("expired", DAY, "deleted"),
    ],
)
def test_deletion_waits_for_a_day_after_the_end(house: House, state: str, later: int, outcome: str) -> None:
    """P1 breaks: a credential is deleted while it is active, or before its deletion delay is over."""
    made = in_state(house, state)
    ended = house.clock.now
    house.clock.advance(later)
    if outcome == "deleted":
        ACTS["delete"](house, id_of(made))
        with refused("not-found"):
            status(house, made)
        assert verdict(house, made).code == "unknown"
    else:
        with refused(outcome) as caught:
            ACTS["delete"](house, id_of(made))
        assert verdict(house, made).code in (state, "valid")
        earliest = {"earliest": to_text(ended + DAY)} if outcome == "too-early" else {}
        assert caught.value.members == earliest


def test_without_a_delay_deletion_is_one_step_from_any_state(house: House) -> None:
    """P5 breaks: a deletion in one step leaves no trace of the revocation, or of the deletion."""
    quick = house.with_policy(deletion_delay=0)
    for state in STATES:
        made = in_state(quick, state)
        ACTS["delete"](quick, id_of(made))
        assert verdict(quick, made).code == "unknown"
        actions = [each.action for each in events(quick, target=id_of(made))]
        assert actions[0] == "credential.created", state
        assert actions[-2:] == ["credential.revoked", "credential.deleted"], state
        assert actions.count("credential.revoked") == 1, state


# Limits


def test_what_counts_toward_an_accounts_limit(house: House) -> None:
    """B8 breaks: the limit counts revoked credentials, or forgets deactivated and expired ones."""
    account = house.account()
    for number in range(10):
        made = in_state(house, ("active", "deactivated", "expired")[number % 3], account.account.id)
    with refused("limit-reached") as caught:
        house.key(account)
    assert caught.value.members == {
        "limit": "max_credentials_per_service_account",
        "value": 10,
        "count": 10,
    }
    ACTS["revoke"](house, id_of(made))
    house.key(account)
    house.key(house.account("Another"))


def test_an_organizations_limit_counts_direct_keys_and_its_own_only(house: House) -> None:
    """B8 breaks: an organization exceeds its limit with direct keys, or another organization's keys count."""
    tight = house.with_policy(max_credentials_per_organization=3)
    tight.key(tight.account())
    tight.store.write(credentials.create_direct, tight.alice, CredentialSpec())
    account = tight.account()
    with refused("limit-reached") as caught:
        tight.key(account)
    assert caught.value.members["limit"] == "max_credentials_per_organization"
    assert caught.value.members["count"] == 3
    with refused("limit-reached"):
        tight.store.write(credentials.create_direct, tight.alice, CredentialSpec())
    tight.store.write(credentials.create_direct, tight.charlie, CredentialSpec())


def test_a_lowered_limit_removes_nothing(house: House) -> None:
    """B8 breaks: a lowered limit removes existing credentials."""
    account = house.account()
    made = [house.key(account) for _ in range(3)]
    lowered = house.with_policy(max_credentials_per_service_account=1)
    with refused("limit-reached") as caught:
        lowered.key(account)
    assert caught.value.members["count"] == 3
    assert [verdict(lowered, each).code for each in made] == ["valid"] * 3


@pytest.mark.parametrize(
    ("policy", "asked", "outcome"),
    [
        ({}, None, None),
        ({}, 30 * DAY, 30 * DAY),
        ({}, 36_501 * DAY, "beyond-policy"),
        ({}, 0, "past"),
        ({}, -SECOND, "past"),
        ({"default_credential_lifetime": DAY}, None, DAY),
        ({"default_credential_lifetime": DAY}, 9 * DAY, 9 * DAY),
        ({"max_credential_lifetime": DAY}, None, "beyond-policy"),
        ({"max_credential_lifetime": DAY}, DAY, DAY),
        ({"max_credential_lifetime": DAY}, DAY + 1, "beyond-policy"),
        ({"max_credential_lifetime": DAY, "default_credential_lifetime": HOUR}, None, HOUR),
    ],
)
def test_lifetimes(
    sqlite_house: House, policy: dict[str, int], asked: int | None, outcome: int | str | None
) -> None:
    """B8 breaks: a credential lives longer than the policy allows, or expires without an expiry."""
    house = sqlite_house.with_policy(**policy)
    account = house.account()
    expires_at = None if asked is None else NOON + asked
    if isinstance(outcome, str):
        with refused("validation-failed") as caught:
            house.key(account, expires_at=expires_at)
        assert [(each.pointer, each.code) for each in caught.value.errors] == [("/expires_at", outcome)]
    else:
        made = house.key(account, expires_at=expires_at).listed.credential
        assert made.expires_at == (None if outcome is None else NOON + outcome)


def test_a_new_default_lifetime_is_for_new_credentials_only(house: House) -> None:
    """B8 breaks: a policy ends credentials that were made without an expiry."""
    made = house.key(house.account())
    strict = house.with_policy(default_credential_lifetime=DAY, max_credential_lifetime=DAY)
    strict.clock.advance(400 * DAY)
    assert verdict(strict, made).code == "valid"


def test_a_change_of_expiry_counts_from_the_creation(house: House) -> None:
    """B8 breaks: an expiry can be extended without end, step by step."""
    strict = house.with_policy(max_credential_lifetime=10 * DAY)
    made = strict.key(strict.account(), expires_at=NOON + DAY)
    strict.clock.advance(DAY - 1)
    for expires_at in (None, NOON + 10 * DAY + 1):
        with refused("validation-failed"):
            strict.store.write(credentials.update, strict.alice, id_of(made), {"expires_at": expires_at})
    after = strict.store.write(credentials.update, strict.alice, id_of(made), {"expires_at": NOON + 10 * DAY})
    assert after.credential.expires_at == NOON + 10 * DAY


# Projects, names, direct keys


def test_a_project_is_one_of_the_organizations_own(house: House) -> None:
    """P19 breaks: a credential is bound to another tenant's project."""

    def projects(tx: Tx) -> None:
        directory_rows.insert_project(tx, "prj_ours", house.acme.id, "ours", "Ours")
        directory_rows.insert_project(tx, "prj_theirs", house.umbrella.id, "theirs", "Theirs")

    house.store.write_on((), projects)
    account = house.account()
    for name in ("ours", "prj_ours"):
        assert house.key(account, project=name).listed.credential.project_id == "prj_ours"
    for name in ("theirs", "prj_theirs", "nowhere"):
        with refused("not-found"):
            house.key(account, project=name)


def test_a_name_is_derived_where_none_is_given(house: House) -> None:
    """B8 breaks: a derived name is longer than a name may be."""
    assert house.key(house.account()).listed.credential.name == "Robo's API key"
    assert len(house.key(house.account("R" * 253)).listed.credential.name) == 253


def test_only_members_have_direct_keys(house: House) -> None:
    """P2 breaks: a user who is not a member, or no longer one, creates a direct key."""
    made = house.store.write(credentials.create_direct, house.bob, CredentialSpec(name="Bob's"))
    assert made.listed.credential.owner_id == house.bob.actor.id
    robo = house.account().account
    machine = replace(house.bob, actor=replace(house.bob.actor, type="service_account", id=robo.id))
    with refused("insufficient-permissions"):
        house.store.write(credentials.create_direct, machine, CredentialSpec())
    stray = replace(house.charlie, organization_id=house.acme.id)
    with refused("not-found"):
        house.store.write(credentials.create_direct, stray, CredentialSpec())
    bob = str(house.bob.actor.id)
    house.store.write_on((), member_rows.delete_member, house.acme.id, bob)
    with refused("not-found"):
        house.store.write(credentials.create_direct, house.bob, CredentialSpec())
    assert verdict(house, made).code == "disabled"


def test_ones_own_direct_keys_need_no_scope(house: House) -> None:
    """P19 breaks: Bob cannot manage his own key, or sees and changes another's."""
    own = id_of(house.store.write(credentials.create_direct, house.bob, CredentialSpec(name="Bob's")))
    robos = id_of(house.key(house.account()))
    seen = house.store.read(credentials.list_page, house.bob, None, None, 50)
    assert [each.credential.id for each in seen] == [own]
    for service in (credentials.deactivate, credentials.activate, credentials.revoke):
        assert house.store.write(service, house.bob, own).credential.id == own
        for foreign in (robos, str(house.alice.actor.credential_id)):
            with refused("insufficient-permissions"):
                house.store.write(service, house.bob, foreign)


def test_pages_show_every_credential_once_newest_first(house: House) -> None:
    """P12 breaks: a page repeats or leaves out a credential."""
    account = house.account()
    made = []
    for _ in range(5):
        house.clock.advance(SECOND)
        made.append(id_of(house.key(account)))
    found: list[str] = []
    while page := house.store.read(
        credentials.list_page, house.alice, account.account.id, found[-1] if found else None, 2
    ):
        found += [each.credential.id for each in page]
    assert found == made[::-1]


def test_a_list_has_what_its_filter_asks_for(house: House) -> None:
    """Lists break: a search does not find the unused key, or the leaked one."""
    account = house.account()
    charlies = house.store.write(service_accounts.create, house.charlie, AccountSpec("Robo"))
    house.store.write(
        credentials.create, house.charlie, charlies.account.id, CredentialSpec(name="100% hers")
    )
    made = {
        "live": house.key(account, name="100% live"),
        "used": house.key(account, name="used", expires_at=NOON + 30 * DAY),
        "off": house.key(account, name="off"),
        "over": house.key(account, name="over", expires_at=NOON + DAY),
        "dead": house.key(account, name="dead"),
    }
    ids = {name: id_of(each) for name, each in made.items()}
    house.clock.advance(2 * DAY)
    house.store.write(credentials.deactivate, house.alice, ids["off"])
    house.store.write(credentials.revoke, house.alice, ids["dead"])
    use = {"access_id": made["used"].listed.credential.access_id, "credential_id": ids["used"]}
    house.store.write_on(
        (), lambda tx: tx.execute(generation_uses.insert(), use | {"last_used_at": tx.now, "uses": 1})
    )

    def found(**wanted: Any) -> set[str]:
        page = house.store.read(
            credentials.list_page, house.alice, account.account.id, None, 50, CredentialFilter(**wanted)
        )
        return {name for name, each in ids.items() if each in {one.credential.id for one in page}}

    assert found(status="active") == {"live", "used"}
    assert found(status="deactivated") == {"off"}
    assert found(status="expired") == {"over"}
    assert found(status="revoked") == {"dead"}
    assert found(expires_before=NOON + 2 * DAY) == {"over"}
    assert found(unused_since=NOON + DAY) == {"live", "off", "over", "dead"}
    assert found(unused_since=NOON) == set()  # all were made later
    assert found(search="LIVE") == {"live"}
    assert found(search="%") == {"live"}  # `%` is an ordinary character here
    assert found(search=made["off"].secret.reveal()[-6:]) == {"off"}
    assert found(search=ids["dead"]) == {"dead"}
    assert found(search=account.account.username) == set(ids)
    assert found(search="live", status="revoked") == set()
