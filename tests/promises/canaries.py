"""Searches for secrets where they must not be: every 12-character window of each, in every usual encoding.

The result contains names and encodings only, so that a failing test does not print what it found.
"""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

WINDOW = 12
HEAD = WINDOW
"""The minimum length of an encoded window."""


def forms(window: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield every encoding of a window. Base64 has three alignments, without the digits that depend on neighbours."""
    yield "raw", window
    for name, digits in (("hex", window.hex()), ("HEX", window.hex().upper())):
        yield name, digits.encode()
    yield "URL", quote(window, safe="").encode()
    for name, digit in (("%xx", "%%%02x"), ("%XX", "%%%02X")):
        yield name, "".join(digit % byte for byte in window).encode()
    for offset in range(3):
        whole = b64encode(bytes(offset) + window)
        sure = whole[(0, 2, 3)[offset] : (offset + len(window)) * 8 // 6]
        yield f"base64+{offset}", sure
        yield f"base64url+{offset}", sure.translate(bytes.maketrans(b"+/", b"-_"))


@dataclass(slots=True)
class Canaries:
    """Planted secrets by name."""

    _needles: dict[bytes, tuple[str, str]] = field(default_factory=dict)
    _heads: dict[bytes, list[bytes]] = field(default_factory=dict)
    """All needles by their first bytes, so that one pass over a text finds every needle in it."""
    windows: int = 0

    def plant(self, name: str, secret: bytes) -> None:
        for start in range(len(secret) - WINDOW + 1):
            self.windows += 1
            for form, needle in forms(secret[start : start + WINDOW]):
                if needle not in self._needles:
                    self._needles[needle] = name, form
                    self._heads.setdefault(needle[:HEAD], []).append(needle)

    def found_in(self, text: bytes) -> set[tuple[str, str]]:
        """Return the name and encoding of each canary in the text."""
        heads = self._heads
        places = [at for at in range(len(text) - HEAD + 1) if text[at : at + HEAD] in heads]
        return {
            self._needles[needle]
            for at in places
            for needle in heads[text[at : at + HEAD]]
            if text.startswith(needle, at)
        }

    def __len__(self) -> int:
        return len(self._needles)
