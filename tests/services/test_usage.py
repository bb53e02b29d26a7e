"""Usage counts, which customers plan and pay by: no use is lost, counted twice or counted for another key."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from ostiary.core.instant import DAY, FIRST, HOUR, MINUTE, Instant
from ostiary.core.permission import Caller
from ostiary.services import audit, credentials, usage
from ostiary.services.callers import SYSTEM_CALLER
from ostiary.services.credentials import Created
from ostiary.services.issuance import CredentialSpec
from ostiary.services.usage import Report, UsageCounts, UsageQuery
from ostiary.storage import tables
from ostiary.storage import usage as rows
from ostiary.storage.store import Tx
from ostiary.storage.usage_buffer import Count, UsageEvent
from tests.cast import NOON, House
from tests.services.questions import refused

HERE: Instant = NOON // HOUR * HOUR
"""The beginning of the hour in which the tests run."""


def occasion(
    key: Created, reason: str = "valid", via: str = "authorize", address: str = "192.0.2.1"
) -> UsageEvent:
    """A use or a refusal of this key."""
    credential = key.listed.credential
    kind = "service_account" if credential.owner_kind == "service_account" else "user"
    return UsageEvent(
        reason == "valid", reason, address, via, credential.organization_id, credential.id, credential.access_id,
        actor_type=kind, actor_id=credential.owner_id,
    )  # fmt: skip


def write(house: House, counted: dict[UsageEvent, tuple[int, Instant]]) -> None:
    """Write these as one batch: how many, and when the last one happened."""
    counts = {each: Count(number, last - 1000, last) for each, (number, last) in counted.items()}
    house.store.write_on((), audit.write_counts, SYSTEM_CALLER, counts)


def report(house: House, caller: Caller | None = None, **wanted: Any) -> Report:
    return house.store.read(usage.report, caller or house.alice, UsageQuery(**wanted))


def told(
    house: House, caller: Caller | None = None, **wanted: Any
) -> dict[Instant, tuple[int, dict[str, int]]]:
    """The hours or days that have uses."""
    found = report(house, caller, **wanted).stretches
    return {at: (each.accepted, each.refused) for at, each in found if each != UsageCounts()}


def test_uses_are_summed_by_hour_and_day(house: House) -> None:
    """Usage breaks: a batch replaces the one before, or counts for another hour or day."""
    key = house.key(house.account())
    day = NOON // DAY * DAY
    for last in (HERE + MINUTE, HERE + 2 * MINUTE, HERE + HOUR - 1, HERE + HOUR):
        write(
            house,
            {
                occasion(key): (3, last),
                occasion(key, address="192.0.2.2"): (4, last),
                occasion(key, via="verify"): (1, last),
                occasion(key, "ip_not_allowed"): (2, last),
                occasion(key, "revoked", "api"): (5, last),
            },
        )
    write(house, {occasion(key): (1, HERE - DAY)})
    house.clock.now = HERE + HOUR + 1
    refusals = {"ip_not_allowed": 2, "revoked": 5}
    thrice = {"ip_not_allowed": 6, "revoked": 15}
    assert told(house, since=HERE - DAY) == {
        HERE - DAY: (1, {}), HERE: (24, thrice), HERE + HOUR: (8, refusals)
    }  # fmt: skip
    # The last 24 hours, the present one among them.
    assert told(house) == {HERE: (24, thrice), HERE + HOUR: (8, refusals)}
    assert [at for at, _ in report(house).stretches] == [HERE + HOUR * (n - 22) for n in range(24)]
    everything = {"ip_not_allowed": 8, "revoked": 20}
    assert told(house, interval="day") == {day - DAY: (1, {}), day: (32, everything)}
    assert [at for at, _ in report(house, interval="day").stretches] == [
        day + DAY * (n - 29) for n in range(30)
    ]
    found = report(house, interval="day")
    assert (found.total.accepted, found.total.refused) == (33, everything)
    assert found.via == {"authorize": 37, "verify": 4, "api": 20}


def test_of_a_credential_an_account_and_all(house: House) -> None:
    """Usage breaks: one key's uses count for another, or deleting a key removes its account's past uses."""
    robo, other = house.account("Robo"), house.account("Other")
    first, second, third = house.key(robo), house.key(robo), house.key(other)
    direct = house.store.write(credentials.create_direct, house.alice, CredentialSpec())
    write(house, {occasion(key): (10**n, NOON) for n, key in enumerate((first, second, third, direct))})
    write(house, {occasion(first, "revoked"): (7, NOON)})

    def of(**wanted: Any) -> tuple[int, dict[str, int]]:
        (found,) = told(house, **wanted).values()
        return found

    ids = [each.listed.credential.id for each in (first, second, third, direct)]
    assert [of(credential=each) for each in ids] == [(1, {"revoked": 7}), (10, {}), (100, {}), (1000, {})]
    for name in (robo.account.id, robo.account.client_id, robo.channel_identifier):
        assert of(account=name) == (11, {"revoked": 7})
    assert of(account=other.account.id) == (100, {})
    assert of() == (1111, {"revoked": 7})
    house.store.write(credentials.revoke, house.alice, ids[0])
    house.clock.advance(DAY)
    house.store.write(credentials.delete, house.alice, ids[0])
    since = NOON - HOUR
    assert of(account=robo.account.id, since=since) == (11, {"revoked": 7})
    with refused("not-found"):
        report(house, credential=ids[0])


def test_what_is_nobodys_counts_with_whoever_asked(house: House) -> None:
    """Usage breaks: guessed keys are not counted, or another customer sees them."""
    write(
        house,
        {
            UsageEvent(False, "unknown", "198.51.100.7", "verify", house.umbrella.id): (3, NOON),
            UsageEvent(False, "malformed", "198.51.100.7", "authorize"): (4, NOON),
        },
    )
    assert told(house, house.charlie) == {HERE: (0, {"unknown": 3})}
    assert told(house) == {HERE: (0, {"malformed": 4})}


@pytest.mark.promise("P19")
def test_another_tenants_usage_is_not_there(house: House) -> None:
    """P19 breaks: Charlie learns that a key of Acme exists or how it is used; Bob sees what he may not."""
    robo = house.account()
    key = house.key(robo)
    write(house, {occasion(key): (3, NOON)})
    assert told(house, house.charlie) == {}
    for mine, nobodys in (
        ({"credential": key.listed.credential.id}, {"credential": "cred_01kavq00000000000000000000"}),
        ({"account": robo.account.id}, {"account": "sa_01kavq00000000000000000000"}),
        ({"account": robo.channel_identifier}, {"account": "nobody@acme.localhost"}),
    ):
        with refused("not-found") as foreign:
            report(house, house.charlie, **mine)
        with refused("not-found") as unknown:
            report(house, house.charlie, **nobodys)
        assert foreign.value == unknown.value
        with refused("insufficient-permissions") as lacking:
            report(house, house.bob, **mine)
        assert lacking.value.members == {"scope": "read:usage"}


@pytest.mark.parametrize(
    "wanted, pointer, message",
    [
        ({"since": HERE, "until": HERE - 1}, "/since", "must not be later than until"),
        (
            {"since": HERE - 744 * HOUR, "until": HERE + 1},
            "/since",
            "744 hours before the end; with the interval day, up to 90 days are possible",
        ),
        (
            {"since": HERE - 100 * DAY, "interval": "day"},
            "/since",
            "must not be more than 90 days before the end",
        ),
        ({"since": 0}, "/since", "more than 744 hours"),
        ({"until": HERE + 10**6 * DAY, "since": HERE}, "/since", "more than 744 hours"),
        ({"until": FIRST}, "/until", "too early"),
        ({"until": FIRST + 23 * HOUR}, "/until", "too early"),
        ({"until": FIRST + 29 * DAY, "interval": "day"}, "/until", "too early"),
        ({"credential": "cred_1", "account": "sa_1"}, "/credential", "cannot be combined with"),
    ],
    ids=str,
)
def test_what_cannot_be_told(sqlite_house: House, wanted: dict[str, Any], pointer: str, message: str) -> None:
    """P20 breaks: one request reads or returns without limit, or a meaningless request succeeds."""
    with refused("validation-failed") as caught:
        report(sqlite_house, **wanted)
    (error,) = caught.value.errors
    assert error.pointer == pointer
    assert message in error.detail


def test_the_longest_answers(sqlite_house: House) -> None:
    """Usage breaks: a report of a month by the hour or of a quarter by the day is refused."""
    assert len(report(sqlite_house, since=HERE - 744 * HOUR, until=HERE).stretches) == 744
    day = NOON // DAY * DAY
    assert len(report(sqlite_house, since=day - 90 * DAY, until=day, interval="day").stretches) == 90
    assert report(sqlite_house, since=HERE, until=HERE).stretches == ()
    assert len(report(sqlite_house, since=HERE + 1, until=HERE + 1).stretches) == 1


@pytest.mark.promise("P5")
def test_a_batch_that_fails_counts_nothing(sqlite_house: House) -> None:
    """P5 breaks: a batch that was rolled back and written again counts twice, or events and counts differ."""
    house = sqlite_house
    key = house.key(house.account())
    with house.store.engines.writer.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE usage RENAME TO elsewhere")
    before = house.store.read(lambda tx: tx.execute(tables.audit_events.select()).all())
    with pytest.raises(DBAPIError):
        write(house, {occasion(key): (3, NOON)})
    with house.store.engines.writer.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO usage")
    assert house.store.read(lambda tx: tx.execute(tables.audit_events.select()).all()) == before
    assert told(house) == {}
    write(house, {occasion(key): (3, NOON)})
    assert told(house) == {HERE: (3, {})}


@pytest.mark.promise("P12")
def test_batches_that_meet_are_added(house: House) -> None:
    """P12 breaks: two workers that write at the same time lose uses, or deadlock."""
    keys = [house.key(house.account(f"Robo {number}")) for number in range(8)]
    batches = [
        {occasion(key): (1, NOON) for key in order}
        for order in (keys, keys[::-1], keys[3:] + keys[:3], keys[::2] + keys[1::2])
    ] * 5
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda batch: write(house, batch), batches))
    assert report(house).total.accepted == 20 * 8


def test_what_is_old_is_forgotten(house: House) -> None:
    """Usage breaks: its rows grow without limit, or are deleted before ninety days."""
    key = house.key(house.account())
    write(house, {occasion(key): (1, NOON)})

    def left() -> int:
        house.delete_old()

        def count(tx: Tx) -> int:
            return len(tx.execute(tables.usage.select()).all())

        return house.store.read(count)

    assert left() == 3  # the credential's, its account's, the organization's
    house.clock.now = HERE + rows.KEPT
    assert left() == 3
    house.clock.now += 1
    assert left() == 0
