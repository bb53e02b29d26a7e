"""Access rules for proxies: which scopes a forwarded request needs, according to its method and path.

The path must be judged exactly as the upstream will read it. So forms that two servers could read differently (dot
segments, encoded slashes, `;`, double encoding, empty segments) are ambiguous and refused.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from ostiary.core.permission import Scopes, is_scope

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}")
_LITERAL = re.compile(r"[A-Za-z0-9._~!$&'()*+,=:@-]+")
_VARIABLE = re.compile(r"\{([a-z][a-z0-9_]{0,31})\}")
_ENCODED = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Encoded slash, backslash, percent (double encoding), controls and `;`. Dot segments are checked after decoding.
_FORBIDDEN_ENCODED = re.compile(r"%(2[Ff]|5[Cc]|25|[01][0-9A-Fa-f]|7[Ff]|3[Bb])")
_FORBIDDEN_PLAIN = re.compile(r"[\\;\x00-\x20\x7f-\U0010ffff#]")


_MISREAD = frozenset("/\\;%?#\u2028\u2029") | {chr(code) for code in range(0x80, 0xA0)}


PREFLIGHT = "OPTIONS"
"""The method of preflight requests, which never have a credential (Fetch §3.2.2)."""


class AmbiguousPathError(ValueError):
    """Two servers could read this path differently."""


class InvalidMatchError(ValueError):
    """An entry of a rule's `match` is invalid. `line` is its index, from 0."""

    def __init__(self, line: int, detail: str) -> None:
        super().__init__(detail)
        self.line = line


@dataclass(frozen=True, slots=True)
class RuleEntry:
    """One entry of a rule's `match`. `segments` are literals, or variables written `{name}`. `below`: the path ends in
    `/**`."""

    methods: frozenset[str]
    """Empty: any method."""
    segments: tuple[str, ...]
    below: bool
    scopes: Scopes
    resource: str | None

    def fits(self, method: str, path: tuple[str, ...]) -> bool:
        return (not self.methods or method in self.methods) and self.fits_path(path)

    def fits_path(self, path: tuple[str, ...]) -> bool:
        beyond = len(path) - len(self.segments)
        if beyond < 0 or (beyond > 0) != self.below:
            return False
        return all(
            (bool(given) if ours.startswith("{") else ours == given)
            for ours, given in zip(self.segments, path, strict=False)
        )

    def resource_of(self, path: tuple[str, ...]) -> str | None:
        """Return the resource of the request: the template with the values from the path. None without a template."""
        if self.resource is None:
            return None
        values = {
            ours[1:-1]: given
            for ours, given in zip(self.segments, path, strict=False)
            if ours.startswith("{")
        }
        return _VARIABLE.sub(lambda variable: values[variable[1]], self.resource)


@dataclass(frozen=True, slots=True)
class AccessRule:
    name: str
    matches: tuple[RuleEntry, ...]
    project: str | None = None
    kinds: frozenset[str] = frozenset()
    organizations: frozenset[str] = frozenset()
    audience: str | None = None
    """The required audience of tokens. None: this service."""
    assertion: bool = False
    """Whether the upstream gets a signed assertion about the caller."""
    preflight: bool = False
    """Whether browsers' preflight requests pass without a credential."""

    def match(self, method: str, path: tuple[str, ...]) -> RuleEntry | None:
        """Return the first entry that fits, which decides. None: the request is refused."""
        return next((entry for entry in self.matches if entry.fits(method, path)), None)

    def admits_preflight(self, method: str, path: tuple[str, ...]) -> bool:
        """Return whether an OPTIONS request without a credential passes.

        It passes if an entry has its path, and the entry that decides on the request does not name OPTIONS itself.
        """
        if not self.preflight or method != PREFLIGHT:
            return False
        entry = self.match(method, path)
        if entry is not None and PREFLIGHT in entry.methods:
            return False
        return any(entry.fits_path(path) for entry in self.matches)


ANY_CREDENTIAL = AccessRule("-", ())
"""The rule that requires a valid credential and nothing else."""


def is_rule_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def read_match(methods: list[str] | None, path: str, scopes: list[str], resource: str | None) -> RuleEntry:
    """Check and parse one entry of `match`. Raises ValueError with the reason."""
    for method in methods or ():
        if _METHOD.fullmatch(method) is None:
            raise ValueError("methods must be upper-case words such as GET")
    for scope in scopes:
        if not is_scope(scope):
            raise ValueError("scopes must have the form verb:noun")
    if not path.startswith("/"):
        raise ValueError("path must begin with a slash")
    parts = path[1:].split("/")
    below = parts[-1] == "**"
    if below:
        parts = parts[:-1]
    names = []
    for position, part in enumerate(parts):
        variable = _VARIABLE.fullmatch(part)
        if variable is not None:
            names.append(variable[1])
        elif part == "" and position == len(parts) - 1 and not below:
            continue  # a path that ends in a slash
        elif part in {".", ".."} or _LITERAL.fullmatch(part) is None or "*" in part:
            raise ValueError(
                "a path segment must be plain text, {name} for one whole segment, or ** at the end"
            )
    if len(set(names)) != len(names):
        raise ValueError("path must not have the same variable twice")
    if resource is not None:
        unknown = set(_VARIABLE.findall(resource)) - set(names)
        if unknown:
            raise ValueError("resource names a variable that the path does not have")
        if re.search(r"[{}*\\]", _VARIABLE.sub("", resource)) or not resource:
            raise ValueError("resource must be a path such as agents/{id}")
    return RuleEntry(frozenset(methods or ()), tuple(parts), below, frozenset(scopes), resource)


def read_rule(name: str, document: Mapping[str, Any]) -> AccessRule:
    """Parse a rule from its JSON form (`match`, and the fields of AccessRule). Raises InvalidLineError for a bad
    entry."""
    entries = []
    for number, entry in enumerate(document["match"]):
        try:
            entries.append(
                read_match(
                    entry.get("methods"), entry["path"], entry.get("scopes") or [], entry.get("resource")
                )
            )
        except ValueError as error:
            raise InvalidMatchError(number, str(error)) from None
    return AccessRule(
        name,
        tuple(entries),
        document.get("project"),
        frozenset(document.get("kinds") or ()),
        frozenset(document.get("organizations") or ()),
        document.get("audience"),
        bool(document.get("assertion")),
        bool(document.get("preflight")),
    )


def read_path(target: str) -> tuple[str, ...]:
    """Return the decoded path segments of a request target in origin form, without the query.

    Raises AmbiguousPathError if two servers could read it differently, ValueError if it is not in origin form.
    """
    path = target.partition("?")[0]
    if not path.startswith("/"):
        raise ValueError("is not a path")
    if _ENCODED.search(path):
        raise AmbiguousPathError("a percent sign without two hexadecimal digits")
    if _FORBIDDEN_PLAIN.search(path) or _FORBIDDEN_ENCODED.search(path):
        raise AmbiguousPathError("an encoded slash, a backslash, a control character, ; or double encoding")
    segments = path[1:].split("/")
    decoded = []
    for position, segment in enumerate(segments):
        try:
            text = unquote(segment, errors="strict")
        except UnicodeDecodeError:
            raise AmbiguousPathError("bytes that are not UTF-8") from None
        if text == "" and position < len(segments) - 1:
            raise AmbiguousPathError("an empty segment")
        # Refuse what changes on servers that normalise Unicode, strip trailing dots and spaces, or decode twice.
        plain = unicodedata.normalize("NFKC", text)
        if plain != text or text != text.rstrip(" .") or not _MISREAD.isdisjoint(text):
            raise AmbiguousPathError("a dot segment, or what some server reads as a separator")
        decoded.append(text)
    return tuple(decoded)
