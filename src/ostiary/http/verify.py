"""Verification on every request: `/v1/verify`, `/v1/authorize…`, `/v1/capabilities`, `/oauth/introspect`.

It owns how these endpoints read requests and write responses; `ostiary.auth` decides.
`VerifyEndpoints.answer` is a synchronous function without I/O. It takes and returns bytes, or returns None if
it needs the database. `answer_cold` does the same in a thread. Both run the same code over the same facts and
differ only in how they look facts up.
"""

from typing import Any, Final, NamedTuple, Protocol

import orjson

from ostiary.auth.access_request import AccessRequest, is_preflight
from ostiary.auth.authenticator import Admission, Authenticator
from ostiary.auth.identity_assertion import IdentityAssertions
from ostiary.auth.lookup import CacheMiss, Lookup
from ostiary.core.access_rule import ANY_CREDENTIAL, AccessRule, is_rule_name
from ostiary.core.address import parse_address
from ostiary.core.model import Standing
from ostiary.core.problem import FieldError, Problem, invalid_fields
from ostiary.core.rate import Permit
from ostiary.core.verdict import FORBIDDEN_CODES, MALFORMED, NO_SCOPES, UNKNOWN, Verdict
from ostiary.http import messages, verdict_response
from ostiary.http.cookies import SessionCookie
from ostiary.http.messages import NO_STORE, Headers, Origin, Origins

VERIFY: Final = b"/v1/verify"
CAPABILITIES: Final = b"/v1/capabilities"
AUTHORIZE: Final = b"/v1/authorize/"
AUTHORIZE_NGINX: Final = b"/v1/authorize-nginx/"
MAY_VERIFY: Final = frozenset({"verify:credentials"})
INTROSPECT: Final = b"/oauth/introspect"
WITH_BODY: Final = (VERIFY, INTROSPECT)
JSON: Final = (b"content-type", b"application/json")
VERDICT_HEAD: Final = messages.wire(200, [JSON, NO_STORE]).replace(b"length: 0", b"length: %d")
MAX_TOLD: Final = 10_000
"""How many responses are cached as bytes."""

TEXTS: Final = ("credential", "ip", "project", "resource", "audience")
VERIFY_FIELDS: Final = frozenset({*TEXTS, "scopes", "count"})
MAX_SCOPES: Final = 100


def is_hot(path: bytes) -> bool:
    """Return whether this path (without query) is handled here."""
    return path in (VERIFY, CAPABILITIES, INTROSPECT) or path.startswith((AUTHORIZE, AUTHORIZE_NGINX))


class VerifyBody(NamedTuple):
    """The body of `/v1/verify`."""

    credential: bytes
    request: AccessRequest
    address_text: str | None
    counted: bool


def _read_body(headers: Headers, body: bytes, tenant: str | None) -> VerifyBody:
    """Parse and check the body of `/v1/verify`. Raises Problem with all field errors at once.

    `tenant` is the id of the only organization that the requesting party may learn about. None: any.
    """
    if not messages.is_json(headers):
        raise Problem("unsupported-media-type", "Send the body as application/json.")
    value = messages.read_json(body)
    if not isinstance(value, dict):
        raise invalid_fields((FieldError("", "wrong-type", "must be an object"),))
    credential, ip, scopes = value.get("credential"), value.get("ip"), value.get("scopes")
    errors = () if _of_form(value) else _errors(value)
    address = None
    if isinstance(ip, str):
        try:
            address = parse_address(ip)
        except ValueError as error:
            errors = (*errors, FieldError("/ip", "invalid", str(error)))
    if errors or credential is None:
        raise invalid_fields(errors)
    return VerifyBody(
        credential.encode(),
        AccessRequest(
            address,
            frozenset(scopes) if scopes else NO_SCOPES,
            value.get("project"),
            value.get("resource"),
            audience=value.get("audience"),
            tenant=tenant,
        ),
        None if address is None else str(address),
        value.get("count") is not False,
    )


def _of_form(value: dict[str, Any]) -> bool:
    """Return whether the body is valid, quickly. It agrees with `_errors`, which is slower."""
    for name, given in value.items():
        if name in TEXTS:
            if type(given) is not str and (given is not None or name == "credential"):
                return False
        elif name == "scopes":
            if given is not None and not _are_scopes(given):
                return False
        elif name != "count" or not (given is None or type(given) is bool):
            return False
    return "credential" in value


def _are_scopes(given: object) -> bool:
    return isinstance(given, list) and len(given) <= MAX_SCOPES and all(type(each) is str for each in given)


def _errors(value: dict[str, Any]) -> tuple[FieldError, ...]:
    """Return the errors in the fields of the body. Whether `ip` is an address is checked elsewhere."""
    errors = [
        FieldError(f"/{messages.escape(name)}", "unknown-member", "is not a member of this request")
        for name in value
        if name not in VERIFY_FIELDS
    ]
    for name in TEXTS:
        given = value.get(name)
        if not isinstance(given, str) and (given is not None or name == "credential"):
            code = "missing" if name not in value else "wrong-type"
            errors.append(FieldError(f"/{name}", code, "must be a string"))
    if value.get("scopes") is not None and not _are_scopes(value["scopes"]):
        errors.append(FieldError("/scopes", "wrong-type", f"must be a list of at most {MAX_SCOPES} strings"))
    if value.get("count") is not None and not isinstance(value["count"], bool):
        errors.append(FieldError("/count", "wrong-type", "must be true or false"))
    return tuple(errors)


class Introspection(Protocol):
    """The introspection endpoint, which the authorization server implements (RFC 7662)."""

    def answer(
        self,
        authenticator: Authenticator,
        headers: Headers,
        query: bytes,
        body: bytes,
        origin: Origin,
        lookup: Lookup,
    ) -> tuple[bytes, Verdict | None, str]:
        """Return the response, the verdict on the caller (None: unauthenticated), and the reason of a refusal."""

    def refusal(self, problem: Problem) -> bytes:
        """Return the response to a problem."""


class VerifyEndpoints:
    """The verification endpoints of one process."""

    def __init__(
        self,
        authenticator: Authenticator,
        cookie: SessionCookie,
        origin: Origins,
        introspection: Introspection,
    ) -> None:
        self.origin = origin
        self._authenticator = authenticator
        self._cookie = cookie
        self._introspection = introspection
        self._assertions = IdentityAssertions(authenticator.facts, authenticator.clock, authenticator.issuer)
        self._told: dict[tuple[str, str | None, bool], tuple[Standing, bytes]] = {}

    def answer_now(
        self, method: bytes, target: bytes, headers: Headers, body: bytes, peer: str | None
    ) -> bytes | None:
        """Return the response from memory. None if the request must go through the application."""
        path, _, query = target.partition(b"?")
        if not is_hot(path) or b"#" in target or messages.unacceptable(path, query, headers) is not None:
            return None
        try:
            return self.answer(method, target, headers, body, peer)
        except Exception:
            return None  # the application handles the request again, and logs the error

    def answer(
        self, method: bytes, target: bytes, headers: Headers, body: bytes, peer: str | None
    ) -> bytes | None:
        """Return the response from memory. None if the database is needed."""
        lookup = self._authenticator.from_cache()
        if lookup is None:
            return None
        try:
            return self._answer(method, target, headers, body, peer, lookup)
        except CacheMiss:
            return None

    def answer_cold(
        self, method: bytes, target: bytes, headers: Headers, body: bytes, peer: str | None
    ) -> bytes:
        """Return the response, with access to the database. Call it in a thread."""
        try:
            lookup = self._authenticator.from_database()
            return self._answer(method, target, headers, body, peer, lookup)
        except Problem as problem:
            if target.startswith(AUTHORIZE_NGINX):
                return messages.wire(403, [NO_STORE, (b"x-auth-error", b"unavailable")])
            if target.partition(b"?")[0] == INTROSPECT:
                return self._introspection.refusal(problem)
            return self._problem(problem)

    # Handling one request

    def _answer(
        self,
        method: bytes,
        target: bytes,
        headers: Headers,
        body: bytes,
        peer: str | None,
        lookup: Lookup,
    ) -> bytes:
        path, _, query = target.partition(b"?")
        if path.startswith(AUTHORIZE_NGINX):
            return self._authorize_nginx(path, headers, peer, lookup)
        if path.startswith(AUTHORIZE):
            return self._authorize(method, path, headers, peer, lookup)
        if path == INTROSPECT:
            if method != b"POST":
                return self._wrong_method(b"POST")
            return self._introspect(headers, query, body, self.origin(peer, headers), lookup)
        try:
            if messages.carries_query_credential(query):
                raise messages.conflicting()
            origin = self.origin(peer, headers)
            if path == VERIFY:
                if method != b"POST":
                    return self._wrong_method(b"POST")
                return self._verify(headers, body, origin, lookup)
            if method != b"GET":
                return self._wrong_method(b"GET")
            return self._capabilities(headers, origin, lookup)
        except Problem as problem:
            return self._problem(problem)

    def _problem(self, problem: Problem, extra: Headers = ()) -> bytes:
        return messages.problem_wire(problem, self._authenticator.issuer, extra=extra)

    def _wrong_method(self, allowed: bytes) -> bytes:
        problem = Problem("method-not-allowed", "This endpoint does not accept that method.")
        return self._problem(problem, [(b"allow", allowed)])

    def _verify(self, headers: Headers, body: bytes, origin: Origin, lookup: Lookup) -> bytes:
        """Judge a credential for the resource server that received it."""
        auth = self._authenticator
        text = messages.required(messages.presented(headers, self._cookie))
        asking = auth.caller(text, AccessRequest(origin.address, MAY_VERIFY), lookup)
        home = None if asking.standing is None else asking.standing.organization
        problem, verdict = None, UNKNOWN
        if asking.code == "valid" and home is not None:
            try:
                asked = _read_body(headers, body, None if home.operator else home.id)
                payer = None if asked.address_text is None else home.id
                verdict = auth.key_or_token(asked.credential, asked.request, lookup, payer)
            except Problem as error:
                problem = error
        # Record the use only here: after a cache miss all of the above runs again.
        now = auth.clock()
        auth.note(asking, origin.text, "verify", now)
        if asking.code != "valid":
            problem = verdict_response.refusal(asking)
        if problem is not None:
            raise problem
        permit = None
        if asked.counted:
            verdict, permit = auth.charge(verdict, now)
            auth.note(verdict, asked.address_text, "verify", now, asking.standing)
        if verdict.standing is not None and verdict.code == "valid":
            told = with_rate_limit(self._described_verdict(verdict, verdict.standing), permit)
        else:
            told = with_rate_limit(orjson.dumps(verdict_response.verify_body(verdict)), refusing(permit))
        return VERDICT_HEAD % len(told) + told

    def _introspect(
        self, headers: Headers, query: bytes, body: bytes, origin: Origin, lookup: Lookup
    ) -> bytes:
        auth = self._authenticator
        told, caller, refused = self._introspection.answer(auth, headers, query, body, origin, lookup)
        if caller is not None:
            auth.note(caller, origin.text, "introspect", auth.clock(), refused=refused)
        return told

    def _capabilities(self, headers: Headers, origin: Origin, lookup: Lookup) -> bytes:
        text = messages.required(messages.presented(headers, self._cookie))
        request = AccessRequest(origin.address, about_itself=True)
        verdict, permit = self._authenticator.use(text, request, origin.text, "capabilities", lookup)
        standing = verdict.standing
        if standing is None or not verdict.valid:
            raise verdict_response.refusal(verdict, permit)
        fields = [
            JSON,
            NO_STORE,
            *verdict_response.superseded(standing),
            *verdict_response.rate_limit_fields(permit),
        ]
        body = verdict_response.capabilities_body(verdict, standing, verdict_response.rate_limit_json(permit))
        return messages.wire(200, fields, orjson.dumps(body))

    def _authorize(
        self, method: bytes, path: bytes, headers: Headers, peer: str | None, lookup: Lookup
    ) -> bytes:
        """Forward-auth. The described request comes from X-Forwarded-* or from this
        request, never from both.
        """
        name, slash, rest = path[len(AUTHORIZE) :].partition(b"/")
        described: tuple[bytes, bytes] | str | None = (method, b"/" + rest)
        if not slash:
            described = self._described(
                headers, peer, b"x-forwarded-method", b"x-forwarded-uri", needed=name != b"-"
            )
        error, verdict, permit = self._admit(name, described, headers, peer, lookup)
        if not error:
            return with_fields(self._admitted(verdict, name, peer), permit)
        status = _status(error, verdict)
        if status == 400:
            problem = Problem(
                "invalid-request", verdict_response.ADVICE.get(error, "The request cannot be checked.")
            )
            if error == "invalid_request":
                problem = messages.conflicting()
        elif status == 401:
            problem = (
                messages.unauthorized("missing")
                if error == "missing"
                else verdict_response.unauthorized(verdict)
            )
        elif status == 429:
            problem = verdict_response.rate_limited(permit)
        else:
            problem = verdict_response.forbidden(error, verdict)
        return self._problem(
            problem, [(b"x-auth-error", error.encode()), *verdict_response.rate_limit_fields(permit)]
        )

    def _authorize_nginx(self, path: bytes, headers: Headers, peer: str | None, lookup: Lookup) -> bytes:
        """Forward-auth for nginx's `auth_request`, which accepts 200, 401 and 403 only."""
        name = path[len(AUTHORIZE_NGINX) :]
        described = self._described(
            headers, peer, b"x-original-method", b"x-original-uri", needed=name != b"-"
        )
        error, verdict, permit = self._admit(name, described, headers, peer, lookup)
        if not error:
            return with_fields(self._admitted(verdict, name, peer), permit)
        status = _status(error, verdict)
        fields = [
            NO_STORE,
            (b"x-auth-error", b"invalid_request" if error in _CANNOT_BE_JUDGED else error.encode()),
            *verdict_response.rate_limit_fields(permit),
        ]
        if status == 429:
            fields.append(verdict_response.retry_after(permit))  # for proxies that restore the 429
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
        """Return the described method and target; an error code if they are missing or untrusted."""
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
        lookup: Lookup,
    ) -> Admission:
        """Judge the request by the access rule with this name. Return an error if it cannot be judged.

        If a preflight is admitted without a credential, its verdict has no standing.
        """
        auth = self._authenticator
        rule: AccessRule | None = ANY_CREDENTIAL
        if name != b"-":
            rule_name = name.decode("latin-1")
            rule = auth.facts.rule(rule_name) if is_rule_name(rule_name) else None
        origin = self.origin(peer, headers)
        given = messages.presented(headers, self._cookie)
        if given.presence in ("conflict", "empty"):
            return Admission("invalid_request", MALFORMED)
        if isinstance(described, str):
            return Admission(described, MALFORMED)
        if given.presence == "none":
            admitted = rule is not None and described is not None and is_preflight(rule, described)
            return Admission("", UNKNOWN) if admitted else Admission("missing", MALFORMED)
        text = None if given.presence == "unusable" else given.text
        return auth.admit(rule, described, text, origin.address, origin.text, lookup)

    # Cached responses about valid credentials

    def _admitted(self, verdict: Verdict, rule_name: bytes, peer: str | None) -> bytes:
        """Return the response to a proxy, with a signed assertion if the access rule requires one."""
        if verdict.standing is None:
            return messages.wire(200, [NO_STORE, *verdict_response.PREFLIGHT])
        answer = self._identified(verdict)
        rule = None if rule_name == b"-" else self._authenticator.facts.rule(rule_name.decode("latin-1"))
        if rule is None or not rule.assertion or rule.audience is None or not self.origin(peer, ()).by_proxy:
            return answer
        return verdict_response.with_assertion(answer, self._assertions.of(verdict, rule.audience))

    def _identified(self, verdict: Verdict) -> bytes:
        """Return the part of the response that is the same for every access rule."""
        standing = verdict.standing
        assert standing is not None
        key = (_presented(verdict, standing), verdict.project, True)
        told = self._told.get(key)
        if told is not None and told[0] is standing:
            return told[1]
        fields = [NO_STORE, *verdict_response.identity(verdict), *verdict_response.superseded(standing)]
        return self._keep(key, standing, messages.wire(200, fields))

    def _described_verdict(self, verdict: Verdict, standing: Standing) -> bytes:
        """Return the JSON body for a resource server."""
        key = (_presented(verdict, standing), verdict.project, False)
        told = self._told.get(key)
        if told is not None and told[0] is standing:
            return told[1]
        return self._keep(key, standing, orjson.dumps(verdict_response.verify_body(verdict)))

    def _keep(self, key: tuple[str, str | None, bool], standing: Standing, answer: bytes) -> bytes:
        """Cache a response. It depends on this standing only, so no verdict is cached."""
        if len(self._told) >= MAX_TOLD:
            self._told.clear()
        self._told[key] = standing, answer
        return answer


def _presented(verdict: Verdict, standing: Standing) -> str:
    """Return the id of the presented credential: the token's own for a token, which may do less."""
    return standing.access_id if verdict.token is None else verdict.token.id


_CANNOT_BE_JUDGED: Final = frozenset({"untrusted_proxy", "not_described"})
"""Errors of a request that the proxy did not describe correctly."""


def _status(error: str, verdict: Verdict) -> int:
    """Return the status for an error of `_admit`: 400, 401, 403 or 429."""
    if error == "rate_limited":
        return 429
    if error in ("missing", "invalid_token"):
        return 401
    proven = verdict.valid or verdict.code in FORBIDDEN_CODES
    return 403 if proven else 400


# Rate limits, added to cached responses


def with_fields(answer: bytes, permit: Permit | None) -> bytes:
    """Return the response, which has no body, with the rate limit headers added at the end of its head."""
    if permit is None:
        return answer
    return b'%sratelimit-policy: "default";q=%d;w=60\r\nratelimit: "default";r=%d;t=%d\r\n\r\n' % (
        answer[:-2],
        permit.limit,
        permit.remaining,
        permit.wait,
    )


def with_rate_limit(body: bytes, permit: Permit | None) -> bytes:
    """Return the JSON of a verdict with `rate_limit` filled in. It is null in `body`. The search text cannot
    match inside a string, where quotes are escaped.
    """
    if permit is None:
        return body
    told = b'"rate_limit":{"limit":%d,"remaining":%d,"reset":%d}' % (
        permit.limit,
        permit.remaining,
        permit.reset,
    )
    return body.replace(b'"rate_limit":null', told, 1)


def refusing(permit: Permit | None) -> Permit | None:
    """Return the permit of a use over its limit, else None. It says when to retry."""
    return None if permit is None or permit.allowed else permit
