"""P13: `/oauth/authorize` redirects only to URIs that the client has registered.

The test sends almost registered redirect URIs to the whole application, with the outcomes allow and deny, and with
other errors in the request. It parses the `Location` of each response strictly.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from ostiary.core.url import read_url
from tests.applications import application, request
from tests.cast import SEED, Front, House
from tests.conftest import PROVE
from tests.core.test_redirect import LOOPBACK, WEB, beside
from tests.promises.line import prove
from tests.visitors import Page, at_home

pytestmark = pytest.mark.promise("P13")

PRIVATE = "com.example.app:/oauth2redirect"
QUERIED = "https://app.example.com/cb?tenant=1"
REGISTERED = (WEB, LOOPBACK, PRIVATE, QUERIED)
EVIL = "https://evil.example/callback"
PATHS = {WEB: "/oauth/callback", LOOPBACK: "/callback", PRIVATE: "/oauth2redirect", QUERIED: "/cb"}
HOSTS = {
    WEB: "app.example.com",
    LOOPBACK: "127.0.0.1:4711",
    PRIVATE: "com.example.app",
    QUERIED: "app.example.com",
}
OTHER_LOOPBACKS = (
    "http://localhost:4711/callback", "http://[::1]:4711/callback", "http://127.0.0.2:4711/callback",
    "http://127.1:4711/callback", "http://0x7f000001:4711/callback", "http://[::1%25lo]:4711/callback",
    "http://[::ffff:127.0.0.1]:4711/callback", "https://127.0.0.1:4711/callback", "http://127.0.0.1:0/callback",
    "http://127.0.0.1:65536/callback", "http://127.0.0.1:04711/callback", "http://127.0.0.1:4711@evil.example/callback",
    "http://127.0.0.1:/callback", "http://127.0.0.1:+80/callback", "http://127.0.0.1:4711\n/callback",
    "http://127.0.0.1:\uff14711/callback", "http://127.0.0.1.evil.example:4711/callback",
)  # fmt: skip
# Appended unchanged to `client_id=…&`: other names, other separators, other encodings of the same bytes.
RAW = (
    f"redirect_uri[]={EVIL}", f"Redirect_Uri={EVIL}", f"redirect_uri%20={EVIL}", f"redirect%5Furi={EVIL}",
    f"state=a;redirect_uri={EVIL}", f"state=a%26redirect_uri={EVIL}", f"redirect_uri={WEB}&redirect_uri={EVIL}",
    f"redirect_uri={EVIL}&redirect_uri={WEB}", f"redirect_uri={WEB};redirect_uri={EVIL}", f"redirect_uri={WEB}%26{EVIL}",
    f"redirect_uri={quote(quote(WEB, ''), '')}", f"redirect_uri=+{WEB}", f"redirect_uri={WEB}+", f"redirect_uri={WEB}%00",
    f"redirect_uri={WEB}%0d%0aLocation:%20{EVIL}", f"state=%0d%0aLocation:%20{EVIL}", f"state=%0aLocation:%20{EVIL}",
    f"redirect_uri={WEB}%c0%ae", f"redirect_uri={WEB}%ff", "redirect_uri", "redirect_uri=", f"redirect_uri=%{WEB}",
    f"redirect_uri={WEB}&state=%E2%80%A8{EVIL}", f"redirect_uri={WEB}&state=&error_uri={EVIL}", f"issuer={EVIL}",
    f"redirect_uri={WEB}&iss={EVIL}", f"redirect_uri={WEB}&response_mode=web_message", f"redirect_url={EVIL}",
    f"post_logout_redirect_uri={EVIL}", f"next={EVIL}", f"redirect_uri={WEB}#{EVIL}",
)  # fmt: skip
FIGURES: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def proof() -> Iterator[None]:
    FIGURES.clear()
    yield
    if PROVE:
        prove("P13", "redirects go to registered URIs only", SEED, dict(FIGURES))


@pytest.fixture
def front(sqlite_house: House, tmp_path: Path) -> Iterator[Front]:
    found = Front(sqlite_house.with_policy(rate_limit=None), tmp_path)
    yield found
    found.close()


def forms() -> list[str]:
    """URIs that are almost registered, but not registered."""
    found = [form for uri in REGISTERED for form in beside(uri, HOSTS[uri], PATHS[uri])] + list(
        OTHER_LOOPBACKS
    )
    return [form for form in dict.fromkeys(found) if not is_registered(form)]


def arrives(page: Page) -> str:
    """Return the target of a redirect, parsed as strictly as possible. Empty if there is none."""
    fields = [value for name, value in page.fields if name in ("location", "refresh")]
    if not fields:
        assert not re.search(r"http-equiv|<script", page.text, re.IGNORECASE)
        return ""
    (location,) = fields
    assert location.isascii()
    assert location.isprintable()
    assert not set(location) & set(' \\#<>"')
    address, _, query = location.partition("?")
    if address.startswith(("http:", "https:")):
        read_url(location)
    assert re.fullmatch(r"(?:tenant=1&)?(?:code|error)=[^?]*", query), location
    return address


def is_registered(uri: str) -> bool:
    """Compare exactly, except the port of loopback URIs. Independent of the code under test."""
    port = re.fullmatch(r"http://127\.0\.0\.1(?::([1-9][0-9]*))?/callback", uri)
    return uri in REGISTERED or (port is not None and int(port[1] or 80) < 65_536)


def test_no_form_of_an_address_escapes(front: Front) -> None:
    """P13 breaks: a code or an error goes to a URI that the client has not registered."""
    client = application(front.house, redirect_uris=REGISTERED)
    alice = at_home(front.house, front, front.house.alice)
    form = alice.get(request(client)).form("/oauth/authorize")
    asked, escapes, redirected = forms(), [], 0
    for uri in asked:
        target = request(client, redirect_uri=uri)
        bad = request(client, redirect_uri=uri, response_type="token")
        query = target.partition("?")[2]
        pages = {
            "asked": alice.get(target),
            "error": alice.get(bad),
            "silent": alice.get(request(client, redirect_uri=uri, prompt="none")),
            "allow": alice.post("/oauth/authorize", form.filled(request=query, decision="allow")),
            "deny": alice.post("/oauth/authorize", form.filled(request=query, decision="deny")),
        }
        for name, page in pages.items():
            FIGURES["requests"] += 1
            redirected += page.status in range(300, 400)
            if page.status not in (400, 414, 431) or arrives(page):
                escapes.append((name, uri, page.status, page.location))
    FIGURES["forms that are almost registered"] = len(asked)
    FIGURES["escapes"] += len(escapes)
    print(
        f"P13: {len(asked)} forms, {5 * len(asked)} requests, {redirected} redirects, {len(escapes)} escapes"
    )
    assert len(asked) >= 120
    assert not escapes


def test_no_spelling_of_a_query_escapes(front: Front) -> None:
    """P13 breaks: the URI is checked by one reading of the query and used by another."""
    client = application(front.house, redirect_uris=(WEB,))
    alice = at_home(front.house, front, front.house.alice)
    form = alice.get(request(client)).form("/oauth/authorize")
    rest = urlencode([("client_id", client.id), ("response_type", "x")])
    escapes = []
    for raw in RAW:
        for query in (f"{rest}&{raw}", f"{raw}&{rest}"):
            for page in (
                alice.get(f"/oauth/authorize?{query.partition('#')[0]}"),
                alice.post("/oauth/authorize", form.filled(request=query, decision="deny")),
            ):
                FIGURES["requests"] += 1
                address = arrives(page) if page.status == 303 else ""
                if (
                    page.status not in (303, 400)
                    or address not in ("", WEB)
                    or "location" in page.text.lower()
                ):
                    escapes.append((query, page.status, page.location))
                assert page.status == 400 or set(page.answer) <= {
                    "error",
                    "error_description",
                    "state",
                    "iss",
                }
                assert page.status == 400 or page.answer["iss"] == "http://localhost:8080"
    FIGURES["spellings of a query"] = 2 * len(RAW)
    FIGURES["escapes"] += len(escapes)
    print(f"P13: {2 * len(RAW)} spellings, {len(escapes)} escapes")
    assert not escapes


def test_what_is_registered_arrives(front: Front) -> None:
    """P13 breaks: registered URIs receive no response, or receive other values than requested."""
    odd = (
        "https://app.example.com/~a/(b)'!*,;=:@/$&+%20%C3%BC".replace("*", ""),
        "com.example.app:/~x(y)'!,;=:$&+%20",
        "https://app.example.com/cb?a=b&c=%26/?:@",
        "https://app.example.com/cb?",
        "https://APP.example.com:443/cb",
    )
    client = application(front.house, redirect_uris=(*REGISTERED, *odd))
    alice = at_home(front.house, front, front.house.alice)
    for uri in (*REGISTERED, *odd, LOOPBACK.replace("4711", "50000"), LOOPBACK.replace(":4711", "")):
        page = alice.get(request(client, redirect_uri=uri))
        for decision, expected in (("allow", "code"), ("deny", "error")):
            answer = alice.submit(page, "/oauth/authorize", decision=decision)
            separator = "&" if "?" in uri else "?"
            assert answer.status == 303
            assert answer.location.startswith(f"{uri}{separator}{expected}="), (uri, answer.location)
        wrong = alice.get(request(client, redirect_uri=uri, response_type="x"))
        assert wrong.location.startswith(f"{uri}{separator}error=")
        FIGURES["registered, that arrived"] += 3
        if uri not in odd:
            assert arrives(answer) == arrives(wrong) == uri.partition("?")[0]
            assert is_registered(uri)
