"""Scopes: nobody grants more than they hold, an empty list grants nothing, patterns match what they say."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.event import SYSTEM
from ostiary.core.instant import HOUR
from ostiary.core.permission import (
    API_SCOPES,
    BUILT_IN_ROLES,
    EVERYTHING,
    FIRST_CATALOGUE,
    RESERVED_NOUNS,
    Caller,
    Catalogue,
    Policy,
    is_resource_pattern,
    is_scope,
    narrow,
    require,
    require_operator,
    resource_matches,
    role_scopes,
)
from ostiary.core.problem import Problem

CATALOGUE = frozenset(FIRST_CATALOGUE)
SCOPES = st.frozensets(st.sampled_from([*FIRST_CATALOGUE, "read:audit", "api", "m2m"]))

ROLES = {
    "organization-admin": CATALOGUE | API_SCOPES,
    "operator-admin": CATALOGUE | API_SCOPES,
    "developer": CATALOGUE | {"read:service-accounts"},
    "viewer": {"read:agents", "read:plugins", "read:service-accounts"},
    "resource-server": {"verify:credentials"},
}


@pytest.mark.promise("P19")
@pytest.mark.parametrize("role", ROLES)
def test_a_role_holds_what_is_documented(role: str) -> None:
    """P19 breaks: a built-in role grants more or less than documented."""
    assert set(BUILT_IN_ROLES) == set(ROLES)
    assert role_scopes(role, CATALOGUE) == ROLES[role] == Catalogue(CATALOGUE).role(role)


@pytest.mark.promise("P19")
@pytest.mark.parametrize("role", ["", "admin", "Viewer", "viewer ", "api"])
def test_an_unknown_role_holds_nothing(role: str) -> None:
    """P19 breaks: a mistyped or deleted role grants something."""
    assert role_scopes(role, CATALOGUE) == frozenset()


@pytest.mark.promise("P19")
def test_the_scopes_of_this_api_are_these() -> None:
    """P19 breaks: a scope of this API is added or removed unintentionally."""
    assert len(RESERVED_NOUNS) == 12
    assert {f"{verb}:{noun}" for verb in ("read", "write") for noun in RESERVED_NOUNS} | {
        "read:audit",
        "verify:credentials",
    } == API_SCOPES
    assert not API_SCOPES & EVERYTHING
    for role in ("developer", "viewer"):
        assert role_scopes(role, CATALOGUE) & API_SCOPES == {"read:service-accounts"}


@pytest.mark.promise("P19")
@given(SCOPES, st.booleans(), SCOPES)
def test_narrowing_never_widens(held: frozenset[str], fine_grained: bool, listed: frozenset[str]) -> None:
    """P19 breaks: a scope list grants what its owner does not hold, or an empty one grants everything."""
    left = narrow(held, fine_grained, listed)
    assert left <= held
    if not fine_grained or listed & {"api", "m2m"}:
        assert left == held
    else:
        assert left == {scope for scope in held if scope in listed}
    assert narrow(held, True, ()) == frozenset()


@pytest.mark.parametrize("text", ["read:agents", "a:b", "verify:credentials", "write:a-1", "api", "m2m"])
def test_a_scope_has_its_form(text: str) -> None:
    """B8 breaks the other way: a well-formed scope is refused."""
    assert is_scope(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "read", ":agents", "read:", "Read:agents", "read:Agents", "read:1a", "read agents", "read:agents ",
        "read:agents\n", "read:agents:x", "read:agents/*", "read:*", "*", "API", 'read:"', "réad:agents",
        "r" * 33 + ":a", "read:a" + "b" * 63,
    ],
    ids=repr,
)  # fmt: skip
def test_a_scope_of_another_form_is_refused(text: str) -> None:
    """B8 breaks: a scope can break out of a header, or means two scopes."""
    assert not is_scope(text)


@pytest.mark.parametrize(
    "scope, known",
    [("read:agents", True), ("read:audit", True), ("api", True), ("read:unknown", False), ("", False)],
)
def test_a_catalogue_knows_its_own_and_ours(scope: str, known: bool) -> None:
    """B8 breaks: an unknown scope is accepted, or a known one refused."""
    assert Catalogue(CATALOGUE).knows(scope) is known


def test_a_changed_catalogue_has_its_own_roles() -> None:
    """R5 breaks: a changed copy of a catalogue returns cached roles of the original."""
    first = Catalogue(CATALOGUE)
    assert first.role("viewer") == ROLES["viewer"]
    assert replace(first, names=frozenset()).role("viewer") == {"read:service-accounts"}


# Resources


@pytest.mark.parametrize(
    "text", ["agents", "agents/agent_123", "agents/*", "a/b/c/*", "a.b/c~d/e@f:g-h", "a" * 256, "a/.../b"]
)
def test_a_pattern_has_its_form(text: str) -> None:
    """B8 breaks the other way: a well-formed pattern is refused."""
    assert is_resource_pattern(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "*", "/*", "/agents", "agents/", "agents//x", "agents*", "agents/*/x", "agents/**", "ag*nts", "./agents",
        "agents/..", "agents/../x", "agents/./x", "..", "../*", "agents/%2e%2e/x", "agents\\x", "agents x", "agents\n",
        "agents?x", "agents/{id}", "agènts", "a" * 257,
    ],
    ids=repr,
)  # fmt: skip
def test_a_pattern_of_another_form_is_refused(text: str) -> None:
    """B8 breaks: a stored pattern covers something else than it seems to."""
    assert not is_resource_pattern(text)


@pytest.mark.promise("P19")
@pytest.mark.parametrize(
    "patterns, resource, expected",
    [
        ((), None, True),
        ((), "anything", True),
        (("agents/*",), None, False),
        (("agents/*",), "", False),
        (("agents/*",), "agents/1", True),
        (("agents/*",), "agents/1/logs", True),
        (("agents/*",), "agents", False),
        (("agents/*",), "agents/", False),
        (("agents/*",), "agentsx/1", False),
        (("agents/*",), "xagents/1", False),
        (("agents/*",), "Agents/1", False),
        (("agents/*",), "agents/../keys", False),
        (("agents/*",), "agents/./1", False),
        (("agents/*",), "agents//1", False),
        (("agents/*",), "/agents/1", False),
        (("agents/1",), "agents/1", True),
        (("agents/1",), "agents/12", False),
        (("agents/1",), "agents/1/logs", False),
        (("agents/1",), "agents", False),
        (("agents/1", "plugins/*"), "plugins/2", True),
        (("agents/1", "plugins/*"), "agents/2", False),
    ],
)
def test_a_pattern_covers_what_it_says(
    patterns: tuple[str, ...], resource: str | None, expected: bool
) -> None:
    """P19 breaks: a credential reaches a resource outside its restrictions."""
    assert resource_matches(patterns, resource) is expected


# Callers and limits

ALICE = Caller(SYSTEM, "org_acme", frozenset({"read:audit"}), operator=True)


def test_what_a_caller_lacks_is_named() -> None:
    """P19 breaks: a caller without the scope gets through, or is not told which one is missing."""
    require(ALICE, "read:audit")
    with pytest.raises(Problem) as caught:
        require(ALICE, "write:audit")
    assert (caught.value.status, caught.value.members) == (403, {"scope": "write:audit"})
    with pytest.raises(Problem):
        require(replace(ALICE, scopes=frozenset({"api", "m2m"})), "read:audit")


def test_the_installation_is_the_operators() -> None:
    """P19 breaks: a customer's admin changes objects of the whole installation."""
    require_operator(ALICE, "read:audit")
    for other in (replace(ALICE, operator=False), replace(ALICE, scopes=frozenset())):
        with pytest.raises(Problem) as caught:
            require_operator(other, "read:audit")
        assert caught.value.status == 403


@pytest.mark.parametrize(
    "value, count, reached",
    [(None, 10**9, False), (10, 9, False), (10, 10, True), (10, 11, True), (0, 0, True), (1, 0, False)],
)
def test_a_limit_holds(value: int | None, count: int, reached: bool) -> None:
    """B8 breaks: a limit allows one too many or one too few, or the error does not show it."""
    policy = Policy(max_credentials_per_service_account=value)
    if not reached:
        policy.check("max_credentials_per_service_account", count)
        return
    with pytest.raises(Problem) as caught:
        policy.check("max_credentials_per_service_account", count)
    assert caught.value.code == "limit-reached"
    assert caught.value.members == {
        "limit": "max_credentials_per_service_account", "value": value, "count": count,
    }  # fmt: skip


def test_the_default_limits_are_the_documented_ones() -> None:
    """The product's table of limits breaks: an installation starts with other limits."""
    assert Policy() == Policy(
        max_credentials_per_service_account=10, max_credentials_per_organization=100, deletion_delay=24 * HOUR
    )
