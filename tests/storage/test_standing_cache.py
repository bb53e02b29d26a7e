"""Standings in memory are bounded and indexed by what they belong to. Sharing parts changes no verdict."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.model import Organization, Principal, RoleScopes, Standing
from ostiary.core.verdict import scopes_on
from ostiary.storage.standing_cache import Handle, Standings
from tests.cast import NOON

CAPACITY = 3
READ, WRITE = "read:agents", "write:agents"


def standing(credential: int, secret: int, organization: int, role: str = READ) -> Standing:
    """A key whose every part is a separate object."""
    home = f"org_{organization}"
    return Standing(
        credential_id=f"cred_{credential}",
        kind="api_key",
        name="CI",
        access_id=f"{secret:032x}",
        last6="0abcde",
        digest=b"\x01" * 32,
        pepper_id="p",
        superseded_at=None,
        ends_at=None,
        ended_at=None,
        replaced_at=None,
        deactivated_at=None,
        revoked_at=None,
        expires_at=None,
        networks=(),
        access_level="full",
        scopes=(),
        resources=(),
        project_id=None,
        rate_limit=None,
        principal=Principal(
            "service_account", f"sa_{credential % 2}", "Robo", "robo@acme.localhost", barred=False
        ),
        grants=(RoleScopes(frozenset({role}), None),),
        organization=Organization(home, home, "Acme", False, NOON, None),
    )


def handle_of(found: Standing, imported: bool) -> Handle:
    return (found.access_id.encode(), b"by another pepper") if imported else found.access_id


def is_empty(standings: Standings) -> bool:
    return (len(standings), len(standings._by_credential), len(standings._by_organization)) == (0, 0, 0)


few = st.integers(0, 4)
kept = st.tuples(st.integers(0, 19), st.booleans(), st.sampled_from([READ, WRITE]))
acts = st.one_of(
    st.tuples(st.just("keep"), kept),
    st.tuples(st.just("credential"), few.map(lambda number: f"cred_{number}")),
    st.tuples(st.just("organization"), few.map(lambda number: f"org_{number}")),
)


@given(st.lists(acts, max_size=60))
def test_what_is_kept_is_what_a_plain_list_would_keep(done: list[tuple[str, Any]]) -> None:
    """P1 breaks: a revoked key stays in memory, others are dropped with it, or memory has no bound."""
    standings = Standings(CAPACITY)
    plain: list[tuple[Handle, Standing]] = []
    for act, what in done:
        if act == "keep":
            number, imported, role = what
            # Four secrets per credential, two credentials per organization.
            made = standing(number // 4, number, number // 8, role)
            handle = handle_of(made, imported)
            assert standings.keep(handle, made) == made
            plain = [each for each in plain if each[0] != handle]
            plain = [*plain[-(CAPACITY - 1) :], (handle, made)]
        elif act == "credential":
            standings.drop_credential(what)
            plain = [each for each in plain if each[1].credential_id != what]
        else:
            standings.drop_organization(what)
            plain = [each for each in plain if each[1].organization.id != what]
        assert list(standings._standings.items()) == plain
        assert all(standings.get(each) == found for each, found in plain)
    for _, found in plain:
        standings.drop_organization(found.organization.id)
    assert is_empty(standings)


def test_keys_of_one_organization_share_what_is_equal() -> None:
    """S5 breaks: every key in memory has its own copy of its organization, owner and roles."""
    standings = Standings(CAPACITY)
    first, second = (standings.keep(f"{n:032x}", standing(n, n, 1)) for n in (2, 4))
    assert second.organization is first.organization
    assert second.principal is first.principal
    assert second.grants is first.grants
    assert scopes_on(second, None) is scopes_on(first, None)
    assert (second.credential_id, second.access_id) == ("cred_4", f"{4:032x}")


def test_what_is_not_equal_is_not_shared() -> None:
    """P1 breaks: a key is judged by another key's organization or owner."""
    standings = Standings(CAPACITY)
    old = standing(2, 2, 1)
    suspended = replace(standing(4, 4, 1, WRITE), organization=replace(old.organization, suspended_at=NOON))
    other = replace(suspended, principal=replace(suspended.principal, barred=True))
    standings.keep("2", old)
    for each in (suspended, other):
        found = standings.keep(each.access_id, each)
        assert found == each
        assert scopes_on(found, None) == {WRITE}
        assert not found.may_act(NOON)


def test_what_a_key_is_found_by_is_its_own_access_id() -> None:
    """S5 breaks: every access id is in memory twice."""
    standings = Standings(CAPACITY)
    made = standing(1, 1, 1)
    standings.keep(f"{1:032x}", made)
    (handle,) = standings._standings
    assert handle is made.access_id


def test_everything_is_forgotten_at_once() -> None:
    """P1 breaks: after a change of the catalogue, a key is judged by its role's former scopes."""
    standings = Standings(CAPACITY)
    for number in range(CAPACITY + 1):
        standings.keep(f"{number:032x}", standing(number, number, number // 2))
    assert len(standings) == CAPACITY
    standings.clear()
    assert is_empty(standings)
    assert standings.get(f"{CAPACITY:032x}") is None
