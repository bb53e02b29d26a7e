"""The one reader of JSON that somebody else wrote: request bodies, tokens, documents, files.

It refuses what two parsers could read differently, and what takes far more memory than its text. It does not judge the
values: half of a surrogate pair in a text is the caller's business.
"""

import json
import math
import re
from typing import Any, Final

MAX_DEPTH: Final = 32
MAX_INTEGER: Final = 2**53
MAX_VALUES: Final = 25_000
"""Members and elements of a whole document. The largest import has some 20,000."""

# Possessive, and an unfinished string runs to the end: each character is looked at once.
_STRING_OR_MARK = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[{,\]}]', re.DOTALL)


class JSONError(ValueError):
    """Why a document is refused, as the predicate of a sentence: `is not UTF-8`."""


def read(raw: bytes) -> Any:
    """The value of a document in UTF-8. Raises JSONError."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise JSONError("is not UTF-8") from None
    return parse(text)


def parse(text: str) -> Any:
    """The value of a document. Raises JSONError.

    Refused are a member that stands twice in one object, NaN and infinities, integers above 2⁵³, nesting over 32
    levels, and more than 25,000 values.
    """
    # A short text with few brackets is within both limits. Most are, and need not be counted.
    if len(text) > MAX_VALUES or text.count("[") + text.count("{") > MAX_DEPTH:
        _check_size(text)
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise JSONError(f"is not JSON: {error.msg} at {where}") from None


def _check_size(text: str) -> None:
    """Before it is parsed: small values by the hundred thousand take many times the memory of their text."""
    depth, values = 0, 1
    for mark in _STRING_OR_MARK.finditer(text):
        if mark[0] in "[{":
            depth += 1
        elif mark[0] in "]}":
            depth -= 1
        if mark[0] in "[{,":
            values += 1
        if depth > MAX_DEPTH:
            raise JSONError(f"is nested more than {MAX_DEPTH} levels deep")
        if values > MAX_VALUES:
            raise JSONError(f"has more than {MAX_VALUES:,} values")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise JSONError("has the same member twice in one object")
    return members


def _no_constant(_text: str) -> Any:
    raise JSONError("has NaN or an infinity, which are not JSON")


def _integer(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > MAX_INTEGER:
        raise JSONError("has an integer larger than 2⁵³")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise JSONError("has a number that is too large")
    return value


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_constant=_no_constant, parse_int=_integer, parse_float=_float
)
"""Made once: `json.loads` would make one for each document."""
