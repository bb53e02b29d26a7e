"""Verification on every request: `/v1/verify`, `/v1/authorize…`, `/v1/capabilities`.

`HotPath.answer` is one synchronous function without I/O: bytes in, bytes out, None where something has to be
read first ("cold": `answer_cold` does the same in a thread). Both run the same code over the same facts; only
how a fact is found differs.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import orjson

from ostiary.core.access_rule import ANY_CREDENTIAL, AccessRule, is_rule_name
from ostiary.core.address import Network
from ostiary.core.installation import Installation
from ostiary.core.instant import Instant
from ostiary.core.model import Standing, Token
from ostiary.core.problem import Problem
from ostiary.core.rate import Permit
from ostiary.core.verdict import MALFORMED, UNKNOWN, WRONG_PLACE, Verdict
from ostiary.http import cookies, messages, rates, telling
from ostiary.http.finding import Cold, Find
from ostiary.http.judging import Judge
from ostiary.http.messages import NO_STORE, Headers, Origin, Presented
from ostiary.http.oauth import errors, introspection
from ostiary.http.question import Question, is_preflight, not_for, of_rule, read_question
from ostiary.http.rates import Rates
from ostiary.http.vouching import Vouchers
from ostiary.storage.counts import Counts, Mark, Occasion
from ostiary.storage.volatile import Facts

VERIFY: Final = b"/v1/verify"
CAPABILITIES: Final = b"/v1/capabilities"
AUTHORIZE: Final = b"/v1/authorize/"
AUTHORIZE_NGINX: Final = b"/v1/authorize-nginx/"
MAY_VERIFY: Final = frozenset({"verify:credentials"})
INTROSPECT: Final = b"/oauth/introspect"
WITH_BODY: Final = (VERIFY, INTROSPECT)
FORWARD_AUTH: Final = b"/v1/authorize"
"""Whoever asks there passes on the fields of somebody else's request."""
JSON: Final = (b"content-type", b"application/json")
VERDICT_HEAD: Final = messages.wire(200, [JSON, NO_STORE]).replace(b"length: 0", b"length: %d")
MAX_TOLD: Final = 10_000
"""How many credentials' descriptions are kept as they are sent."""


def is_hot(path: bytes) -> bool:
    """Whether this path (without query) is answered here."""
    return path in (VERIFY, CAPABILITIES, INTROSPECT) or path.startswith((AUTHORIZE, AUTHORIZE_NGINX))


class HotPath:
    """The hot addresses of one process."""

    def __init__(
        self,
        facts: Facts,
        counts: Counts,
        clock: Callable[[], Instant],
        installation: Installation,
        trusted: tuple[Network, ...],
        limits: Rates,
    ) -> None:
        self.facts = facts
        self.counts = counts
        self.limits = limits
        self._clock = clock
        self.judge = Judge(facts, clock, installation, limits)
        self.cookie = cookies.of(installation.issuer)
        self.origin = messages.origins(trusted)
        self._vouchers = Vouchers(facts, clock, self.judge.issuer)
        self._told: dict[tuple[str, str | None, bool], tuple[Standing, bytes]] = {}

    def answer(
        self, method: bytes, target: bytes, headers: Headers, body: bytes, peer: str | None
    ) -> bytes | None:
        """Answer a request to a hot address from memory; None where the database has to be asked first."""
        if not self.facts.current():
            return None
        try:
            return self._answer(method, target, headers, body, peer, self.judge.in_memory)
        except Cold:
            return None

    def answer_cold(
        self, method: bytes, target: bytes, headers: Headers, body: bytes, peer: str | None
    ) -> bytes:
        """The same with the database at hand; to be called in a thread."""
        try:
            if not self.facts.current():
                self.facts.catch_up()
            return self._answer(method, target, headers, body, peer, self.judge.in_database)
        except Problem as problem:
            if target.startswith(AUTHORIZE_NGINX):
                return messages.wire(403, [NO_STORE, (b"x-auth-error", b"unavailable")])
            if target.partition(b"?")[0] == INTROSPECT:
                return errors.wire(errors.of_problem(problem))
            return self._problem(problem)

    def identify(
        self, given: Presented, origin: Origin, via: str, about_itself: bool = False
    ) -> tuple[Verdict, Permit | None]:
        """Judge the presented credential of a request to any other address, in a thread; counted and charged.

        Raises the Problem that answers the request where there is no valid credential.
        """
        if not self.facts.current():
            self.facts.catch_up()
        question = Question(origin.address, about_itself=about_itself)
        return self._identify(given, question, origin, via, self.judge.in_database)

    # One request

    def _answer(
        self,
        method: bytes,
        target: bytes,
        headers: Headers,
        body: bytes,
        peer: str | None,
        find: Find,
    ) -> bytes:
        path, _, query = target.partition(b"?")
        if path.startswith(AUTHORIZE_NGINX):
            return self._authorize_nginx(path, headers, peer, find)
        if path.startswith(AUTHORIZE):
            return self._authorize(method, path, headers, peer, find)
        if path == INTROSPECT:
            if method != b"POST":
                return self._wrong_method(b"POST")
            return self._introspect(headers, query, body, self.origin(peer, headers), find)
        try:
            if messages.carries_query_credential(query):
                raise messages.conflicting()
            origin = self.origin(peer, headers)
            if path == VERIFY:
                if method != b"POST":
                    return self._wrong_method(b"POST")
                return self._verify(headers, body, origin, find)
            if method != b"GET":
                return self._wrong_method(b"GET")
            return self._capabilities(headers, origin, find)
        except Problem as problem:
            return self._problem(problem)

    def _problem(self, problem: Problem, extra: Headers = ()) -> bytes:
        return messages.problem_wire(problem, self.judge.issuer, extra=extra)

    def _wrong_method(self, allowed: bytes) -> bytes:
        problem = Problem("method-not-allowed", "This address does not take that method.")
        return self._problem(problem, [(b"allow", allowed)])

    def _verify(self, headers: Headers, body: bytes, origin: Origin, find: Find) -> bytes:
        """A resource server asks about a credential that it was shown."""
        asking = self._judge_presented(
            messages.presented(headers, self.cookie), Question(origin.address, MAY_VERIFY), find
        )
        problem, verdict = None, UNKNOWN
        home = None if asking.standing is None else asking.standing.organization
        if asking.valid and home is not None:
            try:
                asked = read_question(headers, body)
                payer = None if asked.address_text is None else home.id
                verdict = self.judge.key_or_token(asked.credential, asked.question, find, payer)
            except Problem as error:
                problem = error
        # Only here, for what is cold is asked again, and counted once.
        self._settle(asking, origin, "verify", charged=False)
        if problem is not None:
            raise problem
        assert home is not None
        if verdict.standing is not None and not home.operator and verdict.standing.organization.id != home.id:
            verdict = UNKNOWN
        permit = None
        if asked.counted:
            now = self._clock()
            verdict, permit = self.limits.charge(verdict, now)
            self.note(verdict, asked.address_text, "verify", now, asking.standing)
        if verdict.standing is not None and verdict.valid:
            told = rates.with_rate_limit(self._described_verdict(verdict, verdict.standing), permit)
        else:
            told = rates.with_rate_limit(orjson.dumps(telling.verify_body(verdict)), rates.refusing(permit))
        return VERDICT_HEAD % len(told) + told

    def _introspect(self, headers: Headers, query: bytes, body: bytes, origin: Origin, find: Find) -> bytes:
        told, caller, refused = introspection.answer(self.judge, headers, query, body, origin, find)
        if caller is not None:
            self.note(caller, origin.text, "introspect", self._clock(), refused=refused)
        return told

    def _capabilities(self, headers: Headers, origin: Origin, find: Find) -> bytes:
        verdict, permit = self._identify(
            messages.presented(headers, self.cookie),
            Question(origin.address, about_itself=True),
            origin,
            "capabilities",
            find,
        )
        assert verdict.standing is not None
        fields = [JSON, NO_STORE, *telling.superseded(verdict.standing), *rates.fields(permit)]
        body = telling.capabilities_body(verdict, verdict.standing, rates.rate_limit_json(permit))
        return messages.wire(200, fields, orjson.dumps(body))

    def _authorize(self, method: bytes, path: bytes, headers: Headers, peer: str | None, find: Find) -> bytes:
        """Forward-auth. The described request comes from X-Forwarded-*, or from this request itself, never both."""
        name, slash, rest = path[len(AUTHORIZE) :].partition(b"/")
        described: tuple[bytes, bytes] | str | None = (method, b"/" + rest)
        if not slash:
            described = self._described(
                headers, peer, b"x-forwarded-method", b"x-forwarded-uri", needed=name != b"-"
            )
        status, error, verdict, permit = self._admit(name, described, headers, peer, find)
        if status == 200:
            return rates.with_fields(self._admitted(verdict, name, peer), permit)
        auth_error = (b"x-auth-error", error.encode())
        if status == 400:
            problem = Problem("invalid-request", telling.ADVICE.get(error, "The request cannot be judged."))
            if error == "invalid_request":
                problem = messages.conflicting()
        elif status == 401:
            problem = (
                messages.unauthorized("missing") if error == "missing" else telling.unauthorized(verdict)
            )
        elif status == 429:
            problem = rates.limited(permit)
        else:
            problem = telling.forbidden(error, verdict)
        return self._problem(problem, [auth_error, *rates.fields(permit)])

    def _authorize_nginx(self, path: bytes, headers: Headers, peer: str | None, find: Find) -> bytes:
        """The same for `auth_request`, which knows 200, 401 and 403 only."""
        name = path[len(AUTHORIZE_NGINX) :]
        described = self._described(
            headers, peer, b"x-original-method", b"x-original-uri", needed=name != b"-"
        )
        status, error, verdict, permit = self._admit(name, described, headers, peer, find)
        if status == 200:
            return rates.with_fields(self._admitted(verdict, name, peer), permit)
        fields = [
            NO_STORE,
            (b"x-auth-error", _NGINX_ERRORS.get(error, error).encode()),
            *rates.fields(permit),
        ]
        if status == 429:
            fields.append(rates.retry_after(permit))  # for a proxy that makes a 429 of it again
        if status == 401:
            fields.append(
                (
                    b"www-authenticate",
                    b"Bearer" if error == "missing" else b'Bearer error="invalid_token"',
                )
            )
            return messages.wire(401, fields)
        return messages.wire(403, fields)

    def _described(
        self, headers: Headers, peer: str | None, method: bytes, target: bytes, needed: bool
    ) -> tuple[bytes, bytes] | str | None:
        """Method and target of the request that a proxy asks about; an error's name if they cannot be believed."""
        if not needed:
            return None
        if not self.origin(peer, ()).by_proxy:
            return "untrusted_proxy"
        its_method, its_target = messages.header(headers, method), messages.header(headers, target)
        if not its_method or not its_target:
            return "not_described"
        return its_method, its_target

    def _admit(
        self,
        name: bytes,
        described: tuple[bytes, bytes] | str | None,
        headers: Headers,
        peer: str | None,
        find: Find,
    ) -> tuple[int, str, Verdict, Permit | None]:
        """Status (200, 400, 401, 403, 429), the name of the error, the verdict, and what is left of its limit.

        The verdict of a preflight, which is admitted without a credential, has no standing.
        """
        rule: AccessRule | None = ANY_CREDENTIAL
        if name != b"-":
            rule_name = name.decode("latin-1")
            rule = self.facts.rule(rule_name) if is_rule_name(rule_name) else None
        origin = self.origin(peer, headers)
        given = messages.presented(headers, self.cookie)
        if given.presence in ("conflict", "empty"):
            return 400, "invalid_request", MALFORMED, None
        if isinstance(described, str):
            return 400, described, MALFORMED, None
        if given.presence == "none":
            if rule is not None and described is not None and is_preflight(rule, described):
                return 200, "", UNKNOWN, None
            return 401, "missing", MALFORMED, None
        question = Question(origin.address)
        refusal = "" if rule is not None else "no_such_rule"
        if rule is not None and described is not None and rule is not ANY_CREDENTIAL:
            question, refusal = of_rule(rule, described, origin.address)
        verdict = (
            MALFORMED if given.presence == "unusable" else self.judge.key_or_token(given.text, question, find)
        )
        if verdict.valid and verdict.standing is not None and rule is not None and not refusal:
            refusal = not_for(rule, verdict.standing, verdict.token)
        now = self._clock()
        verdict, permit = self.limits.charge(verdict, now)
        if refusal and (verdict.valid or verdict.code in WRONG_PLACE):
            # The credential is good, the request is not: say so, but only to a good credential.
            self.note(verdict, origin.text, "authorize", now, refused=refusal)
            return 403, refusal, verdict, permit
        self.note(verdict, origin.text, "authorize", now)
        if verdict.valid:
            return 200, "", verdict, permit
        if verdict.code in WRONG_PLACE:
            return 403, verdict.code, verdict, permit
        if verdict.code == "rate_limited":
            return 429, verdict.code, verdict, permit
        return 401, "invalid_token", verdict, None

    # One credential

    def _identify(
        self,
        given: Presented,
        question: Question,
        origin: Origin,
        via: str,
        find: Find,
    ) -> tuple[Verdict, Permit | None]:
        """Judge a presented credential, count the use, and raise the Problem that refuses it."""
        return self._settle(self._judge_presented(given, question, find), origin, via, charged=True)

    def _judge_presented(self, given: Presented, question: Question, find: Find) -> Verdict:
        if given.presence == "none":
            raise messages.unauthorized("missing")
        if given.presence in ("conflict", "empty"):
            raise messages.conflicting()
        verdict = (
            MALFORMED if given.presence == "unusable" else self.judge.key_or_token(given.text, question, find)
        )
        if (
            verdict.standing is not None
            and verdict.valid
            and verdict.standing.project_id is not None
            and not question.about_itself
        ):
            # Its only target is its project; these addresses are about the organization.
            return Verdict("project_not_allowed", verdict.standing, token=verdict.token)
        token = verdict.token
        if verdict.valid and token is not None and token.project_id is not None and not question.about_itself:
            # What a session means by default is no target here either: roles on a project reach no organization.
            assert verdict.standing is not None
            token = replace(token, project_id=None)
            return self.judge.rule(verdict.standing, b"", question, find, token)
        return verdict

    def _settle(
        self, verdict: Verdict, origin: Origin, via: str, charged: bool
    ) -> tuple[Verdict, Permit | None]:
        permit, now = None, self._clock()
        if charged:
            verdict, permit = self.limits.charge(verdict, now)
        self.note(verdict, origin.text, via, now)
        if verdict.valid:
            return verdict, permit
        if verdict.code in WRONG_PLACE:
            raise telling.forbidden(verdict.code, verdict)
        if verdict.code == "rate_limited":
            raise rates.limited(permit)
        raise telling.unauthorized(verdict)

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
        """Count a use or a refusal. Unknown credentials are counted for the asking organization, else for the operator.

        `resource` is the refused resource, if there is one; the event names the first of several.
        """
        standing = verdict.standing
        reason = refused or verdict.code
        mark: Mark
        if standing is None:
            home = None if asking is None else asking.organization.id
            mark = (reason, at, via, home)
            if not self.counts.again(mark, now):
                occasion = Occasion(False, reason, at, via, organization_id=home, resource=resource)
                self.counts.add(occasion, now, mark)
            return
        used = used_of(standing, verdict.token)
        mark = (reason, at, via, used, standing.credential_id, standing.rotated)
        if not self.counts.again(mark, now):
            occasion = _occasion(standing, used, reason, at, via)
            self.counts.add(replace(occasion, resource=resource) if resource else occasion, now, mark)

    # What is told of a good credential, kept as it is sent

    def _admitted(self, verdict: Verdict, rule_name: bytes, peer: str | None) -> bytes:
        """The whole answer to a proxy, with a signed word on who calls where its rule wants one."""
        if verdict.standing is None:
            return messages.wire(200, [NO_STORE, *telling.PREFLIGHT])
        answer = self._identified(verdict)
        rule = None if rule_name == b"-" else self.facts.rule(rule_name.decode("latin-1"))
        if rule is None or not rule.assertion or rule.audience is None or not self.origin(peer, ()).by_proxy:
            return answer
        return telling.with_assertion(answer, self._vouchers.of(verdict, rule.audience))

    def _identified(self, verdict: Verdict) -> bytes:
        """The same for every rule."""
        standing = verdict.standing
        assert standing is not None
        key = (_presented(verdict, standing), verdict.project, True)
        told = self._told.get(key)
        if told is not None and told[0] is standing:
            return told[1]
        fields = [NO_STORE, *telling.identity(verdict), *telling.superseded(standing)]
        return self._keep(key, standing, messages.wire(200, fields))

    def _described_verdict(self, verdict: Verdict, standing: Standing) -> bytes:
        """The body of an answer to a resource server."""
        key = (_presented(verdict, standing), verdict.project, False)
        told = self._told.get(key)
        if told is not None and told[0] is standing:
            return told[1]
        return self._keep(key, standing, orjson.dumps(telling.verify_body(verdict)))

    def _keep(self, key: tuple[str, str | None, bool], standing: Standing, answer: bytes) -> bytes:
        """Derived from the standing alone and good for that one only, so it is no verdict that is kept."""
        if len(self._told) >= MAX_TOLD:
            self._told.clear()
        self._told[key] = standing, answer
        return answer


def _presented(verdict: Verdict, standing: Standing) -> str:
    """The id of what was presented: of a token, for it may do less than its credential."""
    return standing.access_id if verdict.token is None else verdict.token.id


def used_of(standing: Standing, token: Token | None) -> str:
    """What is used: a secret, by its access id; a session by its id; a token counts for the credential as a whole."""
    return token.id if token is not None and token.kind == "session" else standing.access_id


def _occasion(standing: Standing, used: str, reason: str, at: str | None, via: str) -> Occasion:
    return Occasion(
        reason == "valid",
        reason,
        at,
        via,
        organization_id=standing.organization.id,
        credential_id=standing.credential_id,
        access_id=used,
        rotated=standing.rotated,
        credential=standing.label,
        display=telling.display_of(standing),
        credential_kind=standing.kind,
        actor_type=standing.principal.kind,
        actor_id=standing.principal.id,
    )


_NGINX_ERRORS: Final = {"untrusted_proxy": "invalid_request", "not_described": "invalid_request"}
