"""Sessions over HTTP: login, the access of a session, and how it ends. The test controls the clock."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ostiary.core.instant import DAY, HOUR, SECOND
from ostiary.services import credentials, projects, service_accounts
from ostiary.services.credentials import Created
from ostiary.services.roles import RoleSpec
from ostiary.services.service_accounts import AccountView
from tests import signers
from tests.cast import Answer, Front, House
from tests.mutants import GONE
from tests.services.questions import events

LOGIN = "/v1/sessions"
PARTNER = "/identity/public/v1/api/login"
WHOAMI = "/identity/v1/whoami"


def signed(house: House, file: Created, **changed: Any) -> str:
    key_id = file.listed.credential.access_id
    return signers.login(file.secret.reveal(), key_id, house.clock(), **changed)


def login(front: Front, file: Created, path: str = LOGIN, project: object = None, **changed: Any) -> Answer:
    body = {"token": signed(front.house, file, **changed)}
    return front.ask("POST", path, body if project is None else body | {"default_project_code": project})


def cookie(text: str, name: str = "ostiary_session", **more: str) -> dict[str, str]:
    return {"cookie": f"other=1; {name}={text}"} | {k.replace("_", "-"): v for k, v in more.items()}


def begun(front: Front, file: Created, **given: Any) -> str:
    answer = login(front, file, **given)
    assert answer.status in (200, 201), answer.body
    return str(answer.json()["token"])


def robo_and_file(front: Front, **spec: Any) -> tuple[AccountView, Created]:
    robo = front.house.account()
    return robo, front.house.key_file(robo, **spec)


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
@pytest.mark.parametrize(("path", "status"), [(LOGIN, 201), (PARTNER, 200)])
def test_a_login(front: Front, algorithm: Any, path: str, status: int) -> None:
    """System 1 breaks: the documented login does not start a session, or its response has no cookie."""
    house = front.house
    robo = house.account()
    file = house.key_file(robo, algorithm)
    answer = login(front, file, path)
    assert (answer.status, answer.headers["cache-control"]) == (status, "no-store")
    told = answer.json()
    assert answer.headers["set-cookie"] == (
        f"ostiary_session={told['token']}; Path=/; HttpOnly; SameSite=Strict; Max-Age={30 * DAY // SECOND}"
    )
    assert "ratelimit" in answer.headers
    session = told["session"]
    assert session["owner"] == {"type": "service_account", "id": robo.account.id, "display_name": "Robo"}
    assert session["credential_id"] == file.listed.credential.id
    assert (session["status"], session["address"], session["project"]) == ("active", "192.0.2.1", None)
    assert told["token"].startswith("session_")
    assert front.verify(told["token"])["kind"] == "session"


@pytest.mark.promise("P24")
def test_on_an_https_issuer_the_cookie_is_of_this_host_alone(sqlite_house: House, tmp_path: Path) -> None:
    """P24 breaks: a session's cookie is sent over http, or another host of the domain can set it."""
    store = sqlite_house.store
    installation = replace(store.installation, issuer="https://keys.example.com")
    house = replace(sqlite_house, store=replace(store, installation=installation))
    front = Front(house, tmp_path, issuer="https://keys.example.com")
    try:
        answer = login(front, house.key_file(house.account()))
        text = answer.json()["token"]
        assert answer.headers["set-cookie"].startswith(
            f"__Host-ostiary_session={text}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age="
        )
        assert front.ask("GET", WHOAMI, headers=cookie(text, "__Host-ostiary_session")).status == 200
    finally:
        front.close()


def test_a_session_may_do_what_its_key_may(front: Front) -> None:
    """System 1 breaks: an endpoint does not accept the cookie of a person who logged in."""
    house = front.house
    robo, file = robo_and_file(front)
    text = begun(front, file)
    for fields in (cookie(text), {"authorization": f"Bearer {text}"}, {"x-api-key": text}):
        told = front.ask("GET", WHOAMI, headers=fields).json()
        assert (told["user_code"], told["username"], told["type"]) == (
            robo.account.id,
            robo.channel_identifier,
            "service_account",
        )
        assert told["channel_identifier"] == robo.channel_identifier
        assert told["organization"] == {"id": house.acme.id, "slug": "acme", "name": "Acme"}
        assert told["project"] is None
        assert told["session"]["status"] == "active"
        assert front.ask("GET", "/v1/service-accounts", headers=fields).status == 200
        assert front.ask("GET", "/v1/capabilities", headers=fields).json()["credential"]["kind"] == "session"
        assert front.ask("GET", "/v1/authorize/-", headers=fields).headers["x-auth-kind"] == "session"
        (listed,) = front.ask("GET", LOGIN, headers=fields).json()["data"]
        assert front.ask("GET", f"{LOGIN}/{listed['id']}", headers=fields).json() == listed
    front.write_counts()
    assert front.ask("GET", LOGIN, headers=cookie(text)).json()["data"][0]["last_used_at"] is not None


def test_whoami_of_what_is_no_session(front: Front) -> None:
    """API breaks: `whoami` names another owner for a user or a key."""
    told = front.ask("GET", WHOAMI, key=front.house.alice_key).json()
    assert (told["user_code"], told["type"], told["display_name"]) == (
        front.house.alice.actor.id,
        "user",
        "alice@acme.test",
    )
    assert (told["channel_identifier"], told["session"]) == (None, None)
    assert front.ask("GET", WHOAMI).status == 401


@pytest.mark.promise("P24")
def test_a_page_of_another_site_has_no_session(front: Front) -> None:
    """P24 breaks: a page of another site acts with the session in the browser."""
    text = begun(front, robo_and_file(front)[1])
    for path in (WHOAMI, LOGIN, "/v1/authorize/-", "/v1/capabilities"):
        assert front.ask("GET", path, headers=cookie(text)).status == 200
        for site in ("same-origin", "none"):
            assert front.ask("GET", path, headers=cookie(text, sec_fetch_site=site)).status == 200
        assert front.ask("GET", path, headers=cookie(text, origin="http://localhost:8080")).status == 200
        for fields in (
            cookie(text, origin="https://evil.example"),
            cookie(text, origin="null"),
            cookie(text, origin="http://localhost:8081"),
            cookie(text, origin="http://localhost:8080", sec_fetch_site="cross-site"),
            cookie(text, sec_fetch_site="cross-site"),
            cookie(text, sec_fetch_site="same-site"),
        ):
            assert front.ask("GET", path, headers=fields).status == 401, fields


def test_a_credential_in_a_header_counts_before_the_cookie(front: Front) -> None:
    """API breaks: a request with a key acts as the owner of the cookie that it also carries."""
    text = begun(front, robo_and_file(front)[1])
    told = front.ask("GET", WHOAMI, key=front.house.alice_key, headers=cookie(text)).json()
    assert told["user_code"] == front.house.alice.actor.id
    assert front.ask("GET", WHOAMI, key="ak-wrong", headers=cookie(text)).status == 401


def test_the_end_of_a_session(front: Front) -> None:
    """P1, P2 break: a session continues after it, its key or its account was ended, or after it expired."""
    house = front.house
    robo, file = robo_and_file(front)
    credential = file.listed.credential.id

    def alive(text: str) -> bool:
        statuses = {
            front.ask("GET", path, headers=cookie(text)).status for path in (WHOAMI, LOGIN, "/v1/authorize/-")
        }
        assert statuses in ({200}, {401})
        return statuses == {200}

    text = begun(front, file)
    assert alive(text)
    session = front.ask("GET", WHOAMI, headers=cookie(text)).json()["session"]["id"]
    for _ in range(2):
        assert front.ask("DELETE", f"{LOGIN}/{session}", key=house.alice_key).status == 204
        assert not alive(text)
    assert front.ask("GET", f"{LOGIN}/{session}", key=house.alice_key).json()["status"] == "ended"
    text = begun(front, file)
    itself = front.ask("GET", WHOAMI, headers=cookie(text)).json()["session"]["id"]
    assert front.ask("DELETE", f"{LOGIN}/{itself}", headers=cookie(text)).status == 204
    assert not alive(text)
    text = begun(front, file)
    house.store.write(credentials.deactivate, house.alice, credential)
    assert not alive(text)
    assert login(front, file).status == 401
    house.store.write(credentials.activate, house.alice, credential)
    assert alive(text)
    house.store.write(service_accounts.set_disabled, house.alice, robo.account.id, True)
    assert not alive(text)
    house.store.write(service_accounts.set_disabled, house.alice, robo.account.id, False)
    house.clock.advance(30 * DAY - SECOND)
    assert alive(text)
    house.clock.advance(SECOND)
    assert not alive(text)


def test_every_failure_is_the_same(front: Front) -> None:
    """P14 breaks: an invalid signature starts a session, or the response tells why the login failed."""
    house = front.house
    _, file = robo_and_file(front)
    other = house.key_file(house.account("Other"))
    seconds = house.clock() // SECOND
    network = house.key_file(house.account("Elsewhere"), allowed_ips=("198.51.100.0/24",))
    gone = house.key_file(house.account("Gone"))
    house.store.write(credentials.revoke, house.alice, gone.listed.credential.id)
    # The fault, and the reason in the audit log.
    cases: dict[str, tuple[str, str]] = {
        "aud": (signed(house, file, aud="http://localhost:8080"), "aud"),
        "late": (signed(house, file, iat=seconds - 301), "iat"),
        "early": (signed(house, file, iat=seconds + 301), "iat"),
        "no iat": (signed(house, file, iat=GONE), "iat"),
        "no jti": (signed(house, file, jti=GONE), "jti"),
        "empty jti": (signed(house, file, jti=""), "jti"),
        "expired": (signed(house, file, exp=seconds), "expired"),
        "another's": (signed(house, other, sub=file.listed.credential.access_id), "signature"),
        "nobody's": (signed(house, file, sub="0" * 12 + "4" + "0" * 3 + "8" + "0" * 15), "unknown key"),
        "a name": (signed(house, file, sub="robo"), "key id"),
        "no address of its": (signed(house, network), "ip_not_allowed"),
        "revoked": (signed(house, gone), "revoked"),
        "noise": ("x", "not compact"),
    }
    answers = {}
    for what, (text, _) in cases.items():
        answer = front.ask("POST", LOGIN, {"token": text})
        answers[what] = answer.status, {**answer.json(), "instance": ""}
        assert "set-cookie" not in answer.headers
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert {str(each) for each in answers.values()} == {str(answers["aud"])}, answers
    assert answers["aud"][0] == 401
    front.write_counts()
    reasons = {each.reason for each in events(house) if each.action == "credential.refused"}
    assert {reason for _, reason in cases.values()} <= reasons, reasons


def test_the_window_of_a_login(front: Front) -> None:
    """OAuth breaks: a token is accepted more than 300 seconds from its `iat`, or refused within 300 seconds."""
    house = front.house
    _, file = robo_and_file(front)
    seconds = house.clock() // SECOND
    for iat, status in ((-301, 401), (-300, 201), (0, 201), (300, 201), (301, 401)):
        assert login(front, file, iat=seconds + iat).status == status, iat
    text = signed(house, file)
    house.clock.advance(300 * SECOND)
    assert front.ask("POST", LOGIN, {"token": text}).status == 201
    house.clock.advance(1)
    assert front.ask("POST", LOGIN, {"token": signed(house, file, iat=seconds)}).status == 401


@pytest.mark.promise("P8")
def test_a_token_is_used_once(front: Front) -> None:
    """P8 breaks: an observer of a login's token can use it again, on either path, or after old marks are deleted."""
    house = front.house
    _, file = robo_and_file(front)
    text = signed(house, file, iat=house.clock() // SECOND + 300)
    assert front.ask("POST", LOGIN, {"token": text}).status == 201
    for path in (LOGIN, PARTNER):
        answer = front.ask("POST", path, {"token": text})
        assert (answer.status, answer.json()["code"]) == (401, "invalid-credential")
    house.clock.advance(600 * SECOND)
    house.delete_old()
    assert front.ask("POST", LOGIN, {"token": text}).status == 401
    front.write_counts()
    assert "used before" in {each.reason for each in events(house)}


def test_an_assertion_fits_one_door(front: Front) -> None:
    """P14 breaks: a login's token is accepted by the token endpoint, or the other way round."""
    house = front.house
    house.sign()
    robo, file = robo_and_file(front)
    shown = {
        "iss": robo.account.client_id,
        "exp": house.clock() // SECOND + 60,
        "aud": "http://localhost:8080/oauth/token",
    }
    grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    # A login names its key in `sub` and has no `aud`. An assertion for a grant names the token endpoint.
    for changed, at_token, at_login in (({}, 400, 201), ({"sub": robo.account.client_id, **shown}, 200, 401)):
        text = signed(house, file, **changed)
        traded = front.ask("POST", "/oauth/token", {"grant_type": grant, "assertion": text})
        assert traded.status == at_token
        assert front.ask("POST", LOGIN, {"token": text}).status == at_login


def test_the_default_project_is_the_target(front: Front) -> None:
    """Target breaks: a session's default project is not used, or its roles apply outside the project."""
    house = front.house
    house.store.write(projects.create, house.alice, "Shop", "shop", "")
    house.store.write(projects.create, house.alice, "Other", "other", "")
    robo = house.account(roles=())
    roles = [RoleSpec("developer", "shop"), RoleSpec("organization-admin", "shop")]
    house.store.write(service_accounts.set_role_bindings, house.alice, robo.account.id, roles)
    file = house.key_file(robo)
    plain, shop = begun(front, file, project=""), begun(front, file, project="shop")
    ask: dict[str, Any] = {"scopes": ["read:agents"]}
    assert front.verify(plain, **ask)["code"] == "insufficient_scope"
    assert front.verify(shop, **ask)["valid"]
    assert front.verify(shop, project="other", **ask)["code"] == "insufficient_scope"
    told = front.ask("GET", WHOAMI, headers=cookie(shop)).json()
    assert (told["project"]["code"], told["session"]["project"]) == ("shop", told["project"]["id"])
    # The management API acts on the organization, where the session has no scopes.
    for path in ("/v1/credentials", "/v1/audit-events", "/v1/members"):
        assert front.ask("GET", path, headers=cookie(shop)).status == 403, path
    assert front.ask("POST", "/v1/verify", {"credential": plain}, headers=cookie(shop)).status == 403
    assert len(front.ask("GET", LOGIN, headers=cookie(shop)).json()["data"]) == 2
    house.store.write(service_accounts.update, house.alice, robo.account.id, {"projects": ("shop",)})
    assert front.verify(shop, **ask)["valid"]
    assert front.ask("GET", "/v1/scopes", headers=cookie(shop)).status == 200
    assert front.ask("GET", LOGIN, headers=cookie(shop)).json()["error"] == "project_not_allowed"


def test_a_project_that_it_may_not_be_used_for(front: Front) -> None:
    """Target breaks: a login with another tenant's project shows whether it exists, or uses up the token."""
    house = front.house
    house.store.write(projects.create, house.charlie, "Theirs", "theirs", "")
    _, file = robo_and_file(front)
    text = signed(house, file)
    answers = [
        front.ask("POST", LOGIN, {"token": text, "default_project_code": code}) for code in ("theirs", "none")
    ]
    told = [{**each.json(), "instance": ""} for each in answers]
    assert told[0] == told[1]
    assert (answers[0].status, told[0]["errors"][0]["pointer"]) == (422, "/default_project_code")
    assert front.ask("POST", LOGIN, {"token": text, "default_project_code": None}).status == 201


def test_a_login_counts_as_a_use(front: Front) -> None:
    """P10 breaks: a login does not count against its key's limit, or an IP address can guess keys without limit."""
    house = front.house
    file = house.key_file(house.account(), rate_limit=1)
    assert login(front, file).status == 201
    answer = login(front, file)
    assert (answer.status, answer.json()["limit"]) == (429, 1)
    asked = [
        front.ask("POST", LOGIN, {"token": signed(house, file, sub=f"{number:012x}4000800000000000000f")})
        for number in range(51)
    ]
    assert [each.status for each in asked] == [401] * 50 + [429]


def test_a_session_that_expires_with_its_key(front: Front) -> None:
    """P1 breaks: the cookie has a longer lifetime than the key file that started the session."""
    answer = login(front, robo_and_file(front, expires_at=front.house.clock() + HOUR)[1])
    assert answer.headers["set-cookie"].endswith("; Max-Age=3600")
