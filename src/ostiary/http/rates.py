"""What is counted against a limit, by whom, and how the answer tells: a credential's uses, an address's failures.

A use is charged once its secret was proven and it may act at all, whether or not it may do what was asked: a loop of
403 is a loop. A refusal as 401 is never a credential's; if the database had to be asked for it, it is the address's.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from typing_extensions import TypedDict

from ostiary.core.address import Address, neighbourhood, network_of
from ostiary.core.instant import Instant
from ostiary.core.model import Standing
from ostiary.core.problem import Problem
from ostiary.core.rate import Permit
from ostiary.core.verdict import LIMITED, WRONG_PLACE, Verdict
from ostiary.http.messages import Headers
from ostiary.storage.permits import Permits

T = TypeVar("T")

FAILURES: Final = 50
"""Look-ups in the database that may fail a minute, for an address."""
FAILURE_WAIT: Final = 2
"""Seconds after which an address that has used them up may have one more."""


class RateLimitJson(TypedDict):
    """How often the credential may be used, as of this use."""

    limit: int
    """A minute."""
    remaining: int
    """How many more could be had at once."""
    reset: int
    """Seconds until the whole limit is there again."""


class Rates:
    """The limits of one process."""

    def __init__(self, uses: Permits, failures: Permits, clock: Callable[[], Instant]) -> None:
        self._uses = uses
        self._failures = failures
        self._clock = clock

    def charge(self, verdict: Verdict, now: Instant) -> tuple[Verdict, Permit | None]:
        """Count a use against its credential's limit. What is beyond it is refused; None: there is no limit."""
        standing = verdict.standing
        if standing is None or standing.rate_limit is None:
            return verdict, None
        if not (verdict.valid or verdict.code in WRONG_PLACE):
            return verdict, None
        permit = self._uses.take(_payer(standing), standing.rate_limit, now)
        return verdict if permit.allowed else Verdict("rate_limited", standing), permit

    def looked_up(self, payer: str, address: Address | None, look: Callable[[], Verdict]) -> Verdict:
        """What `look` finds in the database, which costs this address one of its failures if it proves nothing.

        An address that has none left is not looked up for. Each `payer` (an organization that asks about others'
        addresses, or nobody) has a book of its own: what one says of an address is not held against it elsewhere.
        """
        name = f"{payer} {neighbourhood(address)}"
        permit = self._failures.take(name, FAILURES, self._clock())
        if not permit.allowed:
            return LIMITED
        failed = False
        try:
            verdict = look()
            failed = verdict.standing is None
            return verdict
        finally:
            if not failed:
                self._failures.give_back(name, permit, self._clock())

    def attempt(self, name: str, limit: int) -> Permit:
        """Count one of so many attempts a minute, fewer than are leased. `name` says of what, and whose."""
        return self._failures.take(name, limit, self._clock())

    def asked(self, what: str, address: Address | None, each: int, network: int) -> None:
        """Count a request that anybody may make, for its address and for its network. Raises rate-limited."""
        limits = {
            f"{what} network {network_of(address)}": network,
            f"{what} {neighbourhood(address)}": each,
        }
        self.guessed(limits, lambda: None)

    def guessed(self, limits: Mapping[str, int], look: Callable[[], T | None]) -> T | None:
        """What `look` finds for whoever guesses a secret of people, which costs if it is None. Raises rate-limited.

        `limits` are wrong guesses a minute, by a name that says of what, and whose; each is below what is leased
        (`core.rate`), so it can be given back. They are paid before the look, so that any number of guesses at once
        are within them as well. A look that raises has cost: what it would have said may be told from that.
        """
        taken: list[tuple[str, Permit]] = []
        for name, limit in limits.items():
            permit = self.attempt(name, limit)
            if not permit.allowed:
                self._give_back(taken)
                raise Problem(
                    "rate-limited",
                    "Too many attempts. Wait, then try again.",
                    members={"limit": limit, "retry_after": permit.wait},
                    reason="rate_limited",
                )
            taken.append((name, permit))
        found = look()
        if found is not None:
            self._give_back(taken)
        return found

    def _give_back(self, taken: list[tuple[str, Permit]]) -> None:
        for name, permit in taken:
            self._failures.give_back(name, permit, self._clock())


def _payer(standing: Standing) -> str:
    """Whose uses are counted together: a credential with all its secrets, tokens and sessions, under its id.

    A person's sessions have no credential. Those in browsers share one limit, and so do those of each client, since
    an application must not use up what its person has.
    """
    if standing.kind != "session":
        return standing.credential_id
    return f"{standing.organization.id} {standing.principal.id} {standing.client_id or ''}"


def limited(permit: Permit | None) -> Problem:
    """The refusal of what is over a limit: the credential's, or without a permit the address's."""
    if permit is None:
        return Problem(
            "rate-limited",
            "Too many unknown credentials came from this address. Wait, and check the one that is sent.",
            members={"retry_after": FAILURE_WAIT},
            reason="rate_limited",
        )
    return Problem(
        "rate-limited",
        f"The credential may be used {permit.limit} times a minute, and was. Wait before the next request.",
        members={"limit": permit.limit, "retry_after": permit.wait},
        reason="rate_limited",
    )


def fields(permit: Permit | None) -> Headers:
    """The fields of an answer that tell what is left (draft-ietf-httpapi-ratelimit-headers)."""
    if permit is None:
        return ()
    return (
        (b"ratelimit-policy", b'"default";q=%d;w=60' % permit.limit),
        (b"ratelimit", b'"default";r=%d;t=%d' % (permit.remaining, permit.wait)),
    )


def with_fields(answer: bytes, permit: Permit | None) -> bytes:
    """An answer without a body, as it goes over the wire, with the same fields at the end of its head."""
    if permit is None:
        return answer
    return b'%sratelimit-policy: "default";q=%d;w=60\r\nratelimit: "default";r=%d;t=%d\r\n\r\n' % (
        answer[:-2],
        permit.limit,
        permit.remaining,
        permit.wait,
    )


def retry_after(permit: Permit | None) -> tuple[bytes, bytes]:
    return b"retry-after", b"%d" % (FAILURE_WAIT if permit is None else permit.wait)


def rate_limit_json(permit: Permit | None) -> RateLimitJson | None:
    if permit is None:
        return None
    return {"limit": permit.limit, "remaining": permit.remaining, "reset": permit.reset}


def refusing(permit: Permit | None) -> Permit | None:
    """The permit of a use that is over its limit: an API that asked can say when to come again."""
    return None if permit is None or permit.allowed else permit


def with_rate_limit(body: bytes, permit: Permit | None) -> bytes:
    """The JSON of a verdict with its `rate_limit`, which is null in `body`. Inside of a string a quote is escaped."""
    if permit is None:
        return body
    told = b'"rate_limit":{"limit":%d,"remaining":%d,"reset":%d}' % (
        permit.limit,
        permit.remaining,
        permit.reset,
    )
    return body.replace(b'"rate_limit":null', told, 1)
