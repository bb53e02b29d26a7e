"""The data directory: its mode, its files, and the master key. This module does not open the database."""

import base64
import contextlib
import fcntl
import os
import secrets
import stat
import time
from pathlib import Path
from typing import Final

from ostiary.config import ConfigurationError, InvalidSetting, Settings, os_reason
from ostiary.core.keyring import read_master_keys

MASTER_KEY_FILE: Final = "master.key"
DATABASE_FILE: Final = "ostiary.db"
CHANGES_FILE: Final = "changes.number"
USES_FILE: Final = "uses.permits"
FAILURES_FILE: Final = "failures.permits"
TROUBLES_FILE: Final = "troubles.times"
RESERVE_FILE: Final = "disk.reserve"
METRICS_DIRECTORY: Final = "metrics"
SERVING_FILE: Final = "serving.lock"
NO_LINKS: Final = (
    CHANGES_FILE,
    USES_FILE,
    FAILURES_FILE,
    TROUBLES_FILE,
    RESERVE_FILE,
    METRICS_DIRECTORY,
    SERVING_FILE,
)
"""Files and directories that are overwritten or emptied without reading them first. They must not be links."""
HOLD_SECONDS: Final = 2.0
"""How long `hold` waits for the processes of a killed service to end."""


def init_line(data: Path) -> str:
    """Return the command that creates an installation in this directory."""
    return f"ostiary init --data {data} --organization NAME --email EMAIL"


def prepare_data(settings: Settings, *, create: bool) -> None:
    """Check the data directory; with `create`, create it first if necessary. Raises ConfigurationError."""
    data = settings.data
    try:
        if create:
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not any(data.iterdir()):
                # Inside a Git repository, nothing in the directory is committed by mistake.
                ignored = data / ".gitignore"
                ignored.touch(0o600)
                ignored.write_text("*\n")
                data.chmod(0o700)
        if not data.is_dir():
            missing = f"does not exist; run `{init_line(data)}`"
            reason = "is not a directory" if data.exists() else missing
            raise ConfigurationError(InvalidSetting("OSTIARY_DATA", str(data), reason))
        if not os.access(data, os.W_OK | os.X_OK):
            raise ConfigurationError(InvalidSetting("OSTIARY_DATA", str(data), "cannot be written to"))
        if stat.S_IMODE(data.stat().st_mode) & 0o077:
            if create and not any(data.iterdir()):
                data.chmod(0o700)
            else:
                raise ConfigurationError(
                    InvalidSetting(
                        "OSTIARY_DATA", str(data), "can be read by other users; run `chmod 700` on it"
                    )
                )
        links = [str(data / name) for name in NO_LINKS if (data / name).is_symlink()]
        if links:
            raise ConfigurationError(
                *(
                    InvalidSetting(
                        "OSTIARY_DATA", link, "is a symbolic link, which is not followed; remove it"
                    )
                    for link in links
                )
            )
    except OSError as error:
        raise ConfigurationError(InvalidSetting("OSTIARY_DATA", str(data), os_reason(error))) from None


def lock(data: Path) -> int:
    """Lock the data directory for this service. Return the lock's file descriptor, which must stay open.

    Two services in one directory would delete each other's metrics, and checkpoint a database that the other writes to.
    Raises ConfigurationError if another service holds the lock.
    """
    lock = data / SERVING_FILE
    try:
        held = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigurationError(
            InvalidSetting("OSTIARY_DATA", str(lock), f"cannot be created or opened: {os_reason(error)}")
        ) from None
    patience = time.monotonic() + HOLD_SECONDS
    while True:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return held
        except BlockingIOError:
            if time.monotonic() < patience:
                time.sleep(0.05)
                continue
            os.close(held)
            raise ConfigurationError(
                InvalidSetting(
                    "OSTIARY_DATA", str(data), "is in use by another `ostiary serve`; stop that one first"
                )
            ) from None


def master_keys(settings: Settings, *, create: bool) -> tuple[bytes, ...]:
    """Return the master keys: from the setting, else from the data directory. With `create`, create one if necessary.

    Raises ConfigurationError if there is none, or if other users can read its file.
    """
    if settings.master_key is not None:
        return read_master_keys(settings.master_key.get_secret_value())
    if settings.database_url is not None:
        raise ConfigurationError(
            InvalidSetting(
                "OSTIARY_MASTER_KEY",
                "not set",
                "is required with PostgreSQL, so that all nodes share it; "
                "`head -c 32 /dev/urandom | base64` creates one",
            )
        )
    path = settings.data / MASTER_KEY_FILE
    if create and not path.exists() and not (settings.data / DATABASE_FILE).exists():
        # The file may exist by now (another init, or a link). Then the code below reads or refuses it.
        with contextlib.suppress(FileExistsError):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(base64.b64encode(secrets.token_bytes(32)) + b"\n")
                file.flush()
                os.fsync(fd)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(fd, "r", encoding="utf-8-sig") as file:
            mode = os.fstat(fd).st_mode
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            InvalidSetting("OSTIARY_MASTER_KEY", str(path), f"cannot be read: {os_reason(error)}")
        ) from None
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigurationError(
            InvalidSetting(
                "OSTIARY_MASTER_KEY", str(path), "can be read by other users; run `chmod 600` on it"
            )
        )
    try:
        return read_master_keys(text)
    except ValueError as error:
        raise ConfigurationError(InvalidSetting("OSTIARY_MASTER_KEY", str(path), str(error))) from None
