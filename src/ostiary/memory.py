"""Protects the memory of this process, which holds the master key, from all other processes but root's."""

import contextlib
import ctypes
import resource
from typing import Final

_SET_DUMPABLE: Final = 4
_SET_NAME: Final = 15
"""Options of Linux's prctl(2)."""


def hide() -> None:
    """Disable core dumps and debuggers of the same user. Forked processes inherit this.

    The resource limit alone is not enough if the kernel pipes dumps to a program (core(5)), such as systemd-coredump.
    """
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_SET_DUMPABLE, 0)


def name(text: str) -> None:
    """Set the name of this process in `top` and `ps`, at most 15 characters."""
    _prctl(_SET_NAME, text.encode()[:15])


def _prctl(what: int, value: int | bytes) -> None:
    """Call prctl(2). Does nothing on systems without it."""
    with contextlib.suppress(OSError, AttributeError):
        given = ctypes.c_ulong(value) if isinstance(value, int) else ctypes.c_char_p(value)
        unused = ctypes.c_ulong(0)
        ctypes.CDLL(None).prctl(what, given, unused, unused, unused)
