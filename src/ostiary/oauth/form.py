"""Read the parameters of an OAuth request in exactly one way (RFC 6749 §3.2, appendix B).

The body is a form, or a JSON object of strings with the same limits. A body that two parsers could read
differently is refused. This module does not know the meaning of the parameters.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal
from urllib.parse import unquote_to_bytes

from ostiary.core.oauth import scope_names
from ostiary.core.problem import Problem
from ostiary.http.messages import Headers, read_json
from ostiary.http.oauth_error import OAuthError, invalid_request, of_problem

MAX_FIELDS: Final = 64
MAX_FIELD: Final = 8 * 1024
"""Maximum length of a name or value, in decoded bytes."""
MOST_COMMAS: Final = 1000
"""Maximum number of commas in a JSON body, including those inside strings."""
REPEATABLE: Final = "resource"
"""The one parameter that can be repeated (RFC 8707 §2)."""

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_BAD_PERCENT: Final = re.compile("%(?![0-9A-Fa-f]{2})")
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's word
# Possessive quantifiers: each character is examined once.
_TYPE: Final = re.compile(
    rf"({_TOKEN}/{_TOKEN})[ \t]*+((?:;[ \t]*+(?:{_TOKEN}=(?:{_TOKEN}|\"[^\"\\]*\")[ \t]*+)?+)*+)"
)
_CHARSET: Final = re.compile(r";[ \t]*charset=(?:\"([^\"]*)\"|([^\"; \t]*))", re.IGNORECASE)

Pair = tuple[str, str]


class Form:
    """The parameters that have a value. An empty value counts as omitted (RFC 6749 §3.2); `sent` tells the
    difference.

    Values of the repeatable parameter are only in `all`.
    """

    __slots__ = ("_resources", "_sent", "_values")

    def __init__(self, pairs: Iterable[Pair]) -> None:
        sent: dict[str, str] = {}
        resources: list[str] = []
        for name, value in pairs:
            if name == REPEATABLE:
                resources.append(value)
            elif name in sent:
                raise invalid_request("A parameter stands twice.")
            sent[name] = value
        self._sent = frozenset(sent)
        self._resources = tuple(filter(None, resources))
        self._values = {name: value for name, value in sent.items() if value and name != REPEATABLE}

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __repr__(self) -> str:
        # Values are secrets, and names are untrusted input.
        return f"<Form of {len(self._values)}>"

    def get(self, name: str) -> str | None:
        return self._values.get(name)

    def sent(self, name: str) -> bool:
        """Return whether the parameter was sent, even with an empty value."""
        return name in self._sent

    def all(self, name: str) -> tuple[str, ...]:
        """Return all values of a parameter, in order. Only `resource` can have more than one."""
        if name == REPEATABLE:
            return self._resources
        value = self._values.get(name)
        return () if value is None else (value,)


def read(headers: Headers, query: bytes, body: bytes) -> Form:
    """Parse the parameters of a request.

    Raises OAuthError (invalid_request) if they are ambiguous or malformed.
    """
    if query:
        raise invalid_request("Send parameters in the body, not in the URL.", "query")
    return Form((_of_form if _kind(headers) == "form" else _of_json)(body))


def scopes(form: Form) -> tuple[str, ...] | None:
    """Return the names in `scope`, or None if the parameter is missing. Raises OAuthError (invalid_scope)."""
    if not form.sent("scope"):
        return None
    try:
        return scope_names(form.get("scope") or "")
    except ValueError as error:
        raise OAuthError("invalid_scope", f"The scope {error}.", "malformed") from None


def _kind(headers: Headers) -> Literal["form", "json"]:
    values = [value for name, value in headers if name == b"content-type"]
    if len(values) == 1:
        kind = _KINDS.get(values[0]) or _declared(values[0])
        if kind is not None:
            return kind
    raise invalid_request(
        "Send one Content-Type: application/x-www-form-urlencoded, or application/json.", "content type"
    )


_KINDS: Final[Mapping[bytes, Literal["form", "json"]]] = {
    b"application/x-www-form-urlencoded": "form",
    b"application/json": "json",
}


def _declared(value: bytes) -> Literal["form", "json"] | None:
    match = _TYPE.fullmatch(value.decode("latin-1").strip(" \t"))
    if match is None:
        return None
    charsets = {(quoted or bare).lower() for quoted, bare in _CHARSET.findall(match[2])}
    return _KINDS.get(match[1].lower().encode()) if charsets <= {"utf-8"} else None


def _of_form(body: bytes) -> list[Pair]:
    if not body:
        return []
    text = _text(body)
    parts = text.split("&", MAX_FIELDS)
    if len(parts) > MAX_FIELDS:
        raise _too_many()
    # Nearly all requests need no decoding.
    decode: Callable[[str], str] = _decoded if "%" in text or "+" in text else str
    short = len(body) <= MAX_FIELD
    pairs = []
    for part in parts:
        name, _, value = part.partition("=")
        name, value = decode(name), decode(value)
        if not name:
            raise invalid_request("A parameter has no name.")
        if not short:
            _check_length(name, value)
        pairs.append((name, value))
    return pairs


def _text(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise invalid_request("The body is not UTF-8.") from None
    if not text.isprintable() and _CONTROL.search(text):
        raise invalid_request("A parameter contains a control character.")
    return text


def _decoded(part: str) -> str:
    part = part.replace("+", " ")
    if "%" not in part:
        return part
    if _BAD_PERCENT.search(part):
        raise invalid_request("The percent-encoding is not valid.")
    return _text(unquote_to_bytes(part))


def _of_json(body: bytes) -> list[Pair]:
    if body.count(b",") > MOST_COMMAS:
        raise _too_many()  # before parsing: thousands of small values take milliseconds
    try:
        members = read_json(body)
    except Problem as problem:
        raise of_problem(problem) from None
    if not isinstance(members, dict):
        raise invalid_request("The body is not a JSON object.")
    pairs = []
    for name, value in members.items():
        # An empty list of resources counts as one empty value.
        several = (value or [""]) if name == REPEATABLE and isinstance(value, list) else [value]
        pairs += [(name, each) for each in several]
    if len(pairs) > MAX_FIELDS:
        raise _too_many()
    for name, value in pairs:
        if not isinstance(value, str):
            raise invalid_request("A parameter is not a string.")
        if not name:
            raise invalid_request("A parameter has no name.")
        if _CONTROL.search(name) or _CONTROL.search(value):
            raise invalid_request("A parameter contains a control character.")
        _check_length(name, value)
    return pairs


def _check_length(name: str, value: str) -> None:
    for each in (name, value):
        if len(each) * 4 > MAX_FIELD and len(each.encode()) > MAX_FIELD:
            raise invalid_request(f"A parameter is longer than {MAX_FIELD} bytes.")


def _too_many() -> OAuthError:
    return invalid_request(f"There are more than {MAX_FIELDS} parameters.")
