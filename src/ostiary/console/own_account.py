"""`/account`: a person's sessions, connected applications and password."""

from typing import Final

from starlette.responses import Response

from ostiary.console import password_queue, views
from ostiary.console.page_request import SIGN_IN, PageRequest, page
from ostiary.console.password_check import WrongPassword, as_visitor, check_password
from ostiary.console.signing_in import ACCOUNT, onto, signed_out, with_wait
from ostiary.core import check
from ostiary.core.permission import Caller
from ostiary.core.problem import Problem
from ostiary.services import own_account, people
from ostiary.services.execute import execute
from ostiary.services.own_account import Account
from ostiary.services.people import VerifiedPassword
from ostiary.storage.sessions import Session

NOTICES: Final = {
    "session": "The session was revoked.",
    "access": "The access was withdrawn.",
    "password": "Your password was changed, and your other sessions were signed out.",
    "joined": "You are a member of one more organization.",
}


def account(visit: PageRequest) -> Response:
    visit.signed_in()
    return views.account(_page(visit, notice=NOTICES.get(visit.query.get("notice", ""))))


def revoke_session(visit: PageRequest) -> Response:
    caller, session = visit.signed_in().caller, visit.fields.get("session")
    execute(visit.wiring.store, caller, own_account.end_session, session, confirmed=False)
    if session == caller.token_id:
        return signed_out(visit, f"{SIGN_IN}?notice=out")
    return onto(f"{ACCOUNT}?notice=session")


def sign_out_everywhere(visit: PageRequest) -> Response:
    caller = visit.signed_in().caller
    execute(visit.wiring.store, caller, own_account.sign_out_everywhere, confirmed=False)
    return signed_out(visit, f"{SIGN_IN}?notice=everywhere")


def withdraw(visit: PageRequest) -> Response:
    store, caller, grant = visit.wiring.store, visit.signed_in().caller, visit.fields.get("grant")
    places = store.read(own_account.concerned, caller, grant)
    execute(store, caller, own_account.withdraw, grant, organizations=places, confirmed=False)
    return onto(f"{ACCOUNT}?notice=access")


def change_password(visit: PageRequest) -> Response:
    visitor = visit.signed_in()
    new = visit.fields.get("new")
    try:
        check.password(new, visitor.email)
    except ValueError as error:
        return views.account(_page(visit, password_error=f"The new password {error}."), 422)

    def change(caller: Caller, right: VerifiedPassword) -> bool:
        new_hash = password_queue.hash_password(new)
        person = as_visitor(visit, caller)
        execute(visit.wiring.store, person, people.change_password, right, new_hash, confirmed=False)
        return True

    try:
        check_password(visit, visitor.email, visit.fields.get("current"), "password", change)
    except WrongPassword as wrong:
        said = wrong.sentence if wrong.retry_after else "The current password is not right."
        return with_wait(views.account(_page(visit, password_error=said), wrong.status), wrong)
    return onto(f"{ACCOUNT}?notice=password")


def _page(
    visit: PageRequest, notice: str | None = None, password_error: str | None = None
) -> views.OwnAccountView:
    visitor = visit.signed_in()
    found = visit.wiring.store.read(own_account.show, visitor.caller)
    return views.OwnAccountView(
        form_token=visit.form_token,
        email=visitor.email,
        memberships=tuple(
            views.MembershipView(each.name, tuple(binding.role for binding in bindings))
            for each, bindings in found.memberships
        ),
        sessions=tuple(_session(each, found, visitor.session.id) for each in found.sessions),
        grants=tuple(
            views.GrantView(
                listed.consent.id,
                listed.client_name,
                each.name,
                listed.consent.scopes,
                tuple(found.projects.get(project, project) for project in listed.consent.projects),
                listed.consent.created_at,
                None if listed.client_organization is None else listed.client_organization.name,
            )
            for each, listed in found.consents
        ),
        shortest=check.MIN_PASSWORD,
        notice=notice,
        password_error=password_error,
    )


def _session(session: Session, found: Account, here: str) -> views.SessionView:
    client = None if session.client_id is None else found.clients.get(session.client_id, session.client_id)
    return views.SessionView(
        session.id,
        session.kind,
        client,
        session.user_agent,
        session.address or "",
        session.created_at,
        session.last_used_at,
        session.expires_at,
        session.id == here,
    )


def new_password(visit: PageRequest, email: str) -> str:
    """Return the new password from a form. Raise validation-failed, with a detail that people can read."""
    try:
        return check.password(visit.fields.get("new"), email)
    except ValueError as error:
        raise Problem("validation-failed", f"The new password {error}.") from None


ROUTES: Final = (
    page("GET", ACCOUNT, account),
    page("POST", f"{ACCOUNT}/sessions/revoke", revoke_session),
    page("POST", f"{ACCOUNT}/sign-out-everywhere", sign_out_everywhere),
    page("POST", f"{ACCOUNT}/grants/withdraw", withdraw),
    page("POST", f"{ACCOUNT}/password", change_password, hashes=True),
)
