"""P11: the database is down. The tests move its file away and put a directory in its place."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ostiary.core.instant import SECOND
from ostiary.core.problem import Problem
from ostiary.services import credentials
from tests.cast import Answer, Front

pytestmark = pytest.mark.promise("P11")

HOT = ("/v1/capabilities", "/v1/authorize/-", "/v1/authorize-nginx/-")


@contextlib.contextmanager
def outage(front: Front) -> Iterator[None]:
    engines = front.house.store.engines
    file = Path(str(engines.reader.url.database))
    away = file.with_name("away")
    away.mkdir()
    engines.dispose()
    for each in file.parent.glob(f"{file.name}*"):
        each.rename(away / each.name)
    file.mkdir()
    try:
        yield
    finally:
        engines.dispose()
        file.rmdir()
        for each in away.iterdir():
            each.rename(file.parent / each.name)
        away.rmdir()


def is_unavailable(answer: Answer) -> None:
    assert answer.status == 503
    assert answer.json()["code"] == "unavailable"
    assert int(answer.headers["retry-after"]) >= 1


def hot(front: Front, key: str) -> list[int]:
    return [front.ask("GET", target, key=key).status for target in HOT]


def test_cached_credentials_verify_until_they_are_too_old(front: Front) -> None:
    """P11 breaks: during an outage, cached credentials are refused at once, or accepted forever."""
    house = front.house
    known, unknown = (house.key(house.account()).secret.reveal() for _ in range(2))
    assert hot(front, known) == [200, 200, 200]
    with outage(front):
        house.clock.advance(29 * SECOND)
        assert hot(front, known) == [200, 200, 200]
        is_unavailable(front.ask("GET", "/v1/capabilities", key=unknown))
        is_unavailable(front.ask("GET", "/v1/authorize/-", key=unknown))
        assert front.ask("GET", "/v1/capabilities", key="nonsense").status == 401
        with pytest.raises(Problem):
            front.facts.sync()  # a failed read does not renew the cache
        house.clock.advance(SECOND)
        is_unavailable(front.ask("GET", "/v1/capabilities", key=known))
        is_unavailable(front.ask("GET", "/v1/authorize/-", key=known))
        is_unavailable(front.ask("POST", "/v1/verify", {"credential": known}, key=house.alice_key))
        nginx = front.ask("GET", "/v1/authorize-nginx/-", key=known)
        assert (nginx.status, nginx.headers["x-auth-error"]) == (403, "unavailable")
    assert hot(front, known) == [200, 200, 200]
    assert hot(front, unknown) == [200, 200, 200]


@pytest.mark.promise("P1")
def test_what_was_revoked_before_the_outage_stays_refused(front: Front) -> None:
    """P1 breaks: during an outage, the node forgets a revocation that it acknowledged before."""
    house = front.house
    key = house.key(house.account())
    assert hot(front, key.secret.reveal()) == [200, 200, 200]
    house.store.write(credentials.revoke, house.alice, key.listed.credential.id)
    with outage(front):
        assert 200 not in hot(front, key.secret.reveal())
    assert hot(front, key.secret.reveal()) == [401, 401, 401]


def test_everything_else_is_refused_at_once_and_works_again(front: Front) -> None:
    """P11 breaks: a management call hangs, fails with 500, is half done, or needs a restart afterwards."""
    house = front.house
    house.sign()
    key = house.alice_key
    assert front.ask("GET", "/v1/service-accounts", key=key).status == 200
    calls = [
        ("GET", "/v1/service-accounts", None),
        ("POST", "/v1/service-accounts", {"display_name": "New"}),
        ("GET", "/v1/credentials/x", None),
        ("GET", "/v1/audit-events", None),
        ("GET", "/v1/access-rules", None),
    ]
    with outage(front):
        for method, target, body in calls:
            is_unavailable(front.ask(method, target, body, key=key))
        assert front.ask("GET", "/healthz").status == 200
        not_ready = front.ask("GET", "/readyz")
        assert not_ready.status == 503
        assert not_ready.json()["reasons"] == ["the database does not answer"]
    assert front.ask("GET", "/readyz").status == 200
    assert [front.ask(*call, key=key).status for call in calls] == [200, 201, 404, 200, 200]
    listed = front.ask("GET", "/v1/service-accounts", key=key).json()["data"]
    assert [each["display_name"] for each in listed] == ["New"]


@pytest.mark.promise("P1")
def test_without_patience_every_verdict_asks_the_database(front: Front, tmp_path: Path) -> None:
    """P11 breaks: with a staleness of 0, a cached credential is accepted while the database is down."""
    strict = Front(front.house, tmp_path, max_staleness="0s")
    key = front.house.key(front.house.account()).secret.reveal()
    try:
        assert hot(strict, key) == [200, 200, 200]
        with outage(strict):
            assert hot(strict, key) == [503, 503, 403]
        assert hot(strict, key) == [200, 200, 200]
    finally:
        strict.close()
