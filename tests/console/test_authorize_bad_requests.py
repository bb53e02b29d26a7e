"""Bad input at `/oauth/authorize` and, for codes and refresh tokens, at `/oauth/token`: B3, B4.

Each case says whether the service shows a page or redirects to the client, and the effect of a form without its token.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa

from ostiary.core.instant import DAY, MINUTE, SECOND
from ostiary.core.model import OAuthClient
from ostiary.services import projects
from ostiary.services.callers import RECENTLY
from ostiary.storage.tables import metadata
from tests.applications import (
    CHALLENGE,
    REDIRECT,
    VERIFIER,
    allow,
    application,
    code_of,
    redeem,
    refresh,
    request,
)
from tests.cast import Answer, Front, House
from tests.machines import ISSUER, RESOURCE, machine, name_resource, post, said
from tests.services.questions import events
from tests.visitors import Browser, Page, at_home, browser

pytestmark = pytest.mark.promise("P13")

SECOND_REDIRECT = "https://app.example/other"
STAYS = "stays here"

# The parameters that replace the usual ones (None: left out), and the error that the client gets, or STAYS
CELLS: dict[str, tuple[dict[str, str | None], str]] = {
    "client missing": ({"client_id": None}, STAYS),
    "client empty": ({"client_id": ""}, STAYS),
    "client unknown": ({"client_id": "app_00000000000000000000000000"}, STAYS),
    "client of a service account": ({"client_id": "ostiary-sa-1"}, STAYS),
    "client without redirects": ({"client_id": "ostiary-cli"}, STAYS),
    "redirect empty": ({"redirect_uri": ""}, STAYS),
    "redirect not registered": ({"redirect_uri": "https://evil.example/callback"}, STAYS),
    "redirect with a slash more": ({"redirect_uri": f"{REDIRECT}/"}, STAYS),
    "response_type missing": ({"response_type": None}, "invalid_request"),
    "response_type empty": ({"response_type": ""}, "invalid_request"),
    "response_type token": ({"response_type": "token"}, "unsupported_response_type"),
    "response_type of three": ({"response_type": "code id_token token"}, "unsupported_response_type"),
    "response_mode fragment": ({"response_mode": "fragment"}, "invalid_request"),
    "response_mode form_post": ({"response_mode": "form_post"}, "invalid_request"),
    "challenge missing": ({"code_challenge": None}, "invalid_request"),
    "challenge empty": ({"code_challenge": ""}, "invalid_request"),
    "challenge of 42": ({"code_challenge": CHALLENGE[:-1]}, "invalid_request"),
    "challenge of 44": ({"code_challenge": CHALLENGE + "A"}, "invalid_request"),
    "challenge padded": ({"code_challenge": CHALLENGE + "="}, "invalid_request"),
    "challenge in base64": ({"code_challenge": "+" + CHALLENGE[1:]}, "invalid_request"),
    "challenge with a newline": ({"code_challenge": CHALLENGE[:-1] + "\N{LINE SEPARATOR}"}, "invalid_request"),
    "method plain": ({"code_challenge_method": "plain"}, "invalid_request"),
    "method missing": ({"code_challenge_method": None}, "invalid_request"),
    "method in small letters": ({"code_challenge_method": "s256"}, "invalid_request"),
    "scope unknown": ({"scope": "openid fly:moon"}, "invalid_scope"),
    "scope unknown but for offline_access": ({"scope": "openid profile offline_access"}, "invalid_scope"),
    "scope empty": ({"scope": ""}, "invalid_scope"),
    "scope with a letter of no scope": ({"scope": "read:plugins é"}, "invalid_scope"),
    "scope of nothing": ({"scope": "offline_access"}, "invalid_scope"),
    "scope in capitals": ({"scope": "READ:PLUGINS"}, "invalid_scope"),
    "resource unknown": ({"resource": "https://nobody.example"}, "invalid_target"),
    "resource relative": ({"resource": "/v1"}, "invalid_target"),
    "request object": ({"request": "eyJhbGciOiJub25lIn0.e30."}, "request_not_supported"),
    "request object elsewhere": ({"request_uri": "https://app.example/r"}, "request_uri_not_supported"),
    "prompt unknown": ({"prompt": "please"}, "invalid_request"),
    "prompt none and another": ({"prompt": "none login"}, "invalid_request"),
    "prompt none, never consented": ({"prompt": "none"}, "consent_required"),
}  # fmt: skip


@pytest.fixture
def front(sqlite_house: House, tmp_path: Path) -> Iterator[Front]:
    unlimited = sqlite_house.with_policy(rate_limit=None)
    unlimited.sign()
    found = Front(unlimited, tmp_path)
    yield found
    found.close()


def stays(page: Page | Answer) -> None:
    """Check that the response is a 400 page of the service, without a redirect."""
    found = dict(page.fields)
    assert page.status == 400
    assert "location" not in found
    assert found["content-type"].startswith("text/html")
    assert found["cache-control"] == "no-store"


def goes(page: Page, error: str, state: str | None = "xyz", to: str = REDIRECT) -> None:
    """Check that the client gets the error by a redirect, with `state` and `iss`."""
    assert page.status == 303
    assert page.location.startswith(f"{to}?error=")
    expected = {"error": error, "iss": ISSUER} | ({} if state is None else {"state": state})
    assert {name: value for name, value in page.answer.items() if name != "error_description"} == expected
    assert page.answer["error_description"]
    assert page.header("cache-control") == "no-store"


def gets(page: Page, error: str, cell: str) -> None:
    try:
        if error == STAYS:
            stays(page)
        else:
            goes(page, error)
    except AssertionError as wrong:
        raise AssertionError(f"{cell}: {page.status} {page.location}") from wrong


def rows(house: House) -> dict[str, int]:
    """Return the number of rows in each table. Refused requests may only add rows to the audit log."""
    with house.store.engines.reader.connect() as connection:
        return {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
            if not table.name.startswith("audit")
        }


@pytest.mark.parametrize("whose", ["nobody", "alice"])
def test_what_a_bad_request_gets(front: Front, whose: str) -> None:
    """P13 breaks: an error goes to the wrong receiver, or a refused request changes data."""
    client = application(front.house)
    visitor = browser(front) if whose == "nobody" else at_home(front.house, front, front.house.alice)
    before = rows(front.house)
    for cell, (members, error) in CELLS.items():
        if error == "consent_required" and whose == "nobody":
            error = "login_required"
        gets(visitor.get(request(client, **members)), error, cell)
    assert rows(front.house) == before


def test_a_form_that_was_changed_gets_the_same(front: Front) -> None:
    """P13 breaks: a changed request in a form is accepted because the page was checked."""
    client = application(front.house)
    visitor = at_home(front.house, front, front.house.alice)
    form = visitor.get(request(client)).form("/oauth/authorize")
    before = rows(front.house)
    for cell, (members, error) in CELLS.items():
        if error == "consent_required":
            continue  # a posted form is a consent
        changed = request(client, **members).partition("?")[2]
        for decision in ("allow", "deny"):
            page = visitor.post("/oauth/authorize", form.filled(request=changed, decision=decision))
            gets(page, error, cell)
    assert rows(front.house) == before


@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
def test_twice_what_says_where_to_answer(front: Front, name: str) -> None:
    """P13 breaks: with two client ids or two redirect URIs, the service picks one."""
    client, other = application(front.house), application(front.house)
    usual = {"client_id": client.id, "redirect_uri": REDIRECT}[name]
    another = {"client_id": other.id, "redirect_uri": "https://evil.example/"}[name]
    for second in (usual, another):
        for query in (
            f"{request(client)}&{urlencode({name: second})}",
            request(client).replace("?", f"?{urlencode({name: second})}&"),
        ):
            stays(browser(front).get(query))


@pytest.mark.parametrize(
    "name", ["response_type", "scope", "code_challenge", "code_challenge_method", "prompt", "x-unknown"]
)
def test_twice_anything_else(front: Front, name: str) -> None:
    """RFC 6749 §3.1 breaks: a repeated parameter is accepted."""
    client = application(front.house)
    page = browser(front).get(f"{request(client)}&{urlencode([(name, 'a'), (name, 'a')])}")
    goes(page, "invalid_request")


def test_twice_the_state(front: Front) -> None:
    """RFC 6749 §3.1 breaks: one of two states is returned, and the client accepts it as its own."""
    goes(browser(front).get(f"{request(application(front.house))}&state=other"), "invalid_request", None)


def test_without_a_state(front: Front) -> None:
    """RFC 6749 §4.1.2.1 breaks: the response has a state that the client did not send."""
    client = application(front.house)
    goes(
        browser(front).get(request(client, state=None, response_type="x")), "unsupported_response_type", None
    )


@pytest.mark.parametrize("state", ["a b", "a+b&c=d", "ü", "\N{PILE OF POO}", "<script>", "%00", "x" * 2000])
def test_the_state_comes_back_as_it_was(front: Front, state: str) -> None:
    """RFC 6749 §4.1.2 breaks: the client cannot match a response to its request, or gets wrong parameters."""
    client = application(front.house)
    goes(
        browser(front).get(request(client, state=state, response_type="x")),
        "unsupported_response_type",
        state,
    )


def test_the_redirect_that_may_be_left_out(front: Front) -> None:
    """B4 breaks: a client with several redirect URIs gets a response at one that it did not name."""
    one = application(front.house)
    two = application(front.house, redirect_uris=(REDIRECT, SECOND_REDIRECT))
    none = application(front.house, redirect_uris=())
    goes(browser(front).get(request(one, redirect_uri=None, scope="")), "invalid_scope")
    goes(
        browser(front).get(request(two, redirect_uri=SECOND_REDIRECT, scope="")),
        "invalid_scope",
        to=SECOND_REDIRECT,
    )
    stays(browser(front).get(request(two, redirect_uri=None)))
    stays(browser(front).get(request(one, redirect_uri=None).replace(one.id, none.id)))


def test_a_client_that_was_disabled(front: Front) -> None:
    """B4 breaks: a disabled client still gets responses."""
    stays(browser(front).get(request(application(front.house, disabled_at=front.house.clock()))))


def test_a_client_without_the_grant(front: Front) -> None:
    """RFC 6749 §4.1.2.1 breaks: a client without the authorization code grant gets codes."""
    client = application(front.house, grant_types=("refresh_token",))
    goes(browser(front).get(request(client)), "unauthorized_client")


def test_more_than_the_client_may_ask(front: Front) -> None:
    """P19 breaks: a client gets scopes that it is not registered for."""
    client = application(front.house, scopes=("read:plugins",))
    goes(browser(front).get(request(client, scope="read:plugins read:agents")), "invalid_scope")
    goes(browser(front).get(request(client, scope="api")), "invalid_scope")


def test_a_refused_resource_is_named_in_the_log(front: Front) -> None:
    """P5 breaks: the log does not name the refused resource of a request before sign-in."""
    asked = request(application(front.house), resource="https://nobody.example/mcp?token=x")
    goes(browser(front).get(asked), "invalid_target")
    front.write_counts()
    [event] = [each for each in events(front.house) if each.reason == "unknown resource"]
    assert (event.action, event.actor_type, event.address) == ("credential.refused", "unknown", "192.0.2.1")
    assert event.details["resource"] == "https://nobody.example/mcp"


def test_a_resource_beside_this_service_is_refused(front: Front) -> None:
    """RFC 8707 §3 breaks: a resource server gets a token that is also good for this service, and can manage credentials."""
    name_resource(front.house)
    asked = request(application(front.house), resource=f"{ISSUER}/")
    goes(browser(front).get(f"{asked}&{urlencode({'resource': RESOURCE})}"), "invalid_target")
    front.write_counts()
    [event] = [each for each in events(front.house) if each.reason == "this service and another"]
    assert (event.action, event.details["resource"]) == ("credential.refused", RESOURCE)


def test_scopes_that_do_not_exist_are_left_out(front: Front) -> None:
    """RFC 6749 §3.3 breaks: a client that also requests openid gets nothing, or does not learn its scopes."""
    client = application(front.house)
    alice = at_home(front.house, front, front.house.alice)
    scope = "openid  read:plugins profile offline_access "
    page = alice.get(request(client, scope=scope))
    assert b"Read plugins" in page.body
    assert b"openid" not in page.body.replace(b"scope=openid", b"")
    body = redeem(front, client, code_of(alice, client, scope=scope)).json()
    assert set(body["scope"].split(" ")) == {"read:plugins", "offline_access"}
    again = refresh(front, client, body["refresh_token"], scope=scope).json()
    assert set(again["scope"].split(" ")) == {"read:plugins", "offline_access"}
    narrow = application(front.house, scopes=("read:plugins",))
    goes(browser(front).get(request(narrow, scope="openid read:agents")), "invalid_scope")


@pytest.mark.parametrize(
    "query", ["a=%zz", "a=%00", "a=%0a", "a=%ff", "&".join(f"p{n}=1" for n in range(65)), "client_id"]
)
def test_what_cannot_be_read(front: Front, query: str) -> None:
    """B1 breaks: an ambiguous query is interpreted."""
    answer = front.ask("GET", f"{request(application(front.house))}&{query}")
    assert answer.status == 400
    assert "location" not in answer.headers


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_another_method(front: Front, method: str) -> None:
    """B1 breaks: the page accepts an unsupported method, or allows a cross-origin request."""
    answer = front.ask(
        method,
        request(application(front.house)),
        headers={"origin": "https://evil.example", "access-control-request-method": "POST"},
    )
    assert answer.status == 405
    assert answer.headers["allow"] in ("GET, HEAD, POST", "GET, POST")
    assert not [name for name in answer.headers if name.startswith("access-control")]


# prompt=none


def test_without_a_question_only_what_was_consented_to(front: Front) -> None:
    """B4 breaks: `prompt=none` gives access without consent."""
    house = front.house
    client = application(house, redirect_uris=(REDIRECT, "http://127.0.0.1/cb", "com.example.app:/cb"))
    goes(browser(front).get(request(client, prompt="none")), "login_required")
    alice, bob = at_home(house, front, house.alice), at_home(house, front, house.bob)
    code_of(alice, client)
    assert alice.get(request(client, prompt="none")).answer["code"]
    goes(bob.get(request(client, prompt="none")), "consent_required")
    goes(alice.get(request(client, prompt="none", scope="read:agents")), "consent_required")
    goes(alice.get(request(client, prompt="none", scope="api")), "consent_required")
    goes(alice.get(request(application(house), prompt="none")), "consent_required")
    whole = application(house)
    allow(alice, request(whole, scope="api"))
    assert alice.get(request(whole, prompt="none", scope="read:plugins")).answer["code"]
    goes(
        alice.get(request(whole, prompt="none")), "consent_required"
    )  # offline_access was not part of the consent
    for uri in ("http://127.0.0.1:4711/cb", "com.example.app:/cb"):
        goes(alice.get(request(client, prompt="none", redirect_uri=uri)), "consent_required", to=uri)


def test_without_a_question_never_two_consents_in_one(front: Front) -> None:
    """P19 breaks: `prompt=none` gives scopes from a consent for one project in another project."""
    house = front.house
    client = application(house)
    one, two = (house.store.write(projects.create, house.alice, name, None, "").id for name in ("One", "Two"))
    alice = at_home(house, front, house.alice)
    for scope, project in (("read:plugins", one), ("write:agents", two)):
        allow(alice, request(client, scope=scope), reach="some", project=[project])
    goes(alice.get(request(client, prompt="none", scope="read:plugins write:agents")), "consent_required")
    for scope, project, other in (("read:plugins", one, two), ("write:agents", two, one)):
        page = alice.get(request(client, prompt="none", scope=scope))
        token = redeem(front, client, page.answer["code"]).json()["access_token"]
        assert front.verify(token, project=project, scopes=[scope])["valid"]
        assert not front.verify(token, project=other, scopes=[scope])["valid"]


def test_without_a_question_a_left_screen_opens_nothing_dangerous(front: Front) -> None:
    """P19 breaks: `prompt=none` gives an application write access from an unattended browser."""
    house = front.house
    client, alice = application(house), at_home(house, front, house.alice)
    allow(alice, request(client, scope="api"))
    assert alice.get(request(client, prompt="none", scope="api")).answer["code"]
    house.clock.advance(RECENTLY)
    goes(alice.get(request(client, prompt="none", scope="api")), "login_required")
    assert alice.get(request(client, prompt="none", scope="read:plugins")).answer["code"]


# Forged forms


Forge = Callable[[Front, Browser, OAuthClient, list[tuple[str, str]]], Page]


def _without(*names: str) -> Forge:
    return lambda front, victim, client, pairs: victim.post(
        "/oauth/authorize", [pair for pair in pairs if pair[0] not in names]
    )


def _token(value: Callable[[Front, OAuthClient], str]) -> Forge:
    def send(front: Front, victim: Browser, client: OAuthClient, pairs: list[tuple[str, str]]) -> Page:
        changed = [pair for pair in pairs if pair[0] != "form_token"]
        return victim.post("/oauth/authorize", [*changed, ("form_token", value(front, client))])

    return send


def _token_of(visitor: Browser, client: OAuthClient) -> str:
    page = visitor.get(request(client))
    return dict(page.form("/oauth/authorize").fields)["form_token"]


def _fields(**fields: str) -> Forge:
    return lambda front, victim, client, pairs: victim.post("/oauth/authorize", pairs, **fields)


FORGED: dict[str, Forge] = {
    "no token": _without("form_token"),
    "an empty token": _token(lambda *_: ""),
    "another text": _token(lambda *_: "A" * 32),
    "two tokens": lambda front, victim, client, pairs: victim.post(
        "/oauth/authorize", [*pairs, *[pair for pair in pairs if pair[0] == "form_token"]]
    ),
    "another person's": _token(
        lambda front, client: _token_of(at_home(front.house, front, front.house.bob), client)
    ),
    "another session's of the same person": _token(
        lambda front, client: _token_of(at_home(front.house, front, front.house.alice), client)
    ),
    "another origin": _fields(origin="https://evil.example"),
    "no origin, as of a frame": _fields(origin="null"),
    "the origin by http on another port": _fields(origin="http://localhost:8081"),
    "another site": _fields(origin="", sec_fetch_site="cross-site"),
    "a sister site": _fields(origin="", sec_fetch_site="same-site"),
}  # fmt: skip


@pytest.mark.parametrize("decision", ["allow", "deny"])
def test_a_form_that_is_not_ours(front: Front, decision: str) -> None:
    """B4 breaks: another site or another session decides for a person."""
    house = front.house
    client = application(house)
    victim = at_home(house, front, house.alice)
    pairs = victim.get(request(client)).form("/oauth/authorize").filled(decision=decision)
    before = rows(house)
    for how, forge in FORGED.items():
        page = forge(front, victim, client, pairs)
        assert page.status == 403, how
        assert page.location == "", how
        if how in OTHERS:
            before["sessions"] += 1  # the session of the person who got the token
        assert rows(house) == before, how
    assert victim.post("/oauth/authorize", pairs).status == 303


OTHERS = ("another person's", "another session's of the same person")


def test_a_form_without_a_session(front: Front) -> None:
    """B4 breaks: a form is accepted from a browser without a valid session."""
    house = front.house
    client = application(house)
    alice = at_home(house, front, house.alice)
    pairs = alice.get(request(client)).form("/oauth/authorize").filled(decision="allow")
    before = rows(house)
    assert browser(front).post("/oauth/authorize", pairs).status == 403
    house.clock.advance(31 * DAY)
    assert alice.post("/oauth/authorize", pairs).status == 403
    assert rows(house) == before


def test_a_form_that_decides_nothing(front: Front) -> None:
    """B4 breaks: a form without a decision counts as consent."""
    house = front.house
    client = application(house)
    alice = at_home(house, front, house.alice)
    form = alice.get(request(client)).form("/oauth/authorize")
    before = rows(house)
    for decision in (None, "", "ALLOW", "yes", ["allow", "allow"], ["allow", "deny"]):
        assert alice.post("/oauth/authorize", form.filled(decision=decision)).status == 422
    for choice in ({"organization": house.umbrella.id}, {"organization": "nobody"}, {"reach": "some"}):
        assert alice.post("/oauth/authorize", form.filled(decision="allow", **choice)).status == 422
    assert rows(house) == before


def test_what_is_asked_is_shown(front: Front) -> None:
    """B4 breaks: the page does not show client, host, scopes and lifetime, or shows the client's markup as its own."""
    house = front.house
    client = application(house, name="<b>Reports</b> & \N{RIGHT-TO-LEFT OVERRIDE}co")
    page = at_home(house, front, house.alice).get(request(client))
    for shown in (
        "app.example",
        "read:plugins",
        "offline_access",
        "30 days",
        client.id,
        "&lt;b&gt;Reports&lt;/b&gt;",
    ):
        assert shown in page.text, shown
    assert "<b>Reports" not in page.text
    policy = page.header("content-security-policy")
    assert "form-action 'self' https://app.example;" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script" not in policy


# POST /oauth/token, by code and by refresh token


def _code(**members: str | None) -> Callable[[Front, OAuthClient, str, str], Answer]:
    return lambda front, client, code, _: redeem(front, client, **{"code": code} | members)


def _refresh(**members: str | None) -> Callable[[Front, OAuthClient, str, str], Answer]:
    return lambda front, client, _, token: refresh(front, client, **{"token": token} | members)


TOKEN_CELLS: dict[str, tuple[Callable[[Front, OAuthClient, str, str], Answer], str]] = {
    "code missing": (_code(code=None), "400 invalid_request"),
    "code empty": (_code(code=""), "400 invalid_request"),
    "code of another form": (_code(code="abc"), "400 invalid_grant"),
    "code unknown": (_code(code="code_" + "0" * 76), "400 invalid_grant"),
    "code is a refresh token": (lambda f, c, _, t: redeem(f, c, t), "400 invalid_grant"),
    "code cut off": (lambda f, c, code, _: redeem(f, c, code[:-1]), "400 invalid_grant"),
    "code with a newline": (lambda f, c, code, _: redeem(f, c, code + "\n"), "400 invalid_request"),
    "client missing": (_code(client_id=None), "401 invalid_client"),
    "client unknown": (_code(client_id="app_0"), "401 invalid_client"),
    "another redirect": (_code(redirect_uri="https://app.example/other"), "400 invalid_grant"),
    "no redirect, though it was named": (_code(redirect_uri=None), "400 invalid_grant"),
    "verifier missing": (_code(code_verifier=None), "400 invalid_grant"),
    "verifier wrong": (_code(code_verifier="A" * 43), "400 invalid_grant"),
    "verifier short": (_code(code_verifier=VERIFIER[:-1]), "400 invalid_grant"),
    "verifier long": (_code(code_verifier="A" * 129), "400 invalid_grant"),
    "verifier is the challenge": (_code(code_verifier=CHALLENGE), "400 invalid_grant"),
    "scope unknown": (_code(scope="fly:moon"), "400 invalid_scope"),
    "scope not consented to": (_code(scope="read:agents"), "400 invalid_scope"),
    "resource unknown": (_code(resource="https://nobody.example"), "400 invalid_target"),
    "refresh token missing": (_refresh(token=None), "400 invalid_request"),
    "refresh token of another form": (_refresh(token="abc"), "400 invalid_grant"),
    "refresh token unknown": (_refresh(token="refresh_" + "0" * 76), "400 invalid_grant"),
    "refresh token is a code": (lambda f, c, code, _: refresh(f, c, code), "400 invalid_grant"),
    "refreshed for more": (_refresh(scope="read:plugins read:agents"), "400 invalid_scope"),
    "refreshed for everything": (_refresh(scope="api"), "400 invalid_scope"),
    "refreshed for a resource nobody knows": (_refresh(resource="https://nobody.example"), "400 invalid_target"),
    "refreshed without a client": (_refresh(client_id=None), "401 invalid_client"),
    "grant unknown": (_code(grant_type="password"), "400 unsupported_grant_type"),
    "grant missing": (_code(grant_type=None), "400 invalid_request"),
    "grant of machines": (_code(grant_type="client_credentials"), "400 unauthorized_client"),
}  # fmt: skip


def test_what_a_bad_trade_gets(front: Front) -> None:
    """B3 breaks: an invalid token request is accepted, gets the wrong error, or uses up the code or token."""
    client = application(front.house)
    alice = at_home(front.house, front, front.house.alice)
    token = redeem(front, client, code_of(alice, client)).json()["refresh_token"]
    code = code_of(alice, client)
    for cell, (ask, expected) in TOKEN_CELLS.items():
        answer = ask(front, client, code, token)
        assert said(answer) == expected, cell
        assert answer.headers["cache-control"] == "no-store", cell
        assert "access_token" not in answer.json(), cell
    assert redeem(front, client, code).status == 200
    assert refresh(front, client, token).status == 200
    for prefix, late in (("code", 60 * SECOND), ("refresh", 30 * DAY)):
        code = code_of(alice, client)
        front.house.clock.advance(late)
        answer = redeem(front, client, code) if prefix == "code" else refresh(front, client, token)
        assert said(answer) == "400 invalid_grant", prefix


def test_a_trade_by_somebody_else(front: Front) -> None:
    """B3 breaks: another client can use a code or refresh token."""
    house = front.house
    client, other = application(house), application(house)
    robo = machine(front)
    alice = at_home(house, front, house.alice)
    token = redeem(front, client, code_of(alice, client)).json()["refresh_token"]
    code = code_of(alice, client)
    assert said(redeem(front, other, code, redirect_uri=REDIRECT)) == "400 invalid_grant"
    assert said(refresh(front, other, token)) == "400 invalid_grant"
    for form in (
        {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT,
            "code_verifier": VERIFIER,
        },
        {"grant_type": "refresh_token", "refresh_token": token},
    ):
        assert said(post(front, "/oauth/token", form, client=robo.client)) == "400 unauthorized_client"
    assert said(redeem(front, client, code, client_secret="word")) == "401 invalid_client"
    twice = [("grant_type", "refresh_token"), ("client_id", client.id), *[("refresh_token", token)] * 2]
    assert said(post(front, "/oauth/token", twice)) == "400 invalid_request"
    assert front.ask("GET", "/oauth/token").status == 405
    assert redeem(front, client, code).status == 200
    assert refresh(front, client, token).status == 200


def test_a_code_that_was_used_and_one_of_a_dead_client(front: Front) -> None:
    """B3 breaks: a code works twice, after it expired, or for a deleted client."""
    client = application(front.house)
    alice = at_home(front.house, front, front.house.alice)
    code = code_of(alice, client)
    assert redeem(front, client, code).status == 200
    assert said(redeem(front, client, code)) == "400 invalid_grant"
    late = code_of(alice, client)
    front.house.clock.advance(MINUTE - 1)
    assert redeem(front, client, late).status == 200


def test_who_has_nothing_to_give_is_led_to_their_account(front: Front) -> None:
    """P13 breaks: a person without an organization sees a consent form, or a page without a link onward."""
    client = application(front.house, access="organization")
    bob = at_home(front.house, front, front.house.bob)
    page = bob.get(request(client, scope="read:plugins"))
    assert page.status == 200
    assert "There is nothing to allow" in page.text
    assert 'href="/account">Your account<' in page.text
