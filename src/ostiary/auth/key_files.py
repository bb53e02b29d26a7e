"""Judges JWTs that a key file signed: finds the key, checks the claims and returns the verdict on the
credential.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from ostiary.auth.access_request import AccessRequest
from ostiary.auth.lookup import Lookup
from ostiary.auth.rates import PEERS, LookupRefusedError, Rates
from ostiary.core import assertion as assertions
from ostiary.core import jws, secret
from ostiary.core.assertion import AssertionKey, AssertionUse, CheckedAssertion
from ostiary.core.instant import Instant
from ostiary.core.jws import InvalidTokenError, Unverified
from ostiary.core.model import Standing, client_id_of
from ostiary.core.verdict import LIMITED, MALFORMED, UNKNOWN, Verdict
from ostiary.storage.fact_cache import FactCache

SEVERAL_KEYS: Final = (
    "This client has several usable keys. Send the id of the signing key as kid in the JWT header."
)
MAX_PROVEN: Final = 10_000
"""How many issuers are cached."""


class PresentedAssertion(NamedTuple):
    """The result of judging an assertion. `checked` is set only if it is good; whether it was used before is
    not checked yet.
    """

    verdict: Verdict
    checked: CheckedAssertion | None = None
    reason: str = ""
    """Why the assertion was refused, for the audit log."""
    told: str = ""
    """The error message for a client that has proven possession of the key."""


class KeyFiles:
    """Judges the JWTs of key files for one process. It neither charges rate limits nor records uses."""

    def __init__(
        self,
        facts: FactCache,
        clock: Callable[[], Instant],
        rates: Rates,
        judge: Callable[[Standing, AccessRequest, Lookup], Verdict],
    ) -> None:
        self._facts = facts
        self._clock = clock
        self._rates = rates
        self._judge = judge
        # Issuers that have sent a valid assertion without `kid`. Their lookups are not charged to an address.
        self._proven: dict[str, None] = {}

    def judge(
        self,
        door: AssertionUse,
        text: bytes,
        request: AccessRequest,
        lookup: Lookup,
        audiences: frozenset[str] = frozenset(),
    ) -> PresentedAssertion:
        """Judge a JWT that a key file signed, and the credential that the key file belongs to.

        A JWT without `kid` is checked with the keys of the account in `iss`. It is valid only if that account has one
        usable key file. With several, the refusal asks for `kid`.
        """
        try:
            read = jws.read(text)
        except InvalidTokenError as error:
            return PresentedAssertion(MALFORMED, reason=str(error))
        named = read.claims.get("sub") if door == "login" else read.key_id
        unnamed = named is None and door != "login"
        if unnamed:
            named = read.claims.get("iss")
        if not jws.is_text(named) or not (unnamed or secret.is_access_id(named)):
            return PresentedAssertion(MALFORMED, reason="iss" if unnamed else "key id")
        shown = PresentedAssertion(UNKNOWN)

        def look() -> Standing | None:
            nonlocal shown
            keys = lookup.key_files(named) if unnamed else (named,)
            found = [
                each for each in map(lookup.standing, keys) if each is not None and each.kind == "key_file"
            ]
            shown = self._signed_by(door, text, read, found, request, lookup, audiences)
            return shown.verdict.standing

        known = named in self._proven if unnamed else self._facts.knows(named)
        if not lookup.reads:
            look()
        elif not known:
            try:
                self._rates.looked_up(PEERS, request.address, look)
            except LookupRefusedError:
                return PresentedAssertion(LIMITED, reason=LIMITED.code)
        elif look() is None and self._rates.failed(request.address) is LIMITED:
            # The key is known, so a valid signature costs nothing. A bad signature is charged to the
            # client's address.
            return PresentedAssertion(LIMITED, reason=LIMITED.code)
        return shown

    def _signed_by(
        self,
        door: AssertionUse,
        text: bytes,
        read: Unverified,
        found: Sequence[Standing],
        request: AccessRequest,
        lookup: Lookup,
        audiences: frozenset[str],
    ) -> PresentedAssertion:
        """Judge a JWT that one of these key files must have signed. All belong to one account."""
        if not found:
            return PresentedAssertion(UNKNOWN, reason="unknown key")
        try:
            signer, checked = assertions.check_any(
                door, text, read, map(_signer, found), audiences, self._clock()
            )
        except InvalidTokenError as error:
            return PresentedAssertion(UNKNOWN, reason=str(error))
        standing = next(each for each in found if each.access_id == signer.key_id)
        # During a rotation one key file has two keys, and both are accepted.
        if len({each.credential_id for each in found}) > 1:
            return PresentedAssertion(Verdict("unknown", standing), None, "several keys", SEVERAL_KEYS)
        verdict = self._judge(standing, request, lookup)
        if verdict.valid and read.key_id is None:
            if len(self._proven) >= MAX_PROVEN:
                self._proven.clear()
            self._proven[signer.client_id] = self._proven[signer.channel] = None
        return PresentedAssertion(verdict, checked if verdict.valid else None, verdict.code)


def _signer(standing: Standing) -> AssertionKey:
    assert standing.public_key is not None
    return AssertionKey(
        standing.access_id,
        jws.algorithm_of(standing.public_key),
        standing.public_key,
        client_id_of(standing.principal.id),
        channel_of(standing),
        standing.principal.id,
        standing.compat == "google",
    )


def channel_of(standing: Standing) -> str:
    """Return the channel identifier of a service account; empty for a user."""
    principal = standing.principal
    return principal.identifier if principal.kind == "service_account" else ""


def names_of(standing: Standing) -> tuple[str, ...]:
    """Return the names by which a service account can be identified as a client."""
    principal = standing.principal
    return client_id_of(principal.id), principal.id, channel_of(standing)
