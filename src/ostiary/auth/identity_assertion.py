"""`X-Auth-Assertion`: a signed JWT that tells an upstream who the caller is. It is for upstreams that do not
trust every proxy.

It states the caller's identity only. The access rule decides on every request what the caller may do.
"""

from collections.abc import Callable
from typing import Final

from ostiary.core.instant import SECOND, Instant
from ostiary.core.model import Standing
from ostiary.core.problem import Problem
from ostiary.core.verdict import Verdict
from ostiary.storage.fact_cache import FactCache

TYPE: Final = "ostiary-assertion+jwt"
LIFETIME: Final = 60 * SECOND
REUSED: Final = 30 * SECOND
"""How long an assertion is reused. Signing is slower than judging."""
MOST: Final = 10_000


class IdentityAssertions:
    """Signs assertions for one process, and caches recent ones."""

    def __init__(self, facts: FactCache, clock: Callable[[], Instant], issuer: str) -> None:
        self._facts = facts
        self._clock = clock
        self._issuer = issuer
        self._signed: dict[tuple[str, str], tuple[Standing, Instant, str]] = {}

    def of(self, verdict: Verdict, audience: str) -> str:
        """Return an assertion about a credential that was just judged valid. Raises Problem if there is no
        key to sign with.
        """
        standing, token = verdict.standing, verdict.token
        assert standing is not None
        key, now = (standing.access_id if token is None else token.id, audience), self._clock()
        kept = self._signed.get(key)
        if kept is not None and kept[0] is standing and 0 <= now - kept[1] < REUSED:
            return kept[2]
        keys = self._facts.keys()
        signer = None if keys is None else keys.signer("assertion", now)
        if signer is None:
            raise Problem("unavailable", "There is no key to sign with.", reason="no signing key")
        text = signer.sign(
            TYPE,
            {
                "iss": self._issuer,
                "sub": standing.principal.id,
                "aud": audience,
                "iat": now // SECOND,
                "exp": (now + LIFETIME) // SECOND,
                "account_id": standing.organization.id,
                "credential_id": standing.credential_id,
                "kind": standing.kind if token is None else token.kind,
            },
        )
        if len(self._signed) >= MOST:
            self._signed.clear()
        self._signed[key] = standing, now, text
        return text
