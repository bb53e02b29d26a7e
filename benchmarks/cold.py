"""S4: the first verification of a key among a million, in process, compared with the bare driver's same SELECT."""

import cProfile
import itertools
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks import crowd
from benchmarks.crowd import Crowd
from benchmarks.measure import Plan, Row, absent, at_least, rate
from ostiary.config import Settings
from ostiary.core import secret
from ostiary.core.permission import Catalogue
from ostiary.core.verdict import Access, judge
from ostiary.node.installation import open_installation
from ostiary.storage import engines, roles, standing_queries
from ostiary.storage.engines import Engines
from ostiary.storage.store import Store
from tests import servers
from tests.cast import migrated, move_in

SAMPLE = 50_000
PROFILED = 2_000
TOP = 15


def judged(store: Store, keys: Iterator[str], cached: bool = False) -> Callable[[], None]:
    """Return a function that verifies the next key, from text to verdict. `cached`: one key whose standing is in memory."""
    prefixes = tuple(prefix.encode() for prefix in store.installation.key_prefixes)
    peppers = store.installation.keyring.peppers
    catalogue = Catalogue(store.read(roles.scopes_of_catalogue))

    first = next(keys).encode()
    known = standing_queries.find_standing(store, secret.parse(first, prefixes) or "", catalogue)

    def work() -> None:
        text = first if cached else next(keys).encode()
        access_id = secret.parse(text, prefixes)
        assert access_id is not None
        standing = known if cached else standing_queries.find_standing(store, access_id, catalogue)
        assert standing is not None
        digest = secret.digest(text, peppers[standing.pepper_id])
        assert secret.matches(standing.digest, digest)
        assert judge(standing, Access(store.clock())).valid

    return work


def selected(database: Engines, store: Store, key: str) -> tuple[str, Any, str]:
    """Return the SQL that finds a key's standing as the driver receives it, its parameters, and the access id."""
    prefixes = tuple(prefix.encode() for prefix in store.installation.key_prefixes)
    access_id = secret.parse(key.encode(), prefixes)
    assert access_id is not None
    found: list[tuple[str, Any]] = []

    def listen(_connection: Any, _cursor: Any, text: str, parameters: Any, *_: Any) -> None:
        found.append((text, parameters))

    sa.event.listen(database.reader, "before_cursor_execute", listen)
    try:
        store.read(standing_queries.find_standing, access_id, Catalogue(frozenset()))
    finally:
        sa.event.remove(database.reader, "before_cursor_execute", listen)
    statement = found[-1]  # the first is BEGIN
    return *statement, access_id


@contextmanager
def bare(database: Engines, store: Store, keys: Iterator[str], framed: bool) -> Iterator[Callable[[], None]]:
    """Yield a function that runs the same SELECT with the bare driver. `framed`: in a transaction."""
    text, parameters, example = selected(database, store, next(keys))
    start = len(store.installation.key_prefixes[0])
    raw = database.reader.raw_connection()
    driver: Any = raw.driver_connection
    if database.name == "postgresql":
        driver.autocommit = True
    cursor = driver.cursor()

    def work() -> None:
        access_id = next(keys)[start : start + len(example)]
        if isinstance(parameters, dict):
            given: Any = {name: access_id if each == example else each for name, each in parameters.items()}
        else:
            given = tuple(access_id if each == example else each for each in parameters)
        if framed:
            cursor.execute("BEGIN")
        cursor.execute(text, given)
        assert cursor.fetchall()
        if framed:
            cursor.execute("COMMIT")

    try:
        yield work
    finally:
        raw.invalidate()


def by_module(store: Store, key: str) -> list[str]:
    """Return a section of Markdown: the time that a first verification spends in each module.

    It uses Python's profiler, which overstates the share of modules with many small functions.
    """
    work = judged(store, itertools.repeat(key))
    whole = 1e6 / rate(work)
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(PROFILED):
        work()
    profiler.disable()
    spent: defaultdict[str, float] = defaultdict(float)
    for entry in profiler.getstats():
        if not isinstance(entry.code, str):
            spent[_module(entry.code.co_filename)] += entry.inlinetime
            for called in entry.calls or ():
                if isinstance(called.code, str):  # C functions count for the module that calls them
                    spent[_module(entry.code.co_filename)] += called.inlinetime
    every = sum(spent.values())
    lines = [
        f"The first sight of a key, {store.engines.name}: {whole:.0f} µs, by the module it was spent in.",
        "",
    ]
    lines += ["```text"]
    lines += [
        f"{whole * share / every:7.1f}  {name}"
        for name, share in sorted(spent.items(), key=lambda each: -each[1])[:TOP]
    ]
    return [*lines, "```", ""]


def _module(path: str) -> str:
    """Return a file's path without its installation directory: `sqlalchemy/engine/base`."""
    place = r"^.*/(site-packages|src|python3\.\d+)/|^.*/(?=benchmarks/)"
    return re.sub(place, "", path).removesuffix(".py")


def measure(store: Store, people: Crowd, plan: Plan) -> list[Row]:
    keys = itertools.cycle(people.draw(SAMPLE, seed=4))
    database = store.engines
    ours: list[float] = []
    theirs: list[float] = []
    framed: list[float] = []
    empty: list[float] = []
    with bare(database, store, keys, False) as alone, bare(database, store, keys, True) as inside:
        work = judged(store, keys)
        for _ in range(plan.rounds):
            ours.append(rate(work, plan.seconds))
            theirs.append(rate(alone, plan.seconds))
            framed.append(rate(inside))
            empty.append(rate(lambda: store.read(lambda _tx: None)))
    verdict = 1e6 / rate(judged(store, keys, cached=True))
    mine, other, third, nothing = (1e6 / statistics.median(each) for each in (ours, theirs, framed, empty))
    note = (
        f"{mine:,.0f} µs, of them {nothing:,.0f} an empty transaction and {verdict:,.0f} form, digest and verdict; "
        f"the driver {other:,.0f}, with BEGIN and COMMIT {third:,.0f}"
    )
    found = [one / two for one, two in zip(ours, theirs, strict=True)]
    work_done = (
        f"first sight of a key among {people.number:,} on {database.name}, of the bare driver's SELECT"
    )
    return [at_least("S4", work_done, found, 0.5, note)]


def run(scratch: Path, plan: Plan) -> list[Row]:
    town = crowd.town(scratch, plan, plan.keys)
    opened = open_installation(Settings.model_validate({"data": town.data}))
    try:
        rows = measure(opened.store, town.crowd, plan)
    finally:
        opened.close()
    try:
        with servers.postgres() as server:
            database = migrated(engines.connect(server.url("postgres")))
            try:
                store = move_in(database, scratch).store
                people = crowd.settle(store, scratch / "postgresql.keys", plan.keys, plan.organizations)
                rows += measure(store, people, plan)
            finally:
                database.dispose()
    except servers.UnavailableError as error:
        rows.append(absent("S4", "first sight of a key on postgresql", str(error)))
    return rows
