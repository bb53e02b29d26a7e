"""What the system may show of this process's memory, in which the master key is: nothing, to nobody but root."""

import contextlib
import ctypes
import resource
from typing import Final

_SET_DUMPABLE: Final = 4
_SET_NAME: Final = 15
"""Of Linux's prctl(2)."""


def hide() -> None:
    """No core dumps, and no debugger of the same user. Processes that fork from this one inherit it.

    The limit alone does not hold where the kernel hands dumps to a program (core(5)), such as systemd-coredump.
    """
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_SET_DUMPABLE, 0)


def name(text: str) -> None:
    """What `top` and `ps` call this process; at most 15 characters."""
    _prctl(_SET_NAME, text.encode()[:15])


def _prctl(what: int, value: int | bytes) -> None:
    """Another system has no such call, and goes without."""
    with contextlib.suppress(OSError, AttributeError):
        given = ctypes.c_ulong(value) if isinstance(value, int) else ctypes.c_char_p(value)
        unused = ctypes.c_ulong(0)
        ctypes.CDLL(None).prctl(what, given, unused, unused, unused)
