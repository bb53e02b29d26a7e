"""`/oauth/device/verify`: a person enters the code of a device, sees who asks for what, and decides (RFC 8628 §3.3).

One sentence answers every code that is not valid for whoever entered it, and guesses are limited, so that codes of
others are not found by trying.
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
"""Codes a minute that may be wrong, for a person and for a network: one person alone does not use up a whole office's."""
NOT_VALID: Final = "This code is not valid. Check it, or let your device make a new one."

T = TypeVar("T")


def enter(visit: PageRequest) -> Response:
    """The form, with what the link brought. A link never does more than that."""
    visit.signed_in()
    if "decision" in visit.query:
        said = ("Nothing was decided: that takes the form of the page itself.",)
        response = views.message(views.MessageView("Not by a link", said), 405)
        response.headers["allow"] = "POST"
        return response
    code = user_code.read(visit.query.get("user_code", ""))
    return views.device_code(
        views.DeviceCodeView(visit.form_token, user_code.formatted(code) if code else "")
    )


def answer(visit: PageRequest) -> Response:
    """A code was entered, or something decided about it."""
    visit.signed_in()
    code = user_code.read(visit.fields.get("user_code"))
    if code is None:  # so it is nobody's: that is told without a look
        return _not_valid(visit)
    match visit.fields.get("decision"):
        case "":
            return _confirm(visit, code)
        case "deny":
            store, caller = visit.wiring.store, visit.signed_in().caller
            denied = _guessed(
                visit, lambda: execute(store, caller, devices.deny, code, confirmed=False) or None
            )
            return views.device_done(False) if denied else _not_valid(visit)
        case "allow":
            return _allow(visit, code)
        case _:
            raise Problem("invalid-request", "Choose to allow or to deny.", reason="another decision")


def _confirm(visit: PageRequest, code: str, error: str | None = None, status: int = 200) -> Response:
    """The question, to whoever may decide."""
    visitor, store = visit.signed_in(), visit.wiring.store

    def claim() -> DeviceCode | None:
        found = execute(store, visitor.caller, devices.claim, code, confirmed=False)
        return found if isinstance(found, DeviceCode) else None

    found = _guessed(visit, claim)
    client = None if found is None else clients.find(store, found.client_id)
    if found is None or client is None or client.disabled_at is not None:
        return _not_valid(visit)
    _require_recent(visit, client, found, code)
    offered, home, lifetime = store.read(_facts, visitor.user_id, client)
    if not offered:
        said = ("You are a member of no organization for which the device could get access.",)
        return views.message(views.MessageView("There is nothing to give access to", said), 409)
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

    found = _guessed(visit, claimed)
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
    """Raise SignInRequired where what the device asks for is dangerous, and the password was not given just now."""
    if is_dangerous(client, found.scopes) and not visit.signed_in().recent(visit.now):
        raise SignInRequired(again=True, target=f"{DEVICE_PAGE}?user_code={user_code.formatted(code)}")


def _guessed(visit: PageRequest, look_up: Callable[[], T | None]) -> T | None:
    """What a code leads to. One that leads nowhere costs a guess; who has none left is not looked up for."""
    user_id, where = visit.signed_in().user_id, network_of(visit.origin.address)
    limits = {f"user codes by {user_id}": GUESSES, f"user codes from {where}": GUESSES_FROM}
    return visit.wiring.authenticator.rates.guessed(limits, look_up)


def _not_valid(visit: PageRequest) -> Response:
    return views.device_code(views.DeviceCodeView(visit.form_token, error=NOT_VALID), 422)


def _facts(tx: Tx, user_id: str, client: OAuthClient) -> tuple[list[Organization], Organization | None, int]:
    """For which organizations a person may consent, whose the client is, and how long access lasts at most."""
    offered = consents.organizations_for(tx, user_id, client)
    home = None if client.organization_id is None else directory.find_organization(tx, client.organization_id)
    lifetimes = [organizations.policy_of(tx, each.id).session_lifetime for each in offered]
    return offered, home, max(lifetimes, default=0)


ROUTES: Final = (
    page("GET", DEVICE_PAGE, enter),
    page("POST", DEVICE_PAGE, answer),
)
