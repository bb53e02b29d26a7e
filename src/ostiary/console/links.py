"""`/invitations/accept` and `/password/reset`: the pages that emailed links open. Opening a link changes nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from starlette.responses import Response

from ostiary.console import known_browser, password_queue, views
from ostiary.console.own_account import new_password
from ostiary.console.page_request import SIGN_IN, PageRequest, page
from ostiary.console.password_check import WrongPassword, check_password, log_caller
from ostiary.console.signing_in import ACCOUNT, signed_out, with_wait
from ostiary.core import check
from ostiary.core.permission import Caller
from ostiary.core.problem import Problem
from ostiary.http.links import INVITATION, RESET
from ostiary.services import joining, members, password_resets
from ostiary.services.execute import execute, record_refusal
from ostiary.services.joining import InvitationLink
from ostiary.services.people import VerifiedPassword
from ostiary.storage.store import Tx

NOT_JOINED: Final = (
    "That did not work. If you have an account here, give its password. If you have none, leave that field empty. "
    "If neither helps, ask an administrator for a link to choose a new password."
)


def accept(visit: PageRequest) -> Response:
    return _open(visit, _accept, "invitation", members.organization_of_token)


def reset(visit: PageRequest) -> Response:
    return _open(visit, _reset, "reset", password_resets.organization_of_token)


def _open(
    visit: PageRequest,
    work: Callable[[PageRequest], Response],
    field: str,
    log_of: Callable[[Tx, Caller, str], str | None],
) -> Response:
    """Handle a link. If it is no longer valid, return a page with the next step.

    If the link was valid before, the refusal is recorded in the audit log of its organization.
    """
    try:
        return work(visit)
    except Problem as problem:
        if problem.status != 404:
            raise
        caller = _caller(visit)
        token = visit.fields.get(field) if visit.request.method == "POST" else visit.query.get(field, "")
        home = visit.wiring.store.read(log_of, caller, token) or caller.organization_id
        if home:
            reason = problem.reason or problem.code
            path = visit.request.url.path
            refusal = (visit.request.method, path, problem.status, problem.code, reason)
            record_refusal(visit.wiring.store, replace(caller, organization_id=home), *refusal)
        said = (
            "It was already used or withdrawn, or it has expired.",
            "If you have a password, sign in. If not, ask the person who gave you the link for a new one.",
        )
        return views.message(
            views.MessageView("This link is not valid any more", said, ("Sign in", SIGN_IN)), 404
        )


def _accept(visit: PageRequest) -> Response:
    posted = visit.request.method == "POST"
    token = visit.fields.get("invitation") if posted else visit.query.get("invitation", "")
    opened = visit.wiring.store.read(joining.find_link, _caller(visit), token)
    if visit.visitor is not None and visit.visitor.email != opened.invitation.email:
        both = (
            f"You are signed in as {visit.visitor.email}, and {opened.invitation.email} was invited.",
            "Sign out on your account page, then open the link again.",
        )
        return views.message(
            views.MessageView("This invitation is for another person", both, ("Your account", ACCOUNT)), 409
        )
    return _join(visit, opened, token) if posted else _invitation(visit, opened, token)


def _join(visit: PageRequest, opened: InvitationLink, token: str) -> Response:
    """Accept the invitation: set the new password. If the email has an account, check its current password first."""
    current, email, store = visit.fields.get("current"), opened.invitation.email, visit.wiring.store
    places = tuple({opened.organization.id, *opened.homes})
    try:
        if current and current == visit.fields.get("new"):
            raise Problem("validation-failed", "The new password must differ from the current one.")
        chosen = new_password(visit, email)
    except Problem as problem:
        if problem.code != "validation-failed":
            raise
        return _invitation(visit, opened, token, problem.detail, 422)

    def join(caller: Caller, right: VerifiedPassword) -> str:
        new_hash = password_queue.hash_password(chosen)
        return execute(store, caller, joining.join, token, new_hash, right.verified, organizations=places)

    if opened.set_up and not current:
        new_hash = password_queue.hash_password(chosen)
        execute(store, log_caller(visit), joining.join, token, new_hash, organizations=places)
    else:
        try:
            check_password(visit, email, current, "join", join)
        except WrongPassword as wrong:
            said = NOT_JOINED if wrong.retry_after is None else wrong.sentence
            return with_wait(_invitation(visit, opened, token, said, wrong.status), wrong)
    return _sign_in_next(visit, email, "joined")


def _invitation(
    visit: PageRequest, opened: InvitationLink, token: str, error: str | None = None, status: int = 200
) -> Response:
    """Show the invitation. The page is the same whether or not the invited email has an account."""
    invitation = opened.invitation
    shown = views.InvitationView(
        visit.form_token,
        token,
        opened.organization.name,
        invitation.email,
        tuple(each.role for each in invitation.roles),
        check.MIN_PASSWORD,
        error,
    )
    return views.invitation(shown, status)


def _sign_in_next(visit: PageRequest, email: str, notice: str) -> Response:
    """Sign out, redirect to the sign-in page, and remember the browser as the person's: it had their link."""
    response = signed_out(visit, f"{SIGN_IN}?notice={notice}")
    known_browser.remember(visit, response, email)
    return response


def _reset(visit: PageRequest) -> Response:
    posted = visit.request.method == "POST"
    token = visit.fields.get("reset") if posted else visit.query.get("reset", "")
    store, caller = visit.wiring.store, log_caller(visit)
    opened = store.read(password_resets.find_link, caller, token)
    email, error = opened.person.email, None
    if posted:
        try:
            chosen = new_password(visit, email)
        except Problem as problem:
            if problem.code != "validation-failed":
                raise
            error = problem.detail
        else:
            new_hash = password_queue.hash_password(chosen)
            execute(store, caller, password_resets.use, token, new_hash, organizations=opened.organizations)
            return _sign_in_next(visit, email, "password")
    shown = views.ResetView(visit.form_token, token, email, check.MIN_PASSWORD, error)
    return views.reset(shown, 422 if error else 200)


def _caller(visit: PageRequest) -> Caller:
    return log_caller(visit) if visit.visitor is None else visit.visitor.caller


ROUTES: Final = (
    page("GET", INVITATION, accept),
    page("POST", INVITATION, accept, hashes=True),
    page("GET", RESET, reset),
    page("POST", RESET, reset, hashes=True),
)
