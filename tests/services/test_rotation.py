"""Rotation, on both databases: two secrets during the overlap, one credential throughout."""

from dataclasses import replace

import pytest

from ostiary.core.instant import DAY, HOUR, MINUTE, SECOND
from ostiary.services import audit, credentials, rotation, service_accounts
from ostiary.services.callers import SYSTEM_CALLER
from ostiary.services.credentials import Created
from ostiary.services.issuance import CredentialSpec
from ostiary.services.rotation import Rotation
from ostiary.storage.usage_buffer import Count, UsageEvent
from tests.cast import NOON, House
from tests.services.questions import events, refused, verdict


def id_of(created: Created) -> str:
    return created.listed.credential.id


def rotate(
    house: House, credential: str, overlap: int | None = None, expires_at: int | None = None
) -> Created:
    return house.store.write(rotation.rotate, house.alice, credential, overlap, expires_at)


def state(house: House, credential: str) -> Rotation:
    return house.store.read(rotation.get, house.alice, credential)


def use(house: House, created: Created, *, rotated: bool = False) -> None:
    """One use of this secret, written as the periodic task writes it."""
    credential = created.listed.credential
    occasion = UsageEvent(
        True,
        "valid",
        None,
        "verify",
        organization_id=credential.organization_id,
        credential_id=credential.id,
        access_id=credential.access_id,
        rotated=rotated,
        credential="key",
        display="Robo (API key)",
        actor_type="service_account",
        actor_id=credential.owner_id,
    )
    count = Count(1, house.clock.now, house.clock.now)
    house.store.write_on((), audit.write_counts, SYSTEM_CALLER, {occasion: count})


def test_a_rotation_keeps_everything_but_the_secret(house: House) -> None:
    """Rotation breaks: a rotated key becomes another credential, or loses its limits or its statistics."""
    account = house.account()
    old = house.key(
        account, name="CI", scopes=("read:agents",), allowed_ips=("192.0.2.0/24",), expires_at=NOON + 90 * DAY
    )
    use(house, old)
    house.clock.advance(HOUR)
    new = rotate(house, id_of(old), DAY)
    before, after = old.listed.credential, new.listed.credential
    for name in (
        "id",
        "name",
        "owner_id",
        "scopes",
        "allowed_ips",
        "access_level",
        "expires_at",
        "created_at",
    ):
        assert getattr(after, name) == getattr(before, name), name
    assert (after.generation, after.secret_created_at, after.last_used_at) == (2, NOON + HOUR, NOON)
    assert after.access_id != before.access_id
    assert after.last6 == new.secret.reveal()[-6:]
    assert after.overlap is not None
    assert (after.overlap.last6, after.overlap.ends_at) == (before.last6, NOON + HOUR + DAY)
    assert house.store.read(credentials.get, house.alice, id_of(old)).credential == after
    page = house.store.read(credentials.list_page, house.alice, account.account.id, None, 50)
    assert [each.credential for each in page] == [after]
    assert house.store.read(service_accounts.get, house.alice, account.account.id).credentials == 1
    recorded = [each for each in events(house) if each.action == "credential.rotated"]
    assert [each.details["previous"] for each in recorded] == [before.last6]
    assert recorded[0].target_display == f"CI (…{after.last6})"


def test_both_secrets_are_good_until_the_overlap_ends(house: House) -> None:
    """P1 breaks: an old secret outlives its overlap, or a new one does not work at once."""
    old = house.key(house.account())
    new = rotate(house, id_of(old), HOUR)
    assert (verdict(house, old).code, verdict(house, new).code) == ("valid", "valid")
    house.clock.advance(HOUR - 1)
    assert verdict(house, old).code == "valid"
    house.clock.advance(1)
    assert (verdict(house, old).code, verdict(house, new).code) == ("revoked", "valid")
    assert state(house, id_of(old)).state == "completed"
    again = rotate(house, id_of(old), 0)
    assert [verdict(house, each).code for each in (old, new, again)] == ["revoked", "revoked", "valid"]


def test_without_an_overlap_the_old_secret_lives_until_completed(house: House) -> None:
    """Rotation breaks: a rotation without an overlap ends by itself, or completing does not end it."""
    old = house.key(house.account())
    new = rotate(house, id_of(old))
    house.clock.advance(400 * DAY)
    assert verdict(house, old).code == "valid"
    done = house.store.write(rotation.complete, house.alice, id_of(old))
    assert done.state == "completed"
    assert (verdict(house, old).code, verdict(house, new).code) == ("revoked", "valid")
    assert house.store.write(rotation.complete, house.alice, id_of(old)) == done
    assert [each.action for each in events(house)].count("credential.rotation_completed") == 1


def test_a_cancelled_rotation_leaves_the_old_secret(house: House) -> None:
    """Rotation breaks: cancelling ends the wrong secret, or none."""
    old = house.key(house.account())
    new = rotate(house, id_of(old), HOUR)
    undone = house.store.write(rotation.cancel, house.alice, id_of(old))
    assert undone.state == "cancelled"
    house.clock.advance(2 * HOUR)
    assert (verdict(house, old).code, verdict(house, new).code) == ("valid", "revoked")
    assert house.store.write(rotation.cancel, house.alice, id_of(old)).state == "cancelled"
    found = house.store.read(credentials.get, house.alice, id_of(old)).credential
    assert (found.access_id, found.overlap) == (old.listed.credential.access_id, None)
    third = rotate(house, id_of(old), HOUR)
    assert third.listed.credential.generation == 3
    assert [verdict(house, each).code for each in (old, new, third)] == ["valid", "revoked", "valid"]
    assert state(house, id_of(old)).state == "overlap"


def test_revoking_ends_both_secrets(house: House) -> None:
    """P1 breaks: a revocation during a rotation leaves one of the two secrets alive."""
    old = house.key(house.account())
    new = rotate(house, id_of(old))
    house.store.write(credentials.deactivate, house.alice, id_of(old))
    assert (verdict(house, old).code, verdict(house, new).code) == ("deactivated", "deactivated")
    house.store.write(credentials.activate, house.alice, id_of(old))
    house.store.write(credentials.revoke, house.alice, id_of(old))
    assert (verdict(house, old).code, verdict(house, new).code) == ("revoked", "revoked")
    house.clock.advance(DAY)
    house.store.write(credentials.delete, house.alice, id_of(old))
    assert (verdict(house, old).code, verdict(house, new).code) == ("unknown", "unknown")


def test_what_cannot_be_rotated(house: House) -> None:
    """B8 breaks: an ended or disabled credential, or one with a rotation under way, is rotated."""
    account = house.account()
    revoked, expired, turning, disabled = (house.key(account, expires_at=NOON + DAY) for _ in range(4))
    house.store.write(credentials.revoke, house.alice, id_of(revoked))
    rotate(house, id_of(turning), 30 * MINUTE)
    for credential in (revoked, turning):
        with refused("wrong-state"):
            rotate(house, id_of(credential))
    for overlap in (-1, 30 * DAY + 1):
        with refused("validation-failed"):
            rotate(house, id_of(disabled), overlap)
    house.store.write(service_accounts.set_disabled, house.alice, account.account.id, True)
    with refused("account-disabled"):
        rotate(house, id_of(disabled))
    house.store.write(service_accounts.set_disabled, house.alice, account.account.id, False)
    for work in (rotation.complete, rotation.cancel):
        with refused("wrong-state"):
            house.store.write(work, house.alice, id_of(disabled))
    house.clock.advance(HOUR)
    with refused("wrong-state"):
        house.store.write(rotation.cancel, house.alice, id_of(turning))
    house.clock.advance(DAY)
    with refused("wrong-state"):
        rotate(house, id_of(expired))


@pytest.mark.promise("P19")
def test_who_may_rotate(house: House) -> None:
    """P19 breaks: a rotation gives somebody a secret that grants more than they hold."""
    robo = house.key(house.account())
    own = house.store.write(credentials.create_direct, house.bob, CredentialSpec())
    for caller, credential, code in (
        (house.bob, robo, "insufficient-permissions"),
        (house.charlie, robo, "not-found"),
        (house.charlie, own, "not-found"),
    ):
        for work, args in ((rotation.rotate, (None, None)), (rotation.complete, ()), (rotation.cancel, ())):
            with refused(code):
                house.store.write(work, caller, id_of(credential), *args)
        with refused(code):
            house.store.read(rotation.get, caller, id_of(credential))
    new = house.store.write(rotation.rotate, house.bob, id_of(own), None, None)
    assert verdict(house, new).code == "valid"


def test_a_new_expiry_is_the_new_secrets_only(house: House) -> None:
    """Limits break: by rotating, a secret lives longer than the policy lets any secret live."""
    strict = house.with_policy(max_credential_lifetime=90 * DAY)
    old = strict.key(strict.account(), expires_at=NOON + 90 * DAY)
    house.clock.advance(80 * DAY)
    with refused("validation-failed"):
        rotate(strict, id_of(old), None, house.clock.now + 90 * DAY + 1)
    new = rotate(strict, id_of(old), None, house.clock.now + 90 * DAY)
    assert new.listed.credential.expires_at == NOON + 170 * DAY
    with refused("validation-failed"):
        strict.store.write(credentials.update, house.alice, id_of(old), {"expires_at": NOON + 171 * DAY})
    house.clock.advance(10 * DAY)
    assert (verdict(house, old).code, verdict(house, new).code) == ("revoked", "valid")
    house.clock.advance(80 * DAY)
    assert verdict(house, new).code == "expired"


def test_an_old_secret_lives_no_longer_than_the_policy_lets_it(house: House) -> None:
    """Limits break: by rotating and cancelling, over and over, one secret lives for ever."""
    strict = house.with_policy(max_credential_lifetime=90 * DAY)
    old = strict.key(strict.account(), expires_at=NOON + 90 * DAY)
    house.clock.advance(80 * DAY)
    rotate(strict, id_of(old), None, NOON + 170 * DAY)
    with refused("wrong-state"):
        strict.store.write(rotation.cancel, house.alice, id_of(old))
    # An earlier expiry, and the way back is open.
    strict.store.write(credentials.update, house.alice, id_of(old), {"expires_at": NOON + 90 * DAY})
    strict.store.write(rotation.cancel, house.alice, id_of(old))
    # Nor by a rotation without an end, and a later expiry after it.
    rotate(strict, id_of(old))
    with refused("validation-failed"):
        strict.store.write(credentials.update, house.alice, id_of(old), {"expires_at": NOON + 90 * DAY + 1})
    strict.store.write(rotation.complete, house.alice, id_of(old))
    strict.store.write(credentials.update, house.alice, id_of(old), {"expires_at": NOON + 170 * DAY})
    house.clock.advance(10 * DAY)
    assert verdict(house, old).code == "revoked"


@pytest.mark.promise("P19")
def test_who_may_keep_an_old_secret(house: House) -> None:
    """P19 breaks: a caller who does not hold what a secret grants extends its life."""
    old = house.key(house.account())
    keeper = replace(house.bob, scopes=frozenset({"write:credentials"}))
    rotate(house, id_of(old))
    house.store.write(rotation.cancel, keeper, id_of(old))  # it had no end
    rotate(house, id_of(old), HOUR)
    with refused("scope-exceeds-grantor"):
        house.store.write(rotation.cancel, keeper, id_of(old))


@pytest.mark.promise("P1")
def test_a_secret_that_ended_has_ended_on_every_clock(house: House) -> None:
    """P1 breaks: a finished overlap starts again on a node whose clock is slow, or the credential gives a 500."""
    old = house.key(house.account())
    new = rotate(house, id_of(old), HOUR)
    house.clock.advance(HOUR)
    third = rotate(house, id_of(old), 0)
    house.clock.advance(-SECOND)
    assert [verdict(house, each).code for each in (old, new, third)] == ["revoked", "revoked", "valid"]
    assert state(house, id_of(old)).state == "completed"
    assert house.store.read(credentials.get, house.alice, id_of(old)).credential.overlap is None


def test_the_verdict_on_ending_the_old_secret(house: House) -> None:
    """Rotation breaks: `safe_to_revoke` is true for a secret that is in use, or that may be."""
    old = house.key(house.account())
    assert state(house, id_of(old)).reasons == ("not_rotated",)
    use(house, old)
    new = rotate(house, id_of(old))
    assert state(house, id_of(old)).reasons == ("new_never_used", "old_used_recently")
    use(house, new)
    house.clock.advance(HOUR)
    use(house, old, rotated=True)
    found = state(house, id_of(old))
    assert found.old is not None
    assert found.new is not None
    assert (found.old.uses, found.new.uses, found.reasons) == (2, 1, ("old_used_recently",))
    house.clock.advance(DAY)
    assert state(house, id_of(old)).reasons == ()
    silent = house.key(house.account("Quiet"))
    use(house, rotate(house, id_of(silent)))
    assert state(house, id_of(silent)).reasons == ("watched_too_briefly",)
    superseded = [each for each in events(house) if each.action == "credential.used"]
    assert [each.reason for each in superseded] == ["valid", "valid", "superseded", "valid"]


def test_secrets_that_ended_long_ago_are_forgotten(house: House) -> None:
    """P20 breaks: the rows of a credential that is rotated every day grow without limit."""
    first = house.key(house.account())
    rotate(house, id_of(first), 0)
    house.clock.advance(31 * DAY)
    assert verdict(house, first).code == "revoked"
    rotate(house, id_of(first), 0)
    assert verdict(house, first).code == "unknown"
