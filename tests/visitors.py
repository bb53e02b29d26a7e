"""People at a browser without a screen. It keeps cookies, reads and fills in forms, and follows our redirects.

It works with a `Front` in this process and with a real service.
"""

import http.client
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from ostiary.core import secret
from ostiary.core.instant import DAY
from ostiary.core.permission import Caller
from ostiary.core.secret import SESSION
from ostiary.storage import sessions
from ostiary.storage.sessions import Proof, Session
from ostiary.storage.store import Tx
from tests.cast import Front, House
from tests.servers import PATIENCE

FORM = "application/x-www-form-urlencoded"
ISSUER = "http://localhost:8080"

Send = Callable[[str, str, Mapping[str, str], bytes | None], tuple[int, list[tuple[str, str]], str]]
"""Takes method, target, headers and body. Returns status, headers and body."""


@dataclass
class Form:
    """A form of a page, with its prefilled fields."""

    action: str
    method: str = "get"
    fields: list[tuple[str, str]] = field(default_factory=list)

    def filled(self, **values: str | list[str] | None) -> list[tuple[str, str]]:
        """Return the fields to send: hidden and prefilled fields, replaced by `values`. None omits a field."""
        found = [(name, value) for name, value in self.fields if name not in values]
        for name, value in values.items():
            if value is not None:
                found += [(name, each) for each in ([value] if isinstance(value, str) else value)]
        return found


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Form] = []
        self._in_select = ""
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append(Form(given.get("action", ""), given.get("method", "get").lower()))
            self._inside = True
        if not self._inside:
            return
        form = self.found[-1]
        if tag == "input" and "name" in given:
            kind = given.get("type", "text")
            if kind not in ("checkbox", "radio") or "checked" in given:
                form.fields.append((given["name"], given.get("value", "on")))
        elif tag == "select":
            self._in_select = given.get("name", "")
        elif tag == "option" and "selected" in given:
            form.fields.append((self._in_select, given.get("value", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False


@dataclass(frozen=True)
class Page:
    """A response. Redirects to other sites are not followed."""

    status: int
    target: str
    fields: tuple[tuple[str, str], ...]
    text: str

    @property
    def body(self) -> bytes:
        return self.text.encode()

    @property
    def headers(self) -> dict[str, str]:
        return dict(self.fields)

    def header(self, name: str) -> str:
        return next((value for key, value in self.fields if key == name), "")

    @property
    def location(self) -> str:
        return self.header("location")

    @property
    def answer(self) -> dict[str, str]:
        """The query parameters of the redirect."""
        return dict(parse_qsl(urlsplit(self.location).query))

    @property
    def forms(self) -> list[Form]:
        parser = _Forms()
        parser.feed(self.text)
        return parser.found

    def form(self, action: str) -> Form:
        """Return the form that posts to this path. Fails if there is none."""
        found = [
            each for each in self.forms if urlsplit(each.action).path == action and each.method == "post"
        ]
        assert found, f"no form for {action} at {self.target} ({self.status}): {self.text[:2000]}"
        return found[0]


class Browser:
    """The browser of one person."""

    def __init__(self, send: Send, issuer: str = ISSUER) -> None:
        self._send = send
        self.issuer = issuer
        self.cookies: dict[str, str] = {}
        self.peer = "192.0.2.1"

    def get(self, target: str, **fields: str) -> Page:
        return self._go("GET", target, None, fields)

    def post(self, target: str, pairs: list[tuple[str, str]], **fields: str) -> Page:
        """Send a form with the Origin headers of a browser, unless `fields` replaces them."""
        said = {"origin": self.issuer, "sec-fetch-site": "same-origin", "content-type": FORM} | {
            name.replace("_", "-"): value for name, value in fields.items()
        }
        return self._go("POST", target, urlencode(pairs).encode(), said)

    def enter(self, target: str, fields: Mapping[str, str], token: str | None = None) -> Page:
        """Send these fields to a page with its form token, or with another token."""
        return self.post(
            target, [*fields.items(), ("form_token", self.token(target) if token is None else token)]
        )

    def token(self, target: str) -> str:
        """Return the form token of the first form on a page."""
        return dict(self.get(target).forms[0].fields)["form_token"]

    def submit(self, page: Page, action: str, **values: str | list[str] | None) -> Page:
        """Fill in the form of a page and send it."""
        form = page.form(action)
        return self.post(form.action, form.filled(**values))

    def _go(self, method: str, target: str, body: bytes | None, fields: Mapping[str, str]) -> Page:
        for _ in range(10):
            said = {name: value for name, value in fields.items() if value}
            if self.cookies:
                said["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            status, answered, text = self._send(method, target, said, body)
            for name, value in answered:
                if name == "set-cookie":
                    self._keep(value)
            page = Page(status, target, tuple(answered), text)
            to = urljoin(self.issuer + target, page.location)
            if status not in (302, 303) or not to.startswith(self.issuer + "/"):
                return page
            method, body, target = "GET", None, to.removeprefix(self.issuer)
            fields = {"sec-fetch-site": "same-origin"}
        raise AssertionError("too many redirects")

    def _keep(self, cookie: str) -> None:
        pair, *attributes = cookie.split("; ")
        name, _, value = pair.partition("=")
        if "Max-Age=0" in attributes or not value:
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = value


def browser(front: Front) -> Browser:
    """Return a browser for a front in this process."""

    def send(
        method: str, target: str, fields: Mapping[str, str], body: bytes | None
    ) -> tuple[int, list[tuple[str, str]], str]:
        answer = front.ask(method, target, headers=list(fields.items()), raw=body, peer=found.peer)
        return answer.status, list(answer.fields), answer.body.decode()

    found = Browser(send)
    return found


def browser_at(url: str) -> Browser:
    """Return a browser for a real service on this machine, whose host name is localhost."""
    parts = urlsplit(url)

    def send(
        method: str, target: str, fields: Mapping[str, str], body: bytes | None
    ) -> tuple[int, list[tuple[str, str]], str]:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
        try:
            connection.request(method, target, body, dict(fields))
            answer = connection.getresponse()
            answered = [(name.lower(), value) for name, value in answer.getheaders()]
            return answer.status, answered, answer.read().decode()
        finally:
            connection.close()

    return Browser(send, f"http://localhost:{parts.port}")


def sign_in(browser: Browser, email: str, password: str, target: str = "/account") -> Page:
    """Sign in through the page."""
    page = browser.get(f"/sign-in?{urlencode({'next': target})}")
    return browser.submit(page, "/sign-in", email=email, password=password)


def at_home(house: House, front: Front, person: Caller) -> Browser:
    """Return a browser in which a person is already signed in."""
    found = browser(front)
    found.cookies[front.cookie_name] = session_of(house, person)
    return found


def session_of(house: House, person: Caller) -> str:
    """Create a browser session for a person and return its secret."""

    def insert(tx: Tx, caller: Caller) -> str:
        minted = secret.create(SESSION, tx.entropy(secret.SECRET_ENTROPY))
        keyring = tx.installation.keyring
        digest = secret.digest(minted.secret.reveal().encode(), keyring.peppers[keyring.newest])
        session = Session(
            id=tx.new_id("ses"),
            organization_id=caller.organization_id,
            kind="browser",
            owner_kind="user",
            owner_id=str(caller.actor.id),
            credential_id=None,
            project_id=None,
            address=None,
            user_agent="",
            created_at=tx.now,
            expires_at=tx.now + 30 * DAY,
            revoked_at=None,
            begun_at=tx.now,
            authenticated_at=tx.now,
        )
        sessions.insert(tx, session, Proof(minted.access_id, digest, keyring.newest))
        return minted.secret.reveal()

    return house.store.write(insert, person)
