"""Import of other systems' keys, on both databases."""

import threading
from dataclasses import replace
from hashlib import sha256

import pytest

from ostiary.core.import_file import ImportedKey
from ostiary.core.instant import DAY
from ostiary.core.keyring import derive
from ostiary.core.permission import Caller
from ostiary.services import credentials, imports, installation, rotation, service_accounts
from ostiary.services.callers import SYSTEM_CALLER
from ostiary.services.imports import Imported
from ostiary.services.service_accounts import AccountSpec, AccountView
from ostiary.storage import credentials as credential_rows
from ostiary.storage import imports as import_rows
from tests.cast import MASTER_KEY, NOON, House
from tests.services.questions import events, refused

PREFIX = "sk_live_"


def foreign(*texts: str) -> list[ImportedKey]:
    """Keys of another system, as their digests."""
    return [ImportedKey(sha256(f"{PREFIX}{text}".encode()).digest(), text) for text in texts]


def begin(house: House) -> AccountView:
    house.store.write(imports.register_prefix, house.alice, PREFIX)
    return house.account()


def bring(
    house: House,
    account: AccountView,
    keys: list[ImportedKey],
    caller: Caller | None = None,
    exceed: bool = False,
) -> Imported:
    return house.store.write(
        imports.import_keys, caller or house.alice, account.account.id, PREFIX, keys, exceed
    )


def test_a_digest_that_exists_anywhere_is_skipped(house: House) -> None:
    """P19 breaks: an import reveals where a key exists, or a key gets two owners."""
    robo = begin(house)
    own = house.key(robo)
    first = bring(house, robo, foreign("a", "b"))
    assert first.count == 2
    charlies = house.store.write(service_accounts.create, house.charlie, AccountSpec("Hers"))
    again = [*foreign("b", "c", "c"), ImportedKey(sha256(own.secret.reveal().encode()).digest())]
    second = bring(house, charlies, again, house.charlie)
    assert [each is not None for each in second.credential_ids] == [False, True, False, False]
    third = bring(house, charlies, again, house.charlie)
    assert third.count == 0
    recorded = [each for each in events(house, house.umbrella.id) if each.action == "credentials.imported"]
    assert [(each.details["imported"], each.details["skipped"]) for each in recorded] == [(1, 3)]
    assert house.acme.id not in str(recorded)


def test_an_imported_key_has_the_life_of_any_other(house: House) -> None:
    """Import breaks: an imported key cannot be seen, rotated or ended."""
    robo = begin(house)
    (made,) = bring(house, robo, [replace(foreign("a")[0], expires_at=NOON + DAY)]).credential_ids
    assert made is not None
    found = house.store.read(credentials.get, house.alice, made).credential
    assert (found.name, found.prefix, found.last6, found.expires_at) == ("a", PREFIX, "", NOON + DAY)
    new = house.store.write(rotation.rotate, house.alice, made, DAY, None)
    assert new.secret.reveal().startswith("ak-")
    assert new.listed.credential.id == made
    assert house.store.write(credentials.revoke, house.alice, made).credential.revoked_at == NOON
    # Its digest stays known: after a revocation here, another import does not restore it.
    assert bring(house, robo, foreign("a")).count == 0


def test_the_policy_holds_for_imported_keys(house: House) -> None:
    """Limits break: an import makes more, or longer-lived, credentials than the policy says."""
    robo = begin(house)
    strict = house.with_policy(
        max_credentials_per_service_account=3,
        default_credential_lifetime=30 * DAY,
        max_credential_lifetime=90 * DAY,
    )
    assert bring(strict, robo, foreign("a", "b")).count == 2
    page = house.store.read(credentials.list_page, house.alice, robo.account.id, None, 50)
    assert {each.credential.expires_at for each in page} == {NOON + 30 * DAY}
    with refused("limit-reached") as caught:
        bring(strict, robo, foreign("c", "d"))
    assert caught.value.members == {"limit": "max_credentials_per_service_account", "value": 3, "count": 2}
    # Existing keys count once, so sending a batch again stays within the limit.
    assert bring(strict, robo, foreign("a", "b", "c")).count == 1
    with refused("insufficient-permissions"):
        bring(strict, robo, foreign("d"), replace(house.alice, operator_admin=False), exceed=True)
    assert bring(strict, robo, foreign("d", "e"), exceed=True).count == 2


def test_a_dry_run_foretells_what_becomes_of_each_key(house: House) -> None:
    """Import breaks: one row stops an import, or the dry run's result differs from the import's."""
    robo = begin(house)
    strict = house.with_policy(max_credential_lifetime=90 * DAY, default_credential_lifetime=30 * DAY)
    bring(strict, robo, foreign("there"))
    late, over = foreign("late")[0], foreign("over")[0]
    keys = [
        *foreign("there", "new", "new"),
        replace(late, expires_at=NOON + 91 * DAY),
        replace(over, expires_at=NOON),
        replace(foreign("good")[0], expires_at=NOON + 90 * DAY),
    ]
    foreseen = strict.store.read(imports.dry_run, house.alice, robo.account.id, PREFIX, keys)
    assert foreseen.outcomes == ("exists", "imported", "repeated", "beyond_policy", "expired", "imported")
    assert set(foreseen.credential_ids) == {None}
    done = bring(strict, robo, keys)
    assert done.outcomes == foreseen.outcomes
    assert [each is not None for each in done.credential_ids] == [False, True, False, False, False, True]
    # Sending it again much later is harmless: imported keys exist already, and the others have expired.
    house.clock.advance(200 * DAY)
    assert set(bring(strict, robo, keys).outcomes) == {"exists", "expired"}


def test_a_dry_run_finds_the_limit_that_the_import_would_reach(house: House) -> None:
    """Import breaks: the dry run succeeds, and the import fails."""
    robo = begin(house)
    strict = house.with_policy(max_credentials_per_service_account=1)
    for work in (strict.store.read, strict.store.write):
        with refused("limit-reached"):
            work(imports.dry_run, house.alice, robo.account.id, PREFIX, foreign("a", "b"))
    assert bring(strict, robo, foreign("a")).count == 1


@pytest.mark.promise("P19")
def test_who_may_import_and_register(house: House) -> None:
    """P19 breaks: an import gives an account keys that the caller could not create."""
    robo = begin(house)
    narrow = replace(house.alice, scopes=frozenset({"write:credentials"}))
    for caller, code in (
        (house.bob, "insufficient-permissions"),
        (house.charlie, "not-found"),
        (narrow, "scope-exceeds-grantor"),
    ):
        with refused(code):
            bring(house, robo, foreign("a"), caller)
    with refused("validation-failed"):
        house.store.write(imports.import_keys, house.alice, robo.account.id, "xx_", foreign("a"))
    house.store.write(service_accounts.set_disabled, house.alice, robo.account.id, True)
    with refused("account-disabled"):
        bring(house, robo, foreign("a"))
    for work in (imports.register_prefix, imports.unregister_prefix):
        for caller in (house.bob, house.charlie):
            with refused("insufficient-permissions"):
                house.store.write(work, caller, PREFIX)
    for ours in ("ak-", "ak-1", "a", "secret_", "secret_x", "sec", "invite-", "eyJhbGciOi"):
        with refused("validation-failed"):
            house.store.write(imports.register_prefix, house.alice, ours)
    assert house.store.read(imports.list_prefixes, house.charlie) == (PREFIX,)
    house.store.write(imports.unregister_prefix, house.alice, PREFIX)
    with refused("not-found"):
        house.store.write(imports.unregister_prefix, house.alice, PREFIX)


def test_a_digest_under_an_older_pepper_counts_as_existing(house: House) -> None:
    """Import breaks: after the master key was rotated, one key gets two owners."""
    robo = begin(house)
    bring(house, robo, foreign("a"))
    keyring = derive([bytes(reversed(MASTER_KEY)), MASTER_KEY])
    newer = replace(
        house, store=replace(house.store, installation=replace(house.store.installation, keyring=keyring))
    )
    assert bring(newer, robo, foreign("a", "b")).credential_ids[0] is None


def test_two_imports_at_once_give_one_key_one_owner(house: House) -> None:
    """P12 breaks: two organizations import the same keys at once, and a key has two owners or an import fails."""
    robo = begin(house)
    charlies = house.store.write(service_accounts.create, house.charlie, AccountSpec("Hers"))
    keys = foreign(*(str(number) for number in range(90)))
    barrier = threading.Barrier(2)
    done: list[Imported | BaseException] = []

    def run(caller: Caller, account: AccountView, mine: list[ImportedKey]) -> None:
        barrier.wait()
        try:
            done.append(
                house.store.write(
                    imports.import_keys,
                    replace(caller, operator_admin=True),
                    account.account.id,
                    PREFIX,
                    mine,
                    True,
                )
            )
        except BaseException as error:
            done.append(error)

    threads = [
        threading.Thread(target=run, args=(house.alice, robo, keys)),
        threading.Thread(target=run, args=(house.charlie, charlies, keys[::-1])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each.count for each in done if isinstance(each, Imported)) == 90, done
    counted = sum(
        house.store.read(credential_rows.count, organization.id, account.account.id)
        for organization, account in ((house.acme, robo), (house.umbrella, charlies))
    )
    assert counted == 90


def test_whoever_owns_the_data_acts_for_any_organization(house: House) -> None:
    """Import breaks: the operator cannot import into a customer's organization offline."""
    begin(house)
    for name in (house.umbrella.id, "umbrella"):
        found = house.store.read(installation.local_operator, SYSTEM_CALLER, name)
        assert (found.organization_id, found.operator, found.operator_admin) == (
            house.umbrella.id,
            False,
            True,
        )
    assert house.store.read(installation.local_operator, SYSTEM_CALLER, None).organization_id == house.acme.id
    with refused("not-found"):
        house.store.read(installation.local_operator, SYSTEM_CALLER, "nobody")
    assert house.store.read(import_rows.prefixes) == (PREFIX,)
