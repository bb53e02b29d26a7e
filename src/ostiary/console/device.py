"""`/oauth/device/verify`: a person enters a device's code, sees what it requests, and allows or denies it (RFC 8628 §3.3).

Every code that is not valid for the person gets the same response, and guesses are limited, so that nobody finds other
people's codes by trying.
"""

from collections.abc import Callable
from typing import Final, TypeVar

from starlette.responses import Response

from ostiary.console import views
from ostiary.console.page_request import PageRequest, SignInRequired, page
from ostiary.console.words import describe_span
from ostiary.core import user_code
from ostiary.core.address import network_of
from ostiary.core.model import OAuthClient, Organization
from ostiary.core.oauth import DEVICE_PAGE, is_dangerous
from ostiary.core.problem import Problem
from ostiary.services import consents, devices, organizations
from ostiary.services.execute import execute
from ostiary.storage import clients, directory
from ostiary.storage.codes import DeviceCode
from ostiary.storage.store import Tx

GUESSES: Final = 10
GUESSES_FROM: Final = 60
"""Wrong codes per minute, for a person and for a network. One person cannot use up the limit of a whole office."""
NOT_VALID: Final = "This code is not valid. Check it, or get a new one on your device."

T = TypeVar("T")


def enter(visit: PageRequest) -> Response:
    """Show the form, filled in with the code from the link. A link never decides anything."""
    visit.signed_in()
    if "decision" in visit.query:
        said = ("A link cannot allow or deny access. Use the form on the page.",)
        response = views.message(views.MessageView("Not possible with a link", said), 405)
        response.headers["allow"] = "POST"
        return response
    code = user_code.read(visit.query.get("user_code", ""))
    return views.device_code(
        views.DeviceCodeView(visit.form_token, user_code.formatted(code) if code else "")
    )


def answer(visit: PageRequest) -> Response:
    """Handle the form: a code, or the decision about one."""
    visit.signed_in()
    code = user_code.read(visit.fields.get("user_code"))
    if code is None:  # malformed, so no lookup is needed
        return _not_valid(visit)
    match visit.fields.get("decision"):
        case "":
            return _confirm(visit, code)
        case "deny":
            store, caller = visit.wiring.store, visit.signed_in().caller
            denied = _within_limits(
                visit, lambda: execute(store, caller, devices.deny, code, confirmed=False) or None
            )
            return views.device_done(False) if denied else _not_valid(visit)
        case "allow":
            return _allow(visit, code)
        case _:
            raise Problem("invalid-request", "Choose to allow or to deny.", reason="another decision")


def _confirm(visit: PageRequest, code: str, error: str | None = None, status: int = 200) -> Response:
    """Claim the code for the visitor and show what the device requests."""
    visitor, store = visit.signed_in(), visit.wiring.store

    def claim() -> DeviceCode | None:
        found = execute(store, visitor.caller, devices.claim, code, confirmed=False)
        return found if isinstance(found, DeviceCode) else None

    found = _within_limits(visit, claim)
    client = None if found is None else clients.find(store, found.client_id)
    if found is None or client is None or client.disabled_at is not None:
        return _not_valid(visit)
    _require_recent(visit, client, found, code)
    offered, home, lifetime = store.read(_facts, visitor.user_id, client)
    if not offered:
        said = ("You are not a member of an organization to which the device can get access.",)
        return views.message(views.MessageView("There is nothing to allow", said), 409)
    return views.device_confirm(
        views.DeviceConfirmView(
            form_token=visit.form_token,
            user_code=user_code.formatted(code),
            application=views.application_of(client, None if home is None else home.name),
            scopes=found.scopes,
            lifetime=describe_span(lifetime),
            email=visitor.email,
            organizations=tuple(views.OrganizationView(each.id, each.name) for each in offered),
            address=found.address or "unknown",
            asked=found.created_at,
            user_agent=found.user_agent,
            error=error,
        ),
        status,
    )


def _allow(visit: PageRequest, code: str) -> Response:
    visitor, store = visit.signed_in(), visit.wiring.store
    chosen = visit.fields.get("organization")

    def claimed() -> DeviceCode | None:
        found = execute(store, visitor.caller, devices.claim, code, claimed=True, confirmed=False)
        return found if isinstance(found, DeviceCode) else None

    found = _within_limits(visit, claimed)
    client = None if found is None else clients.find(store, found.client_id)
    if found is None or client is None or client.disabled_at is not None:
        return _not_valid(visit)
    _require_recent(visit, client, found, code)
    offered = store.read(consents.organizations_for, visitor.user_id, client)
    if chosen not in {each.id for each in offered}:
        return _confirm(visit, code, "Choose an organization.", 422)
    try:
        approved = execute(
            store,
            visitor.caller,
            devices.approve,
            code,
            client,
            chosen,
            organizations=(chosen,),
            confirmed=is_dangerous(client, found.scopes),
        )
    except Problem as problem:
        if problem.code != "wrong-state":
            raise
        approved = False
    return views.device_done(True) if approved else _not_valid(visit)


def _require_recent(visit: PageRequest, client: OAuthClient, found: DeviceCode, code: str) -> None:
    """Raise SignInRequired if the requested access is dangerous and the password was not entered recently."""
    if is_dangerous(client, found.scopes) and not visit.signed_in().recent(visit.now):
        raise SignInRequired(again=True, target=f"{DEVICE_PAGE}?user_code={user_code.formatted(code)}")


def _within_limits(visit: PageRequest, look_up: Callable[[], T | None]) -> T | None:
    """Call `look_up` within the guess limits and return its result. None counts as a wrong guess."""
    user_id, where = visit.signed_in().user_id, network_of(visit.origin.address)
    limits = {f"user codes by {user_id}": GUESSES, f"user codes from {where}": GUESSES_FROM}
    return visit.wiring.authenticator.rates.guessed(limits, look_up)


def _not_valid(visit: PageRequest) -> Response:
    return views.device_code(views.DeviceCodeView(visit.form_token, error=NOT_VALID), 422)


def _facts(tx: Tx, user_id: str, client: OAuthClient) -> tuple[list[Organization], Organization | None, int]:
    """Return the organizations for which the person may consent, the client's organization, and the longest lifetime."""
    offered = consents.organizations_for(tx, user_id, client)
    home = None if client.organization_id is None else directory.find_organization(tx, client.organization_id)
    lifetimes = [organizations.policy_of(tx, each.id).session_lifetime for each in offered]
    return offered, home, max(lifetimes, default=0)


ROUTES: Final = (
    page("GET", DEVICE_PAGE, enter),
    page("POST", DEVICE_PAGE, answer),
)
