"""A damaged database is reported as an outage. It is never an internal error, and never makes a key valid."""

from pathlib import Path
from typing import Any

import psycopg.errors
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from ostiary.core.instant import MINUTE
from ostiary.node.installation import REMEDIES
from ostiary.services import credentials
from ostiary.storage.failures import problem, trouble
from ostiary.storage.store import _translated
from ostiary.storage.troubles import LASTS, Troubles
from tests import damage
from tests.cast import NOON, Front, House
from tests.node.test_outage import hot, is_unavailable

pytestmark = pytest.mark.promise("P11")


def database_of(front: Front) -> Path:
    return Path(str(front.house.store.engines.reader.url.database))


def spoil(front: Front, *names: str) -> None:
    """Overwrite all entries of these tables and indexes."""
    path = database_of(front)
    damage.checkpoint(path)
    pages = [page for name in names for page in damage.leaves(path, name)]
    front.house.store.engines.dispose()  # drops their page caches
    damage.overwrite(path, pages)


def test_a_damaged_page_is_an_outage_that_is_told(front: Front) -> None:
    """P11 breaks: a damaged page makes every verification a 500, while the service reports that it is ready."""
    house = front.house
    house.sign()
    known, unknown = (house.key(house.account()).secret.reveal() for _ in range(2))
    revoked = house.key(house.account())
    house.store.write(credentials.revoke, house.alice, revoked.listed.credential.id)
    assert hot(front, known) == [200, 200, 200]
    assert front.ask("GET", "/readyz").status == 200
    spoil(front, "generations", "credentials")
    assert hot(front, known) == [200, 200, 200]
    for key in (unknown, revoked.secret.reveal()):
        is_unavailable(front.ask("GET", "/v1/capabilities", key=key))
        is_unavailable(front.ask("GET", "/v1/authorize/-", key=key))
    is_unavailable(front.ask("GET", "/v1/service-accounts", key=unknown))
    answer = front.ask("GET", "/readyz")
    assert (answer.status, answer.json()["reasons"]) == (503, [REMEDIES["damaged"]])
    house.clock.advance(10 * LASTS)
    assert front.ask("GET", "/readyz").status == 503, "damage does not heal"


def test_a_damaged_audit_log_stops_changes_only(front: Front) -> None:
    """P5, P11 break: a change is made without its event, or a damaged log stops verification."""
    house = front.house
    house.sign()
    key = house.key(house.account())
    spoil(front, "audit_events")
    path = f"/v1/credentials/{key.listed.credential.id}/revoke"
    is_unavailable(front.ask("POST", path, key=house.alice_key))
    assert hot(front, key.secret.reveal()) == [200, 200, 200]
    assert front.ask("GET", "/readyz").json()["reasons"] == [REMEDIES["damaged"]]


def test_a_file_that_is_no_database_any_more(front: Front) -> None:
    """P11 breaks: a database with an overwritten header causes an internal error."""
    house = front.house
    key = house.key(house.account()).secret.reveal()
    spoil(front)
    damage.overwrite(database_of(front), [1])
    is_unavailable(front.ask("GET", "/v1/capabilities", key=key))
    answer = front.ask("GET", "/readyz")
    assert answer.json()["reasons"] == ["the database does not answer", REMEDIES["damaged"]]


def error(kind: type[psycopg.Error]) -> DBAPIError:
    """Return a PostgreSQL error as SQLAlchemy raises it."""
    found = DBAPIError.instance("SELECT 1", None, kind("text"), psycopg.Error, dialect=_DIALECT)
    assert isinstance(found, DBAPIError)
    return found


_DIALECT = sa.make_url("postgresql+psycopg://host/name").get_dialect()()


@pytest.mark.parametrize(
    "kind, met, code",
    [
        (psycopg.errors.DataCorrupted, "damaged", "unavailable"),
        (psycopg.errors.IndexCorrupted, "damaged", "unavailable"),
        (psycopg.errors.IoError, "failing", "unavailable"),
        (psycopg.errors.InternalError_, "failing", "unavailable"),
        (psycopg.errors.DiskFull, "full", "storage-full"),
        (psycopg.errors.InsufficientPrivilege, None, "unavailable"),
    ],
)
def test_what_is_wrong_with_postgresql_is_no_fault_of_ours(
    kind: type[psycopg.Error], met: Any, code: str
) -> None:
    """P11, P12 break: damage or a full disk of a PostgreSQL server causes a 500."""
    found = error(kind)
    assert trouble(found) == met
    assert getattr(_translated(found, met), "code", "a fault of ours") == code


def test_a_fault_of_ours_stays_one() -> None:
    """B1 breaks: an error in the service's own SQL is reported as an outage, so nobody fixes it."""
    found = error(psycopg.errors.UndefinedColumn)
    assert _translated(found, trouble(found)) is found


def test_a_full_disk_of_postgresql_is_told_for_a_minute(sqlite_house: House) -> None:
    """P11 breaks: a full disk of a PostgreSQL server is not reported, or is reported forever."""
    found = error(psycopg.errors.DiskFull)
    told = problem(found, "full")
    assert (told.code, told.status) == ("storage-full", 507)
    assert "operator" in told.detail
    seen = Troubles()
    seen.note("full", NOON)
    assert seen.current(NOON + LASTS - 1) == ("full",)
    assert seen.current(NOON + LASTS) == ()


def test_processes_share_what_they_have_met(tmp_path: Path) -> None:
    """P11 breaks: one worker of a damaged database reports that it is ready."""
    one, other = Troubles(tmp_path / "troubles"), Troubles(tmp_path / "troubles")
    one.note("damaged", NOON)
    assert other.current(NOON + MINUTE * 100) == ("damaged",)
    other.forget()
    assert one.current(NOON) == ()
    one.close()
    other.close()
