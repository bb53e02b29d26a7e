"""P12: SQLite and PostgreSQL behave the same. Every test here runs on both, including races."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from ostiary.core.event import SYSTEM, Event, Target
from ostiary.core.permission import Caller
from ostiary.core.problem import Problem
from ostiary.services import credentials
from ostiary.services.issuance import CredentialSpec
from ostiary.storage import audit as audit_rows
from ostiary.storage import changes, directory, engines, tables
from ostiary.storage import credentials as credential_rows
from ostiary.storage import generations as generation_rows
from ostiary.storage import roles as role_rows
from ostiary.storage.audit import Filter
from ostiary.storage.store import Tx
from tests.cast import House

pytestmark = pytest.mark.promise("P12")


def at_once(threads: int, work: Callable[[int], object]) -> list[object]:
    """Run `work(number)` in several threads that start together. Return results or Problems, in order."""
    barrier = threading.Barrier(threads)

    def one(number: int) -> object:
        barrier.wait()
        try:
            return work(number)
        except Problem as problem:
            return problem

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(threads)))


def test_a_limit_of_ten_holds_under_24_threads(house: House) -> None:
    """P12 breaks: two transactions count before either inserts."""
    robo = house.account()
    results = at_once(24, lambda _: house.key(robo))
    made = [each for each in results if not isinstance(each, Problem)]
    refused = [each for each in results if isinstance(each, Problem)]
    assert len(made) == 10
    assert {each.code for each in refused} == {"limit-reached"}
    assert house.store.read(credential_rows.count, house.acme.id, robo.account.id) == 10


def test_different_organizations_write_at_the_same_time(house: House) -> None:
    """P12 breaks: writers of different organizations disturb each other."""

    def work(number: int) -> object:
        who = house.alice if number % 2 else house.charlie
        return house.store.write(credentials.create_direct, who, CredentialSpec(name=f"key {number}"))

    results = at_once(12, work)
    assert not [each for each in results if isinstance(each, Problem)]
    assert house.store.read(credential_rows.count, house.acme.id) == 6 + 1
    assert house.store.read(credential_rows.count, house.umbrella.id) == 6 + 1


def test_a_single_use_thing_is_used_once_under_8_threads(house: House) -> None:
    """P12, P8 break: two conditional updates both get the one row."""

    def take(tx: Tx) -> bool:
        row = tx.execute(
            tables.organizations.update()
            .where(
                tables.organizations.c.id == house.umbrella.id, tables.organizations.c.suspended_at.is_(None)
            )
            .values(suspended_at=tx.now)
            .returning(tables.organizations.c.id)
        ).first()
        return row is not None

    results = at_once(8, lambda _: house.store.write_on((), take))
    assert sorted(results, key=bool) == [False] * 7 + [True]


def test_an_exception_leaves_nothing_behind(house: House) -> None:
    """P5 breaks: a change is stored without its event, or an event without its change."""

    def half(tx: Tx, caller: Caller) -> None:
        directory.insert_project(tx, "prj_half", caller.organization_id, "half", "Half")
        tx.record(
            Event("organization.created", SYSTEM, Target("organization", "x", "x")), caller.organization_id
        )
        tx.changed("organization", caller.organization_id)
        raise Problem("wrong-state", "No.")

    before = house.number.read()
    with pytest.raises(Problem):
        house.store.write(half, house.alice)
    assert house.store.read(directory.project_names, house.acme.id) == {}
    events = house.store.read(audit_rows.page, house.acme.id, Filter(target="x"), None, 10)
    assert events == []
    assert house.number.read() == before


def test_work_after_commit_is_not_done_when_there_was_none(house: House) -> None:
    """P1 breaks: caches are told of a change that was rolled back, or not of one that was committed."""
    done: list[str] = []

    def work(tx: Tx, _caller: Caller, fail: bool) -> None:
        tx.after(lambda: done.append("after"))
        tx.changed("organization", house.acme.id)
        if fail:
            raise Problem("wrong-state", "No.")

    with pytest.raises(Problem):
        house.store.write(work, house.alice, True)
    assert done == []
    before = house.number.read()
    house.store.write(work, house.alice, False)
    assert done == ["after"]
    assert house.number.read() != before


def test_a_read_cannot_write(house: House) -> None:
    """P5 breaks: a change bypasses the audit log."""

    def write(tx: Tx) -> None:
        tx.execute(tables.catalogue.insert(), {"scope": "read:nothing", "created_at": tx.now})

    with pytest.raises((sa.exc.DBAPIError, Problem)):
        house.store.read(write)
    assert "read:nothing" not in house.store.read(role_rows.scopes_of_catalogue)


def test_a_read_sees_one_moment(house: House) -> None:
    """P12 breaks: two reads of one transaction differ."""

    def twice(tx: Tx) -> tuple[int, int]:
        first = credential_rows.count(tx, house.acme.id)
        house.store.write(credentials.create_direct, house.alice, CredentialSpec())
        return first, credential_rows.count(tx, house.acme.id)

    first, second = house.store.read(twice)
    assert first == second
    assert house.store.read(credential_rows.count, house.acme.id) == first + 1


def test_uses_add_up_from_many_batches(house: House) -> None:
    """P12 breaks: concurrent batches lose uses, or replace a later last use by an earlier one."""
    robo = house.account()
    made = [house.key(robo).listed.credential for _ in range(3)]

    def batch(number: int) -> None:
        uses = [(each.access_id, each.id, house.clock.now + number, 2) for each in reversed(made)]
        house.store.write_on((), generation_rows.add_uses, uses)

    assert at_once(8, batch) == [None] * 8
    for each in made:
        found = house.store.read(credential_rows.find, house.acme.id, each.id)
        assert found is not None
        assert found.last_used_at == house.clock.now + 7

    def total(tx: Tx) -> int:
        return int(tx.execute(sa.select(sa.func.sum(tables.generation_uses.c.uses))).scalar_one())

    assert house.store.read(total) == 8 * 3 * 2


def test_events_page_in_both_directions(house: House) -> None:
    """P12 breaks: a page repeats or omits an event."""
    for number in range(25):
        house.account(f"Account {number}", roles=())
    wanted = Filter(actions=("service_account.created",))

    def walk(oldest_first: bool) -> list[str]:
        names: list[str] = []
        after = None
        while True:
            page = house.store.read(audit_rows.page, house.acme.id, wanted, after, 7, oldest_first)
            if not page:
                return names
            names += [str(event.target_display) for event in page]
            after = page[-1].seq

    assert walk(True) == [f"Account {number}" for number in range(25)]
    assert walk(False) == [f"Account {number}" for number in reversed(range(25))]


def test_changes_are_found_once_the_cache_has_begun(house: House) -> None:
    """P1 breaks: a cache misses a change, or reads all changes from the beginning."""
    last, horizon = house.store.read(changes.begin)
    house.store.write(lambda tx, _caller: tx.changed("credential", "cred_x"), house.alice)
    seen, after = house.store.read(changes.since, last, horizon)
    assert [(kind, subject) for _, kind, subject in seen] == [("credential", "cred_x")]
    assert house.store.read(changes.since, seen[-1][0], after)[0] == []


def test_a_change_that_is_committed_late_is_found(house: House) -> None:
    """P1 breaks: a lower number that is committed after a higher one is never seen."""
    if house.store.engines.name == "sqlite":
        # On SQLite it cannot be late: there is one writer, so numbers are committed in order.
        with house.store.engines.writer.connect() as slow, slow.begin(), pytest.raises(Problem):
            house.store.write_on((), lambda tx: tx.changed("credential", "cred_quick"))
        return
    last, horizon = house.store.read(changes.begin)
    with house.store.engines.writer.connect() as slow, slow.begin() as transaction:
        at = engines.clock(slow, house.clock.now)
        slow.execute(tables.changes.insert().values(kind="credential", id="cred_slow", at=at))
        house.store.write_on((), lambda tx: tx.changed("credential", "cred_quick"))
        house.clock.advance(3600 * 1_000_000)
        seen, horizon = house.store.read(changes.since, last, horizon)
        assert [subject for _, _, subject in seen] == ["cred_quick"]
        last = seen[-1][0]
        transaction.commit()
    seen, horizon = house.store.read(changes.since, last, horizon)
    assert "cred_slow" in [subject for _, _, subject in seen]
    assert house.store.read(changes.since, last, horizon)[0] == []


def test_deleting_a_credential_removes_its_digests(house: House) -> None:
    """P7 breaks: a digest remains after its credential was deleted."""
    made = house.key(house.account())
    assert made.listed.credential.access_id
    house.store.write_on((), credential_rows.delete, made.listed.credential.id)

    def digests(tx: Tx) -> int:
        condition = tables.generations.c.access_id == made.listed.credential.access_id
        return int(tx.execute(sa.select(sa.func.count()).where(condition)).scalar_one())

    assert house.store.read(digests) == 0
