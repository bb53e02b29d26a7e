"""Who visits a page, and whether a form comes from a page of ours.

A person is known by the session in their browser's cookie. A form is believed if it carries the token that was made for
that session, or, before there is one, for a random cookie; and if the browser does not say that another site sent it.
Handlers are plain functions from a `PageRequest` to an answer, and run in a thread.
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


class SignInRequired(Exception):  # noqa: N818 - no error, but the way on
    """The page is for somebody who has signed in; `again`: who has given the password just now.

    `target` is where to go on afterwards; without one, to the address that was asked for.
    """

    def __init__(self, again: bool = False, target: str = "") -> None:
        super().__init__()
        self.again = again
        self.target = target


@dataclass(frozen=True, slots=True)
class Visitor:
    """A person who has signed in."""

    caller: Caller
    """In the organization of their session."""
    user_id: str
    email: str
    session: Session

    def recent(self, now: Instant) -> bool:
        """Whether the password was given just now."""
        given = self.session.authenticated_at
        return given is not None and given > now - RECENTLY


@dataclass(frozen=True, slots=True)
class Fields:
    """What a form was filled in with. A field that is missing is empty."""

    _pairs: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def get(self, name: str) -> str:
        """The value of a field that stands once; empty if it stands several times."""
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
    """For every form of the answer."""
    fields: Fields
    """Of a POST; its token was found to be right."""

    @property
    def now(self) -> Instant:
        return self.wiring.store.clock()

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query_params

    def signed_in(self, recently: bool = False) -> Visitor:
        """The person. Raises SignInRequired."""
        if self.visitor is None:
            raise SignInRequired
        if recently and not self.visitor.recent(self.now):
            raise SignInRequired(again=True)
        return self.visitor


Work = Callable[[PageRequest], Response]


def page(method: str, path: str, work: Work, hashes: bool = False) -> PlainRoute:
    """A page's route: it reads the body, finds the visitor, checks a form, and tells problems as pages.

    One that `hashes` passwords waits for its turn in a thread that nothing else needs.
    """

    async def endpoint(request: Request) -> Response:
        body = await request.body()
        limiter = wiring_of(request).hashing if hashes else None
        return await run_sync(_answer, work, request, body, limiter=limiter)

    return PlainRoute(path, endpoint, methods=[method])


def _answer(work: Work, request: Request, body: bytes) -> Response:
    wiring = wiring_of(request)
    headers: Headers = request.scope["headers"]
    state = request.scope["state"]
    agent = messages.printable(messages.header(headers, b"user-agent") or b"")
    visitor: Visitor | None = None
    try:
        visitor = _visitor(wiring, headers, state["origin"], agent, state["request_id"])
        known, cookie = _known_as(wiring, headers, visitor)
        fields = Fields()
        if request.method == "POST":
            fields = _fields(headers, body)
            reason = _forged(wiring, headers, fields, known)
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
        return _told(request, wiring, visitor, problem)


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
    """The token for the forms that are shown to somebody, by what they are known by."""
    key = wiring.store.installation.keyring.forms
    return urlsafe_b64encode(blake2b(known.encode(), key=key, digest_size=24).digest()).decode()


def form_cookie_name(wiring: Wiring) -> bytes:
    """Of the random cookie that ties forms to a browser in which nobody has signed in."""
    return wiring.cookie.name.replace(b"session", b"form")


def _known_as(wiring: Wiring, headers: Headers, visitor: Visitor | None) -> tuple[str, str | None]:
    """What a browser is known by, and the cookie to set, if that was made just now."""
    if visitor is not None:
        return visitor.session.id, None
    name = form_cookie_name(wiring)
    value = cookie_value(headers, name)
    if len(value) == 32 and value.isascii() and value.isalnum():
        return value, None
    value = secrets.token_hex(16)
    return value, cookies.setting(name, value, None, "Lax")


def _forged(wiring: Wiring, headers: Headers, fields: Fields, known: str) -> str:
    """Why a form is not believed; empty if it is."""
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
    """The value of a cookie; empty if there is none, or several that differ."""
    found = cookies.values(headers, name)
    return found.pop().decode("latin-1")[: messages.MAX_KEY] if len(found) == 1 else ""


# What is answered in place of a page


def _to_sign_in(request: Request, needed: SignInRequired) -> Response:
    """There, and back to where the visitor wanted to go. A form that was sent is not sent again by itself."""
    target = needed.target or request.url.path + (f"?{request.url.query}" if request.url.query else "")
    address = f"{SIGN_IN}?next={quote(target, safe='')}" + ("&again=1" if needed.again else "")
    return RedirectResponse(address, 303, {"cache-control": "no-store"})


def _other_address(wiring: Wiring, path: str) -> Response:
    """The page was opened at another address of this service, where no form is believed."""
    own = wiring.cookie.origin.decode()
    sentences = (
        f"These pages work at {own} only. Nothing was done with what you entered.",
        "Operators set this address with OSTIARY_ISSUER.",
    )
    return views.message(
        views.MessageView("Open this page at its own address", sentences, (f"Go to {own}", own + path)), 403
    )


_TITLES: Final[Mapping[int, tuple[str, str]]] = {
    400: ("That cannot be read", "The request is not understood."),
    403: (
        "Not from this page",
        "The form was not sent from this page, or it is too old. Go back and try again.",
    ),
    404: ("Nothing here", "There is nothing at this address, or it is not valid any more."),
    409: ("That is not possible now", "It has changed since this page was shown."),
    422: ("That is not right", "Something in the form is not right."),
    429: ("Too many attempts", "Wait for a minute, then try again."),
    500: ("A fault of ours", "Nothing was done. Try again."),
    503: ("Not now", "The service is busy, or its database is away. Try again in a moment."),
}


def _told(request: Request, wiring: Wiring, visitor: Visitor | None, problem: Problem) -> Response:
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
