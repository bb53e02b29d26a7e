"""Checks the password that a visitor enters on a page, within rate limits.

The response does not show whether the email has an account. An unknown email costs the same work: one hash is
verified and one event is written.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from ostiary.console import known_browser as known_browsers
from ostiary.console import password_queue
from ostiary.console.page_request import PageRequest
from ostiary.core import check
from ostiary.core.address import failure_group, network_of
from ostiary.core.event import UNKNOWN, Actor
from ostiary.core.permission import Caller
from ostiary.core.problem import Problem
from ostiary.core.verdict import LIMITED
from ostiary.services import passwords, people
from ostiary.services.execute import execute
from ostiary.services.people import VerifiedPassword
from ostiary.storage.people import Person

T = TypeVar("T")

NETWORK: Final = 30
FROM: Final = 20
FROM_AS: Final = 5
AS: Final = 100
"""Wrong passwords per minute from unknown browsers: for a network, for an address, for an address and one email, and
for one email from all addresses."""
KNOWN: Final = 5
"""Wrong passwords per minute from a browser in which the person has signed in before. Other browsers do not count."""
WRONG: Final = "Email or password is not right."
LIMIT: Final = "Too many attempts. Wait for a minute, then try again."


class WrongPassword(Exception):  # noqa: N818 - an expected outcome, not an error
    """The password was refused. `retry_after` is the number of seconds to wait if a rate limit was reached."""

    def __init__(self, retry_after: int | None = None) -> None:
        super().__init__()
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        return 401 if self.retry_after is None else 429

    @property
    def sentence(self) -> str:
        return WRONG if self.retry_after is None else LIMIT


def log_caller(visit: PageRequest, organization_id: str = "", person: Person | None = None) -> Caller:
    """Return the caller for the audit log: the person if known, else an unknown visitor. It has no permissions."""
    return Caller(
        UNKNOWN if person is None else Actor("user", person.id, person.email),
        organization_id,
        frozenset(),
        address=visit.origin.address,
        user_agent=visit.user_agent,
        request_id=visit.request_id,
    )


def check_password(
    visit: PageRequest, email: str, password: str, purpose: str, then: Callable[[Caller, VerifiedPassword], T]
) -> T:
    """Check the password, call `then` as the person in their home organization, and return its result.

    Raise WrongPassword if the password is refused. `then` raises invalid-credential if the account has changed in the
    meantime, which is refused in the same way.
    """
    try:
        email = check.email(email.strip())
    except ValueError:
        email = ""

    where, network = failure_group(visit.origin.address), network_of(visit.origin.address)
    known = known_browsers.name_of(visit, email)
    limits = {
        f"sign-in from network {network}": NETWORK,
        f"sign-in from {where}": FROM,
        f"sign-in from {where} as {email}": FROM_AS,
        f"sign-in as {email}": AS,
    }
    if known:
        limits = {f"sign-in by {known} as {email}": KNOWN}

    def attempt() -> T | None:
        return _attempt(visit, email, password, purpose, then, None if known else network)

    try:
        done = visit.wiring.authenticator.rates.guessed(limits, attempt)
    except Problem as problem:
        if problem.code != "rate-limited":
            raise
        visit.wiring.authenticator.note(
            LIMITED, visit.origin.text, "sign-in", visit.now, refused="rate_limited"
        )
        raise WrongPassword(int(str(problem.members["retry_after"]))) from None
    if done is None:
        raise WrongPassword
    return done


def _attempt(
    visit: PageRequest,
    email: str,
    password: str,
    purpose: str,
    then: Callable[[Caller, VerifiedPassword], T],
    stranger: str | None,
) -> T | None:
    store = visit.wiring.store
    known = store.read(people.find_by_email, log_caller(visit), email)
    person = known.person
    kept = None if person is None else person.password_hash
    right = password_queue.verify_password(kept, password, stranger)
    reason = _reason(person, right, known.home is not None)
    if not reason and kept is not None:
        renewed = password_queue.hash_password(password, stranger) if passwords.is_outdated(kept) else None
        try:
            return then(log_caller(visit, known.log, person), VerifiedPassword(kept, renewed))
        except Problem as problem:
            if problem.code != "invalid-credential":
                raise
            reason = problem.reason
    execute(store, log_caller(visit, known.log), people.record_refusal, person, reason, purpose)
    return None


def _reason(person: Person | None, right: bool, at_home: bool) -> str:
    if person is None:
        return "unknown email"
    if person.disabled_at is not None:
        return "disabled"
    if person.password_hash is None:
        return "no password chosen"
    if not right:
        return "wrong password"
    return "" if at_home else "no membership"


def as_visitor(visit: PageRequest, caller: Caller) -> Caller:
    """Return the signed-in visitor's caller. Raise invalid-credential if `caller` is another person."""
    found = visit.signed_in().caller
    if found.actor.id != caller.actor.id:
        raise Problem("invalid-credential", WRONG, reason="another person")
    return replace(found, address=caller.address)
