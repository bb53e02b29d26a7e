"""Finds the visitor of a page and protects forms against forgery (CSRF).

The session cookie identifies a person. A form must carry the token for that session or, before sign-in, the token for a
random cookie, and the browser's headers must not name another site. Handlers are plain functions from a `PageRequest`
to a response, and run in a thread.
"""

import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final
from urllib.parse import parse_qsl, quote

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ostiary.auth.access_request import AccessRequest
from ostiary.auth.caller import caller_of
from ostiary.console import views
from ostiary.core.instant import Instant
from ostiary.core.permission import Caller
from ostiary.core.problem import Problem
from ostiary.core.secret import SESSION
from ostiary.http import cookies, messages
from ostiary.http.messages import Headers, Origin
from ostiary.http.routing import PlainRoute, Wiring
from ostiary.http.routing import wiring as wiring_of
from ostiary.services.callers import RECENTLY
from ostiary.services.execute import record_refusal
from ostiary.storage import sessions
from ostiary.storage.sessions import Session

SIGN_IN: Final = "/sign-in"
MAX_FIELDS: Final = 400
TOKEN_FIELD: Final = "form_token"  # noqa: S105 - a field's name


class SignInRequired(Exception):  # noqa: N818 - leads to a redirect, not an error
    """The page needs a signed-in person. `again`: the person must enter the password again.

    `target` is the local URL to open afterwards, by default the URL of the request.
    """

    def __init__(self, again: bool = False, target: str = "") -> None:
        super().__init__()
        self.again = again
        self.target = target


@dataclass(frozen=True, slots=True)
class Visitor:
    """A person who has signed in."""

    caller: Caller
    """The caller in the organization of the session."""
    user_id: str
    email: str
    session: Session

    def recent(self, now: Instant) -> bool:
        """Whether the person entered the password within the last minutes (`RECENTLY`)."""
        given = self.session.authenticated_at
        return given is not None and given > now - RECENTLY


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a form. A missing field is empty."""

    _pairs: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def get(self, name: str) -> str:
        """Return the value of a field; empty if the field is missing or repeated."""
        found = self.all(name)
        return found[0] if len(found) == 1 else ""

    def all(self, name: str) -> tuple[str, ...]:
        return tuple(value for key, value in self._pairs if key == name)


@dataclass(frozen=True, slots=True)
class PageRequest:
    """One request to a page."""

    request: Request
    wiring: Wiring
    origin: Origin
    user_agent: str
    request_id: str
    visitor: Visitor | None
    form_token: str
    """The CSRF token for every form on the page."""
    fields: Fields
    """The fields of a POST. Its CSRF token is checked already."""

    @property
    def now(self) -> Instant:
        return self.wiring.store.clock()

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query_params

    def signed_in(self, recently: bool = False) -> Visitor:
        """Return the signed-in person. Raise SignInRequired if there is none, or `recently` and not confirmed lately."""
        if self.visitor is None:
            raise SignInRequired
        if recently and not self.visitor.recent(self.now):
            raise SignInRequired(again=True)
        return self.visitor


Work = Callable[[PageRequest], Response]


def page(method: str, path: str, work: Work, hashes: bool = False) -> PlainRoute:
    """Return the route of a page. It reads the body, finds the visitor, checks forms, and shows problems as pages.

    A route that `hashes` passwords runs in a thread pool of its own, so that it blocks no other request.
    """

    async def endpoint(request: Request) -> Response:
        body = await request.body()
        limiter = wiring_of(request).hashing if hashes else None
        return await run_sync(_respond, work, request, body, limiter=limiter)

    return PlainRoute(path, endpoint, methods=[method])


def _respond(work: Work, request: Request, body: bytes) -> Response:
    wiring = wiring_of(request)
    headers: Headers = request.scope["headers"]
    state = request.scope["state"]
    agent = messages.printable(messages.header(headers, b"user-agent") or b"")
    visitor: Visitor | None = None
    try:
        visitor = _visitor(wiring, headers, state["origin"], agent, state["request_id"])
        known, cookie = _csrf_subject(wiring, headers, visitor)
        fields = Fields()
        if request.method == "POST":
            fields = _fields(headers, body)
            reason = _forgery(wiring, headers, fields, known)
            if reason and cookies.of_other_address(headers, wiring.cookie):
                return _other_address(wiring, request.url.path)
            if reason:
                raise Problem(
                    "insufficient-permissions",
                    "The form was not sent from this page, or it is too old. Go back and try again.",
                    reason=reason,
                )
        visit = PageRequest(
            request,
            wiring,
            state["origin"],
            agent,
            state["request_id"],
            visitor,
            token_of(wiring, known),
            fields,
        )
        response = work(visit)
        if cookie is not None:
            response.headers.append("set-cookie", cookie)
        return response
    except SignInRequired as needed:
        return _to_sign_in(request, needed)
    except Problem as problem:
        return _problem_page(request, wiring, visitor, problem)


def _visitor(wiring: Wiring, headers: Headers, origin: Origin, agent: str, request_id: str) -> Visitor | None:
    authenticator = wiring.authenticator
    text = cookie_value(headers, wiring.cookie.name)
    if not text.startswith(SESSION):
        return None
    asked = AccessRequest(origin.address, about_itself=True)
    verdict = authenticator.key_or_token(text.encode(), asked, authenticator.from_database())
    standing, token = verdict.standing, verdict.token
    if not verdict.valid or standing is None or token is None or standing.kind != "session":
        return None
    session = wiring.store.read(sessions.find, standing.organization.id, token.id)
    if session is None or session.kind != "browser":
        return None
    authenticator.note(verdict, origin.text, "page", authenticator.clock())
    caller = caller_of(verdict, origin.address, agent, request_id)
    return Visitor(caller, standing.principal.id, standing.principal.display, session)


# Forms


def token_of(wiring: Wiring, known: str) -> str:
    """Return the CSRF token for a session id or a form cookie."""
    key = wiring.store.installation.keyring.forms
    return urlsafe_b64encode(blake2b(known.encode(), key=key, digest_size=24).digest()).decode()


def form_cookie_name(wiring: Wiring) -> bytes:
    """Return the name of the random cookie that binds forms to a browser before sign-in."""
    return wiring.cookie.name.replace(b"session", b"form")


def _csrf_subject(wiring: Wiring, headers: Headers, visitor: Visitor | None) -> tuple[str, str | None]:
    """Return the session id or form cookie that the CSRF token is bound to, and the new cookie to set, if any."""
    if visitor is not None:
        return visitor.session.id, None
    name = form_cookie_name(wiring)
    value = cookie_value(headers, name)
    if len(value) == 32 and value.isascii() and value.isalnum():
        return value, None
    value = secrets.token_hex(16)
    return value, cookies.setting(name, value, None, "Lax")


def _forgery(wiring: Wiring, headers: Headers, fields: Fields, known: str) -> str:
    """Return the reason why a form is refused as forged; empty if it is accepted."""
    if cookies.of_another_site(headers, wiring.cookie):
        return "form of another site"
    given = fields.get(TOKEN_FIELD)
    if not hmac.compare_digest(given.encode(), token_of(wiring, known).encode()):
        return "form without its token"
    return ""


def _fields(headers: Headers, body: bytes) -> Fields:
    kind = (messages.header(headers, b"content-type") or b"").partition(b";")[0].strip().lower()
    try:
        text = body.decode()
        if kind != b"application/x-www-form-urlencoded" or "\0" in text:
            raise ValueError
        pairs = parse_qsl(
            text,
            keep_blank_values=True,
            strict_parsing=bool(text),
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:
        raise Problem("invalid-request", "The form cannot be read.", reason="unreadable form") from None
    return Fields(tuple(pairs))


def cookie_value(headers: Headers, name: bytes) -> str:
    """Return the value of a cookie; empty if it is missing or has several different values."""
    found = cookies.values(headers, name)
    return found.pop().decode("latin-1")[: messages.MAX_KEY] if len(found) == 1 else ""


# Responses in place of a page


def _to_sign_in(request: Request, needed: SignInRequired) -> Response:
    """Redirect to the sign-in page, and back afterwards. A form is not sent again automatically."""
    target = needed.target or request.url.path + (f"?{request.url.query}" if request.url.query else "")
    address = f"{SIGN_IN}?next={quote(target, safe='')}" + ("&again=1" if needed.again else "")
    return RedirectResponse(address, 303, {"cache-control": "no-store"})


def _other_address(wiring: Wiring, path: str) -> Response:
    """Status 403: the page was opened at another URL of this service, where forms are not accepted."""
    own = wiring.cookie.origin.decode()
    sentences = (
        f"These pages work only at {own}. What you entered was not used.",
        "Operators set this address with OSTIARY_ISSUER.",
    )
    return views.message(
        views.MessageView("Open this page at its own address", sentences, (f"Go to {own}", own + path)), 403
    )


_TITLES: Final[Mapping[int, tuple[str, str]]] = {
    400: ("Invalid request", "The request cannot be read."),
    403: (
        "Form not accepted",
        "The form was not sent from this page, or it is too old. Go back and try again.",
    ),
    404: ("Not found", "There is no page at this address, or it is not valid any more."),
    409: ("Not possible now", "Something has changed since this page was shown."),
    422: ("Check the form", "A field in the form is not valid."),
    429: ("Too many attempts", "Wait for a minute, then try again."),
    500: ("Internal error", "Nothing was changed. Try again."),
    503: (
        "Service unavailable",
        "The service is busy, or its database does not respond. Try again in a moment.",
    ),
}


def _problem_page(request: Request, wiring: Wiring, visitor: Visitor | None, problem: Problem) -> Response:
    title, sentence = _TITLES.get(problem.status, _TITLES[400])
    if visitor is not None and problem.status in (403, 404, 409):
        route = getattr(request.scope.get("route"), "path_format", "-")
        reason = problem.reason or problem.code
        try:
            record_refusal(
                wiring.store,
                visitor.caller,
                request.method,
                route,
                problem.status,
                problem.code,
                reason,
            )
        except Problem as instead:
            title, sentence = _TITLES.get(instead.status, _TITLES[400])
            problem = instead
    response = views.message(
        views.MessageView(title, (problem.detail or sentence,), code=problem.code), problem.status
    )
    if problem.status in (429, 503):
        response.headers["retry-after"] = str(problem.members.get("retry_after", 1))
    return response
