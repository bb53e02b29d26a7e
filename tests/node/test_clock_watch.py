"""When the clock is trusted for changes that cannot be undone, and what the periodic tasks do while it is not."""

from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from ostiary.config import Settings
from ostiary.core.instant import DAY, HOUR, MINUTE, SECOND, Instant
from ostiary.core.signing import KeySet
from ostiary.node import signing_keys
from ostiary.node.clock_watch import LONGEST_STOP, STEADY, ClockWatch
from ostiary.node.periodic_tasks import Deletion, tasks_of_node
from ostiary.storage import retention, tables
from ostiary.storage import signing_keys as key_rows
from ostiary.storage.store import Tx
from tests.cast import House

AHEAD = 400 * DAY


@dataclass
class Machine:
    """The wall clock of the house, and a monotonic clock."""

    house: House
    uptime: Instant = 5 * MINUTE

    def run(self, length: int) -> None:
        """Advance both clocks."""
        self.uptime += length
        self.house.clock.advance(length)

    def watch(self) -> ClockWatch:
        """Return the clock watch of a process that has just started."""
        return ClockWatch(self.house.store, lambda: self.uptime)


@pytest.fixture
def machine(sqlite_house: House) -> Machine:
    return Machine(sqlite_house)


def believed(machine: Machine, watch: ClockWatch) -> bool:
    now = watch.believed()
    assert now in (None, machine.house.clock())
    return now is not None


def test_a_clock_that_jumps_is_not_believed_until_it_is_back(machine: Machine) -> None:
    """P1 breaks: a node deletes rows and dates keys by a clock that was just set to another year."""
    watch = machine.watch()
    assert believed(machine, watch)
    for jump in (AHEAD, -AHEAD, 2 * MINUTE, -2 * MINUTE):
        machine.house.clock.advance(jump)
        assert not believed(machine, watch)
        machine.run(HOUR)
        assert not believed(machine, watch)
        machine.house.clock.advance(-jump)
        assert believed(machine, watch)


def test_a_clock_that_drifts_or_slept_is_believed(machine: Machine) -> None:
    """Operations break: small steps of NTP, or a suspended machine, stop the periodic tasks."""
    watch = machine.watch()
    for _ in range(10):
        machine.run(MINUTE)
        machine.house.clock.advance(SECOND)
        assert believed(machine, watch)
    machine.run(30 * DAY)
    assert believed(machine, watch)


def test_a_new_time_is_believed_after_it_has_been_steady(machine: Machine) -> None:
    """Operations break: after the clock was corrected, nothing is deleted until a restart."""
    watch = machine.watch()
    assert believed(machine, watch)
    machine.house.clock.advance(AHEAD)
    assert not believed(machine, watch)
    machine.run(STEADY - 1)
    assert not believed(machine, watch)
    machine.house.clock.advance(-DAY)  # not steady, so the wait starts again
    assert not believed(machine, watch)
    machine.run(STEADY - 1)
    assert not believed(machine, watch)
    machine.run(1)
    assert believed(machine, watch)


@pytest.mark.parametrize(
    ("stopped", "expected"),
    [(0, True), (LONGEST_STOP, True), (LONGEST_STOP + 1, False), (AHEAD, False), (-2 * MINUTE, False)],
)
def test_a_restart_is_measured_by_what_the_database_remembers(
    machine: Machine, stopped: int, expected: bool
) -> None:
    """P8 breaks: a service that starts with a clock far ahead deletes rows that are still needed."""
    machine.watch().note()
    machine.uptime = 0
    machine.house.clock.advance(stopped)
    watch = machine.watch()
    assert believed(machine, watch) is expected
    machine.run(STEADY)
    assert believed(machine, watch)


def test_a_time_that_is_not_believed_is_not_remembered(machine: Machine) -> None:
    """P8 breaks: the second start with a wrong clock trusts the time of the first."""
    watch = machine.watch()
    watch.note()
    seen = machine.house.clock()
    machine.house.clock.advance(AHEAD)
    for each in (watch, machine.watch()):
        each.note()
        assert machine.house.store.read(retention.seen_at) == seen


def test_it_is_logged_at_once_and_then_each_hour(machine: Machine) -> None:
    """Operations break: the log does not say why nothing is deleted, or repeats it too often."""
    watch = machine.watch()
    watch.believed()
    machine.house.clock.advance(AHEAD)
    with capture_logs() as logs:
        for _ in range(120):
            watch.believed()
            machine.run(MINUTE)
        machine.house.clock.advance(-AHEAD)
        watch.believed()
    assert [each["event"] for each in logs] == ["clock not believed"] * 2 + ["clock believed again"]
    assert logs[0]["reason"] == "the clock is 400d ahead of what was expected"


def test_nothing_is_deleted_by_a_clock_that_is_not_believed(machine: Machine) -> None:
    """P1, P8 break: with a wrong clock, the node deletes revocations and records of used assertions."""
    house = machine.house
    watch = machine.watch()
    deletion = Deletion(house.store, watch)
    house.store.write_on((), fill_marks, 3, house.clock() + HOUR)
    assert believed(machine, watch)
    house.clock.advance(AHEAD)
    for wrong in (deletion, Deletion(house.store, watch)):
        wrong.begin()
        wrong.go_on()
        assert marks(house) == 3
    machine.run(STEADY)  # it was right after all
    deletion.go_on()
    assert marks(house) == 3, "that pass was given up"
    deletion.begin()
    deletion.go_on()
    assert marks(house) == 0


def test_a_rule_that_fails_does_not_stop_the_others(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P20 breaks: if one table cannot be cleaned up, all tables grow."""
    house = machine.house
    house.store.write_on((), fill_marks, 3, house.clock() - 2 * DAY)
    broken = retention.Rule(
        sa.Table("gone", sa.MetaData(), sa.Column("at", sa.Integer, primary_key=True)).c.at, DAY
    )
    monkeypatch.setattr(retention, "RULES", (broken, *retention.RULES))
    deletion = Deletion(house.store, machine.watch())
    deletion.begin()
    with pytest.raises(sa.exc.OperationalError):
        deletion.go_on()
    deletion.go_on()
    assert marks(house) == 0


def fill_marks(tx: Tx, number: int, expires_at: Instant) -> None:
    values = [{"digest": bytes([each]), "expires_at": expires_at} for each in range(number)]
    tx.execute(tables.used_assertions.insert(), values)


def marks(house: House) -> int:
    def count(tx: Tx) -> int:
        return int(tx.execute(sa.select(sa.func.count()).select_from(tables.used_assertions)).scalar_one())

    return house.store.read(count)


# With the database's own clock


@pytest.fixture
def timely(postgresql_house: House) -> House:
    """A house whose clock is the database's. In other tests it is not."""
    postgresql_house.clock.now = postgresql_house.store.read(retention.database_time)
    return postgresql_house


def signing(house: House) -> KeySet:
    return house.store.read(key_rows.key_set)


def test_a_node_goes_by_the_databases_clock(timely: House) -> None:
    """R17 breaks: a node whose clock differs from the database's deletes rows or dates signing keys for all nodes."""
    watch = ClockWatch(timely.store)
    assert watch.believed() is not None
    settings = Settings.model_validate({"data": "/nowhere"})
    for wrong in (AHEAD, -AHEAD, 10 * SECOND):
        timely.clock.now = timely.store.read(retention.database_time) + wrong
        assert watch.believed() is None
        signing_keys.ensure(timely.store, settings)
        assert signing(timely).keys == ()
    timely.clock.now = timely.store.read(retention.database_time)
    assert watch.believed() is not None
    signing_keys.ensure(timely.store, settings)
    assert len(signing(timely).keys) == 3


def test_changes_are_dated_by_the_databases_clock(timely: House) -> None:
    """P1 breaks: a change from a node with a slow clock is deleted before the caches have read it."""
    right = timely.clock()
    timely.clock.advance(-AHEAD)
    timely.store.write_on((), lambda tx: tx.changed("credential", "cred_x"))

    def newest(tx: Tx) -> Instant:
        return int(tx.execute(sa.select(sa.func.max(tables.changes.c.at))).scalar_one())

    assert right <= timely.store.read(newest) < right + HOUR


# The tasks that depend on the clock


def test_the_duties_of_a_node_that_go_by_the_clock(machine: Machine) -> None:
    """P14 breaks: keys are rotated by a clock that is not trusted, or not rotated once it is trusted again."""
    house = machine.house
    house.sign()
    settings = Settings.model_validate({"data": "/nowhere"})
    tasks = {task.name: task.do for task in tasks_of_node(house.store, settings, machine.watch())}
    tasks["note the time"]()
    before = signing(house).keys
    house.clock.advance(AHEAD)
    tasks["rotate signing keys"]()
    assert signing(house).keys == before
    machine.run(STEADY)
    tasks["rotate signing keys"]()
    assert len(signing(house).keys) == 2 * len(before)
