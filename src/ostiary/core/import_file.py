"""The format of an import file: JSON lines, or CSV with a header row. Text in, keys out.

A key has `sha256` (the SHA-256 of the whole key, in hexadecimal or base64), and optionally `name` and `expires_at`.
Errors name the line and the field. They never contain a value, because the file may contain the keys themselves.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from ostiary.core import check, strict_json
from ostiary.core.instant import Instant, expiry_from_text
from ostiary.core.strict_json import JSONError

FIELDS: Final = ("sha256", "name", "expires_at")
MAX_LINE: Final = 4096


ImportOutcome = Literal["imported", "exists", "repeated", "expired", "beyond_policy"]
"""The result for one key. It is skipped if a secret with its digest exists, if it occurs earlier in the same batch, if
it has expired, or if the policy does not allow its lifetime."""


@dataclass(frozen=True, slots=True)
class ImportedKey:
    """A key of another system, of which only the SHA-256 (32 bytes) is known here."""

    sha256: bytes
    name: str | None = None
    expires_at: Instant | None = None


class FileError(ValueError):
    """A line of the file that is not a valid key. The message names the line and the reason."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")


def read_keys(lines: Iterable[str]) -> Iterator[ImportedKey]:
    """Yield the keys of a file. The first line that is not empty decides the format. Raises FileError."""
    rows = enumerate(lines, 1)
    first = next(((number, line) for number, line in rows if line.strip()), None)
    if first is None:
        return
    if first[1].lstrip("\ufeff").startswith("{"):
        yield _key(first[0], _object(first[0], first[1].lstrip("\ufeff")))
        for number, line in rows:
            if line.strip():
                yield _key(number, _object(number, line))
        return
    names = [name.strip() for name in next(csv.reader([_short(first[0], first[1]).lstrip("\ufeff")]), [])]
    if "sha256" not in names or set(names) - set(FIELDS) or len(set(names)) != len(names):
        raise FileError(
            first[0],
            "must be a JSON object, or a header row with the columns sha256 and optionally name and expires_at",
        )
    for number, line in rows:
        if line.strip():
            cells = next(csv.reader([_short(number, line)]), [])
            if len(cells) != len(names):
                raise FileError(number, f"has {len(cells)} columns, but the header row has {len(names)}")
            yield _key(number, {name: cell for name, cell in zip(names, cells, strict=True) if cell.strip()})


def _short(number: int, line: str) -> str:
    if len(line) > MAX_LINE:
        raise FileError(number, f"is longer than {MAX_LINE} characters")
    return line


def _object(number: int, line: str) -> dict[str, Any]:
    text = _short(number, line)
    try:
        value = strict_json.parse(text)
    except JSONError as error:
        raise FileError(number, str(error)) from None
    if not isinstance(value, dict):
        raise FileError(number, "is not a JSON object")
    return value


def _key(number: int, value: dict[str, Any]) -> ImportedKey:
    unknown = set(value) - set(FIELDS)
    if unknown or "sha256" not in value:
        raise FileError(number, f"must have the field sha256, and no fields other than {', '.join(FIELDS)}")
    if not all(each is None or isinstance(each, str) for each in value.values()):
        raise FileError(number, "has a field that is not a string")
    field = ""
    try:
        field = "sha256"
        digest = check.sha256((value["sha256"] or "").strip())
        field = "name"
        name = None if value.get("name") is None else check.key_name(value["name"], digest)
        field = "expires_at"
        expires_at = (
            None if value.get("expires_at") is None else expiry_from_text(value["expires_at"].strip())
        )
    except ValueError as error:
        raise FileError(number, f"{field} {error}") from None
    return ImportedKey(digest, name, expires_at)
