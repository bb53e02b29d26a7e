"""`judge`: each result by itself, their precedence, and equality with a naive model."""

from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from ostiary.core.address import parse_address, parse_network
from ostiary.core.instant import HOUR, SECOND
from ostiary.core.model import (
    CredentialStatus,
    Organization,
    Principal,
    RoleScopes,
    Standing,
    client_id_of,
    credential_status,
)
from ostiary.core.permission import EVERYTHING
from ostiary.core.verdict import CHECKS, FORBIDDEN_CODES, MALFORMED, UNKNOWN, Access, Verdict, VerdictCode
from ostiary.core.verdict import judge as judge_on_target
from tests.cast import NOON

DIGEST = b"\x01" * 32
ACME = Organization("org_acme", "acme", "Acme", True, NOON, None)
READ, WRITE = "read:agents", "write:agents"
ROBO = Principal("service_account", "sa_robo", "Robo", "robo@acme.localhost", barred=False)


def standing(**changed: Any) -> Standing:
    """Robo's key, which may read and write agents in the whole organization."""
    facts: dict[str, Any] = {
        "credential_id": "cred_1",
        "kind": "api_key",
        "name": "CI",
        "access_id": "0" * 32,
        "superseded_at": None,
        "ends_at": None,
        "ended_at": None,
        "replaced_at": None,
        "last6": "0abcde",
        "digest": DIGEST,
        "pepper_id": "p",
        "deactivated_at": None,
        "revoked_at": None,
        "expires_at": None,
        "networks": (),
        "access_level": "full",
        "scopes": (),
        "resources": (),
        "project_id": None,
        "rate_limit": None,
        "principal": ROBO,
        "grants": (RoleScopes(frozenset({READ, WRITE}), None),),
        "organization": ACME,
    }
    return Standing(**facts | changed)


def robo(**changed: Any) -> Principal:
    return replace(ROBO, **changed)


def asked(**changed: Any) -> Access:
    facts: dict[str, Any] = {"now": NOON, "address": parse_address("192.0.2.1")}
    return Access(**facts | changed)


def judge(facts: Standing, access: Access) -> Verdict:
    """As it is judged where no project was asked for: the target is the credential's own."""
    return judge_on_target(facts, access._replace(project=access.project or facts.project_id))


INSIDE = (parse_network("192.0.2.0/24"),)
OUTSIDE = (parse_network("198.51.100.0/24"),)
PROJECT_GRANT = (RoleScopes(frozenset({READ}), "prj_1"),)

TABLE: list[tuple[str, VerdictCode, Standing, Access]] = [
    ("good", "valid", standing(), asked()),
    ("asked by its own organization", "valid", standing(), asked(tenant="org_acme")),
    ("asked by another organization", "unknown", standing(), asked(tenant="org_other")),
    ("revoked, asked by another", "unknown", standing(revoked_at=NOON), asked(tenant="org_other")),
    ("revoked", "revoked", standing(revoked_at=NOON), asked()),
    ("revoked by a faster clock", "revoked", standing(revoked_at=NOON + HOUR), asked()),
    ("ends now", "expired", standing(expires_at=NOON), asked()),
    ("ended", "expired", standing(expires_at=NOON - 1), asked()),
    ("ends in a microsecond", "valid", standing(expires_at=NOON + 1), asked()),
    ("deactivated", "deactivated", standing(deactivated_at=NOON), asked()),
    ("in the overlap", "valid", standing(superseded_at=NOON - 1, ends_at=NOON + 1), asked()),
    ("until completed", "valid", standing(superseded_at=NOON - 1), asked()),
    ("the overlap ends now", "revoked", standing(superseded_at=NOON - 1, ends_at=NOON), asked()),
    ("ended by a faster clock", "revoked", standing(superseded_at=NOON, ended_at=NOON + HOUR), asked()),
    ("ended, and deactivated", "revoked", standing(ended_at=NOON, deactivated_at=NOON), asked()),
    ("owner barred", "disabled", standing(principal=robo(barred=True)), asked()),
    ("suspended", "disabled", standing(organization=replace(ACME, suspended_at=NOON)), asked()),
    ("from inside", "valid", standing(networks=INSIDE), asked()),
    ("from outside", "ip_not_allowed", standing(networks=OUTSIDE), asked()),
    ("from nowhere", "ip_not_allowed", standing(networks=INSIDE), asked(address=None)),
    ("from nowhere, no list", "valid", standing(), asked(address=None)),
    ("has the scope", "valid", standing(), asked(scopes=frozenset({READ, WRITE}))),
    ("lacks a scope", "insufficient_scope", standing(), asked(scopes=frozenset({READ, "read:audit"}))),
    ("a scope that nobody knows", "insufficient_scope", standing(), asked(scopes=frozenset({"x"}))),
    ("no role, nothing asked", "valid", standing(grants=()), asked()),
    ("no role", "insufficient_scope", standing(grants=()), asked(scopes=frozenset({READ}))),
    ("no role, everything asked", "valid", standing(grants=()), asked(scopes=EVERYTHING)),
    (
        "everything and more", "insufficient_scope", standing(grants=()),
        asked(scopes=frozenset({"api", READ})),
    ),
    (
        "limited, everything asked", "insufficient_scope", standing(access_level="fine_grained", scopes=(READ,)),
        asked(scopes=frozenset({"api"})),
    ),
    (
        "lists everything", "valid", standing(access_level="fine_grained", scopes=("api",)),
        asked(scopes=frozenset({"api", WRITE})),
    ),
    (
        "empty list", "insufficient_scope", standing(access_level="fine_grained"),
        asked(scopes=frozenset({READ})),
    ),
    (
        "lists more than it holds", "insufficient_scope",
        standing(access_level="fine_grained", scopes=("read:audit",)), asked(scopes=frozenset({"read:audit"})),
    ),
    (
        "the account's ceiling", "insufficient_scope",
        standing(principal=robo(access_level="fine_grained", scopes=(READ,))), asked(scopes=frozenset({WRITE})),
    ),
    ("its project", "valid", standing(project_id="prj_1"), asked(project="prj_1")),
    (
        "its project by default", "valid", standing(project_id="prj_1", grants=PROJECT_GRANT),
        asked(scopes=frozenset({READ})),
    ),
    ("another project", "project_not_allowed", standing(project_id="prj_1"), asked(project="prj_2")),
    (
        "a project of the account's", "valid", standing(principal=robo(projects=("prj_1", "prj_2"))),
        asked(project="prj_2"),
    ),
    (
        "none of the account's", "project_not_allowed", standing(principal=robo(projects=("prj_1",))),
        asked(project="prj_2"),
    ),
    (
        "the organization, of an account limited to projects", "project_not_allowed",
        standing(principal=robo(projects=("prj_1",))), asked(),
    ),
    (
        "bound to one of the account's", "valid",
        standing(principal=robo(projects=("prj_1",)), project_id="prj_1"), asked(),
    ),
    (
        "bound to another than the account's", "project_not_allowed",
        standing(principal=robo(projects=("prj_1",)), project_id="prj_2"), asked(about_itself=True),
    ),
    (
        "limited to projects, about itself", "valid", standing(principal=robo(projects=("prj_1",))),
        asked(about_itself=True),
    ),
    ("an unknown project", "project_not_allowed", standing(), asked(unknown_project=True)),
    (
        "an unknown project for a bound one", "project_not_allowed", standing(project_id="prj_1"),
        asked(unknown_project=True),
    ),
    (
        "a role on the project", "valid", standing(grants=PROJECT_GRANT),
        asked(scopes=frozenset({READ}), project="prj_1"),
    ),
    (
        "a role on another project", "insufficient_scope", standing(grants=PROJECT_GRANT),
        asked(scopes=frozenset({READ}), project="prj_2"),
    ),
    (
        "a role on a project, none named", "insufficient_scope", standing(grants=PROJECT_GRANT),
        asked(scopes=frozenset({READ})),
    ),
    (
        "a role on the organization", "valid", standing(),
        asked(scopes=frozenset({READ}), project="prj_2"),
    ),
    ("its resource", "valid", standing(resources=("agents/*",)), asked(resource="agents/1")),
    ("another resource", "resource_not_allowed", standing(resources=("agents/*",)), asked(resource="plugins/1")),
    ("no resource named", "resource_not_allowed", standing(resources=("agents/*",)), asked()),
    ("about itself", "valid", standing(resources=("agents/*",)), asked(about_itself=True)),
    (
        "the account's resources", "resource_not_allowed",
        standing(resources=("agents/*",), principal=robo(resources=("agents/1",))), asked(resource="agents/2"),
    ),
    (
        "both resources", "valid",
        standing(resources=("agents/*",), principal=robo(resources=("agents/1",))), asked(resource="agents/1"),
    ),
    ("any resource", "valid", standing(), asked(resource="../x")),
]  # fmt: skip


@pytest.mark.promise("P1")
@pytest.mark.parametrize("code, facts, access", [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_each_answer(code: VerdictCode, facts: Standing, access: Access) -> None:
    """P1, P2, P16, P19 break: a credential is accepted where it must not be, or refused where it is valid."""
    verdict = judge(facts, access)
    assert verdict.code == code
    assert verdict.valid is (code == "valid")
    assert (verdict.standing is None) is (code == "unknown")
    assert verdict.valid or verdict.scopes == frozenset()
    assert bool(verdict.missing) is (code == "insufficient_scope")


def test_every_code_of_this_version_has_a_case() -> None:
    """API breaks: no case reaches some code."""
    later = {"wrong_audience"}  # tokens have audiences, API keys have none
    counted = {"rate_limited"}  # depends on earlier requests, not on facts about the credential
    assert {row[1] for row in TABLE} | {"malformed"} | later | counted == set(get_args(VerdictCode))
    assert {row[1] for row in TABLE} & FORBIDDEN_CODES == FORBIDDEN_CODES - later
    assert (MALFORMED.code, MALFORMED.standing, UNKNOWN.code, UNKNOWN.standing) == (
        "malformed", None, "unknown", None,
    )  # fmt: skip


def test_precedence() -> None:
    """B2 breaks: an invalid credential gets a refusal that is for valid ones, or a reversible state hides a final one.

    At first every fact is wrong. Then the reported ones are corrected one by one.
    """
    facts = standing(
        revoked_at=NOON,
        expires_at=NOON,
        deactivated_at=NOON,
        principal=robo(barred=True),
        organization=replace(ACME, suspended_at=NOON),
        networks=OUTSIDE,
        project_id="prj_1",
        resources=("agents/1",),
    )
    access = asked(scopes=frozenset({"read:audit"}), project="prj_2", resource="agents/2", tenant="org_other")
    mended: dict[VerdictCode, tuple[dict[str, Any], dict[str, Any]]] = {
        "unknown": ({}, {"tenant": None}),
        "revoked": ({"revoked_at": None}, {}),
        "expired": ({"expires_at": None}, {}),
        "deactivated": ({"deactivated_at": None}, {}),
        "disabled": ({"principal": ROBO, "organization": ACME}, {}),
        "ip_not_allowed": ({"networks": INSIDE}, {}),
        "project_not_allowed": ({}, {"project": "prj_1"}),
        "insufficient_scope": ({}, {"scopes": frozenset()}),
        "resource_not_allowed": ({}, {"resource": "agents/1"}),
    }
    for code, (of_facts, of_access) in mended.items():
        assert judge(facts, access).code == code
        facts, access = replace(facts, **of_facts), access._replace(**of_access)
    assert judge(facts, access).code == "valid"


@pytest.mark.promise("P1")
@pytest.mark.parametrize(
    "revoked, expires, deactivated, expected",
    [
        (None, None, None, "active"),
        (None, NOON + SECOND, None, "active"),
        (None, None, NOON, "deactivated"),
        (None, NOON, NOON, "expired"),
        (NOON, NOON, NOON, "revoked"),
        (NOON, None, None, "revoked"),
        (0, None, None, "revoked"),
        (None, 0, None, "expired"),
        (None, None, 0, "deactivated"),
    ],
)
def test_what_is_final_comes_first(
    revoked: int | None, expires: int | None, deactivated: int | None, expected: CredentialStatus
) -> None:
    """P1 breaks: a revoked credential has a status that seems reversible."""
    assert credential_status(revoked, expires, deactivated, NOON) == expected


def test_what_is_missing_is_named() -> None:
    """B2 breaks: a 403 does not name the missing scope, or names one that is present."""
    verdict = judge(standing(), asked(scopes=frozenset({READ, "read:audit", "x"})))
    assert verdict.missing == {"read:audit", "x"}


def test_changed_facts_have_their_own_scopes() -> None:
    """R5 breaks: a standing with changed roles returns cached scopes of the original."""
    before = standing()
    assert judge(before, asked()).scopes == {READ, WRITE}
    assert judge(replace(before, grants=()), asked()).scopes == frozenset()


def test_memory_of_projects_is_bounded() -> None:
    """P20 breaks: requests about many projects fill the memory, or later ones get a wrong result."""
    facts = standing(grants=(RoleScopes(frozenset({READ}), None), RoleScopes(frozenset({WRITE}), "prj_999")))
    for number in range(1_000):
        expected = {READ, WRITE} if number == 999 else {READ}
        assert judge(facts, asked(project=f"prj_{number}")).scopes == expected
    assert len(facts.on_projects or ()) == 64


def test_a_client_id_is_the_accounts_own() -> None:
    """The product's words break: an account's client id is not `ostiary-sa-` and its id part."""
    assert client_id_of("sa_01m7q5cqg0") == "ostiary-sa-01m7q5cqg0"


# Against a naive model

COVERS = {
    # range: those of ADDRESSES that are in it
    "192.0.2.0/24": {"192.0.2.1"},
    "0.0.0.0/0": {"192.0.2.1", "198.51.100.7"},
    "2001:db8::/32": {"2001:db8::1"},
}
ADDRESSES = [None, "192.0.2.1", "198.51.100.7", "2001:db8::1"]
REACHES = {
    # pattern: those of RESOURCES that it covers
    "agents/*": {"agents/1", "agents/1/logs"},
    "agents/1": {"agents/1"},
    "plugins/*": {"plugins/1"},
}
RESOURCES = [None, "agents", "agents/1", "agents/1/logs", "plugins/1", "agents/../plugins/1"]
SCOPES = [READ, WRITE, "read:plugins"]
PROJECTS = [None, "prj_1", "prj_2"]

rarely = st.sampled_from([False] * 15 + [True])  # so that most cases reach the later checks
rarely_set = rarely.map(lambda so: NOON if so else None)
some_scopes = st.frozensets(st.sampled_from([*SCOPES, "api", "m2m"]), max_size=3)
patterns = st.lists(st.sampled_from([*REACHES]), max_size=2).map(tuple)
levels = st.sampled_from(["full", "fine_grained"])

standings = st.builds(
    standing,
    revoked_at=rarely_set,
    expires_at=st.sampled_from([None, NOON + 1, NOON + SECOND]) | rarely_set,
    deactivated_at=rarely_set,
    networks=st.lists(st.sampled_from([*COVERS]), max_size=2).map(lambda ns: tuple(map(parse_network, ns))),
    access_level=levels,
    scopes=some_scopes.map(tuple),
    resources=patterns,
    project_id=st.sampled_from(PROJECTS),
    principal=st.builds(
        robo,
        barred=rarely,
        access_level=levels,
        scopes=some_scopes.map(tuple),
        resources=patterns,
    ),
    grants=st.lists(
        st.builds(RoleScopes, st.frozensets(st.sampled_from(SCOPES)), st.sampled_from(PROJECTS)), max_size=3
    ).map(tuple),
    organization=rarely_set.map(lambda suspended: replace(ACME, suspended_at=suspended)),
)
accesses = st.builds(
    asked,
    address=st.sampled_from(ADDRESSES).map(lambda text: None if text is None else parse_address(text)),
    scopes=some_scopes,
    project=st.sampled_from(PROJECTS),
    unknown_project=rarely,
    resource=st.sampled_from(RESOURCES),
    about_itself=st.booleans(),
    tenant=rarely.map(lambda so: "org_other" if so else None),
)


def permits(level: str, listed: tuple[str, ...], scope: str) -> bool:
    return level == "full" or scope in listed or "api" in listed or "m2m" in listed


def model(facts: Standing, access: Access) -> tuple[str, set[str]]:
    """Return the code and the scopes as the documentation specifies them, without regard to speed."""
    owner = facts.principal
    target = access.project if access.project is not None else facts.project_id
    held = set()
    for scope in SCOPES:
        granted = any(scope in grant.scopes and grant.project_id in {None, target} for grant in facts.grants)
        in_ceiling = permits(owner.access_level, owner.scopes, scope)
        if granted and in_ceiling and permits(facts.access_level, facts.scopes, scope):
            held.add(scope)
    lacking = {scope for scope in access.scopes if scope not in held}
    if permits(facts.access_level, facts.scopes, "api") and lacking <= {"api", "m2m"}:
        lacking = set()
    reached = all(
        not restriction or any(access.resource in REACHES[pattern] for pattern in restriction)
        for restriction in (facts.resources, owner.resources)
    )
    covered = not facts.networks or any(str(access.address) in COVERS[str(each)] for each in facts.networks)
    wrong = [
        ("unknown", access.tenant not in {None, facts.organization.id}),
        ("revoked", facts.revoked_at is not None),
        ("expired", facts.expires_at is not None and facts.expires_at <= access.now),
        ("deactivated", facts.deactivated_at is not None),
        ("disabled", owner.barred or facts.organization.suspended_at is not None),
        ("ip_not_allowed", not covered),
        ("project_not_allowed", access.unknown_project or facts.project_id not in {None, target}),
        ("insufficient_scope", bool(lacking)),
        ("resource_not_allowed", not access.about_itself and not reached),
    ]
    code = next((name for name, is_wrong in wrong if is_wrong), "valid")
    return code, held if code == "valid" else set()


@pytest.mark.promise("P19")
@settings(max_examples=10 * settings().max_examples)
@given(standings, accesses)
def test_the_verdict_is_that_of_the_naive_model(facts: Standing, access: Access) -> None:
    """P1, P2, P16, P19 break: some combination of facts is judged differently from the documentation."""
    verdict = judge(facts, access)
    event(verdict.code)
    assert (verdict.code, set(verdict.scopes)) == model(facts, access)
    assert judge(facts, access) == verdict  # cached scopes do not change the result


@pytest.mark.promise("P19")
@settings(max_examples=10 * settings().max_examples)
@given(standings, accesses)
def test_a_check_that_is_skipped_would_not_refuse(facts: Standing, access: Access) -> None:
    """P1, P19 break: a check is passed over for a standing that it would refuse."""
    for check in CHECKS:
        assert check.concerns(facts) or check.refuses(facts, access) is None


def test_no_check_refuses_with_a_code_that_its_line_does_not_name() -> None:
    """API breaks: the table of checks says less than what is refused."""
    for _, _, facts, access in TABLE:
        for check in CHECKS:
            assert check.refuses(facts, access) in (None, *check.codes)
