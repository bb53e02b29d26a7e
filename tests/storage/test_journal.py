"""On both databases, what is issued is in the log before the response, and single-use objects are used once."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
import sqlalchemy as sa

from ostiary.core.event import SYSTEM, Event
from ostiary.core.instant import DAY, MINUTE
from ostiary.core.problem import Problem
from ostiary.storage import engines, journal, tables
from ostiary.storage.fair_queue import Turns
from ostiary.storage.journal import MOST_WAITING, Entry, Journal, UsedMark
from ostiary.storage.store import Store
from tests import watch
from tests.cast import Front, House

MANY = 200
RACERS = 100


@contextmanager
def writing(store: Store) -> Iterator[Journal]:
    found = Journal(store)
    found.start()
    try:
        yield found
    finally:
        found.stop()


@pytest.fixture
def another_node(house: House) -> Iterator[Store]:
    """A second store on the same database."""
    url = house.store.engines.writer.url.render_as_string(hide_password=False)
    other = engines.connect(url)
    yield replace(house.store, engines=other)
    other.dispose()


def entry(house: House, reason: str, mark: bytes | None = None) -> Entry:
    used = () if mark is None else (UsedMark(mark, house.clock() + MINUTE),)
    return Entry(house.acme.id, Event("token.issued", SYSTEM, reason=reason), used)


def together(*asked: tuple[Journal, Sequence[Entry]]) -> list[object]:
    """Record all entries at the same time. Return the result of each."""

    async def one(to: Journal, each: Entry) -> object:
        try:
            return await to.record(each)
        except Exception as error:
            return error

    async def all_of_them() -> list[object]:
        return await asyncio.gather(*(one(to, each) for to, entries in asked for each in entries))

    return asyncio.run(all_of_them())


def written(house: House) -> list[str]:
    """Return the reasons in the audit log."""
    table = tables.audit_events
    statement = sa.select(table.c.reason).where(table.c.action == "token.issued").order_by(table.c.seq)
    return [row.reason for row in house.store.select(statement)]


def marks(house: House) -> set[bytes]:
    return {bytes(row.digest) for row in house.store.select(sa.select(tables.used_assertions))}


def execute(house: House, statement: str) -> None:
    with house.store.engines.writer.begin() as connection:
        connection.execute(sa.text(statement))


@pytest.mark.promise("P5")
def test_many_entries_are_few_transactions(house: House) -> None:
    """P5 breaks: each issuance costs its own commit, or a response comes before its event is in the log."""
    entries = [entry(house, str(number)) for number in range(MANY)]
    with watch.statements(house.store.engines) as sent, writing(house.store) as found:
        assert together((found, entries)) == [True] * MANY
    assert (
        sum("INSERT INTO audit_events" in statement for statement in sent) == 1
    )  # all were recorded in one pass of the loop
    assert sorted(written(house), key=int) == [str(number) for number in range(MANY)]


def test_what_had_gathered_is_one_transaction(house: House) -> None:
    """P5 breaks: a worker that fell behind never catches up, because each entry needs its own commit."""
    found = Journal(house.store)

    async def gathered() -> list[bool]:
        waiting = [found.record(entry(house, str(number), b"%d" % number)) for number in range(MANY)]
        found.start()
        return await asyncio.gather(*waiting)

    with watch.statements(house.store.engines) as sent:
        assert asyncio.run(gathered()) == [True] * MANY
    found.stop()
    assert sum("INSERT INTO audit_events" in statement for statement in sent) == 1
    assert len(written(house)) == len(marks(house)) == MANY


@pytest.mark.promise("P8")
def test_a_mark_is_used_once(house: House) -> None:
    """P8 breaks: of a hundred requests with the same assertion, two get a token."""
    names = [b"first", b"second", b"third"]
    entries = [entry(house, name.decode(), name) for _ in range(RACERS) for name in names]
    with writing(house.store) as found:
        answers = together((found, entries))
        again = together((found, entries[:3]))
    for number in range(len(names)):
        assert sorted(map(bool, answers[number :: len(names)])) == [False] * (RACERS - 1) + [True]
    assert again == [False] * 3
    assert sorted(written(house)) == ["first", "second", "third"]


@pytest.mark.promise("P8")
def test_a_mark_is_used_once_on_two_nodes(house: House, another_node: Store) -> None:
    """P8 breaks: the same assertion gets a token from each of two nodes, or one of them fails."""
    names = [b"%d" % number for number in range(10)]
    here = [entry(house, name.decode(), name) for name in names for _ in range(RACERS // 10)]
    there = list(reversed(here))
    with writing(house.store) as one, writing(another_node) as other:
        answers = together((one, here), (other, there))
    assert all(isinstance(answer, bool) for answer in answers)
    winners = [each.event.reason for each, answer in zip(here + there, answers, strict=True) if answer]
    assert sorted(winners) == sorted(written(house)) == sorted(name.decode() for name in names)


@pytest.mark.promise("P8")
def test_of_one_batch_the_first_wins(house: House) -> None:
    """P8 breaks: the event of a refused entry is written, or no entry succeeds."""
    entries = [entry(house, "first", b"mark"), entry(house, "second", b"mark"), entry(house, "other")]
    assert house.store.write_on((), journal.write, entries) == [True, False, True]
    assert house.store.write_on((), journal.write, entries[1:]) == [False, True]
    assert written(house) == ["first", "other", "other"]


@pytest.mark.promise("P9")
def test_what_could_not_be_applied_uses_nothing_up(house: House) -> None:
    """P9 breaks: a client that lost the race for a refresh token cannot retry, because its proof counts as used."""
    second = replace(entry(house, "second", b"mark"), apply=lambda _: False)
    assert house.store.write_on((), journal.write, [second, entry(house, "other", b"b")]) == [False, True]
    assert marks(house) == {b"b"}
    again = replace(entry(house, "again", b"mark"), apply=lambda _: True)
    assert house.store.write_on((), journal.write, [again, second]) == [True, False]
    assert marks(house) == {b"b", b"mark"}
    assert house.store.write_on((), journal.write, [second]) == [False]
    assert marks(house) == {b"b", b"mark"}
    assert written(house) == ["other", "again"]


@pytest.mark.promise("P5")
def test_nothing_is_issued_unrecorded(house: House) -> None:
    """P5 breaks: something is issued although the log cannot be written, or its mark is used up."""
    with writing(house.store) as found:
        execute(house, "ALTER TABLE audit_events RENAME TO elsewhere")
        failed = together((found, [entry(house, str(number), b"%d" % number) for number in range(10)]))
        execute(house, "ALTER TABLE elsewhere RENAME TO audit_events")
        assert written(house) == []
        assert marks(house) == set()
        assert together((found, [entry(house, "again", b"1")])) == [True]
    assert {each.code for each in failed if isinstance(each, Problem)} == {"audit-unavailable"}
    assert len({id(each) for each in failed}) == 10


@pytest.mark.promise("P11")
def test_a_busy_database_is_told_to_all(house: House) -> None:
    """P11 breaks: a request waits for ever for a database that does not respond."""
    none = replace(house.store, engines=replace(house.store.engines, writing=Turns(0, 10)))
    with writing(none) as found:
        failed = together((found, [entry(house, str(number), b"%d" % number) for number in range(5)]))
    assert [getattr(each, "code", each) for each in failed] == ["unavailable"] * 5
    assert len({id(each) for each in failed}) == 5
    assert written(house) == []


@pytest.mark.promise("P20")
def test_one_that_cannot_be_written_harms_nobody_else(house: House) -> None:
    """P20 breaks: one invalid request makes the worker refuse all concurrent ones."""
    found = Journal(house.store)
    crooked = Entry(house.acme.id, Event("token.issued", SYSTEM, details={"scope": object()}))

    async def gathered() -> list[bool | BaseException]:
        waiting = [found.record(each) for each in (entry(house, "a", b"a"), crooked, entry(house, "b", b"a"))]
        found.start()
        return await asyncio.gather(*waiting, return_exceptions=True)

    first, second, third = asyncio.run(gathered())
    found.stop()
    assert (first, third) == (True, False)
    assert isinstance(second, Exception)
    assert written(house) == ["a"]


@pytest.mark.parametrize("ends_first", [False, True])
def test_what_waits_is_written_at_the_end(house: House, ends_first: bool) -> None:
    """P5 breaks: a request just before shutdown is neither written nor answered."""
    found = Journal(house.store)

    async def gathered() -> list[bool]:
        waiting = [found.record(entry(house, str(number))) for number in range(MANY)]
        if ends_first:
            found.stop()
        found.start()
        await asyncio.to_thread(found.stop)
        with pytest.raises(Problem, match="unavailable"):
            found.record(entry(house, "late"))
        return await asyncio.wait_for(asyncio.gather(*waiting), 30)

    assert asyncio.run(gathered()) == [True] * MANY
    assert len(written(house)) == MANY


@pytest.mark.promise("P20")
def test_so_many_wait_and_no_more(house: House) -> None:
    """P20 breaks: while the database is slow, a worker's memory grows without bound."""
    found = Journal(house.store)

    async def gathered() -> list[bool]:
        waiting = [found.record(entry(house, str(number))) for number in range(MOST_WAITING)]
        with pytest.raises(Problem, match="unavailable"):
            found.record(entry(house, "one too many"))
        found.start()
        return await asyncio.gather(*waiting)

    assert all(asyncio.run(gathered()))
    found.stop()
    assert len(written(house)) == MOST_WAITING


def test_a_thread_may_record_too(house: House) -> None:
    """P8 breaks: a handler in a thread does not see that it lost the race."""
    with writing(house.store) as found, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(found.record_now, [entry(house, "once", b"mark")] * 40))
    assert sorted(answers) == [False] * 39 + [True]
    assert written(house) == ["once"]


def test_whoever_went_away_holds_up_nobody(house: House) -> None:
    """P20 breaks: a cancelled request ends the thread that writes for all."""
    found = Journal(house.store)

    async def gathered() -> bool:
        gone, here = found.record(entry(house, "gone")), found.record(entry(house, "here"))
        gone.cancel()
        found.start()
        return await asyncio.wait_for(here, 30)

    assert asyncio.run(gathered())
    assert found.record_now(entry(house, "after"))
    found.stop()


def test_a_loop_that_ended_holds_up_nobody(house: House) -> None:
    """P20 breaks: a closed event loop ends the thread that writes for all."""
    found = Journal(house.store)

    async def leave() -> None:
        found.record(entry(house, "left"))

    asyncio.run(leave())
    found.start()
    assert found.record_now(entry(house, "here"))
    found.stop()
    assert written(house) == ["left", "here"]


@pytest.mark.promise("P8")
def test_a_mark_outlives_what_it_guards(house: House) -> None:
    """P8 breaks: a mark is deleted while its assertion is still valid on a node whose clock is behind."""
    with writing(house.store) as found:
        assert found.record_now(entry(house, "once", b"mark"))
        house.clock.advance(MINUTE + DAY)
        house.delete_old()
        assert not found.record_now(entry(house, "twice", b"mark"))
    house.clock.advance(1)
    house.delete_old()
    assert marks(house) == set()


def test_the_application_has_one(front: Front) -> None:
    """P5 breaks: the application's journal does not write what it is given."""
    assert front.journal.record_now(entry(front.house, "recorded"))
    assert written(front.house) == ["recorded"]
