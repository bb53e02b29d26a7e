"""The rendered pages: hostile input, security headers, and required parts of forms."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from html.parser import HTMLParser
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.testclient import TestClient

from ostiary.console import rendering, views
from ostiary.console.words import Destination, describe_browser, describe_scope, describe_time, destination
from ostiary.core.instant import DAY, from_text

NOW = from_text("2026-11-22T09:30:00Z")
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>\u202egpj.exe{{ 7*7 }}</bdi></title>"
VOID = {"br", "circle", "img", "input", "link", "meta", "path", "rect"}
UNSEEN = {"hidden", "submit"}

ACME = views.OrganizationView("org_a", "Acme", (views.ProjectView("prj_1", "Payments", "payments"),))
UMBRELLA = views.OrganizationView("org_u", "Umbrella", (views.ProjectView("prj_2", "Hive", "hive"),))
EMPTY = views.OrganizationView("org_e", "Empty")
BOT = views.ApplicationView("Deploy Bot", "app_1", "Globex")
DOCUMENT = views.ApplicationView(
    "Inspector", "https://inspector.example/client.json", None, "inspector.example", True
)
ITSELF = views.ApplicationView("Inspector", "app_2", unverified=True)
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

CONSENT = views.ConsentView(
    form_token="token",
    request="request",
    application=BOT,
    redirect_uri="https://app.example.com/callback",
    scopes=("read:plugins", "api"),
    lifetime="30 days",
    email="alice@acme.example",
    organizations=(ACME,),
)
DEVICE = views.DeviceConfirmView(
    form_token="token",
    user_code="WDJB-MJHT",
    application=BOT,
    scopes=("api",),
    lifetime="30 days",
    email="alice@acme.example",
    organizations=(ACME, UMBRELLA),
    address="203.0.113.7",
    asked=NOW,
    user_agent="ostiary-cli/0.1",
)
ACCOUNT = views.OwnAccountView(
    form_token="token",
    email="alice@acme.example",
    memberships=(
        views.MembershipView("Acme", ("organization-admin", "viewer")),
        views.MembershipView("Umbrella", ()),
    ),
    sessions=(
        views.SessionView("ses_1", "browser", None, FIREFOX, "203.0.113.7", NOW, NOW, NOW + DAY, here=True),
        views.SessionView("ses_2", "device", "CLI", "ostiary-cli/0.1", "2001:db8::1", NOW, None, NOW + DAY),
        views.SessionView("ses_3", "application", "Bot", "bot/1", "203.0.113.8", NOW, None, NOW + DAY),
    ),
    grants=(
        views.GrantView("gra_1", "Deploy Bot", "Acme", ("read:plugins",), ("Payments", "Website"), NOW),
        views.GrantView("gra_2", "Backup", "Acme", ("api",), (), NOW, on_behalf="Globex"),
    ),
    shortest=12,
    notice="The session was revoked.",
    password_error="The current password is wrong.",
)
MANY = tuple(replace(ACME, id=f"org_{number}") for number in range(views.FEW + 1))

PAGES: dict[str, tuple[Callable[[Any], Response], Any]] = {
    "sign-in": (views.sign_in, views.SignInView("token", "/account", notice="Your password was changed.")),
    "sign-in wrong": (
        views.sign_in,
        views.SignInView("token", "/account", "alice@acme.example", error="Wrong."),
    ),
    "confirm": (
        views.sign_in,
        views.SignInView("token", "/account", "alice@acme.example", "You are about to leave."),
    ),
    "message": (
        views.message,
        views.MessageView("Signed out", ("You are out.",), ("Sign in", "/sign-in"), "gone"),
    ),
    "wrong request": (
        views.message,
        views.MessageView("Wrong", ("No.",), code="no", developer="Register it.", good=True),
    ),
    "consent": (views.consent, CONSENT),
    "consent choice": (
        views.consent,
        replace(CONSENT, application=ITSELF, organizations=(ACME, UMBRELLA, EMPTY)),
    ),
    "consent many": (
        views.consent,
        replace(CONSENT, application=DOCUMENT, organizations=MANY, error="Choose."),
    ),
    "on behalf": (views.consent, replace(CONSENT, on_behalf="Globex", error="Choose at least one project.")),
    "device code": (views.device_code, views.DeviceCodeView("token", "WDJB-MJHT", "Not known.")),
    "device confirm": (views.device_confirm, DEVICE),
    "account": (views.account, ACCOUNT),
    "account empty": (views.account, replace(ACCOUNT, memberships=(), sessions=(), grants=(), error="No.")),
    "invitation": (
        views.invitation,
        views.InvitationView("token", "i", "Acme", "b@acme.example", ("viewer",), 12),
    ),
    "invitation again": (
        views.invitation,
        views.InvitationView("t", "i", "Acme", "b@acme.example", (), 12, "That did not work."),
    ),
    "reset": (views.reset, views.ResetView("token", "r", "alice@acme.example", 12, "Too short.")),
}


@dataclass
class Form:
    """A form as a browser finds it: its action, and its fields by name, in order."""

    method: str
    action: str
    names: list[str] = field(default_factory=list)
    values: dict[str, list[str]] = field(default_factory=dict)


class Read(HTMLParser):
    """The tags, forms, ids and labels of a page, and tags that are not closed or closed twice."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.forms: list[Form] = []
        self.text = ""
        self.labelled: set[str] = set()
        self.unlabelled: list[dict[str, str]] = []
        self.open: list[str] = []
        self.feed(bytes(response.body).decode())
        assert self.open == []
        self.unlabelled = [found for found in self.unlabelled if found.get("id") not in self.labelled]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        assert len(found) == len(attrs), "an attribute twice"
        self.tags.append((tag, found))
        if tag == "form":
            assert "form" not in self.open
            self.forms.append(Form(found["method"], found["action"]))
        if tag == "label" and "for" in found:
            self.labelled.add(found["for"])
        if tag in {"input", "select"} and found.get("type") not in UNSEEN and "label" not in self.open:
            self.unlabelled.append(found)
        if "name" in found and tag in {"input", "select", "button"}:
            self.forms[-1].names.append(found["name"])
            self.forms[-1].values.setdefault(found["name"], []).append(found.get("value", ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f" {data} "


def hostile(fact: Any) -> Any:
    """Return the same view with a hostile text in every field that comes from users or clients."""
    if isinstance(fact, str):
        return fact and HOSTILE
    if isinstance(fact, tuple):
        return tuple(hostile(each) for each in fact)
    if is_dataclass(fact) and not isinstance(fact, type):
        ours = {"redirect_uri"}
        changed = {f.name: hostile(getattr(fact, f.name)) for f in fields(fact) if f.name not in ours}
        return replace(fact, **changed)
    return fact


@pytest.fixture(params=list(PAGES))
def shown(request: pytest.FixtureRequest) -> tuple[Callable[[Any], Response], Any]:
    return PAGES[request.param]


def prose(response: Response) -> str:
    """Return the text of a page, with single spaces between words."""
    return " ".join(Read(response).text.split())


def shape(page: Read) -> list[tuple[str, tuple[str, ...]]]:
    return [(tag, tuple(attributes)) for tag, attributes in page.tags]


def test_hostile_names_stay_text(shown: tuple[Callable[[Any], Response], Any]) -> None:
    """P13 breaks: the name of an application or an organization changes the page."""
    render, facts = shown
    hurt = render(hostile(facts))
    assert shape(Read(hurt)) == shape(Read(render(facts)))
    assert "49" not in re.sub(r"[0-9a-f]{24}", "", bytes(hurt.body).decode())


@pytest.mark.parametrize("key", ["consent", "consent many", "on behalf", "device confirm"])
def test_right_to_left_marks_stay_in_a_name(key: str) -> None:
    """P13 breaks: a name with an override character reverses the sentence or the host beside it."""
    render, facts = PAGES[key]
    application = replace(facts.application, name="\u202eevil", organization="\u202eevil")
    text = bytes(render(replace(facts, application=application)).body).decode()
    assert "<bdi>\u202eevil</bdi>" in text
    assert text.count("\u202e") == text.count("<bdi>\u202e") + text.count("<span>\u202e</span>")


def test_a_page_shows_no_name_of_the_code(shown: tuple[Callable[[Any], Response], Any]) -> None:
    """Pages break: a person reads the name of a class instead of a word."""
    render, facts = shown
    text = bytes(render(facts).body).decode()
    assert re.findall(r"\b[A-Z][a-z]+View\b", text) == []


def test_a_page_has_no_script_and_no_style_of_its_own(shown: tuple[Callable[[Any], Response], Any]) -> None:
    """P13 breaks: a page does not work under its policy, or the policy must be weakened for it."""
    render, facts = shown
    page = Read(render(facts))
    assert {tag for tag, _ in page.tags} & {"script", "style", "iframe", "object", "base"} == set()
    names = {name for _, attributes in page.tags for name in attributes}
    assert {name for name in names if name == "style" or name.startswith("on")} == set()
    loaded = [found["href"] for tag, found in page.tags if tag == "link"]
    assert [address for address in loaded if not address.startswith(("/pages/style.css?", "data:"))] == []


def test_every_form_is_ours_and_carries_the_token(shown: tuple[Callable[[Any], Response], Any]) -> None:
    """P13 breaks: a form can be forged, or sends its fields to another site."""
    render, facts = shown
    for form in Read(render(facts)).forms:
        assert form.method == "post"
        assert form.action.startswith("/")
        assert form.names[0] == "form_token"
        assert form.values["form_token"] == [facts.form_token]


def test_every_field_has_a_label(shown: tuple[Callable[[Any], Response], Any]) -> None:
    """P13 breaks for people with a screen reader: a field has no label, or an error is not connected to its field."""
    render, facts = shown
    page = Read(render(facts))
    assert page.unlabelled == []
    ids = [found["id"] for _, found in page.tags if "id" in found]
    assert len(ids) == len(set(ids))
    led = {name for _, found in page.tags for name in found.get("aria-describedby", "").split()}
    led |= {found["aria-labelledby"] for _, found in page.tags if "aria-labelledby" in found}
    assert led <= set(ids)
    if getattr(facts, "error", None):
        alerts = [found for _, found in page.tags if found.get("role") == "alert"]
        assert alerts
    assert [tag for tag, _ in page.tags if tag == "h1"] == ["h1"]


EXACTLY = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
    "x-robots-tag": "noindex",
}


def test_the_headers_of_a_page(shown: tuple[Callable[[Any], Response], Any]) -> None:
    """P13 breaks: a page can be framed or cached, or can load external resources."""
    render, facts = shown
    headers = dict(render(facts).headers)
    assert headers.pop("content-type") == "text/html; charset=utf-8"
    del headers["content-length"]
    if render is views.consent:
        policy = headers["content-security-policy"]
        headers["content-security-policy"] = policy.replace(" https://app.example.com;", ";")
        assert policy != headers["content-security-policy"]
    assert headers == EXACTLY


@pytest.mark.parametrize(
    "redirect_uri, expected",
    [
        ("https://App.Example.com/cb?a=b", Destination("site", "app.example.com", "https://app.example.com")),
        (
            "https://app.example.com:8443/",
            Destination("site", "app.example.com:8443", "https://app.example.com:8443"),
        ),
        ("http://127.0.0.1:52341/cb", Destination("computer", "127.0.0.1:52341", "http://127.0.0.1:52341")),
        ("http://localhost/cb", Destination("computer", "localhost", "http://localhost")),
        ("http://[::1]:8000/cb", Destination("computer", "[::1]:8000", "http:")),
        ("http://127.evil.example/cb", Destination("site", "127.evil.example", "http://127.evil.example")),
        ("com.example.app:/cb", Destination("app", "com.example.app", "com.example.app:")),
        ("https://xn--ggle-55da.com/", Destination("site", "xn--ggle-55da.com", "https://xn--ggle-55da.com")),
    ],
)
def test_where_an_application_sends_a_person(redirect_uri: str, expected: Destination) -> None:
    """P13 breaks: the page shows another host than the one that gets the code, or its policy blocks the redirect."""
    assert destination(redirect_uri) == expected
    response = views.consent(replace(CONSENT, redirect_uri=redirect_uri))
    assert f"form-action 'self' {expected.source}; " in response.headers["content-security-policy"]
    assert expected.shown in prose(response)


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "",
        "/cb",
        "https://",
        "https:///cb",
        "https://a;script-src *",
        "https://a b/",
        "https://gооgle.com/",
        "https://a.example@b.example/",
        "https://a.example\\@b.example/",
        "https://a.exa\tmple/",
        "https://a:70000/",
    ],
)
def test_a_redirect_that_cannot_be_named_is_no_page(redirect_uri: str) -> None:
    """P13 breaks: a redirect URI changes the page's policy, or its host is misleading."""
    with pytest.raises(ValueError):
        destination(redirect_uri)
    with pytest.raises(ValueError):
        views.consent(replace(CONSENT, redirect_uri=redirect_uri))


@pytest.mark.parametrize("source", ["*", "https:; script-src *", "https://a/b", "https://*.a", "'none'", ""])
def test_a_policy_takes_one_origin_or_scheme(source: str) -> None:
    """P13 breaks: a page's policy allows more than the one destination of its form."""
    with pytest.raises(ValueError):
        rendering.protection(source)


def test_the_fields_are_what_their_readers_expect() -> None:
    """The contract in `views.py` breaks: a page posts other fields than the handlers read."""

    def names(key: str) -> dict[str, list[str]]:
        render, facts = PAGES[key]
        return {form.action: form.names[1:] for form in Read(render(facts)).forms}

    out = {"/sign-out": ["next"]}
    assert names("sign-in") == {"/sign-in": ["next", "email", "password"]}
    assert names("confirm") == names("sign-in")
    assert names("consent") == out | {
        "/oauth/authorize": ["request", "organization", "reach", "reach", "project", "decision", "decision"]
    }
    assert names("on behalf") == out | {
        "/oauth/authorize": ["request", "organization", "project", "decision", "decision"]
    }
    assert names("device code") == {"/oauth/device/verify": ["user_code"]}
    assert names("device confirm") == out | {
        "/oauth/device/verify": ["user_code", "organization", "organization", "decision", "decision"]
    }
    assert names("account") == {
        "/sign-out": [],
        "/account/sign-out-everywhere": [],
        "/account/sessions/revoke": ["session"],
        "/account/grants/withdraw": ["grant"],
        "/account/password": ["current", "new"],
    }
    assert names("invitation") == {"/invitations/accept": ["invitation", "new", "current"]}
    assert names("reset") == {"/password/reset": ["reset", "new"]}


def test_a_decision_is_one_of_two_and_no_is_first() -> None:
    """P13 breaks: the Enter key in a consent form allows access."""
    for render, facts in (PAGES["consent"], PAGES["device confirm"]):
        assert Read(render(facts)).forms[-1].values["decision"] == ["deny", "allow"]


def test_consent_says_who_asks_for_what_and_for_how_long() -> None:
    """B4 breaks: the consent page does not show everything that the person allows."""
    text = prose(views.consent(CONSENT))
    for said in (
        "Deploy Bot wants access to your account",
        "You will be sent back to app.example.com",
        "Signed in as alice@acme.example",
        "Read plugins read:plugins",
        "Everything that you may do yourself api",
        "Registered by Globex",
        "30 days, or until you withdraw it",
    ):
        assert said in text
    assert "Nobody has checked" not in text
    stranger = prose(views.consent(replace(CONSENT, application=ITSELF)))
    assert "Nobody has checked this application." in stranger
    assert "Registered by itself" in stranger


def test_access_on_behalf_says_so_and_offers_no_everything() -> None:
    """P19 breaks: an admin gives an integrator access to more projects than chosen."""
    page = Read(views.consent(replace(CONSENT, on_behalf="Globex")))
    assert "Until you withdraw it" in page.text
    assert CONSENT.lifetime not in page.text, "the account has no end of its own"
    text = " ".join(page.text.split())
    assert "Globex ’s Deploy Bot wants access to projects of your organization" in text
    assert "A service account of Globex gets exactly this access." in text
    assert "reach" not in page.forms[-1].names


def test_a_wrong_request_leads_nowhere() -> None:
    """P13 breaks: the page about an invalid redirect URI links to it."""
    response = views.wrong_request("invalid_redirect_uri", "It is not registered: https://evil.example/cb.")
    page = Read(response)
    assert response.status_code == 400
    assert [tag for tag, _ in page.tags if tag in {"a", "form"}] == []
    assert "invalid_redirect_uri" in page.text


def test_the_device_page_shows_the_code_and_ends() -> None:
    """B5 breaks: a person allows a device without comparing the code."""
    text = prose(views.device_confirm(DEVICE))
    for said in (
        "WDJB-MJHT",
        "203.0.113.7",
        "22 Nov 2026, 09:30 UTC",
        "ostiary-cli/0.1",
        "Only continue if you",
    ):
        assert said in text
    assert "go back to your device" in Read(views.device_done(True)).text
    assert "no access" in Read(views.device_done(False)).text


@pytest.mark.parametrize(
    "scope, sentence",
    [
        ("read:plugins", "Read plugins"),
        ("write:service-accounts", "Create, change and delete service accounts"),
        ("invoke:agents", "Invoke agents"),
        ("read:*", "Read everything"),
        ("api", "Everything that you may do yourself"),
        ("unheard_of", "unheard_of"),
    ],
)
def test_a_scope_as_a_sentence(scope: str, sentence: str) -> None:
    """The consent page breaks: the description of a scope is wrong."""
    assert describe_scope(scope) == sentence


@pytest.mark.parametrize(
    "user_agent, name",
    [
        (FIREFOX, "Firefox on Linux"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19.0 Safari/604.1",
            "Safari on iPhone",
        ),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        ("ostiary-cli/0.1 (linux)", "ostiary-cli/0.1"),
        ("", "An unnamed program"),
        ("a" * 500, "a" * 60),
    ],
)
def test_what_asked_by_its_own_word(user_agent: str, name: str) -> None:
    """The account page breaks: sessions cannot be told apart."""
    assert describe_browser(user_agent) == name


def test_a_time_is_a_minute_in_utc() -> None:
    """The account page breaks: it shows a wrong time."""
    assert describe_time(NOW) == "22 Nov 2026, 09:30"


def test_the_style_sheet_is_small_and_kept() -> None:
    """The pages break: they have no style, or the style of an older version."""
    client = TestClient(Starlette(routes=list(rendering.ROUTES)))
    address = next(
        found["href"]
        for tag, found in Read(views.device_code(views.DeviceCodeView("t"))).tags
        if tag == "link"
    )
    named, plain = client.get(address), client.get("/pages/style.css")
    assert named.status_code == plain.status_code == 200
    assert named.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in named.headers["cache-control"]
    assert plain.headers["cache-control"] == "no-cache"
    assert len(named.content) < 12_000
    assert re.findall(rb"url\(|@import|http", named.content) == []
