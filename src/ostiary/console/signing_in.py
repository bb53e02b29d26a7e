"""`/sign-in` and `/sign-out`. Each sign-in creates a new session secret, which prevents session fixation."""

from collections.abc import Mapping
from typing import Final

from starlette.responses import RedirectResponse, Response

from ostiary.console import known_browser, views
from ostiary.console.next_url import local
from ostiary.console.page_request import SIGN_IN, PageRequest, page
from ostiary.console.password_check import WrongPassword, as_visitor, check_password
from ostiary.core import check
from ostiary.core.instant import SECOND
from ostiary.core.permission import Caller
from ostiary.http import cookies
from ostiary.services import people, sessions
from ostiary.services.callers import holder
from ostiary.services.execute import execute
from ostiary.services.people import BrowserSession, VerifiedPassword

ACCOUNT: Final = "/account"
NOTICES: Final[Mapping[str, str]] = {
    "password": "Your new password is saved. Sign in with it.",
    "joined": "You are a member now. Sign in with your password.",
    "out": "You are signed out.",
    "everywhere": "You are signed out everywhere.",
}
CONFIRM: Final = "Enter your password again to continue."


def show(visit: PageRequest) -> Response:
    """Show the sign-in form. Redirect a visitor who has signed in, unless `again=1` asks for the password."""
    onward = local(visit.query.get("next", ""), ACCOUNT)
    if visit.visitor is not None and visit.query.get("again") != "1":
        return onto(onward)
    return views.sign_in(_page(visit, onward, notice=NOTICES.get(visit.query.get("notice", ""))))


def sign_in(visit: PageRequest) -> Response:
    """Start a session, or confirm the password in the current session."""
    onward = local(visit.fields.get("next"), ACCOUNT)
    visitor, password = visit.visitor, visit.fields.get("password")
    email = visit.fields.get("email") if visitor is None else visitor.email

    def begin(caller: Caller, right: VerifiedPassword) -> BrowserSession:
        store = visit.wiring.store
        if visitor is not None:
            return execute(store, as_visitor(visit, caller), people.confirm, right, confirmed=False)
        return execute(store, caller, people.sign_in, right)

    try:
        begun = check_password(visit, email, password, "sign-in" if visitor is None else "confirm", begin)
    except WrongPassword as wrong:
        response = views.sign_in(_page(visit, onward, email[:254], error=wrong.sentence), wrong.status)
        return with_wait(response, wrong)
    response = onto(onward)
    known_browser.remember(visit, response, check.email(email.strip()))
    seconds = max(1, (begun.expires_at - visit.now) // SECOND)
    text = begun.secret.reveal()
    response.headers.append("set-cookie", cookies.setting(visit.wiring.cookie.name, text, seconds, "Lax"))
    return response


def _page(
    visit: PageRequest, onward: str, email: str = "", error: str | None = None, notice: str | None = None
) -> views.SignInView:
    visitor = visit.visitor
    if visitor is None:
        return views.SignInView(visit.form_token, onward, email, error=error, notice=notice)
    return views.SignInView(visit.form_token, onward, visitor.email, CONFIRM, error)


def sign_out(visit: PageRequest) -> Response:
    """End the session and redirect to the form's `next`, by default the sign-in page."""
    if visit.visitor is not None:
        caller = visit.visitor.caller
        # The holder may end a session that has already ended: the cookie must be removed in any case.
        execute(
            visit.wiring.store,
            holder(caller),
            sessions.end,
            str(caller.token_id),
            "asked for",
            confirmed=False,
        )
    return signed_out(visit, local(visit.fields.get("next"), f"{SIGN_IN}?notice=out"))


def signed_out(visit: PageRequest, onward: str) -> Response:
    """Redirect to a local URL and remove the session cookie."""
    response = onto(onward)
    response.headers.append("set-cookie", cookies.clearing(visit.wiring.cookie.name))
    return response


def onto(address: str) -> Response:
    """Redirect to a local URL with GET."""
    return RedirectResponse(address, 303, {"cache-control": "no-store"})


def with_wait(response: Response, wrong: WrongPassword) -> Response:
    """Add a Retry-After header if a rate limit was reached."""
    if wrong.retry_after is not None:
        response.headers["retry-after"] = str(wrong.retry_after)
    return response


ROUTES: Final = (
    page("GET", SIGN_IN, show),
    page("POST", SIGN_IN, sign_in, hashes=True),
    page("POST", "/sign-out", sign_out),
)
