"""Logins: the tokens of `ostiary login`, by service, in `~/.ostiary/token.json`.

The file is refused if other users can read it, and is always replaced as a whole. Only one command at a time refreshes
an access token: if two commands used the same refresh token, the service would end the login.
"""

import contextlib
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from ostiary.cli.profile import ProfileError, is_credential, read_private, write_private
from ostiary.client.api import TIMEOUT_SECONDS, Client, NotOstiaryError, RefusedError
from ostiary.core.oauth import CLI, REFRESH_TOKEN

TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 - a path
EARLY_SECONDS: Final = 60
"""How long before its expiry an access token is replaced."""


class LoginEndedError(click.ClickException):
    """The service no longer accepts the login. Exits with 4."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class Login:
    """The tokens of one login."""

    access_token: str = field(repr=False)
    expires_at: int
    """Expiry of the access token, in Unix seconds."""
    refresh_token: str | None = field(default=None, repr=False)
    scope: str = ""


def path() -> Path:
    """Return `~/.ostiary/token.json`."""
    return Path.home() / ".ostiary" / "token.json"


def find(url: str) -> Login | None:
    """Return the login at a service, or None. Raises ProfileError."""
    found = _load().get(plain(url))
    return None if found is None else _login(found)


def keep(url: str, login: Login) -> None:
    """Store a login. It replaces a login at the same service. Raises ProfileError."""
    with _locked():
        _write({**_load(), plain(url): asdict(login)})


def forget(url: str) -> None:
    """Delete the login at a service, if any. Raises ProfileError."""
    with _locked():
        _write({key: value for key, value in _load().items() if key != plain(url)})


def token(url: str, timeout: float = TIMEOUT_SECONDS) -> str:
    """Return an access token that is valid for at least a minute, refreshed if necessary.

    Raises LoginEndedError, ProfileError, and the errors of a request.
    """
    login = find(url)
    if login is not None and _fresh(login):
        return login.access_token
    with _locked():
        # Another command may have refreshed it meanwhile.
        login = find(url)
        if login is None:
            raise ended(url)
        if not _fresh(login):
            # A refresh uses up the old refresh token. So check first that the file can be written.
            _write(_load())
            login = _refreshed(url, login, timeout)
            _write({**_load(), plain(url): asdict(login)})
    return login.access_token


def from_response(answer: Any, url: str, before: Login | None = None) -> Login:
    """Return a response of the token endpoint (RFC 6749 §5.1) as a login. Raises NotOstiaryError."""
    found = answer if isinstance(answer, dict) else {}
    access, refresh, seconds = (found.get(name) for name in ("access_token", "refresh_token", "expires_in"))
    refresh = refresh or (before and before.refresh_token)
    if (
        not (isinstance(access, str) and is_credential(access))
        or not (refresh is None or (isinstance(refresh, str) and is_credential(refresh)))
        or not isinstance(seconds, int)
    ):
        raise NotOstiaryError(f"{url} answers, but not as an Ostiary service does.")
    return Login(access, int(time.time()) + seconds, refresh, str(found.get("scope", "")))


def ended(url: str) -> LoginEndedError:
    return LoginEndedError(f"The login at {url} has ended.\nRun `ostiary login --url {url}`.")


def plain(url: str) -> str:
    """Return a URL in a normal form, so that equal services compare equal."""
    scheme, mark, rest = url.partition("://")
    host, slash, behind = rest.partition("/")
    return f"{scheme.lower()}{mark}{host.lower()}{slash}{behind}".rstrip("/")


def _fresh(login: Login) -> bool:
    return login.expires_at > time.time() + EARLY_SECONDS


def _refreshed(url: str, login: Login, timeout: float) -> Login:
    if login.refresh_token is None:
        raise ended(url)
    fields = [
        ("grant_type", REFRESH_TOKEN),
        ("refresh_token", login.refresh_token),
        ("client_id", CLI),
    ]
    try:
        answer = Client(url, timeout=timeout).form(TOKEN_PATH, fields)
    except RefusedError as error:
        if error.code in ("invalid_grant", "invalid_client"):
            raise ended(url) from None
        raise
    return from_response(answer, url, login)


# The file


def _load() -> dict[str, Any]:
    """Return all logins by URL, unchecked. Raises ProfileError."""
    text = read_private(path(), f"{path()}: the file of logins")
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    logins = found.get("logins") if isinstance(found, dict) else None
    if not isinstance(logins, dict):
        raise ProfileError(f"{path()} is not a valid file of logins.\nDelete it and run `ostiary login`.")
    return logins


def _login(members: Any) -> Login:
    try:
        login = Login(**members)
        texts = [login.access_token, *([] if login.refresh_token is None else [login.refresh_token])]
        if isinstance(login.expires_at, int) and all(map(is_credential, texts)):
            return login
    except (TypeError, AttributeError):
        pass
    raise ProfileError(f"{path()} is not a valid file of logins.\nDelete it and run `ostiary login`.")


def _write(logins: dict[str, Any]) -> None:
    write_private(path(), json.dumps({"logins": logins}, indent=1) + "\n")


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Hold the lock for changes of the file. The lock is a separate file, because the file of tokens is replaced."""
    home = path().parent
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        if stat.S_IMODE(home.stat().st_mode) & 0o022:
            raise ProfileError(f"{home}: other users can write to the directory of logins.\nchmod 700 {home}")
        fd = os.open(home / "token.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ProfileError(f"{home} cannot be written: {error.strerror}.") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
