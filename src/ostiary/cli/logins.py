"""Logins: the tokens that `ostiary login` got, by service, in `~/.ostiary/token.json`.

The file is read only where nobody else can read it, and replaced as a whole. An access token that is about to end is
refreshed by one command at a time: a refresh token that two had used would end the login.
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

TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 - an address
EARLY_SECONDS: Final = 60
"""How long before its end an access token is replaced."""


class LoginEndedError(click.ClickException):
    """The service takes the login no more: exit 4."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class Login:
    """What a service gave."""

    access_token: str = field(repr=False)
    expires_at: int
    """Of the access token, in seconds of the Unix clock."""
    refresh_token: str | None = field(default=None, repr=False)
    scope: str = ""


def path() -> Path:
    """`~/.ostiary/token.json`."""
    return Path.home() / ".ostiary" / "token.json"


def find(url: str) -> Login | None:
    """The login at a service, if there is one. Raises ProfileError."""
    found = _load().get(plain(url))
    return None if found is None else _login(found)


def keep(url: str, login: Login) -> None:
    """Keep a login, in place of one at the same service. Raises ProfileError."""
    with _alone():
        _write({**_load(), plain(url): asdict(login)})


def forget(url: str) -> None:
    """Forget a login. Raises ProfileError."""
    with _alone():
        _write({key: value for key, value in _load().items() if key != plain(url)})


def token(url: str, timeout: float = TIMEOUT_SECONDS) -> str:
    """An access token that is good for a while, refreshed if need be. Raises LoginEndedError, and as requests do."""
    login = find(url)
    if login is not None and _fresh(login):
        return login.access_token
    with _alone():
        # Another command may have been first.
        login = find(url)
        if login is None:
            raise ended(url)
        if not _fresh(login):
            # The old refresh token is spent by asking: so first it is seen that there is room for the new one.
            _write(_load())
            login = _refreshed(url, login, timeout)
            _write({**_load(), plain(url): asdict(login)})
    return login.access_token


def of_answer(answer: Any, url: str, before: Login | None = None) -> Login:
    """The token endpoint's answer (RFC 6749 §5.1), as it is kept. Raises NotOstiaryError."""
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
    """A URL as one service is known by."""
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
    return of_answer(answer, url, login)


# The file


def _load() -> dict[str, Any]:
    """Every login, by URL."""
    text = read_private(path(), f"{path()}: the file of logins")
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    logins = found.get("logins") if isinstance(found, dict) else None
    if not isinstance(logins, dict):
        raise ProfileError(f"{path()} is no file of logins.\nRemove it, and run `ostiary login`.")
    return logins


def _login(members: Any) -> Login:
    try:
        login = Login(**members)
        texts = [login.access_token, *([] if login.refresh_token is None else [login.refresh_token])]
        if isinstance(login.expires_at, int) and all(map(is_credential, texts)):
            return login
    except (TypeError, AttributeError):
        pass
    raise ProfileError(f"{path()} is no file of logins.\nRemove it, and run `ostiary login`.")


def _write(logins: dict[str, Any]) -> None:
    write_private(path(), json.dumps({"logins": logins}, indent=1) + "\n")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """While no other command reads tokens to replace them. The lock is a file of its own: that of tokens is replaced."""
    home = path().parent
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        if stat.S_IMODE(home.stat().st_mode) & 0o022:
            raise ProfileError(f"{home}: others can write into the directory of logins.\nchmod 700 {home}")
        fd = os.open(home / "token.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ProfileError(f"{home} cannot be written: {error.strerror}.") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
