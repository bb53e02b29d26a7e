"""The credential that the environment holds: one of a key, a token, a key file or a client with its secret.

Two of them at once are an error that names both: whichever was taken, somebody would wonder why.
"""

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from ostiary.cli.profile import is_credential
from ostiary.cli.proving import KEY_FILE, ClientSecret, Key, Proof, read_key_file
from ostiary.cli.terminal import MisusedError
from ostiary.core.check import given_text, refuse_controls
from ostiary.core.secret import CLIENT_SECRET as CLIENT_SECRET_PREFIX
from ostiary.core.secret import SESSION, looks_like_secret

API_KEY: Final = "OSTIARY_API_KEY"
TOKEN: Final = "OSTIARY_TOKEN"  # noqa: S105 - a variable
CLIENT_ID: Final = "OSTIARY_CLIENT_ID"
CLIENT_SECRET: Final = "OSTIARY_CLIENT_SECRET"  # noqa: S105 - a variable

NAMES: Final = (
    API_KEY, f"{API_KEY}_FILE", TOKEN, f"{TOKEN}_FILE", KEY_FILE, CLIENT_ID, CLIENT_SECRET, f"{CLIENT_SECRET}_FILE",
)  # fmt: skip
"""Every variable that holds a credential, or a part or the file of one."""

_RENEW: Final = {
    API_KEY: f"Set {API_KEY} to a valid key (or {API_KEY}_FILE to a file that holds it).",
    TOKEN: "Unset {}, and get another with the credential that it came from.",
    KEY_FILE: "Is it in force, is it of this service, and is the clock of this machine right?",
    CLIENT_ID: f"Set {CLIENT_ID} and {CLIENT_SECRET} to a client's: `ostiary client-secret generate` makes another.",
}

_SIGNED: Final = re.compile(r"eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class Source(NamedTuple):
    """A variable that is set, and how to read the credential that it stands for."""

    name: str
    read: Callable[[], Proof]
    renew: str


def text_of(name: str) -> str | None:
    """The value of a variable, without the white space around it; None if it is unset or empty. MisusedError."""
    text = given_text(os.environ.get(name, ""))
    try:
        refuse_controls(text)
    except ValueError as error:
        raise MisusedError(f"{name} {error}.") from None
    return text or None


def sources() -> list[Source]:
    """Those that are set; nothing is read yet."""
    found = []
    for name in (API_KEY, TOKEN):
        found += [
            Source(variable, partial(_key, name), _RENEW[name].format(variable)) for variable in _set(name)
        ]
    if file := text_of(KEY_FILE):
        found.append(Source(KEY_FILE, lambda: read_key_file(file), _RENEW[KEY_FILE]))
    secrets = _set(CLIENT_SECRET)
    if secrets[1:]:
        found += [Source(variable, _client, _RENEW[CLIENT_ID]) for variable in secrets]
    elif secrets or _set(CLIENT_ID):
        found.append(Source((_set(CLIENT_ID) or secrets)[0], _client, _RENEW[CLIENT_ID]))
    return found


def chosen(found: list[Source]) -> tuple[Proof, str, str]:
    """The one credential that is set, its variable, and what to do if it is refused. MisusedError, ProfileError."""
    if found[1:]:
        raise MisusedError(f"{found[0].name} is set, and so is {found[1].name}; choose one.")
    [source] = found
    told = f"The credential in use is that of {source.name}. {source.renew}"
    return source.read(), source.name, told


def token() -> str | None:
    """The access token of OSTIARY_TOKEN or its file, whatever else is set. MisusedError."""
    return _held(TOKEN) if _set(TOKEN) else None


def _set(name: str) -> list[str]:
    """Of a variable and the one that names a file for it, those that are set."""
    found = [name] if given_text(os.environ.get(name, "")) else []
    # A client's id is no secret, so it has no file.
    if name != CLIENT_ID and text_of(f"{name}_FILE"):
        found.append(f"{name}_FILE")
    return found


def _key(name: str) -> Proof:
    return Key(_held(name))


def _client() -> Proof:
    for name in (CLIENT_ID, CLIENT_SECRET):
        if not _set(name):
            other = CLIENT_SECRET if name == CLIENT_ID else CLIENT_ID
            raise MisusedError(f"{other} is set, but not {name}; a client needs both.")
    return ClientSecret(_held(CLIENT_ID), _held(CLIENT_SECRET))


def _held(name: str) -> str:
    """The value of a variable, or what the file holds that its fellow names. MisusedError, which repeats neither."""
    variables = _set(name)
    if variables[1:]:
        raise MisusedError(f"{variables[0]} is set, and so is {variables[1]}; choose one.")
    text = os.environ.get(name, "")
    if variables == [f"{name}_FILE"]:
        try:
            text = Path(text_of(f"{name}_FILE") or "").read_text("utf-8-sig")
        except (FileNotFoundError, NotADirectoryError):
            raise MisusedError(f"{name}_FILE names a file that does not exist.") from None
        except (OSError, UnicodeDecodeError):
            raise MisusedError(f"{name}_FILE names a file that cannot be read.") from None
    text = given_text(text)
    if not is_credential(text):
        raise MisusedError(f"{name} is no credential: it is empty, or holds white space or odd characters.")
    kind, right = _told_by_its_form(text) or ("", name)
    if right != name:
        advice = f"Unset {variables[0]}, and put it into {right}."
        if right == CLIENT_SECRET:
            advice = f"Unset {variables[0]}, and put it into {right}, and the client's id into {CLIENT_ID}."
        raise MisusedError(f"{variables[0]} holds {kind}.\n{advice}")
    return text


def _told_by_its_form(text: str) -> tuple[str, str] | None:
    """What a credential is, and the variable for it; None where the form does not tell, as that of imported keys."""
    if text.startswith(CLIENT_SECRET_PREFIX):
        return "a client secret", CLIENT_SECRET
    if text.startswith(SESSION):
        return "a session", TOKEN
    if _SIGNED.fullmatch(text):
        return "an access token", TOKEN
    if text.startswith("ak-") or looks_like_secret(text):
        return "an API key", API_KEY
    return None
