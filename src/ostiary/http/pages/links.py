"""`/invitations/accept` and `/password/reset`: pages that a link leads to. To open one changes nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final
from urllib.parse import quote

from starlette.responses import Response

from ostiary.core import check
from ostiary.core.permission import Caller
from ostiary.core.problem import Problem
from ostiary.core.secret import Secret
from ostiary.http.pages import look
from ostiary.http.pages.own_account import new_password
from ostiary.http.pages.proving import somebody
from ostiary.http.pages.signing_in import ACCOUNT, onto, signed_out
from ostiary.http.pages.visiting import SIGN_IN, Visit, page
from ostiary.services import audit, joining, members, password_resets
from ostiary.services.joining import Opened
from ostiary.storage.store import Tx

INVITATION: Final = "/invitations/accept"
RESET: Final = "/password/reset"


def invitation_link(issuer: str, token: Secret) -> str:
    """The link by which an invitation is accepted: it holds the token."""
    return f"{issuer}{INVITATION}?invitation={token.reveal()}"


def reset_link(issuer: str, token: Secret) -> str:
    """The link by which a password is chosen, likewise."""
    return f"{issuer}{RESET}?reset={token.reveal()}"


def accept(visit: Visit) -> Response:
    return _open(visit, _accept, "invitation", members.log_of_invitation)


def reset(visit: Visit) -> Response:
    return _open(visit, _reset, "reset", password_resets.log_of)


def _open(
    visit: Visit,
    work: Callable[[Visit], Response],
    field: str,
    log_of: Callable[[Tx, Caller, str], str | None],
) -> Response:
    """What a link leads to. People open them twice, or late, and are told how to go on.

    The refusal of a link that was good once is in the log of the organization that it is of.
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
            visit.wiring.store.write(audit.refuse, replace(caller, organization_id=home), *refusal)
        said = (
            "It was used already, withdrawn, or is too old.",
            "If you have a password, sign in. If not, ask whoever gave you the link for a new one.",
        )
        return look.message(look.Message("This link is not valid any more", said, ("Sign in", SIGN_IN)), 404)


def _accept(visit: Visit) -> Response:
    posted = visit.request.method == "POST"
    token = visit.fields.get("invitation") if posted else visit.query.get("invitation", "")
    opened = visit.wiring.store.read(joining.look, _caller(visit), token)
    if opened.way == "ask":
        return look.message(
            look.Message(
                "Choose a password first",
                (
                    "You are a member of another organization and have no password yet.",
                    "Ask an administrator there for a link to choose one, sign in, and open this link again.",
                ),
            ),
            409,
        )
    if opened.way == "sign in" and not _is_invited(visit, opened):
        return _sign_in_first(visit, opened, token)
    return _accepted(visit, opened, token) if posted else _invitation(visit, opened, token)


def _accepted(visit: Visit, opened: Opened, token: str) -> Response:
    chosen = None
    if opened.way == "choose":
        try:
            chosen = new_password(visit, opened.invitation.email)
        except Problem as problem:
            if problem.code != "validation-failed":
                raise
            return _invitation(visit, opened, token, problem.detail)
    visit.wiring.store.write_on((opened.organization.id,), joining.join, _caller(visit), token, chosen)
    return onto(f"{ACCOUNT}?notice=joined" if chosen is None else f"{SIGN_IN}?notice=joined")


def _invitation(visit: Visit, opened: Opened, token: str, error: str | None = None) -> Response:
    invitation = opened.invitation
    shown = look.Invitation(
        visit.form_token,
        token,
        opened.organization.name,
        invitation.email,
        tuple(each.role for each in invitation.roles),
        opened.way == "choose",
        check.MIN_PASSWORD,
        error,
    )
    return look.invitation(shown, 422 if error else 200)


def _is_invited(visit: Visit, opened: Opened) -> bool:
    return (
        visit.visitor is not None and opened.person is not None and visit.visitor.user_id == opened.person.id
    )


def _sign_in_first(visit: Visit, opened: Opened, token: str) -> Response:
    email = opened.invitation.email
    if visit.visitor is not None:
        both = (
            f"You are signed in as {visit.visitor.email}, and {email} was invited.",
            "Sign out on your account's page, then open the link again.",
        )
        return look.message(
            look.Message("This is somebody else's invitation", both, ("Your account", ACCOUNT)), 409
        )
    onward = quote(f"{INVITATION}?invitation={token}", safe="")
    said = (f"{email} has an account here. Sign in to join {opened.organization.name} with it.",)
    return look.message(look.Message("Sign in first", said, ("Sign in", f"{SIGN_IN}?next={onward}")))


def _reset(visit: Visit) -> Response:
    posted = visit.request.method == "POST"
    token = visit.fields.get("reset") if posted else visit.query.get("reset", "")
    store, caller = visit.wiring.store, somebody(visit)
    opened = store.read(password_resets.look, caller, token)
    email, error = opened.person.email, None
    if posted:
        try:
            chosen = new_password(visit, email)
        except Problem as problem:
            if problem.code != "validation-failed":
                raise
            error = problem.detail
        else:
            store.write_on(tuple(sorted(opened.organizations)), password_resets.use, caller, token, chosen)
            return signed_out(visit, f"{SIGN_IN}?notice=password")
    shown = look.Reset(visit.form_token, token, email, check.MIN_PASSWORD, error)
    return look.reset(shown, 422 if error else 200)


def _caller(visit: Visit) -> Caller:
    return somebody(visit) if visit.visitor is None else visit.visitor.caller


ROUTES: Final = (
    page("GET", INVITATION, accept),
    page("POST", INVITATION, accept),
    page("GET", RESET, reset),
    page("POST", RESET, reset),
)
