"""Sessions: begun once, by a valid assertion; visible to the right callers; ended permanently."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from ostiary.core import secret
from ostiary.core.instant import DAY, HOUR, MINUTE, to_text
from ostiary.core.permission import Caller
from ostiary.core.problem import Problem
from ostiary.services import credentials, members, organizations, projects, service_accounts, sessions
from ostiary.services.credentials import Created
from ostiary.services.execute import execute
from ostiary.services.issuance import CredentialSpec
from ostiary.services.service_accounts import AccountView
from ostiary.storage import tables, tokens
from ostiary.storage.audit import Recorded
from ostiary.storage.journal import UsedMark
from ostiary.storage.store import Tx
from tests.cast import House
from tests.services.questions import all_rows, events, refused

RACERS = 100


def used(house: House, mark: bytes = b"mark") -> UsedMark:
    return UsedMark(mark, house.clock() + MINUTE)


def happened(house: House, action: str) -> list[Recorded]:
    return [each for each in events(house) if each.action == action]


def use(tx: Tx, session_id: str, credential_id: str) -> None:
    row = {"access_id": session_id, "credential_id": credential_id, "last_used_at": tx.now, "uses": 1}
    tx.execute(tables.generation_uses.insert(), row)


def listed(house: House, who: Caller) -> list[str]:
    return sorted(each.session.id for each in house.store.read(sessions.list_page, who, None, 50))


def test_a_login_begins_a_session(house: House) -> None:
    """System 1 breaks: a login creates no session, stores its secret, or records no event."""
    file = house.key_file(house.account())
    caller = replace(house.holder(file), user_agent="partner/1.0", request_id="req_1")
    begun = house.store.write(sessions.begin, caller, used(house), None)
    session, text = begun.listed.session, begun.secret.reveal()
    assert secret.parse(text.encode(), (b"session_",)) is not None
    assert session.expires_at == house.clock() + 30 * DAY
    assert (session.credential_id, session.owner_id) == (file.listed.credential.id, caller.actor.id)
    assert (session.kind, session.user_agent, session.project_id) == ("key_file", "partner/1.0", None)
    assert begun.listed.owner_name == "Robo"
    assert not [name for name, found in all_rows(house).items() if text in str(found)]
    (event,) = happened(house, "session.created")
    assert (event.target_id, event.actor_id) == (session.id, caller.actor.id)
    assert event.details == {"kind": "key_file", "expires_at": to_text(session.expires_at), "project": None}


def test_one_token_begins_one_session(house: House) -> None:
    """P8 breaks: of many logins with one assertion, more or fewer than one begins a session."""
    file = house.key_file(house.account())

    def begin(_number: int) -> str:
        try:
            house.store.write(sessions.begin, house.holder(file), used(house), None)
        except Problem as problem:
            return problem.reason or problem.code
        return "begun"

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(begin, range(RACERS)))
    assert sorted(found) == ["begun"] + ["used before"] * (RACERS - 1)
    assert len(listed(house, house.alice)) == 1
    assert len(happened(house, "session.created")) == 1


ENDS: dict[str, Callable[[House, AccountView, Created], object]] = {
    "revoked": lambda house, _, file: house.store.write(
        credentials.revoke, house.alice, file.listed.credential.id
    ),
    "deactivated": lambda house, _, file: house.store.write(
        credentials.deactivate, house.alice, file.listed.credential.id
    ),
    "disabled": lambda house, robo, _: house.store.write(
        service_accounts.set_disabled, house.alice, robo.account.id, True
    ),
    "deleted": lambda house, robo, _: house.store.write(
        service_accounts.delete, house.alice, robo.account.id
    ),
    "expired": lambda house, _robo, _file: house.clock.advance(2 * HOUR),
}


@pytest.mark.parametrize("end", ENDS)
def test_what_ended_meanwhile_begins_nothing_and_lists_nothing(house: House, end: str) -> None:
    """P1, P2 break: a login that waited outlives its key, or a list shows a session that is refused."""
    robo = house.account()
    file = house.key_file(robo, expires_at=house.clock() + HOUR)
    session = house.session(file).listed.session
    assert listed(house, house.alice) == [session.id]
    ENDS[end](house, robo, file)
    before = all_rows(house)
    with refused("invalid-credential"):
        execute(house.store, house.holder(file), sessions.begin, used(house), None)
    assert all_rows(house) == before
    assert listed(house, house.alice) == []
    assert not house.store.read(sessions.get, house.alice, session.id).session.live


def test_an_operators_list_of_a_suspended_organization_is_empty(house: House) -> None:
    """P2 breaks: lists show sessions of a suspended organization as live."""
    charlies = house.store.write(credentials.create_direct, house.charlie, CredentialSpec())
    credential = charlies.listed.credential
    holder = replace(house.charlie, actor=replace(house.charlie.actor, credential_id=credential.id))
    house.store.write(sessions.begin, holder, used(house), None)
    operator = replace(house.alice, organization_id=house.umbrella.id, operator=False)
    assert len(listed(house, operator)) == 1
    house.store.write(organizations.update, operator, None, True)
    assert listed(house, operator) == []


def test_a_member_that_left_has_no_session(house: House) -> None:
    """P2 breaks: lists show a session of a former member as live."""
    key = house.store.write(credentials.create_direct, house.bob, CredentialSpec())
    house.session(key)
    assert len(listed(house, house.alice)) == 1
    house.store.write(members.remove, house.alice, str(house.bob.actor.id))
    assert listed(house, house.alice) == []


def test_a_session_lasts_as_long_as_the_policy_and_its_key_let_it(house: House) -> None:
    """`session_lifetime` breaks: a session outlives the policy, or the key that it was issued for."""
    strict = house.with_policy(session_lifetime=HOUR)
    file = strict.key_file(strict.account())
    assert strict.session(file).listed.session.expires_at == house.clock() + HOUR
    short = strict.key_file(strict.account("Short"), expires_at=house.clock() + 10 * MINUTE)
    assert strict.session(short).listed.session.expires_at == house.clock() + 10 * MINUTE
    house.store.write(organizations.update_policies, house.alice, {"session_lifetime": DAY}, {}, frozenset())
    assert strict.session(file).listed.session.expires_at == house.clock() + DAY


def test_a_project_must_be_one_that_it_may_be_used_for(house: House) -> None:
    """Target breaks: a login uses a project that its account or key may not use, or another tenant's project."""
    ids = {
        code: house.store.write(projects.create, house.alice, code, code, "").id for code in ("one", "two")
    }
    house.store.write(projects.create, house.charlie, "theirs", "theirs", "")
    free = house.key_file(house.account("Free"))
    limited = house.key_file(house.account("Limited", projects=("one",)))
    bound = house.key_file(house.account("Bound"), project="two")
    assert house.session(free, "two").listed.session.project_id == ids["two"]
    assert house.session(limited, "one").listed.session.project_id == ids["one"]
    assert house.session(bound, ids["two"]).listed.session.project_id == ids["two"]
    before = all_rows(house)
    for file, wrong in ((free, "theirs"), (free, "none"), (limited, "two"), (bound, "one")):
        with refused("validation-failed") as caught:
            house.session(file, wrong)
        assert [each.pointer for each in caught.value.errors] == ["/default_project_code"]
    assert all_rows(house) == before


def test_a_deleted_project_takes_the_sessions_that_mean_it(house: House) -> None:
    """P2 breaks: a session goes on with a target that is gone."""
    house.store.write(projects.create, house.alice, "one", "one", "")
    file = house.key_file(house.account())
    meant, other = house.session(file, "one"), house.session(file)
    house.store.write(projects.delete, house.alice, "one")
    assert listed(house, house.alice) == [other.listed.session.id]
    (event,) = happened(house, "session.revoked")
    assert (event.target_id, event.details) == (
        meant.listed.session.id,
        {"because": "its project was deleted"},
    )


def test_ones_own_sessions_need_no_scope(house: House) -> None:
    """P19 breaks: a caller without scopes sees other people's sessions, or not its own."""
    robo, other = house.account(roles=()), house.account("Other", roles=())
    first, second, third = house.key_file(robo), house.key_file(robo), house.key_file(other)
    one, two, three = (house.session(each).listed.session.id for each in (first, second, third))
    holder = house.holder(first)
    assert listed(house, holder) == sorted((one, two))
    assert listed(house, house.alice) == sorted((one, two, three))
    assert listed(house, house.bob) == []
    assert listed(house, house.charlie) == []
    narrow = replace(holder, fine_grained=True)
    assert listed(house, narrow) == [one]
    for who, session in ((holder, three), (narrow, two), (house.bob, one)):
        with refused("insufficient-permissions"):
            house.store.read(sessions.get, who, session)
        with refused("insufficient-permissions"):
            house.store.write(sessions.revoke, who, session)
    with refused("not-found"):
        house.store.read(sessions.get, house.charlie, one)
    with refused("not-found"):
        house.store.write(sessions.revoke, house.charlie, one)
    house.store.write(sessions.revoke, narrow, one)
    house.store.write(sessions.revoke, holder, two)
    house.store.write(sessions.revoke, house.alice, three)
    assert listed(house, house.alice) == []


def test_a_caller_without_an_id_owns_nothing(house: House) -> None:
    """P19 breaks: a caller without an id, or a fine-grained one without a credential id, sees all sessions."""
    house.session(house.key_file(house.account()))
    nobody = replace(house.bob, actor=replace(house.bob.actor, id=None))
    narrow = replace(house.bob, fine_grained=True)  # by no credential
    for who in (nobody, narrow):
        with refused("insufficient-permissions"):
            listed(house, who)


def test_to_revoke_twice_is_to_revoke_once(house: House) -> None:
    """P1 breaks: a session is revoked twice, or not recorded."""
    session = house.session(house.key_file(house.account())).listed.session
    for _ in range(2):
        house.store.write(sessions.revoke, house.alice, session.id)
        house.clock.advance(MINUTE)
    shown = house.store.read(sessions.get, house.alice, session.id).session
    assert (shown.live, shown.revoked_at) == (False, house.clock() - 2 * MINUTE)
    (event,) = happened(house, "session.revoked")
    assert (event.target_id, event.details) == (session.id, {"because": "asked for"})


def test_pages_follow_one_another(house: House) -> None:
    """API breaks: a page of sessions is too long, or leaves some out."""
    file = house.key_file(house.account())
    made = []
    for _ in range(5):
        house.clock.advance(MINUTE)
        made.append(house.session(file).listed.session.id)
    first = house.store.read(sessions.list_page, house.alice, None, 3)
    rest = house.store.read(sessions.list_page, house.alice, first[-1].session.id, 3)
    assert [each.session.id for each in (*first, *rest)] == made[::-1]


def test_what_ended_long_ago_is_forgotten(house: House) -> None:
    """P9 breaks: rows of sessions and revoked tokens stay without end, or are deleted too early."""
    session = house.session(house.key_file(house.account())).listed.session
    token = "tok_01"
    house.store.write_on((), tokens.revoke, house.acme.id, token, session.expires_at)
    kept = "generation_uses", "sessions", "revoked_tokens"

    def left() -> list[int]:
        return [len(all_rows(house)[name]) for name in kept]

    house.store.write_on((), use, session.id, session.credential_id or session.id)
    assert left() == [1, 1, 1]
    for advance, expected in ((session.expires_at - house.clock() + DAY, [1, 1, 1]), (1, [0, 0, 0])):
        house.clock.advance(advance)
        house.delete_old()
        assert left() == expected
