"""P12: a standing that the driver reads directly equals one that a transaction reads, and so do the errors."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from typing import Any

import pytest
import sqlalchemy as sa

from ostiary.core.import_file import ImportedKey
from ostiary.core.instant import DAY, HOUR
from ostiary.core.model import Standing
from ostiary.core.permission import Catalogue
from ostiary.core.problem import Problem
from ostiary.services import (
    credentials,
    imports,
    members,
    organizations,
    projects,
    roles,
    rotation,
    service_accounts,
)
from ostiary.services.issuance import CredentialSpec
from ostiary.services.roles import RoleSpec
from ostiary.storage import engines, tables
from ostiary.storage import roles as role_rows
from ostiary.storage import standing_queries as credential_rows
from ostiary.storage.store import ATTEMPTS, Store, Tx
from tests.cast import NOON, House

pytestmark = pytest.mark.promise("P12")

NOTHING = Catalogue(frozenset())
PATIENCE = 30.0


def furnish(house: House) -> None:
    """Create credentials that cover everything in which standings can differ."""
    write, alice = house.store.write, house.alice
    website = write(projects.create, alice, "Website", "website", "").id
    write(roles.create_role, alice, "deployer", "", ("read:agents", "write:plugins"))
    write(imports.register_prefix, alice, "sk_live_")
    robo = house.account()
    house.key(robo)
    full = house.key(
        robo,
        name="Prüfer",
        scopes=("read:agents",),
        resources=("agents/*", "agents/agent_1"),
        allowed_ips=("192.0.2.0/24", "2001:db8::/32"),
        project="website",
        expires_at=NOON + 90 * DAY,
        rate_limit=60,
    )
    write(rotation.rotate, alice, full.listed.credential.id, DAY, None)
    ended = house.key(robo).listed.credential.id
    write(rotation.rotate, alice, ended, HOUR, None)
    write(rotation.complete, alice, ended)
    write(credentials.revoke, alice, house.key(robo).listed.credential.id)
    write(credentials.deactivate, alice, house.key(robo).listed.credential.id)
    keys = [ImportedKey(bytes([number]) * 32, f"imported {number}") for number in range(2)]
    write(imports.import_keys, alice, robo.account.id, "sk_live_", keys, False)
    narrow = house.account(
        "Narrow",
        roles=(),
        scopes=("read:agents", "read:plugins"),
        resources=("agents/*",),
        projects=(website,),
    )
    house.key(narrow)
    asked = (RoleSpec("viewer"), RoleSpec("deployer", "website"), RoleSpec("developer", "website"))
    write(service_accounts.set_role_bindings, alice, narrow.account.id, asked)
    disabled = house.account("Disabled")
    house.key(disabled)
    write(service_accounts.set_disabled, alice, disabled.account.id, True)
    write(credentials.create_direct, house.bob, CredentialSpec(name="Bob's"))
    write(members.remove, alice, house.bob.actor.id)
    write(organizations.update_policies, house.charlie, {"rate_limit": 30}, {}, frozenset())


def in_order(standing: Standing | None) -> Standing:
    """Sort the grants: roles have no defined order."""
    assert standing is not None
    grants = sorted(standing.grants, key=lambda each: (each.project_id or "", sorted(each.scopes)))
    return replace(standing, grants=tuple(grants))


def kinds(standing: Standing) -> list[type]:
    """Return the types of the fields: `1 == True` would hide a difference."""
    parts: tuple[Any, ...] = (standing, standing.principal, standing.organization)
    return [type(getattr(part, each.name)) for part in parts for each in fields(part)]


def test_both_ways_read_the_same_standing(house: House) -> None:
    """P12 breaks: an uncached request is judged by other facts than the same request in a transaction."""
    furnish(house)
    catalogue = Catalogue(house.store.read(role_rows.scopes_of_catalogue))
    wanted = sa.select(tables.generations.c.access_id, tables.generations.c.digest)
    secrets = house.store.read(lambda tx: [(row.access_id, bytes(row.digest)) for row in tx.select(wanted)])
    seen = []
    for access_id, digest in secrets:
        inside = in_order(house.store.read(credential_rows.find_standing, access_id, catalogue))
        for alone in (
            credential_rows.find_standing(house.store, access_id, catalogue),
            credential_rows.find_standing_by_digest(house.store, (b"x" * 32, digest), catalogue),
            credential_rows.find_standing_by_digest(house.store, (digest,), catalogue),
            house.store.read(credential_rows.find_standing_by_digest, (digest, b"x" * 32), catalogue),
        ):
            found = in_order(alone)
            assert found == inside
            assert kinds(found) == kinds(inside)
        seen.append(inside)
    assert {each.principal.kind for each in seen} == {"user", "service_account"}
    assert {each.principal.barred for each in seen} == {False, True}
    assert {each.rate_limit for each in seen} == {1000, 60, 30}
    assert max(len(each.grants) for each in seen) == 3
    for name in ("networks", "scopes", "resources", "project_id", "expires_at", "ends_at", "ended_at",
                 "superseded_at", "revoked_at", "deactivated_at"):  # fmt: skip
        assert any(getattr(each, name) for each in seen), name


def test_what_nobody_has_is_nothing(house: House) -> None:
    """P12 breaks: an unknown key causes a server error."""
    assert credential_rows.find_standing(house.store, "0" * 32, NOTHING) is None
    assert credential_rows.find_standing_by_digest(house.store, (b"x" * 32,), NOTHING) is None


def test_each_look_sees_what_was_committed_before_it(house: House) -> None:
    """P1 breaks: the driver's connection stays in a transaction, and reads stale facts from then on."""
    key = house.key(house.account()).listed.credential
    for end in (None, house.clock.now):
        found = credential_rows.find_standing(house.store, key.access_id, NOTHING)
        assert found is not None
        assert found.revoked_at == end
        house.store.write(credentials.revoke, house.alice, key.id)


def pragma(name: str, column: str) -> sa.Select[Any]:
    return sa.select(sa.column(column)).select_from(sa.table(f"pragma_{name}"))


def setting(name: str) -> sa.Select[Any]:
    return sa.select(sa.func.current_setting(name))


BOUNDS: dict[str, list[tuple[sa.Select[Any], object]]] = {
    "sqlite": [(pragma("query_only", "query_only"), 1), (pragma("busy_timeout", "timeout"), 2000)],
    "postgresql": [
        (setting("transaction_read_only"), "on"),
        (setting("lock_timeout"), "2s"),
        (setting("statement_timeout"), "2500ms"),
        (setting("tcp_keepalives_idle"), "30"),
    ],
}


def test_it_is_bounded_and_cannot_write(house: House) -> None:
    """P5, P11 break: a read without a transaction has no time-out, or can write without an audit event."""
    for statement, wanted in BOUNDS[house.store.engines.name]:
        for rows in (
            house.store.select(statement),
            house.store.read(Tx.select, statement),
        ):
            assert [tuple(row) for row in rows] == [(wanted,)]


def failed(store: Store, statement: sa.Select[Any]) -> list[tuple[type, str, dict[str, int]]]:
    """Return how the statement fails, alone and in a transaction, and the error counts."""
    found = []
    ways: list[Callable[[], object]] = [
        lambda: store.select(statement),
        lambda: store.read(lambda tx: tx.select(statement)),
    ]
    for read in ways:
        store.errors.clear()
        with pytest.raises((Problem, sa.exc.DBAPIError)) as caught:
            read()
        error: Any = caught.value
        text = error.code if isinstance(error, Problem) else f"{error.hide_parameters} {error.orig}"
        found.append((type(error), text, dict(store.errors)))
    store.errors.clear()
    return found


def test_a_fault_of_ours_is_the_same_fault(house: House) -> None:
    """P11 breaks: a wrong statement is reported as an outage, or an error shows its parameters."""
    alone, inside = failed(house.store, sa.select(sa.column("x")).select_from(sa.table("nowhere")))
    assert alone == inside
    assert issubclass(alone[0], sa.exc.DBAPIError)
    assert alone[1].startswith("True ")
    assert credential_rows.find_standing(house.store, house.alice_key[3:35], NOTHING) is not None


def test_a_pool_that_is_used_up_is_unavailable(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """P11 breaks: an uncached request waits for ever for a connection, or opens an additional one."""
    monkeypatch.setattr(house.store.engines.reader.pool, "_timeout", 0)
    held = [house.store.engines.reader.connect() for _ in range(engines.READERS)]
    try:
        with pytest.raises(Problem) as caught:
            credential_rows.find_standing(house.store, house.alice_key[3:35], NOTHING)
        assert caught.value.code == "unavailable"
        assert house.store.errors == {"pool time-out": 1}
    finally:
        for each in held:
            each.close()
    assert credential_rows.find_standing(house.store, house.alice_key[3:35], NOTHING) is not None


SUICIDE = sa.select(sa.func.pg_terminate_backend(sa.func.pg_backend_pid()))


@pytest.mark.full
@pytest.mark.promise("P11")
def test_a_connection_that_is_lost_each_time_is_an_outage(postgresql_house: House) -> None:
    """P11 breaks: a database that stops during a look-up causes a server error (500)."""
    alone, inside = failed(postgresql_house.store, SUICIDE)
    assert alone == inside
    assert alone[:2] == (Problem, "unavailable")
    assert alone[2] == {"AdminShutdown 57P01": ATTEMPTS}
    assert credential_rows.find_standing(postgresql_house.store, postgresql_house.alice_key[3:35], NOTHING)


@pytest.mark.full
@pytest.mark.promise("P11")
def test_a_look_up_after_the_server_came_back_succeeds(postgresql_house: House) -> None:
    """P11 breaks: each connection that was lost in the meantime makes a request fail."""
    store = postgresql_house.store
    barrier = threading.Barrier(engines.READERS)

    def wait(tx: Tx) -> None:
        tx.execute(sa.text("SELECT 1"))
        barrier.wait(PATIENCE)

    with ThreadPoolExecutor(engines.READERS) as pool:
        list(pool.map(lambda _: store.read(wait), range(engines.READERS)))
    assert engines.READERS > ATTEMPTS
    others = "pid <> pg_backend_pid() AND datname = current_database()"
    with store.engines.writer.begin() as connection:
        ended = connection.execute(
            sa.text(f"SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE {others}")
        ).scalar_one()
    assert ended >= engines.READERS
    assert credential_rows.find_standing(store, postgresql_house.alice_key[3:35], NOTHING) is not None
    assert store.errors == {"AdminShutdown 57P01": 1}
