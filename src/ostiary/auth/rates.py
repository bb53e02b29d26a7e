"""Limits by IP address: failed lookups, requests that need no credential, and guesses at people's secrets.

A 401 response is never charged to a credential. If it needed a database lookup, it is charged to the client's
address.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from ostiary.core.address import Address, failure_group, network_of
from ostiary.core.instant import Instant
from ostiary.core.problem import Problem
from ostiary.core.rate import Permit
from ostiary.core.verdict import LIMITED, UNKNOWN, Verdict
from ostiary.ratelimit.mapped_store import MappedRateLimitStore

T = TypeVar("T")

PEERS: Final = ""
"""The payer for clients that present a credential themselves, when no organization made the request about
them.
"""
FAILURES: Final = 50
"""Failed database lookups that an address may cause in a minute."""
FAILURE_WAIT: Final = 2
"""Seconds until an address that used up its failures may cause another one."""


class LookupRefusedError(Exception):
    """This address has caused too many failed lookups."""


class Rates:
    """Counts the limits of IP addresses, for one process."""

    def __init__(self, failures: MappedRateLimitStore, clock: Callable[[], Instant]) -> None:
        self._failures = failures
        self._clock = clock

    def looked_up(self, payer: str, address: Address | None, look: Callable[[], T | None]) -> T | None:
        """Call `look`, which reads the database, and return its result. None is charged to the address as a
        failure.

        Each `payer` (an organization that asks about others' addresses, or nobody) has its own count. So one
        organization cannot use up an address's failures for another. If the address has no failures left,
        raises LookupRefusedError without calling `look`.
        """
        name = f"{payer} {failure_group(address)}"
        permit = self._failures.take(name, FAILURES, self._clock())
        if not permit.allowed:
            raise LookupRefusedError
        failed = False
        try:
            found = look()
            failed = found is None
            return found
        finally:
            if not failed:
                self._failures.give_back(name, permit, self._clock())

    def failed(self, address: Address | None, payer: str = PEERS) -> Verdict:
        """Charge the address for a bad signature. Return `unknown`, or `rate_limited` after too many failures."""
        try:
            self.looked_up(payer, address, lambda: None)
        except LookupRefusedError:
            return LIMITED
        return UNKNOWN

    def attempt(self, name: str, limit: int) -> Permit:
        """Count one attempt against a limit (attempts per minute) that is too small to be leased. `name`
        identifies the limit: what is counted, and for whom.
        """
        return self._failures.take(name, limit, self._clock())

    def asked(self, what: str, address: Address | None, each: int, network: int) -> None:
        """Count a request that needs no credential, for its address and its network. Raises Problem
        `rate-limited`.
        """
        limits = {
            f"{what} network {network_of(address)}": network,
            f"{what} {failure_group(address)}": each,
        }
        self.guessed(limits, lambda: None)

    def guessed(self, limits: Mapping[str, int], look: Callable[[], T | None]) -> T | None:
        """Call `look`, which checks a guess at a person's secret, and return its result. None counts as a
        wrong guess. Raises Problem `rate-limited`.

        `limits` maps a name (what is counted, and for whom) to wrong guesses per minute. Each is too small to
        be leased (`core.rate`), so a permit can be given back. Permits are taken before the call, so
        concurrent guesses stay within the limits too. If `look` raises, the guess stays counted, because the
        error may reveal whether the guess was right.
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
