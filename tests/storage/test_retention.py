"""What is deleted when and in how large batches, and that no table is forgotten; on both databases."""

import threading

import pytest
import sqlalchemy as sa

from ostiary.core.instant import DAY, HOUR, Instant
from ostiary.storage import changes, retention, tables
from ostiary.storage.retention import AT_ONCE, RULES, Rule
from ostiary.storage.store import Tx
from tests import watch
from tests.cast import House

MARKS = next(rule for rule in RULES if rule.table is tables.used_assertions)
LASTING = {"credentials", "invitations"}
"""Tables whose rows stay after they expired, because lists show them."""
SMALL = {"signing_keys", "clients"}
"""Tables that are kept small in other ways."""


def fill(tx: Tx, number: int, expires_at: Instant) -> None:
    """Insert marks that expire one after the other, in another order than that of their keys."""
    values = [
        {"digest": (number - each).to_bytes(4), "expires_at": expires_at + each} for each in range(number)
    ]
    tx.execute(tables.used_assertions.insert(), values)


def left(house: House) -> list[Instant]:
    def select(tx: Tx) -> list[Instant]:
        return sorted(tx.execute(sa.select(tables.used_assertions.c.expires_at)).scalars())

    return house.store.read(select)


def test_the_oldest_go_first_and_some_at_a_time(house: House) -> None:
    """P20 breaks: a transaction deletes without bound, and runs into its time-out or blocks writers."""
    begin, now = house.clock() - 30 * DAY, house.clock()
    house.store.write_on((), fill, 2 * AT_ONCE + 7, begin)
    for deleted, rest in ((AT_ONCE, AT_ONCE + 7), (AT_ONCE, 7), (7, 0), (0, 0)):
        with watch.statements(house.store.engines) as sent:
            assert house.store.write_on((), retention.delete_some, MARKS, now) == deleted
        assert sum(statement.startswith("DELETE") for statement in sent) == 1
        assert left(house) == [begin + 2 * AT_ONCE + 7 - each for each in range(rest, 0, -1)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.since))
def test_a_margin_of_a_day_is_left(rule: Rule) -> None:
    """P1, P8 break: a clock that is some hours wrong deletes rows that are still needed."""
    assert rule.kept >= DAY


def test_until_the_margin_is_over_nothing_goes(house: House) -> None:
    """P8 breaks: a mark is deleted while its assertion may still be accepted somewhere."""
    house.store.write_on((), fill, 1, house.clock())
    house.clock.advance(DAY)
    house.delete_old()
    assert len(left(house)) == 1
    house.clock.advance(1)
    house.delete_old()
    assert left(house) == []


def test_every_table_with_an_end_has_a_rule_and_a_way_to_the_oldest() -> None:
    """P20 breaks: a new table grows for ever, or each batch of deletions reads the whole table."""
    ends = {each.name for each in tables.metadata.sorted_tables if "expires_at" in each.columns}
    assert ends - LASTING <= {rule.table.name for rule in RULES}
    for rule in RULES:
        indexed = {tuple(column.name for column in index.columns) for index in rule.table.indexes}
        ways = {(rule.since.name,)} if rule.only is None else {("begun_at", rule.since.name)}
        assert rule.table.name in SMALL or ways & indexed, rule.since


@pytest.mark.full
def test_two_nodes_that_delete_at_once_do_not_wait_for_each_other(postgresql_house: House) -> None:
    """P20 breaks: nodes of one database wait for the same rows, and time out."""
    house, now = postgresql_house, postgresql_house.clock()
    house.store.write_on((), fill, 2 * AT_ONCE, now - 30 * DAY)
    first_done, second_done = threading.Event(), threading.Event()

    def slowly(tx: Tx) -> int:
        deleted = retention.delete_some(tx, MARKS, now)
        first_done.set()
        assert second_done.wait(30)
        return deleted

    slow = threading.Thread(target=house.store.write_on, args=((), slowly))
    slow.start()
    assert first_done.wait(30)
    assert house.store.write_on((), retention.delete_some, MARKS, now) == AT_ONCE
    second_done.set()
    slow.join()
    assert left(house) == []


def test_the_time_is_remembered_once(house: House) -> None:
    """Operations break: the service does not know when it last ran, or stores a row each minute."""
    assert house.store.read(retention.seen_at) is None
    for each in (house.clock(), house.clock() + HOUR):
        house.store.write_on((), retention.note_time, each)
        assert house.store.read(retention.seen_at) == each


@pytest.mark.full
def test_a_look_for_late_changes_reads_none_of_long_ago(postgresql_house: House) -> None:
    """P1 breaks: each read of changes reads a whole day, so that refusals come seconds late; or it misses a late one."""

    def note(tx: Tx) -> None:
        tx.changed("credential", "young")
        ago = tx.execute(sa.select(sa.func.max(tables.changes.c.at))).scalar_one() - 2 * HOUR
        tx.execute(tables.changes.insert(), {"kind": "credential", "id": "old", "at": ago})

    _, horizon = postgresql_house.store.read(changes.begin)
    postgresql_house.store.write_on((), note)
    last, _ = postgresql_house.store.read(changes.begin)
    found, _ = postgresql_house.store.read(changes.since, last, horizon)
    assert [subject for _, _, subject in found] == ["young"]
