"""Why the database cannot be used, in words for the operator.

A driver's error text may contain user names, parts of a URL or values, so no part of it is repeated. It is only
searched for known phrases.
"""

from dataclasses import dataclass
from typing import Final

from ostiary.storage.patience import ServerSilentError


@dataclass(frozen=True, slots=True)
class Cause:
    """The cause of a database error: a short name for logs and metrics, and advice for the operator."""

    words: str
    advice: str


NO_ANSWER: Final = Cause(
    "no answer",
    "The database does not respond: it accepts no connection, or accepts one and sends nothing. "
    "Check host and port in OSTIARY_DATABASE_URL, firewalls, and that the server is not stopped.",
)
_REFUSED: Final = Cause(
    "wrong user or password",
    "The database refuses the user or the password in OSTIARY_DATABASE_URL. "
    "Characters such as @ : / ? # % in a password must be percent-encoded: %40 %3A %2F %3F %23 %25.",
)
_NOT_FOUND: Final = Cause(
    "no such host",
    "The host in OSTIARY_DATABASE_URL has no address. Check its name; "
    "an @ or / in the password must be percent-encoded (%40, %2F).",
)
_NO_ROOM: Final = Cause(
    "too many connections",
    "The database has no connection left. Each process of Ostiary takes at most 12: raise max_connections.",
)
_NO_TLS: Final = Cause("no TLS", "The database has no TLS, but sslmode in OSTIARY_DATABASE_URL requires it.")
_CAUSES: Final = (
    ("password authentication failed", _REFUSED),
    ("no password supplied", _REFUSED),
    (
        "no pg_hba.conf entry",
        Cause(
            "not admitted",
            "The database does not admit this user from this address, or only with TLS (?sslmode=require). "
            "See its pg_hba.conf.",
        ),
    ),
    (
        "unsupported startup parameter",
        Cause(
            "unsupported start-up parameter",
            "A pooler between Ostiary and the database, such as PgBouncer, refuses the start-up parameter `options`. "
            "Connect to the database itself.",
        ),
    ),
    ("failed to resolve host", _NOT_FOUND),
    ("could not translate host name", _NOT_FOUND),
    (
        "connection refused",
        Cause(
            "connection refused",
            "The database does not respond: nothing accepts connections at the host and port in OSTIARY_DATABASE_URL.",
        ),
    ),
    ("certificate", Cause("certificate", "The database's TLS certificate is not trusted: see sslrootcert.")),
    ("does not support ssl", _NO_TLS),
    ("too many clients", _NO_ROOM),
    ("too many connections", _NO_ROOM),
    ("remaining connection slots", _NO_ROOM),
    ("starting up", Cause("starting up", "The database is starting. Try again in a moment.")),
    ("shutting down", Cause("shutting down", "The database is shutting down.")),
    (
        "permission denied",
        Cause("permission denied", "The database user may not read or write Ostiary's tables."),
    ),
    (
        "read-only transaction",
        Cause("read-only", "The database is a standby and accepts no writes. Connect to the primary."),
    ),
    (
        "readonly database",
        Cause(
            "read-only", "The database file cannot be written: check its owner, its mode and its file system."
        ),
    ),
    (
        "invalid connection option",
        Cause("invalid parameter", "A parameter after the ? in OSTIARY_DATABASE_URL does not exist."),
    ),
    ("timeout expired", NO_ANSWER),
    ("timed out", NO_ANSWER),
    (
        "database is locked",
        Cause(
            "locked",
            "Another program keeps the database locked. Find it with `fuser` or `lsof`, and stop it.",
        ),
    ),
    (
        "unable to open database file",
        Cause("cannot be opened", "The database file cannot be opened: check its owner and its mode."),
    ),
    (
        "disk image is malformed",
        Cause("damaged", "The database file is damaged. Restore it from a backup."),
    ),
)
_NO_DATABASE: Final = Cause(
    "no such database",
    "The database that OSTIARY_DATABASE_URL names does not exist on that server: create it.",
)


def find(error: BaseException | None) -> Cause | None:
    """Return the cause of a driver's error, or None if it is unknown."""
    if error is None:
        return None
    if isinstance(error, ServerSilentError):
        return NO_ANSWER
    text = str(error).lower()
    for fragment, cause in _CAUSES:
        if fragment in text:
            return cause
    if "does not exist" in text and 'fatal:  database "' in text:
        return _NO_DATABASE
    if "does not exist" in text and 'fatal:  role "' in text:
        return _REFUSED
    return None
