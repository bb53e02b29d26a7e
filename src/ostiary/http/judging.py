"""From a presented text to the verdict on it: shape, look-up, proof, rules. For every way in, hot or cold.

A text is a key, of which the whole is known by its digest; or a token or session, which stands for a credential and is
judged with that one's facts.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from ostiary.core import assertion as assertions
from ostiary.core import jws, secret
from ostiary.core.assertion import Checked, Door, Signer
from ostiary.core.installation import Installation
from ostiary.core.instant import Instant
from ostiary.core.jws import InvalidTokenError, Unverified
from ostiary.core.model import Standing, Token, client_id_of
from ostiary.core.verdict import MALFORMED, NO_SCOPES, UNKNOWN, Access, Verdict, judge
from ostiary.http.finding import Find, InDatabase, InMemory
from ostiary.http.question import Question
from ostiary.http.rates import Rates
from ostiary.storage.kept_tokens import fingerprint
from ostiary.storage.standings import Handle
from ostiary.storage.volatile import Facts

PEERS: Final = ""
"""Whose failures those are that no organization asked about: of addresses that present credentials themselves."""
SIGNED: Final = b"eyJ"
"""How every signed token begins: `{"` in base64url."""
SESSION: Final = secret.SESSION.encode()
STANDS_FOR: Final = (SIGNED, SESSION)
SEVERAL_KEYS: Final = (
    "This client has several usable keys. Send the id of the signing key as kid in the JWT header."
)
MAX_PROVEN: Final = 10_000


class Shown(NamedTuple):
    """What came of an assertion. `checked` is there only if it is good, but for whether it was used before."""

    verdict: Verdict
    checked: Checked | None = None
    reason: str = ""
    """Why it is not good, for the audit log."""
    told: str = ""
    """The error message for a client that has proved that the key is its own."""


class Judge:
    """Judges for one process. It neither counts nor charges uses; look-ups that prove nothing it does charge."""

    def __init__(
        self, facts: Facts, clock: Callable[[], Instant], installation: Installation, limits: Rates
    ) -> None:
        self.facts = facts
        self.clock = clock
        self.issuer = installation.issuer
        self._limits = limits
        self._peppers = installation.keyring.peppers
        self._prefixes = tuple(prefix.encode() for prefix in installation.key_prefixes)
        # Issuers with a valid assertion without `kid` before: their look-ups cost no address anything.
        self._proven: dict[str, None] = {}
        self.in_memory = InMemory(facts)
        self.in_database = InDatabase(facts)

    def key_or_token(self, text: bytes, question: Question, find: Find, payer: str | None = PEERS) -> Verdict:
        """The verdict on what a request presents, or a resource server asks about.

        A look-up in the database that proves nothing is charged to the address of the question, in the book of
        whoever asks (`payer`); None charges nobody. What is known to exist costs nothing, though a change made it
        unknown what it may do: else a neighbour who guesses could lock its owner out.
        """
        if text.startswith(STANDS_FOR):
            return self._token(text, question, find, payer)
        return self.secret(text, self._prefixes, "api_key", question, find, payer)

    def secret(
        self,
        text: bytes,
        prefixes: tuple[bytes, ...],
        kind: str,
        question: Question,
        find: Find,
        payer: str | None = PEERS,
    ) -> Verdict:
        """The verdict on a secret of this kind, which begins with one of these prefixes."""
        claimed = secret.claimed_id(text, prefixes)
        known = None if claimed is None else self.facts.standing(claimed)
        if isinstance(known, Standing):
            # Whoever holds the whole secret of a standing in memory needs no other proof of its form.
            digest = self._digest(text, known)
            if digest is not None and known.kind == kind and secret.matches(known.digest, digest):
                return self.rule(known, digest, question, find)
        handle: Handle | None = secret.parse(text, prefixes)
        if handle is None:
            # Before any work: only what begins like keys of another system is looked up by digest.
            if kind != "api_key" or not self.facts.is_imported(text):
                return MALFORMED
            handle = tuple(secret.digest(text, pepper) for pepper in self._peppers.values())
        cold = find is self.in_database and self.facts.standing(handle) is None
        if cold and payer is not None and not self.facts.had_standing(handle):
            return self._limits.looked_up(
                payer, question.address, lambda: self._prove(handle, text, kind, question, find)
            )
        return self._prove(handle, text, kind, question, find)

    def _prove(self, handle: Handle, text: bytes, kind: str, question: Question, find: Find) -> Verdict:
        standing = find.standing(handle)
        if standing is None or standing.kind != kind:
            return UNKNOWN
        digest = self._digest(text, standing)
        return UNKNOWN if digest is None else self.rule(standing, digest, question, find)

    def _digest(self, text: bytes, standing: Standing) -> bytes | None:
        """What the text would be stored as, had it been made with the standing's pepper; None if that is gone."""
        pepper = self._peppers.get(standing.pepper_id)
        return None if pepper is None else secret.digest(text, pepper)

    def _token(self, text: bytes, question: Question, find: Find, payer: str | None) -> Verdict:
        found = fingerprint(text)
        token = self.facts.token(found)
        if token is None and not self.facts.may_be_token(text):
            return MALFORMED
        if token is not None or find is not self.in_database or payer is None:
            return self._origin(token or find.token(text, found), question, find)
        if text.startswith(SESSION):
            return self._limits.looked_up(
                payer, question.address, lambda: self._origin(find.token(text, found), question, find)
            )
        # The signature is checked first, without a look-up, so failures of the same address never refuse a valid token.
        verdict = self._origin(find.token(text, found), question, find)
        return verdict if verdict.standing is not None else self.failed(question, payer, verdict)

    def failed(self, question: Question, payer: str = PEERS, verdict: Verdict = UNKNOWN) -> Verdict:
        """Charge the address for a bad signature. Return the verdict, or rate_limited after too many failures."""
        return self._limits.looked_up(payer, question.address, lambda: verdict)

    def _origin(self, token: Token | None, question: Question, find: Find) -> Verdict:
        standing = None if token is None else find.standing(token.origin_id)
        return UNKNOWN if standing is None else self.rule(standing, b"", question, find, token)

    def at_large(self, verdict: Verdict, question: Question, find: Find) -> Verdict:
        """A good verdict, as it is where the organization is the target and no resource is named.

        Whatever is limited to a project or to resources has no scopes there, and is who it is all the same.
        """
        standing, token = verdict.standing, verdict.token
        assert standing is not None
        principal = standing.principal
        if token is not None and token.project_id is not None:
            token = replace(token, project_id=None)  # what a session means by default is no target here
        elif not (standing.project_id or standing.resources or principal.projects or principal.resources):
            return verdict
        plain = question._replace(about_itself=False)
        found = self.rule(standing, standing.digest, plain, find, token)
        if found.valid and standing.project_id is None:
            return found
        return verdict._replace(scopes=NO_SCOPES)

    def rule(
        self, standing: Standing, digest: bytes, question: Question, find: Find, token: Token | None = None
    ) -> Verdict:
        """The verdict of the rules on what was found: on a secret by its digest, or on a token that was proven."""
        project = question.project or standing.project_id or (None if token is None else token.project_id)
        unknown = False
        if project is not None and project not in standing.foreign:
            # A target of its own may be another organization's project, whose consent has ended or been narrowed since.
            known = find.projects(standing.organization.id).get(project)
            project, unknown = known, known is None
        return judge(
            standing,
            Access(
                digest,
                self.clock(),
                question.address,
                question.scopes,
                project,
                unknown,
                question.resource,
                question.about_itself,
                token,
                None if question.whomever else question.audience or self.issuer,
            ),
        )

    # Key files

    def assertion(
        self, door: Door, text: bytes, question: Question, find: Find, audiences: frozenset[str] = frozenset()
    ) -> Shown:
        """Judge a JWT that a key file signed, and the credential that the key file belongs to.

        A JWT without `kid` is checked with the keys of the account in `iss`. It is valid only if that account has one
        usable key file. With several, the refusal asks for `kid`.
        """
        try:
            read = jws.read(text)
        except InvalidTokenError as error:
            return Shown(MALFORMED, reason=str(error))
        named = read.claims.get("sub") if door == "login" else read.key_id
        unnamed = named is None and door != "login"
        if unnamed:
            named = read.claims.get("iss")
        if not jws.is_text(named) or not (unnamed or secret.is_access_id(named)):
            return Shown(MALFORMED, reason="iss" if unnamed else "key id")
        shown = Shown(UNKNOWN)

        def look() -> Verdict:
            nonlocal shown
            keys = find.key_files(named) if unnamed else (named,)
            found = [
                each for each in map(find.standing, keys) if each is not None and each.kind == "key_file"
            ]
            shown = self._signed_by(door, text, read, found, question, find, audiences)
            return shown.verdict

        if unnamed:
            known = named in self._proven
        else:
            known = self.facts.standing(named) is not None or self.facts.had_standing(named)
        if find is self.in_database and not known:
            verdict = self._limits.looked_up(PEERS, question.address, look)
            return shown if verdict is shown.verdict else Shown(verdict, reason=verdict.code)
        if look().standing is None and find is self.in_database:
            # The key is known, so a valid signature never costs anything. A bad one costs its address.
            verdict = self.failed(question)
            return shown if verdict is UNKNOWN else Shown(verdict, reason=verdict.code)
        return shown

    def _signed_by(
        self,
        door: Door,
        text: bytes,
        read: Unverified,
        found: Sequence[Standing],
        question: Question,
        find: Find,
        audiences: frozenset[str],
    ) -> Shown:
        """Judge a JWT that must be signed by one of these key files of one account."""
        if not found:
            return Shown(UNKNOWN, reason="unknown key")
        try:
            signer, checked = assertions.check_any(
                door, text, read, map(self._signer, found), audiences, self.clock()
            )
        except InvalidTokenError as error:
            return Shown(UNKNOWN, reason=str(error))
        standing = next(each for each in found if each.access_id == signer.key_id)
        # During a rotation one key file has two keys, and both are accepted.
        if len({each.credential_id for each in found}) > 1:
            return Shown(Verdict("unknown", standing), None, "several keys", SEVERAL_KEYS)
        verdict = self.rule(standing, standing.digest, question, find)
        if verdict.valid and read.key_id is None:
            if len(self._proven) >= MAX_PROVEN:
                self._proven.clear()
            self._proven[signer.client_id] = self._proven[signer.channel] = None
        return Shown(verdict, checked if verdict.valid else None, verdict.code)

    def _signer(self, standing: Standing) -> Signer:
        assert standing.public_key is not None
        return Signer(
            standing.access_id,
            jws.algorithm_of(standing.public_key),
            standing.public_key,
            client_id_of(standing.principal.id),
            self.channel_of(standing),
            standing.principal.id,
            standing.compat == "google",
        )

    def channel_of(self, standing: Standing) -> str:
        """The channel identifier of a service account, empty for a user."""
        principal = standing.principal
        return principal.identifier if principal.kind == "service_account" else ""

    def names_of(self, standing: Standing) -> tuple[str, ...]:
        """What a service account is called where a client is named."""
        principal = standing.principal
        return client_id_of(principal.id), principal.id, self.channel_of(standing)
