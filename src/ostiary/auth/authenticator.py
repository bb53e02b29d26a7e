"""Judges the credential that a request presents, for every endpoint.

`STEPS` is the table of all steps, in order, with the code of each refusal. A request presents a secret, which
is proven by its digest; or a token or session, which stands for a credential and is judged with the facts
about that credential.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

from ostiary.auth.access_request import RULE_REFUSALS, AccessRequest, not_for, of_rule
from ostiary.auth.caller import display_of
from ostiary.auth.key_files import KeyFiles
from ostiary.auth.lookup import CacheOnly, CacheOrDatabase, Lookup
from ostiary.auth.rates import PEERS, LookupRefusedError, Rates
from ostiary.core import secret
from ostiary.core.access_rule import ANY_CREDENTIAL, AccessRule
from ostiary.core.address import Address
from ostiary.core.installation import Installation
from ostiary.core.instant import Instant
from ostiary.core.model import Standing, Token
from ostiary.core.rate import Permit
from ostiary.core.verdict import (
    CHECKS,
    FORBIDDEN_CODES,
    LIMITED,
    MALFORMED,
    NO_SCOPES,
    UNKNOWN,
    Access,
    Verdict,
    judge,
)
from ostiary.ratelimit.mapped_store import MappedRateLimitStore
from ostiary.storage.fact_cache import FactCache
from ostiary.storage.standing_cache import Handle
from ostiary.storage.token_cache import fingerprint
from ostiary.storage.usage_buffer import Mark, UsageBuffer, UsageEvent

STEPS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("form", ("malformed",)),
    ("look-up", ("unknown", "rate_limited")),
    ("digest", ("unknown",)),
    *((each.step, each.codes) for each in CHECKS),
    ("access rule", RULE_REFUSALS),
    ("rate limit", ("rate_limited",)),
)
"""Every step from the presented text to the recorded use, in order, with the codes of its refusals.

The first step that refuses decides. There are two exceptions. Both are for a good credential that is used in
the wrong place (`FORBIDDEN_CODES`). If the access rule does not match the request, the rule's error replaces
the code, because the checks had no rule to judge by. `rate_limited` replaces the code too, and also the
rule's error: a caller in a loop must slow down.

`core.verdict.CHECKS` runs the steps for a proven credential. `tests/auth/test_steps.py` tests the order of
every two steps.
"""
SIGNED: Final = b"eyJ"
"""The first bytes of every signed token: `{"` in base64url."""
SESSION: Final = secret.SESSION.encode()
STANDS_FOR: Final = (SIGNED, SESSION)


class Admission(NamedTuple):
    """The result of judging a request by an access rule. `error` is empty if the request is admitted, else
    the refusal code.
    """

    error: str
    verdict: Verdict
    permit: Permit | None = None
    """The state of the rate limit after this use. None if there is no limit."""


class Authenticator:
    """Answers "who is this, and may they?" for one process.

    Methods that only judge neither charge the rate limit nor record the use: see `charge` and `note`. Failed
    database lookups are charged to the client's IP address.
    """

    def __init__(
        self,
        facts: FactCache,
        counts: UsageBuffer,
        clock: Callable[[], Instant],
        installation: Installation,
        uses: MappedRateLimitStore,
        rates: Rates,
    ) -> None:
        self.facts = facts
        self.clock = clock
        self.issuer = installation.issuer
        self.rates = rates
        self._counts = counts
        self._uses = uses
        self._peppers = installation.keyring.peppers
        self._prefixes = tuple(prefix.encode() for prefix in installation.key_prefixes)
        self._cache_only = CacheOnly(facts)
        self._cache_or_database = CacheOrDatabase(facts)
        self.key_files = KeyFiles(facts, clock, rates, self.judge)

    # Facts

    def from_cache(self) -> CacheOnly | None:
        """Return a lookup without I/O; None if the cache must be brought up to date first."""
        return self._cache_only if self.facts.current() else None

    def from_database(self) -> CacheOrDatabase:
        """Return a lookup for a thread, over an up-to-date cache. Raises Problem if the database is
        unavailable.
        """
        self.current_facts()
        return self._cache_or_database

    def current_facts(self) -> FactCache:
        """Bring the cache up to date and return it. Call it in a thread. Raises Problem if the database is
        unavailable.
        """
        if not self.facts.current():
            self.facts.catch_up()
        return self.facts

    # Secrets and tokens

    def key_or_token(
        self, text: bytes, request: AccessRequest, lookup: Lookup, payer: str | None = PEERS
    ) -> Verdict:
        """Return the verdict on a credential that a request presents, or that a resource server asks about.

        A database lookup that proves nothing is charged to the IP address of the request, in the account of
        `payer`, the requesting organization. If `payer` is None, nothing is charged. A credential that is
        known to exist costs nothing, even if a change has dropped it from the cache. Otherwise a client on
        the same network that guesses keys could lock its owner out.
        """
        if text.startswith(STANDS_FOR):
            return self._token(text, request, lookup, payer)
        return self.secret(text, self._prefixes, "api_key", request, lookup, payer)

    def secret(
        self,
        text: bytes,
        prefixes: tuple[bytes, ...],
        kind: str,
        request: AccessRequest,
        lookup: Lookup,
        payer: str | None = PEERS,
    ) -> Verdict:
        """Return the verdict on a secret of this kind that begins with one of these prefixes."""
        claimed = secret.claimed_id(text, prefixes)
        known = None if claimed is None else self.facts.standing(claimed)
        if isinstance(known, Standing) and self._proves(text, known, kind):
            # The digest covers the whole secret, so its form needs no check.
            return self.judge(known, request, lookup)
        handle: Handle | None = secret.parse(text, prefixes)
        if handle is None:
            # Check first, without any work: only keys with an imported prefix are looked up by digest.
            if kind != "api_key" or not self.facts.is_imported(text):
                return MALFORMED
            handle = tuple(secret.digest(text, pepper) for pepper in self._peppers.values())
        elif isinstance(known, Standing):
            return UNKNOWN  # the digest was compared above and did not match
        prove = partial(self._proven_secret, handle, text, kind, lookup)
        standing: Standing | None
        if payer is None or not lookup.reads or self.facts.knows(handle):
            standing = prove()
        else:
            try:
                standing = self.rates.looked_up(payer, request.address, prove)
            except LookupRefusedError:
                return LIMITED
        return UNKNOWN if standing is None else self.judge(standing, request, lookup)

    def _proven_secret(self, handle: Handle, text: bytes, kind: str, lookup: Lookup) -> Standing | None:
        standing = lookup.standing(handle)
        return standing if standing is not None and self._proves(text, standing, kind) else None

    def _proves(self, text: bytes, standing: Standing, kind: str) -> bool:
        """Return whether the digest of `text` is the stored one. Digests are compared once for each verification.

        Returns False if the kind differs or the pepper no longer exists.
        """
        pepper = self._peppers.get(standing.pepper_id)
        if pepper is None or standing.kind != kind:
            return False
        return secret.matches(standing.digest, secret.digest(text, pepper))

    def _token(self, text: bytes, request: AccessRequest, lookup: Lookup, payer: str | None) -> Verdict:
        found = fingerprint(text)
        token = self.facts.token(found)
        if token is None and not self.facts.may_be_token(text):
            return MALFORMED
        charged = token is None and lookup.reads and payer is not None
        prove = partial(self._proven_token, token, text, found, lookup)
        try:
            if charged and text.startswith(SESSION):
                proven = self.rates.looked_up(payer or PEERS, request.address, prove)
            else:
                proven = prove()
        except LookupRefusedError:
            return LIMITED
        if proven is not None:
            return self.judge(proven[0], request, lookup, proven[1])
        # The signature is checked first, without a lookup. So an address with many failures can still use a
        # valid token.
        return (
            self.rates.failed(request.address, payer or PEERS)
            if charged and text.startswith(SIGNED)
            else UNKNOWN
        )

    def _proven_token(
        self, token: Token | None, text: bytes, found: bytes, lookup: Lookup
    ) -> tuple[Standing, Token] | None:
        token = token or lookup.token(text, found)
        standing = None if token is None else lookup.standing(token.origin_id)
        return None if token is None or standing is None else (standing, token)

    # The verdict on a proven credential

    def judge(
        self, standing: Standing, request: AccessRequest, lookup: Lookup, token: Token | None = None
    ) -> Verdict:
        """Return the verdict of `core.verdict` on a proven secret or token."""
        project = request.project or standing.project_id or (None if token is None else token.project_id)
        unknown = False
        if project is not None and project not in standing.foreign:
            # The credential's own project may belong to another organization, whose consent was withdrawn
            # or narrowed since.
            known = lookup.projects(standing.organization.id).get(project)
            project, unknown = known, known is None
        return judge(
            standing,
            Access(
                self.clock(),
                request.address,
                request.scopes,
                project,
                unknown,
                request.resource,
                request.about_itself,
                token,
                None if request.whomever else request.audience or self.issuer,
                request.tenant,
            ),
        )

    def at_large(self, verdict: Verdict, request: AccessRequest, lookup: Lookup) -> Verdict:
        """Return a good verdict for the organization as target, with no resource named.

        A credential that is limited to a project or to resources stays valid there, but has no scopes.
        """
        standing, token = verdict.standing, verdict.token
        assert standing is not None
        principal = standing.principal
        if token is not None and token.project_id is not None:
            token = replace(token, project_id=None)  # the default project of a session is no target here
        elif not (standing.project_id or standing.resources or principal.projects or principal.resources):
            return verdict
        found = self.judge(standing, request._replace(about_itself=False), lookup, token)
        if found.valid and standing.project_id is None:
            return found
        return verdict._replace(scopes=NO_SCOPES)

    def caller(self, text: bytes | None, request: AccessRequest, lookup: Lookup) -> Verdict:
        """Return the verdict on the caller of an endpoint that concerns an organization, or the caller
        itself.

        `text` is None if the presented credential cannot be read.
        """
        if text is None:
            return MALFORMED
        verdict = self.key_or_token(text, request, lookup)
        standing, token = verdict.standing, verdict.token
        if request.about_itself or standing is None or verdict.code != "valid":
            return verdict
        if standing.project_id is not None:
            # This credential has one target only: its project.
            return Verdict("project_not_allowed", standing, token=token)
        if token is not None and token.project_id is not None:
            # The default project of a session is no target here either: project roles do not reach the
            # organization.
            return self.judge(standing, request, lookup, replace(token, project_id=None))
        return verdict

    def admit(
        self,
        rule: AccessRule | None,
        described: tuple[bytes, bytes] | None,
        text: bytes | None,
        address: Address | None,
        at: str | None,
        lookup: Lookup,
    ) -> Admission:
        """Judge a request by an access rule, charge the rate limit and record the use.

        `described` is the method and target of the request. `rule` is None if the rule does not exist. `text`
        is None if the presented credential cannot be read.
        """
        request = AccessRequest(address)
        refusal = "" if rule is not None else "no_such_rule"
        if rule is not None and described is not None and rule is not ANY_CREDENTIAL:
            request, refusal = of_rule(rule, described, address)
        verdict = MALFORMED if text is None else self.key_or_token(text, request, lookup)
        if verdict.code == "valid" and verdict.standing is not None and rule is not None and not refusal:
            refusal = not_for(rule, verdict.standing, verdict.token)
        now = self.clock()
        verdict, permit = self.charge(verdict, now)
        code = verdict.code
        if refusal and code != "valid" and code not in FORBIDDEN_CODES:
            refusal = ""  # the client learns what is wrong with the request only if its credential is good
        self.note(verdict, at, "authorize", now, refused=refusal)
        if refusal or code == "valid":
            return Admission(refusal, verdict, permit)
        if code in FORBIDDEN_CODES or code == "rate_limited":
            return Admission(code, verdict, permit)
        return Admission("invalid_token", verdict)

    # Charging the rate limit and recording the use

    def charge(self, verdict: Verdict, now: Instant) -> tuple[Verdict, Permit | None]:
        """Charge a use to the credential's rate limit. Return the verdict, `rate_limited` if the limit is
        exceeded, and the permit, which is None if there is no limit.

        A use counts if the secret is proven and the credential may act at all, even if it lacks permission
        for this request. So a loop of 403 responses uses up the limit.
        """
        standing = verdict.standing
        if standing is None or standing.rate_limit is None:
            return verdict, None
        code = verdict.code
        if code != "valid" and code not in FORBIDDEN_CODES:
            return verdict, None
        payer, limit = _payer(standing), standing.rate_limit
        lease = self._uses.lease(payer)
        permit = (lease and lease.spend(limit, now)) or self._uses.take(payer, limit, now)
        return verdict if permit.allowed else Verdict("rate_limited", standing), permit

    def use(
        self, text: bytes | None, request: AccessRequest, at: str | None, via: str, lookup: Lookup
    ) -> tuple[Verdict, Permit | None]:
        """Judge the caller of an endpoint, charge the rate limit and record the use."""
        verdict, now = self.caller(text, request, lookup), self.clock()
        verdict, permit = self.charge(verdict, now)
        self.note(verdict, at, via, now)
        return verdict, permit

    def note(
        self,
        verdict: Verdict,
        at: str | None,
        via: str,
        now: Instant,
        asking: Standing | None = None,
        refused: str = "",
        resource: str = "",
    ) -> None:
        """Count a use or a refusal. Unknown credentials are counted for the requesting organization, else for
        the operator.

        `resource` is the refused resource, if any. If several were refused, it is the first.
        """
        standing = verdict.standing
        reason = refused or verdict.code
        mark: Mark
        if standing is None:
            home = None if asking is None else asking.organization.id
            mark = (reason, at, via, home)
            if not self._counts.again(mark, now):
                occasion = UsageEvent(False, reason, at, via, organization_id=home, resource=resource)
                self._counts.add(occasion, now, mark)
            return
        token = verdict.token
        used = standing.access_id if token is None else used_of(standing, token)
        mark = (reason, at, via, used, standing.credential_id, standing.superseded_at, standing.replaced_at)
        if not self._counts.again(mark, now):
            occasion = _occasion(standing, used, reason, at, via)
            self._counts.add(replace(occasion, resource=resource) if resource else occasion, now, mark)


def _payer(standing: Standing) -> str:
    """Return the name under which uses are counted. All secrets and tokens of a credential count together,
    under its id.

    Sessions of a person have no credential. A person's browser sessions share one limit. The sessions of each
    client share another, so an application cannot use up the person's limit.
    """
    if standing.kind != "session":
        return standing.credential_id
    return f"{standing.organization.id} {standing.principal.id} {standing.client_id or ''}"


def used_of(standing: Standing, token: Token | None) -> str:
    """Return the id to record as used: the id of a session token, else the access id of the credential."""
    return token.id if token is not None and token.kind == "session" else standing.access_id


def _occasion(standing: Standing, used: str, reason: str, at: str | None, via: str) -> UsageEvent:
    return UsageEvent(
        reason == "valid",
        reason,
        at,
        via,
        organization_id=standing.organization.id,
        credential_id=standing.credential_id,
        access_id=used,
        rotated=standing.rotated,
        credential=standing.label,
        display=display_of(standing),
        credential_kind=standing.kind,
        actor_type=standing.principal.kind,
        actor_id=standing.principal.id,
    )
