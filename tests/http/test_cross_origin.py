"""Which responses a script of another site may read: those of the OAuth endpoints that accept no cookie, and
no others.
"""

import pytest

from tests.api.routes import methods_of
from tests.cast import Answer, Front
from tests.machines import CLIENT_CREDENTIALS, REVOKE, TOKEN, machine, post, token_of
from tests.visitors import at_home

ORIGIN = "https://app.example"
METADATA = {
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
    "/.well-known/oauth-authorization-server/oauth2/ostiary",
    "/.well-known/openid-configuration/oauth2/ostiary",
    "/oauth2/ostiary/.well-known/oauth-authorization-server",
    "/oauth2/ostiary/.well-known/openid-configuration",
    "/.well-known/jwks.json",
    "/oauth2/ostiary/v1/keys",
}
ENDPOINTS = {
    TOKEN,
    "/oauth2/ostiary/v1/token",
    REVOKE,
    "/oauth/revoke",
    "/oauth/register",
    "/oauth/device/authorize",
}


def shared(answer: Answer) -> bool:
    """Return whether scripts may read the response. If so, every origin may, and never with cookies."""
    assert "access-control-allow-credentials" not in answer.headers
    allowed = answer.headers.get("access-control-allow-origin")
    assert allowed in (None, "*")
    return allowed == "*"


def preflight(front: Front, path: str, **fields: str) -> Answer:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    return front.ask("OPTIONS", path, headers={"origin": ORIGIN} | asked | fields)


@pytest.fixture
def front(front: Front) -> Front:
    front.house.sign()
    return front


@pytest.mark.parametrize("path", sorted(METADATA | ENDPOINTS))
def test_a_preflight_is_answered(front: Front, path: str) -> None:
    """Fetch §3.2 breaks: a browser does not send the requests of an application on another origin."""
    methods = "GET, HEAD" if path in METADATA else "POST"
    answer = preflight(front, path)
    assert answer.status == 204
    assert shared(answer)
    assert answer.headers["access-control-allow-methods"] == methods
    assert answer.headers["access-control-allow-headers"] == "Authorization, *"
    assert int(answer.headers["access-control-max-age"]) >= 600
    assert answer.headers["allow"] == f"{methods}, OPTIONS"
    assert not answer.body
    wrong = front.ask("DELETE", path, headers={"origin": ORIGIN})
    assert (wrong.status, wrong.headers["allow"]) == (
        405,
        ", ".join(sorted(f"{methods}, OPTIONS".split(", "))),
    )
    assert shared(wrong)


@pytest.mark.parametrize("path", sorted(METADATA))
def test_what_is_published_may_be_read(front: Front, path: str) -> None:
    """Fetch §3.2 breaks: a browser-only application cannot read the metadata or the keys."""
    answer = front.ask("GET", path, headers={"origin": ORIGIN})
    assert answer.status == 200
    assert shared(answer)


def test_tokens_and_refusals_may_be_read(front: Front) -> None:
    """Fetch §3.2 breaks: a browser-only application cannot read a token response or an error."""
    robo = machine(front)
    form = {"grant_type": CLIENT_CREDENTIALS}
    good = post(front, TOKEN, form, client=robo.client, origin=ORIGIN)
    text = token_of(good)
    refusals = {
        "wrong secret": post(front, TOKEN, form, client=(robo.client_id, "x"), origin=ORIGIN),
        "no grant": post(front, TOKEN, {}, origin=ORIGIN),
        "query": post(front, f"{TOKEN}?a=b", form, origin=ORIGIN),
        "too large": post(front, TOKEN, b"x" * 70_000, origin=ORIGIN),
        "bad target": front.ask("POST", f"{TOKEN}?%zz", raw=b"", headers={"origin": ORIGIN}),
        "no client": post(front, "/oauth/device/authorize", {}, origin=ORIGIN),
        "metadata": front.ask("POST", "/oauth/register", {}, headers={"origin": ORIGIN}),
        "another type": post(front, "/oauth/register", b"x", origin=ORIGIN),
    }
    for name, answer in refusals.items():
        assert answer.status >= 400, name
        assert shared(answer), name
    assert shared(good)
    exposed = good.headers["access-control-expose-headers"].lower().split(", ")
    assert {"www-authenticate", "retry-after", "ratelimit"} <= set(exposed)
    assert shared(post(front, REVOKE, {"token": text}, client=robo.client, origin=ORIGIN))


def test_nothing_else_is_shared(front: Front) -> None:
    """Fetch §3.2 breaks: a page of another site reads what the user of the browser may see."""
    alice = front.house.alice_key
    paths = methods_of(front).keys() - METADATA - ENDPOINTS
    assert {"/v1/verify", "/oauth/authorize", "/v1/credentials", "/metrics"} <= paths
    for path in sorted(paths | {"/oauth/introspect", "/v1/authorize/-", "/nowhere", f"{TOKEN}/"}):
        target = path.replace("{", "").replace("}", "")
        for method in ("GET", "POST", "OPTIONS"):
            answer = front.ask(method, target, key=alice, headers={"origin": ORIGIN})
            assert not [name for name in answer.headers if name.startswith("access-control")], (method, path)


def test_a_cookie_gives_a_script_nothing(front: Front) -> None:
    """Fetch §3.2 breaks: a page of another site acts with the user's session."""
    browser = at_home(front.house, front, front.house.alice)
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    assert cookie
    text = token_of(machine(front).by_secret())
    for path, form in ((TOKEN, {"grant_type": CLIENT_CREDENTIALS}), (REVOKE, {"token": text})):
        answer = post(front, path, form, origin=ORIGIN, cookie=cookie)
        assert answer.status == 401, path
        assert shared(answer)
        assert "set-cookie" not in answer.headers
    assert front.verify(text)["valid"]
    assert shared(preflight(front, TOKEN, cookie=cookie))
