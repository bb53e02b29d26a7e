"""`/v1/verify`: one verdict for each state of a credential, and only the code if it is not valid."""

from collections.abc import Callable
from typing import Any

import pytest

from ostiary.core import secret
from ostiary.core.instant import DAY, to_text
from ostiary.core.permission import FIRST_CATALOGUE
from ostiary.services import credentials, service_accounts
from ostiary.services.credentials import Created
from ostiary.services.issuance import CredentialSpec
from ostiary.services.roles import RoleSpec
from ostiary.storage import directory as directory_rows
from tests.cast import Front, House

FIELDS = (
    "valid", "code", "credential_id", "kind", "principal", "organization",
    "project", "scopes", "expires_at", "rate_limit", "rotation",
)  # fmt: skip
DEVELOPER = sorted({*FIRST_CATALOGUE, "read:service-accounts"})


def wrong_secret(text: str) -> str:
    """The same access id with another well-formed secret."""
    body = text[:35] + ("a" if text[35] != "a" else "b") + text[36:-6]
    return body + secret.checksum(body.encode())


def mistyped(text: str) -> str:
    """The key with one letter of its checksum changed."""
    return text[:-1] + ("a" if text[-1] != "a" else "b")


def never_made(_text: str = "") -> str:
    body = "ak-" + "0" * 32 + "x" * 38
    return body + secret.checksum(body.encode())


def made(house: House, **spec: Any) -> Created:
    return house.key(house.account(), **spec)


def after(service: Callable[..., object]) -> Callable[[House], Created]:
    def act(house: House) -> Created:
        key = made(house)
        house.store.write(service, house.alice, key.listed.credential.id)
        return key

    return act


def after_expiry(house: House) -> Created:
    key = made(house, expires_at=house.clock.now + DAY)
    house.clock.advance(DAY)
    return key


def of_a_disabled_account(house: House) -> Created:
    key = made(house)
    house.store.write(service_accounts.set_disabled, house.alice, key.listed.credential.owner_id, True)
    return key


def bound_to_a_project(house: House) -> Created:
    add_project(house)
    return made(house, project="one")


def add_project(house: House) -> None:
    house.store.write_on((), directory_rows.insert_project, "prj_one", house.acme.id, "one", "One")
    house.store.write_on((), directory_rows.insert_project, "prj_two", house.acme.id, "two", "Two")


REFUSALS: list[tuple[str, str, Callable[[House], Created], Callable[[str], str], dict[str, Any], bool]] = [
    # name, code, credential, text sent, other fields of the request, and whether the digest matched
    ("nonsense", "malformed", made, lambda _: "nonsense", {}, False),
    ("empty", "malformed", made, lambda _: "", {}, False),
    ("not in the alphabet", "malformed", made, lambda text: text[:-7] + "!" + text[-6:], {}, False),
    ("wrong checksum", "malformed", made, mistyped, {}, False),
    ("too long", "malformed", made, lambda text: text + "a" * 600, {}, False),
    ("not ASCII", "malformed", made, lambda text: text[:-1] + "é", {}, False),
    ("never made", "unknown", made, never_made, {}, False),
    ("wrong secret", "unknown", made, wrong_secret, {}, False),
    ("wrong secret of a revoked one", "unknown", after(credentials.revoke), wrong_secret, {}, False),
    ("expired", "expired", after_expiry, str, {}, True),
    ("revoked", "revoked", after(credentials.revoke), str, {}, True),
    ("deactivated", "deactivated", after(credentials.deactivate), str, {}, True),
    ("account disabled", "disabled", of_a_disabled_account, str, {}, True),
    (
        "address outside",
        "ip_not_allowed",
        lambda house: made(house, allowed_ips=("203.0.113.0/24",)),
        str,
        {"ip": "192.0.2.1"},
        True,
    ),
    (
        "a list and no address",
        "ip_not_allowed",
        lambda house: made(house, allowed_ips=("192.0.2.1/32",)),
        str,
        {},
        True,
    ),
    ("scope not held", "insufficient_scope", made, str, {"scopes": ["read:agents", "read:audit"]}, True),
    ("scope nobody knows", "insufficient_scope", made, str, {"scopes": ["fly:moon"]}, True),
    ("scope of no form", "insufficient_scope", made, str, {"scopes": [""]}, True),
    ("no such project", "project_not_allowed", made, str, {"project": "nowhere"}, True),
    ("another project", "project_not_allowed", bound_to_a_project, str, {"project": "two"}, True),
    ("another resource", "resource_not_allowed", lambda h: made(h, resources=("agents/*",)), str,
     {"resource": "plugins/1"}, True),
    ("no resource", "resource_not_allowed", lambda h: made(h, resources=("agents/*",)), str, {}, True),
    ("resource with dots", "resource_not_allowed", lambda h: made(h, resources=("agents/*",)), str,
     {"resource": "agents/../plugins"}, True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "prepare", "sent", "question", "proven"),
    [case[1:] for case in REFUSALS],
    ids=[case[0] for case in REFUSALS],
)
def test_a_refusal_tells_its_code_and_whose_it_is(
    front: Front,
    code: str,
    prepare: Callable[[House], Created],
    sent: Callable[[str], str],
    question: dict[str, Any],
    proven: bool,
) -> None:
    """API breaks: a verdict has another code, or reveals more about an invalid credential."""
    key = prepare(front.house)
    for _ in range(2):  # from the database, then from the cache
        found = front.verify(sent(key.secret.reveal()), **question)
        assert tuple(found) == FIELDS
        assert (found.pop("valid"), found.pop("code")) == (False, code)
        assert found.pop("credential_id") == (key.listed.credential.id if proven else None)
        assert set(found.values()) == {None}


def test_a_valid_credential_is_told_in_full(front: Front) -> None:
    """API breaks: a resource server does not learn who the caller is and what it may do."""
    robo = front.house.account("Robo", username="robo")
    key = front.house.key(robo)
    expected: dict[str, Any] = {
        "valid": True,
        "code": "valid",
        "credential_id": key.listed.credential.id,
        "kind": "api_key",
        "principal": {
            "type": "service_account",
            "id": robo.account.id,
            "display_name": "Robo",
            "username": "robo@acme.localhost",
        },
        "organization": front.house.acme.id,
        "project": None,
        "scopes": DEVELOPER,
        "expires_at": None,
        "rate_limit": {"limit": 1000, "remaining": 999, "reset": 1},
        "rotation": None,
    }
    for remaining in (999, 998):
        expected["rate_limit"]["remaining"] = remaining
        assert front.verify(key.secret.reveal()) == expected
    asked: dict[str, Any] = {
        "scopes": ["read:agents"],
        "resource": "agents/1",
        "ip": "192.0.2.1",
        "audience": "x",
    }
    expected["rate_limit"]["remaining"] = 997
    assert front.verify(key.secret.reveal(), **asked) == expected


def test_targets_and_times_of_a_valid_credential(front: Front) -> None:
    """Roles break: a role on a project counts outside it, or does not count in it."""
    house = front.house
    add_project(house)
    robo = house.account(roles=())
    house.store.write(
        service_accounts.set_role_bindings,
        house.alice,
        robo.account.id,
        [RoleSpec("viewer"), RoleSpec("developer", "one")],
    )
    expires_at = house.clock.now + DAY
    free = house.key(robo).secret.reveal()
    bound = house.key(robo, project="one", expires_at=expires_at).secret.reveal()
    assert "write:agents" not in front.verify(free)["scopes"]
    assert "write:agents" not in front.verify(free, project="two")["scopes"]
    for name in ("one", "prj_one"):
        found = front.verify(free, project=name, scopes=["write:agents"])
        assert (found["code"], found["project"]) == ("valid", "prj_one")
        assert "write:agents" in found["scopes"]
    found = front.verify(bound)
    assert (found["project"], found["expires_at"]) == ("prj_one", to_text(expires_at))
    assert "write:agents" in found["scopes"]
    limited = house.key(robo, resources=("agents/*", "plugins/one")).secret.reveal()
    for resource, code in {
        "agents/1": "valid",
        "agents/1/runs": "valid",
        "plugins/one": "valid",
        "plugins/one/x": "resource_not_allowed",
        "agents/": "resource_not_allowed",
        "agents": "resource_not_allowed",
    }.items():
        assert front.verify(limited, resource=resource)["code"] == code, resource


@pytest.mark.promise("P19")
def test_a_customers_verifier_sees_its_own_and_the_operators_sees_all(front: Front) -> None:
    """P19 breaks: a resource server learns that another tenant's credential exists, or who owns it."""
    house = front.house
    robo = house.key(house.account()).secret.reveal()
    revoked = after(credentials.revoke)(house).secret.reveal()
    for text, code in ((robo, "valid"), (revoked, "revoked"), (house.charlie_key, "valid")):
        assert front.verify(text)["code"] == code
    assert front.verify(house.charlie_key, key=house.charlie_key)["code"] == "valid"
    unknown = front.verify(never_made(), key=house.charlie_key)
    assert unknown["code"] == "unknown"
    for text in (robo, revoked, house.alice_key, wrong_secret(robo)):
        assert front.verify(text, key=house.charlie_key) == unknown


def test_asking_needs_a_scope_of_its_own(front: Front) -> None:
    """P19 breaks: a credential without the scope can verify others."""
    house = front.house
    body = {"credential": house.alice_key}
    for role, status in {"developer": 403, "viewer": 403, "resource-server": 200}.items():
        key = house.key(house.account(role, roles=(role,))).secret.reveal()
        answer = front.ask("POST", "/v1/verify", body, key=key)
        assert answer.status == status, role
        if status == 403:
            assert answer.json()["scope"] == "verify:credentials"
            challenge = 'Bearer error="insufficient_scope", scope="verify:credentials"'
            assert answer.headers["www-authenticate"] == challenge
    assert front.ask("POST", "/v1/verify", body).status == 401


def test_a_question_that_is_not_to_be_counted_is_not(front: Front) -> None:
    """P5 breaks: a request with `"count": false` is counted as a use, or one without is not."""
    house = front.house
    key = house.key(house.account())
    path = f"/v1/credentials/{key.listed.credential.id}"

    def last_used_at() -> object:
        front.write_counts()
        return front.ask("GET", path, key=house.alice_key).json()["last_used_at"]

    front.verify(key.secret.reveal(), count=False)
    front.verify(key.secret.reveal(), count=False, scopes=["fly:moon"])
    assert last_used_at() is None
    events = front.ask("GET", f"/v1/audit-events?target={key.listed.credential.id}", key=house.alice_key)
    assert [each["action"] for each in events.json()["data"]] == ["credential.created"]
    front.verify(key.secret.reveal(), count=True)
    assert last_used_at() == to_text(house.clock.now)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], ""),
        ("ak-", ""),
        ({}, "/credential"),
        ({"credential": 1}, "/credential"),
        ({"credential": "x", "ip": "010.0.0.1"}, "/ip"),
        ({"credential": "x", "ip": "10.0.0.0/8"}, "/ip"),
        ({"credential": "x", "ip": "fe80::1%eth0"}, "/ip"),
        ({"credential": "x", "scopes": "read:agents"}, "/scopes"),
        ({"credential": "x", "scopes": [1]}, "/scopes"),
        ({"credential": "x", "scopes": ["read:agents"] * 101}, "/scopes"),
        ({"credential": "x", "project": 1}, "/project"),
        ({"credential": "x", "resource": []}, "/resource"),
        ({"credential": "x", "audience": 1}, "/audience"),
        ({"credential": "x", "count": "no"}, "/count"),
        ({"credential": "x", "count": 1}, "/count"),
        ({"credential": "x", "secret": "y"}, "/secret"),
        ({"credential": "x\x00"}, "/credential"),
    ],
)
def test_a_question_of_another_form_is_refused(front: Front, body: object, pointer: str) -> None:
    """B8 breaks: a malformed request gets a verdict."""
    answer = front.ask("POST", "/v1/verify", body, key=front.house.alice_key)
    assert answer.status == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]


def test_all_wrong_fields_are_told_at_once(front: Front) -> None:
    """B8 breaks: a developer sees only one error of a request at a time."""
    body = {"ip": "x", "scopes": 1, "count": 2, "extra": 3}
    errors = front.ask("POST", "/v1/verify", body, key=front.house.alice_key).json()["errors"]
    assert {each["pointer"] for each in errors} == {"/credential", "/ip", "/scopes", "/count", "/extra"}


def test_capabilities_say_who_the_credential_is(front: Front) -> None:
    """API breaks: a credential cannot query what it is, whatever its permissions."""
    house = front.house
    add_project(house)
    robo = house.account("Robo", roles=(), username="robo", resources=("agents/*",))
    expires_at = house.clock.now + DAY
    key = house.key(
        robo,
        name="Narrow",
        project="one",
        access_level="fine_grained",
        scopes=("read:agents",),
        resources=("agents/1",),
        allowed_ips=("192.0.2.0/24",),
        expires_at=expires_at,
    )
    answer = front.ask("GET", "/v1/capabilities", key=key.secret.reveal())
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "principal": {
            "type": "service_account",
            "id": robo.account.id,
            "display_name": "Robo",
            "username": "robo@acme.localhost",
        },
        "credential": {
            "id": key.listed.credential.id,
            "kind": "api_key",
            "name": "Narrow",
            "access_level": "fine_grained",
            "expires_at": to_text(expires_at),
            "rotation": None,
        },
        "organization": {"id": house.acme.id, "slug": "acme", "name": "Acme"},
        "project": "prj_one",
        "scopes": [],
        "resources": {"account": ["agents/*"], "credential": ["agents/1"]},
        "limits": {
            "allowed_ips": ["192.0.2.0/24"],
            "projects": [],
            "rate_limit": {"limit": 1000, "remaining": 999, "reset": 1},
        },
    }
    direct = house.store.write(credentials.create_direct, house.bob, CredentialSpec())
    found = front.ask("GET", "/v1/capabilities", key=direct.secret.reveal()).json()
    assert found["principal"]["display_name"] == "bob@acme.test"
    assert found["scopes"] == ["read:agents", "read:plugins", "read:service-accounts"]
