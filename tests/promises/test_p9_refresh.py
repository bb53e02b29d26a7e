"""P9: reuse of a spent refresh token revokes its family. A storage error, a forgery or another client never does.

The tests use the whole application on both databases, and control the clock.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ostiary.core import refresh as made
from ostiary.core.instant import DAY, SECOND
from ostiary.core.model import OAuthClient
from ostiary.core.permission import Caller
from ostiary.services import consents, members, sessions
from ostiary.storage import sessions as session_rows
from ostiary.storage.authorization_tables import clients
from ostiary.storage.store import Tx
from tests.applications import application, code_of, redeem, refresh
from tests.cast import Answer, Front, House
from tests.conftest import PROVE
from tests.machines import said
from tests.promises.line import prove
from tests.visitors import at_home

pytestmark = pytest.mark.promise("P9")

GRACE = 10 * SECOND
REFUSED = "400 invalid_grant"


@pytest.fixture(scope="module", autouse=True)
def proof(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test adds its figures at the end. If one failed, no page is written."""
    yield
    if PROVE and not request.session.testsfailed:
        figures = {
            "ways in which a family ends": len(ENDS),
            "tables away while it is refreshed": len(RENAMED),
        }
        prove("P9", "a spent refresh token ends its family, and nothing else does", 0, figures)


@pytest.fixture
def front(house: House, tmp_path: Path) -> Iterator[Front]:
    unlimited = house.with_policy(rate_limit=None)
    unlimited.sign()
    found = Front(unlimited, tmp_path)
    yield found
    found.close()


@dataclass
class Family:
    """Bob's consent to a client, and the tokens of the client."""

    front: Front
    client: OAuthClient
    tokens: list[str]
    access: list[str]

    def refresh(self, number: int = -1, **members: str | None) -> Answer:
        """Refresh with the token of this generation, counted from 0. New tokens are recorded."""
        answer = refresh(self.front, self.client, self.tokens[number], **members)
        if answer.status == 200:
            body = answer.json()
            self.access.append(body["access_token"])
            if body["refresh_token"] not in self.tokens:
                self.tokens.append(body["refresh_token"])
        return answer

    @property
    def rows(self) -> tuple[session_rows.Session, session_rows.Family]:
        claimed = made.read_claims(self.tokens[0].encode())
        assert claimed is not None
        found = self.front.house.store.read(session_rows.find_family, claimed.family)
        assert found is not None
        return found

    def lives(self) -> bool:
        """Return whether every access token and the newest refresh token are accepted."""
        accepted = {bool(self.front.verify(text)["valid"]) for text in self.access}
        assert len(accepted) == 1
        again = self.refresh().status == 200
        assert accepted == {again}
        return again


def family(front: Front, scope: str = "read:plugins read:agents offline_access", **facts: Any) -> Family:
    client = application(front.house, **facts)
    code = code_of(at_home(front.house, front, front.house.bob), client, scope=scope)
    body = redeem(front, client, code).json()
    return Family(front, client, [body["refresh_token"]], [body["access_token"]])


def test_in_grace_the_same_successor(front: Front) -> None:
    """P9 breaks: a lost response costs the session, or each retry gets another successor."""
    ours = family(front)
    for generation in range(5):
        answers = [ours.refresh(generation) for _ in range(3)]
        front.house.clock.advance(GRACE - 1)
        answers.append(ours.refresh(generation))
        assert [answer.status for answer in answers] == [200] * 4
        assert {answer.json()["refresh_token"] for answer in answers} == {ours.tokens[generation + 1]}
        assert ours.rows[1].number == generation + 2
    assert len(set(ours.tokens)) == 6
    assert ours.lives()


def test_grace_begins_with_the_rotation_only(front: Front) -> None:
    """P9 breaks: repeated retries extend the grace period without end."""
    ours = family(front)
    ours.refresh(0)
    for _ in range(3):
        front.house.clock.advance(GRACE // 3)
        assert ours.refresh(0).status == 200
    front.house.clock.advance(GRACE // 3)
    assert said(ours.refresh(0)) == REFUSED
    assert not ours.lives()


@pytest.mark.parametrize("spent", [0, 1, 2])
def test_after_grace_the_family_is_dead_at_once(front: Front, spent: int) -> None:
    """P9 breaks: a spent refresh token is used again, and its family stays valid."""
    ours, other = family(front), family(front)
    for generation in range(3):
        assert ours.refresh(generation).status == 200
        front.house.clock.advance(SECOND)
    front.house.clock.advance(GRACE - SECOND)
    assert said(ours.refresh(spent)) == REFUSED
    assert [front.verify(text)["valid"] for text in ours.access] == [False] * 4
    assert [said(refresh(front, ours.client, text)) for text in ours.tokens] == [REFUSED] * 4
    assert ours.rows[0].revoked_at is not None
    assert other.lives()


def test_two_before_the_good_one_there_is_no_grace(front: Front) -> None:
    """P9 breaks: a token from two generations ago counts as the retry of a lost response."""
    ours = family(front)
    ours.refresh(0)
    ours.refresh(1)
    assert said(ours.refresh(0)) == REFUSED
    assert not ours.lives()


def test_one_family_ends_and_no_other(front: Front) -> None:
    """P9 breaks: when one session ends, other sessions of the same person and client end, too."""
    ours = family(front)
    code = code_of(at_home(front.house, front, front.house.bob), ours.client)
    body = redeem(front, ours.client, code).json()
    second = Family(front, ours.client, [body["refresh_token"]], [body["access_token"]])
    ours.refresh(0)
    front.house.clock.advance(GRACE)
    assert said(ours.refresh(0)) == REFUSED
    assert not ours.lives()
    assert second.lives()


# What never ends a family

RENAMED = {"the audit log": "audit_events", "the sessions": "sessions", "the changes": "changes"}


@pytest.mark.parametrize("table", RENAMED)
def test_a_storage_error_never_ends_it(front: Front, table: str) -> None:
    """P9 breaks: the database fails between two statements, and the client's token is spent or half spent."""
    ours = family(front)
    name = RENAMED[table]
    for spent in (False, True):
        if spent:
            front.house.clock.advance(SECOND)  # within the grace period
        before = ours.rows[1]
        _execute(front.house, f"ALTER TABLE {name} RENAME TO elsewhere")
        answers = [ours.refresh(0) for _ in range(3)]
        _execute(front.house, f"ALTER TABLE elsewhere RENAME TO {name}")
        if table != "the changes":  # a refresh does not write this
            assert {answer.status for answer in answers} <= {500, 503}, answers
            assert all("access_token" not in answer.json() for answer in answers)
            assert ours.rows[1] == before
        assert ours.refresh(0).status == 200
        assert ours.rows[1].number == 2
    assert ours.lives()


def test_an_end_that_cannot_be_written_is_told_as_an_error(front: Front) -> None:
    """P9 breaks: a spent token gets the error of a revoked family, but the family stays valid."""
    ours = family(front)
    ours.refresh(0)
    front.house.clock.advance(GRACE)
    _execute(front.house, "ALTER TABLE audit_events RENAME TO elsewhere")
    answer = ours.refresh(0)
    _execute(front.house, "ALTER TABLE elsewhere RENAME TO audit_events")
    assert answer.status == 503
    assert ours.rows[0].revoked_at is None
    assert said(ours.refresh(0)) == REFUSED
    assert not ours.lives()


def test_a_forged_token_never_ends_it(front: Front) -> None:
    """P9 breaks: a person who knows the id of a family can revoke another person's session."""
    ours = family(front)
    for generation in range(3):
        ours.refresh(generation)
    front.house.clock.advance(GRACE)
    _, rows = ours.rows
    pepper = front.house.store.installation.keyring.peppers[rows.pepper_id]
    foreign = [made.token(b"x" * 32, rows.seed, rows.id, number) for number in (1, 2, 3, 4)]
    foreign += [made.token(pepper, b"x" * 32, rows.id, number) for number in (1, 2, 3, 4)]
    # Valid except for the generation, which was never issued.
    foreign += [made.token(pepper, rows.seed, rows.id, number) for number in (0, 5, 6, 2**32 - 1)]
    texts = [each.reveal() for each in foreign]
    for good in ours.tokens:
        head, tail = good[: len("refresh_") + 32], good[len("refresh_") + 32 :]
        texts += [head + tail[::-1], head[:-1] + "9" + tail, good.upper(), good + "A", good[:-1], f"{good} "]
    for text in texts:
        assert text not in ours.tokens
        answer = refresh(front, ours.client, text)
        assert answer.status == 400, text
        assert answer.json()["error"] in ("invalid_grant", "invalid_request"), text
    assert ours.lives()


def test_another_client_never_ends_it(front: Front) -> None:
    """P9 breaks: a person with a spent token and any client can revoke the session, or gets a token."""
    ours, other = family(front), application(front.house)
    ours.refresh(0)
    front.house.clock.advance(GRACE)
    for text in ours.tokens:
        assert said(refresh(front, other, text)) == REFUSED
        assert said(refresh(front, ours.client, text, client_id=None)) == "401 invalid_client"
        assert said(refresh(front, ours.client, text, client_id="ostiary-cli")) == REFUSED
    assert ours.lives()


def test_what_was_refused_for_another_reason_spends_nothing(front: Front) -> None:
    """P9 breaks: a wrong scope or resource costs the session."""
    ours = family(front)
    for wrong in ({"scope": "api"}, {"scope": "write:agents"}, {"resource": "https://nobody.example"}):
        assert ours.refresh(0, **wrong).status == 400
        front.house.clock.advance(GRACE)
    assert ours.rows[1].number == 1
    assert ours.lives()


# Other events that end it


def _withdraw(front: Front, ours: Family) -> None:
    session, _ = ours.rows
    front.house.store.write(consents.withdraw, front.house.bob, session.grant_id)


def _client(**values: Any) -> Callable[[Front, Family], None]:
    def act(front: Front, ours: Family) -> None:
        def update(tx: Tx, caller: Caller) -> None:
            tx.execute(clients.update().where(clients.c.id == ours.client.id).values(**values))
            session, _ = ours.rows
            tx.changed("session", session.id)
            tx.confirm()

        front.house.store.write(update, front.house.alice)

    return act


def _remove(front: Front, ours: Family) -> None:
    front.house.store.write(members.remove, front.house.alice, front.house.bob.actor.id)


def _suspend(front: Front, ours: Family) -> None:
    """Acme is the operator's, and the service may not suspend it. This change has the same effect."""
    _execute(front.house, f"UPDATE organizations SET suspended_at = 1 WHERE id = '{front.house.acme.id}'")
    front.house.store.write(_changed, front.house.alice)


def _changed(tx: Tx, caller: Caller) -> None:
    tx.changed("organization", caller.organization_id)
    tx.confirm()


def _revoke(front: Front, ours: Family) -> None:
    front.house.store.write(sessions.revoke, front.house.bob, ours.rows[0].id)


def _expire(front: Front, ours: Family) -> None:
    front.house.clock.advance(ours.rows[0].expires_at - front.house.clock.now)


ENDS: Mapping[str, tuple[Callable[[Front, Family], None], str]] = {
    "consent withdrawn": (_withdraw, REFUSED),
    "client disabled": (_client(disabled_at=1), "401 invalid_client"),
    "client deleted": (_client(deleted_at=1), "401 invalid_client"),
    "member removed": (_remove, REFUSED),
    "organization suspended": (_suspend, REFUSED),
    "session revoked": (_revoke, REFUSED),
    "session expired": (_expire, REFUSED),
}


@pytest.mark.parametrize("how", ENDS)
def test_with_what_it_came_from_it_ends(front: Front, how: str) -> None:
    """P2 breaks: a refresh token outlives its parent, within the grace period or after it."""
    end, expected = ENDS[how]
    ours = family(front)
    ours.refresh(0)
    end(front, ours)
    assert [said(refresh(front, ours.client, text)) for text in ours.tokens] == [expected] * 2
    if how != "organization suspended":  # whose key makes the request
        assert [front.verify(text)["valid"] for text in ours.access] == [False] * 2


def test_a_session_has_one_end_however_often_it_is_refreshed(front: Front) -> None:
    """R13 breaks: refreshing makes a session last forever."""
    ours = family(front)
    begun = front.house.clock.now
    end = ours.rows[0].expires_at
    assert end == begun + 30 * DAY
    while front.house.clock.now < end - DAY:
        front.house.clock.advance(DAY)
        assert ours.refresh().status == 200
    assert ours.rows[0].expires_at == end
    front.house.clock.advance(DAY - 60 * SECOND)
    assert ours.refresh().json()["expires_in"] == 60
    front.house.clock.advance(60 * SECOND)
    assert said(ours.refresh()) == REFUSED


# Scopes


def test_each_refresh_may_ask_for_less_and_never_for_more(front: Front) -> None:
    """P19 breaks: a refresh widens the consented scope, or a scope that was narrowed once stays narrow."""
    ours = family(front, scope="read:plugins write:plugins offline_access")
    for asked, given in (
        (None, "offline_access read:plugins"),  # a viewer has no more of it
        ("read:plugins", "read:plugins"),
        ("read:plugins write:plugins", "read:plugins"),
        ("read:plugins read:agents", None),
        ("api", None),
        ("read:plugins offline_access", "offline_access read:plugins"),  # all of it may be requested again
        ("offline_access", None),
        ("write:plugins", None),
        (None, "offline_access read:plugins"),
    ):
        answer = ours.refresh(scope=asked)
        told = answer.json().get("scope") if answer.status == 200 else None
        assert told == given, (asked, answer.body)
        if given is None:
            assert said(answer) == "400 invalid_scope"
        else:
            assert front.verify(ours.access[-1])["scopes"] == ["read:plugins"]
    assert ours.rows[0].scopes == ("read:plugins", "write:plugins", "offline_access")


def test_of_everything_each_part_may_be_asked_for(front: Front) -> None:
    """RFC 6749 §6 breaks: a part of the consented scope cannot be requested, or a token exceeds what the person has."""
    ours = family(front, scope="api offline_access")
    for asked, given in (
        (None, "api offline_access"),
        ("read:plugins", "read:plugins"),
        ("read:plugins offline_access", "offline_access read:plugins"),
        ("write:plugins", None),
        (
            "read:plugins fly:moon",
            "read:plugins",
        ),  # an unknown scope is left out, as it was at the consent
        ("fly:moon", None),
        ("offline_access", None),
        (None, "api offline_access"),
    ):
        answer = ours.refresh(scope=asked)
        assert (answer.json()["scope"] if answer.status == 200 else None) == given, (asked, answer.body)


def _execute(house: House, statement: str) -> None:
    with house.store.engines.writer.begin() as connection:
        connection.execute(sa.text(statement))
