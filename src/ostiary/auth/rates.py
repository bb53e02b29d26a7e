"""What is counted against an address: look-ups that fail, requests that anybody may make, guesses at people's secrets.

A refusal as 401 is never counted against a credential. If the database had to be asked for it, it is the address's.
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
"""Whose failures those are that no organization asked about: of addresses that present credentials themselves."""
FAILURES: Final = 50
"""Look-ups in the database that may fail a minute, for an address."""
FAILURE_WAIT: Final = 2
"""Seconds after which an address that has used them up may have one more."""


class LookupRefusedError(Exception):
    """Too many look-ups from this address have failed."""


class Rates:
    """The limits of addresses, as one process counts them."""

    def __init__(self, failures: MappedRateLimitStore, clock: Callable[[], Instant]) -> None:
        self._failures = failures
        self._clock = clock

    def looked_up(self, payer: str, address: Address | None, look: Callable[[], T | None]) -> T | None:
        """What `look` finds in the database, which costs this address one of its failures if it is None.

        Each `payer` (an organization that asks about others' addresses, or nobody) has a book of its own: what one
        says of an address is not held against it elsewhere. Raises LookupRefusedError, without a look, for an address
        that has no failures left.
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
        """Count one of so many attempts a minute, fewer than are leased. `name` says of what, and whose."""
        return self._failures.take(name, limit, self._clock())

    def asked(self, what: str, address: Address | None, each: int, network: int) -> None:
        """Count a request that anybody may make, for its address and for its network. Raises rate-limited."""
        limits = {
            f"{what} network {network_of(address)}": network,
            f"{what} {failure_group(address)}": each,
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
