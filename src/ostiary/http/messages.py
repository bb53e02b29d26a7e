"""Reads requests in exactly one way, and writes the responses that no handler makes itself.

It owns: where a credential is read from, which IP address a request comes from, strict JSON, and the wire
form of problems.
"""

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import parse_qsl

import orjson
import structlog

from ostiary.core import strict_json
from ostiary.core.address import Address, Network, client_address, is_trusted_proxy
from ostiary.core.problem import FieldError, Problem, invalid_fields
from ostiary.core.secret import looks_like_secret, redact
from ostiary.core.strict_json import JSONError
from ostiary.http import cookies
from ostiary.http.cookies import SessionCookie

Headers = Sequence[tuple[bytes, bytes]]
"""Header fields as received, with names in lower case."""

MAX_BODY: Final = 64 * 1024
MAX_IMPORT: Final = 2 * 1024 * 1024
IMPORT: Final = b"/v1/credentials/import"
MAX_HEADERS: Final = 16 * 1024
MAX_FIELDS: Final = 100
MAX_TARGET: Final = 8 * 1024
MOST_DIGITS: Final = 19
"""A Content-Length with more digits is too large in any case, and is not converted."""
FORWARD_AUTH: Final = b"/v1/authorize"
"""Paths that begin with this carry the headers of another request."""
MAX_KEY: Final = 512
MAX_TOKEN: Final = 8 * 1024
REMEMBERED_ORIGINS: Final = 8192
MAX_REMEMBERED_FIELD: Final = 128
MAX_PLAIN: Final = 4096
"""The largest body, in bytes, that `_plain_json` reads."""
MAX_ERRORS: Final = 100
"""The most fields that one response names. A wrong import could have thousands."""


NO_STORE: Final = (b"cache-control", b"no-store")
QUERY_CREDENTIALS: Final = frozenset({"access_token", "token", "api_key"})
DOCS: Final = "/docs/troubleshooting#"

# Characters that two parsers could read differently, or that no path here has: controls, a bare %, an
# encoded NUL.
_BAD_TARGET = re.compile(rb"[\x00-\x20\x7f-\xff]|%(?![0-9A-Fa-f]{2})|%0[0-9A-Fa-f]|%1[0-9A-Fa-f]|%7[Ff]")

_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")

Presence = Literal["one", "none", "conflict", "empty", "unusable"]


class Presented(NamedTuple):
    """The credential that a request carries. `conflict`: several that differ. `unusable`: none of this
    service.
    """

    presence: Presence
    text: bytes = b""
    by_cookie: bool = False


NONE: Final = Presented("none")
CONFLICT: Final = Presented("conflict")
EMPTY: Final = Presented("empty")
UNUSABLE: Final = Presented("unusable")


def presented(headers: Headers, session: SessionCookie | None = None, basic: bool = False) -> Presented:
    """Read the credential: `X-API-Key`, `API-Key`, `Authorization: ApiKey`, `Authorization: Bearer`.

    Several key headers are accepted if they have the same value. Different values, or a key header beside a
    Bearer token, are a conflict. If none of these headers is present, the `session` cookie is read. With
    `basic`, HTTP Basic is ignored here, because the caller reads it as OAuth client authentication.
    """
    found: bytes | None = None
    bearer = cookie = False
    number = 0
    for name, value in headers:
        if name in (b"x-api-key", b"api-key"):
            text = value.strip(b" \t")
        elif name == b"authorization":
            scheme, _, text = value.strip(b" \t").partition(b" ")
            text = text.strip(b" \t")
            scheme = scheme.lower()
            if scheme == b"bearer":
                bearer = True
            elif scheme and scheme != b"apikey":
                if scheme == b"basic" and basic:
                    continue  # OAuth client authentication, which the caller reads
                text = b"\x00"  # a scheme that is not ours: there, and never right
        else:
            cookie = cookie or name == b"cookie"
            continue
        number += 1
        if found is not None and text != found:
            return CONFLICT
        found = text
    if found is None:
        return _session(headers, session) if cookie and session is not None else NONE
    if bearer and number > 1:
        return CONFLICT
    if not found:
        return EMPTY
    if found == b"\x00" or len(found) > (MAX_TOKEN if bearer and b"." in found else MAX_KEY):
        return UNUSABLE
    return Presented("one", found)


def required(given: Presented) -> bytes | None:
    """Return the text of a credential, None if unusable. Raises Problem if it is missing or ambiguous."""
    if given.presence == "one":
        return given.text
    if given.presence == "none":
        raise unauthorized("missing")
    if given.presence != "unusable":
        raise conflicting()
    return None


def _session(headers: Headers, cookie: SessionCookie) -> Presented:
    """Return the session in the cookies; none if a page of another origin may have made the request."""
    if cookies.of_another_site(headers, cookie):
        return NONE
    found = cookies.values(headers, cookie.name)
    if len(found) > 1:
        return CONFLICT
    text = found.pop() if found else b""
    good = text.startswith(b"session_") and len(text) <= MAX_KEY
    return Presented("one", text, by_cookie=True) if good else NONE


def header(headers: Headers, name: bytes) -> bytes | None:
    """Return the value of a header that may occur once. None if it is absent, or occurs more than once."""
    values = [value for key, value in headers if key == name]
    return values[0] if len(values) == 1 else None


class Origin(NamedTuple):
    """The source of a request."""

    address: Address | None
    """The client's IP address (see `core.address.client_address`); None if undetermined."""
    text: str | None
    """The address as text."""
    by_proxy: bool
    """Whether the peer is a trusted proxy. Only then are its headers about the forwarded request believed."""


Origins = Callable[[str | None, Headers], Origin]

FORWARDING: Final = frozenset(
    {b"x-forwarded-for", b"x-forwarded-uri", b"x-forwarded-method", b"x-original-uri", b"x-original-method"}
)
"""Headers that are accepted from trusted proxies only."""
WARN_SECONDS: Final = 60.0


def origins(trusted: tuple[Network, ...], clock: Callable[[], float] = time.monotonic) -> Origins:
    """Return a function that determines the origin of a request from its peer and its headers.

    Parsing an address costs as much as judging a key, so the last few thousand are cached. If an untrusted
    peer sends forwarding headers, that is logged at most once a minute.
    """
    quiet_until = -math.inf

    def read(peer: str | None, forwarded: tuple[bytes, ...]) -> Origin:
        address = client_address(peer, tuple(value.decode("latin-1") for value in forwarded), trusted)
        return Origin(address, None if address is None else str(address), is_trusted_proxy(peer, trusted))

    remembered = lru_cache(maxsize=REMEMBERED_ORIGINS)(read)

    def origin(peer: str | None, headers: Headers) -> Origin:
        nonlocal quiet_until
        forwarded = tuple(value for key, value in headers if key == b"x-forwarded-for") if trusted else ()
        # Clients control these headers, so long ones are not cached.
        if len(forwarded) > 1 or (forwarded and len(forwarded[0]) > MAX_REMEMBERED_FIELD):
            found = read(peer, forwarded)
        else:
            found = remembered(peer, forwarded)
        if not found.by_proxy and clock() >= quiet_until and any(name in FORWARDING for name, _ in headers):
            quiet_until = clock() + WARN_SECONDS
            structlog.get_logger().warning(
                "forwarding headers ignored",
                peer=peer,
                detail="The peer sends forwarding headers, but is not in OSTIARY_TRUSTED_PROXIES.",
            )
        return found

    return origin


def printable(agent: bytes) -> str:
    """Return a user agent as printable text for the audit log, with likely secrets redacted."""
    text = agent.decode("latin-1")[:200]
    return redact("".join(c if c.isprintable() else "?" for c in text))


def carries_query_credential(query: bytes) -> bool:
    """Return whether the query has a parameter that looks like a token. Only gateways accept those."""
    return bool(query) and any(
        name.lower() in QUERY_CREDENTIALS
        for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=None)
    )


def bad_target(target: bytes) -> bool:
    return _BAD_TARGET.search(target) is not None


def unacceptable(raw: bytes, query: bytes, headers: Headers, without_host: bool = False) -> Problem | None:
    """Return the problem of a request that no endpoint accepts. `without_host`: HTTP/1.0 needs no Host (RFC 9112 §3.2)."""
    if len(raw) + len(query) + 1 > MAX_TARGET:
        return Problem("uri-too-long", "The request target is longer than 8 KiB.")
    if len(headers) > MAX_FIELDS:
        return Problem("header-fields-too-large", "There are more than 100 header fields.")
    size = hosts = 0
    for name, value in headers:
        size += len(name) + len(value) + 4
        if name == b"host":
            hosts += 1
        elif name == b"content-encoding" and not raw.startswith(FORWARD_AUTH):
            return Problem("unsupported-media-type", "Send the body without a content encoding.")
        elif name == b"content-length" and not raw.startswith(FORWARD_AUTH):
            # Refuse before the body arrives.
            longest = MAX_IMPORT if raw == IMPORT else MAX_BODY
            digits = value.strip()
            if digits.isdigit() and (len(digits) > MOST_DIGITS or int(digits) > longest):
                return too_large(longest)
    if size > MAX_HEADERS:
        return Problem("header-fields-too-large", "The header fields are larger than 16 KiB.")
    if hosts != 1 and not (without_host and not hosts):
        return Problem("invalid-request", "A request has one Host field.")
    if bad_target(raw) or (query and bad_target(query)):
        return Problem(
            "invalid-request", "The request target has a control character or a bad percent-encoding."
        )
    return None


def too_large(longest: int) -> Problem:
    return Problem("content-too-large", f"The body is larger than {longest // 1024} KiB.")


def is_json(headers: Headers) -> bool:
    """Return whether the body is declared as JSON. Parameters such as charset are ignored."""
    value = header(headers, b"content-type")
    if value == b"application/json":
        return True
    return value is not None and value.partition(b";")[0].strip().lower() == b"application/json"


# Strict JSON


def read_json(raw: bytes) -> Any:
    """Parse a body. Raises Problem for a body that two parsers could read differently.

    What `core.strict_json` refuses is `invalid-json` (400). Lone surrogates and NUL in text are field errors
    (422).
    """
    value = _plain_json(raw)
    if value is not None:
        return value
    try:
        value = strict_json.read(raw)
    except JSONError as error:
        raise Problem("invalid-json", f"The body {error}.") from None
    _check_text(value)
    return value


def _plain_json(raw: bytes) -> dict[str, Any] | None:
    """Parse a small flat object of strings, lists of strings, true, false and null. Return None for others.

    Without a backslash, each string stands between two quotes, and contains no NUL and no lone surrogate. If
    a field occurs twice, the parser keeps one of them. Then the text has more quotes than the parsed strings
    need.
    """
    if len(raw) > MAX_PLAIN or b"\\" in raw:
        return None
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    if type(value) is not dict:
        return None
    texts = len(value)
    for each in value.values():
        if type(each) is str:
            texts += 1
        elif type(each) is list:
            if not all(type(part) is str for part in each):
                return None
            texts += len(each)
        elif each is not None and type(each) is not bool:
            return None
    return value if raw.count(b'"') == 2 * texts else None


def _check_text(value: Any) -> None:
    def wrong() -> Iterator[FieldError]:
        for where, each in _walk(value):
            if isinstance(each, str) and _NOT_TEXT.search(each):
                yield FieldError(
                    pointer(where), "invalid-text", "must not hold NUL or half of a surrogate pair"
                )
            elif isinstance(each, dict) and any(_NOT_TEXT.search(key) for key in each):
                yield FieldError(pointer(where), "invalid-text", "has a member whose name is not text")

    _refuse(wrong())


def refuse_secrets(value: Any) -> None:
    """Raise Problem for the strings in a body that contain a secret of this service.

    Names and descriptions are stored and shown to others. A key pasted into one would be readable there.
    """
    _refuse(
        FieldError(
            pointer(where), "holds-secret", "holds a secret or a private key; revoke it, it was shown here"
        )
        for where, each in _walk(value)
        if isinstance(each, str) and looks_like_secret(each)
    )


def _refuse(errors: Iterator[FieldError]) -> None:
    found = tuple(islice(errors, MAX_ERRORS))
    if found:
        raise invalid_fields(found)


def _walk(value: Any) -> Iterator[tuple[Sequence[str | int], Any]]:
    """Yield every value in a document, with the names and indexes that lead to it."""
    pending: list[Iterator[tuple[str | int, Any]]] = []
    where: list[str | int] = []
    inside = _inside(value)
    yield where, value
    while True:
        name, each = next(inside, (None, None))
        if name is None:
            if not pending:
                return
            inside = pending.pop()
            where.pop()
            continue
        where.append(name)
        yield where, each
        if isinstance(each, dict | list):
            pending.append(inside)
            inside = _inside(each)
        else:
            where.pop()


def _inside(value: Any) -> Iterator[tuple[str | int, Any]]:
    """Iterate over the fields of an object, or the elements of an array."""
    if isinstance(value, dict):
        return iter(value.items())
    return enumerate(value if isinstance(value, list) else ())


def pointer(where: Iterable[str | int]) -> str:
    """Return the JSON pointer for a path of names and indexes."""
    return "".join(f"/{escape(str(part))}" for part in where)


def escape(key: str) -> str:
    """Return a field's name for a JSON pointer, redacted and shortened, because clients choose it."""
    key = redact(key[:MAX_KEY])[:64].encode("utf-8", "replace").decode()
    return key.replace("~", "~0").replace("/", "~1")


# Responses

REASONS: Final[Mapping[int, bytes]] = {
    200: b"OK",
    201: b"Created",
    202: b"Accepted",
    204: b"No Content",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    412: b"Precondition Failed",
    413: b"Content Too Large",
    414: b"URI Too Long",
    415: b"Unsupported Media Type",
    422: b"Unprocessable Content",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    503: b"Service Unavailable",
    507: b"Insufficient Storage",
}


def wire(status: int, headers: Headers, body: bytes = b"") -> bytes:
    """Return a whole HTTP/1.1 response as bytes, without the Date header."""
    lines = [b"HTTP/1.1 %d %s" % (status, REASONS[status])]
    lines += [b"%s: %s" % (name, value) for name, value in headers]
    lines.append(b"content-length: %d\r\n\r\n" % len(body))
    return b"\r\n".join(lines) + body


def unwire(answer: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return status, headers and body of a response that `wire` made."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    fields = []
    for line in lines:
        name, _, value = line.partition(b": ")
        fields.append((name, value))
    return int(first[9:12]), fields, body


def problem_body(problem: Problem, issuer: str, request_id: str | None = None) -> bytes:
    """Return the body of a problem (RFC 9457): `type title status detail instance code errors`, and the
    problem's own fields.

    `type` is an absolute URL of this service, because a proxy may pass the problem on to its own clients, at
    another host.
    """
    body: dict[str, Any] = {
        "type": issuer + DOCS + problem.code,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
    }
    if request_id:
        body["instance"] = request_id
    if problem.errors:
        body["errors"] = [
            {"pointer": each.pointer, "code": each.code, "detail": each.detail} for each in problem.errors
        ]
    return orjson.dumps(body | dict(problem.members))


def problem_headers(problem: Problem) -> list[tuple[bytes, bytes]]:
    """Return the headers that belong to a problem's status: the challenge, or when to retry."""
    fields = [(b"content-type", b"application/problem+json"), NO_STORE]
    if problem.status == 401:
        missing = problem.reason == "missing"
        fields.append((b"www-authenticate", b"Bearer" if missing else b'Bearer error="invalid_token"'))
    elif problem.status == 403 and isinstance(scope := problem.members.get("scope"), str):
        fields.append(
            (b"www-authenticate", b'Bearer error="insufficient_scope", scope="%s"' % scope.encode())
        )
    elif problem.reason == CONFLICTING:
        fields.append((b"www-authenticate", b'Bearer error="invalid_request"'))
    elif problem.status == 429:
        fields.append((b"retry-after", str(problem.members["retry_after"]).encode()))
    elif problem.status in (503, 507):
        fields.append((b"retry-after", b"1"))
    return fields


def problem_wire(problem: Problem, issuer: str, request_id: str | None = None, extra: Headers = ()) -> bytes:
    body = problem_body(problem, issuer, request_id)
    return wire(problem.status, [*problem_headers(problem), *extra], body)


def unauthorized(reason: str) -> Problem:
    """Return the one neutral refusal of a credential. Only the audit log has the cause."""
    if reason == "missing":
        return Problem("invalid-credential", "Send an API key in the X-API-Key header.", reason="missing")
    return Problem(
        "invalid-credential",
        "The presented credential is not valid. Check that the whole key was sent, and that it was not revoked and has "
        "not expired.",
        reason=reason,
    )


CONFLICTING: Final = "conflicting credentials"


def conflicting() -> Problem:
    return Problem(
        "invalid-request",
        "The request has different credentials, an empty one, or one in the query. Send one credential in one header.",
        reason=CONFLICTING,
    )
