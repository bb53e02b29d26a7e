"""The credential in environment variables: an API key, a token, a key file, or a client id with its secret.

Two credentials at the same time are an error that names both variables.
"""

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from ostiary.cli.invocation import MisusedError
from ostiary.cli.profile import is_credential
from ostiary.cli.token_source import KEY_FILE, ClientSecret, Key, Proof, read_key_file
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
"""All variables that contain a credential, a part of one, or the name of its file."""

_RENEW: Final = {
    API_KEY: f"Set {API_KEY} to a valid key (or {API_KEY}_FILE to a file that contains it).",
    TOKEN: "Unset {}, and get a new token with the credential that it was issued for.",
    KEY_FILE: "Check that the key is active and belongs to this service, and that this machine's clock is right.",
    CLIENT_ID: f"Set {CLIENT_ID} and {CLIENT_SECRET} to valid values. `ostiary client-secret generate` creates a secret.",
}

_SIGNED: Final = re.compile(r"eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class CredentialSource(NamedTuple):
    """A variable that is set, a function that reads its credential, and advice to print if that is refused."""

    name: str
    read: Callable[[], Proof]
    renew: str


def text_of(name: str) -> str | None:
    """Return the value of a variable, without surrounding white space; None if it is unset or empty.

    Raises MisusedError for control characters.
    """
    text = given_text(os.environ.get(name, ""))
    try:
        refuse_controls(text)
    except ValueError as error:
        raise MisusedError(f"{name} {error}.") from None
    return text or None


def sources() -> list[CredentialSource]:
    """Return the sources that are set, without reading any credential."""
    found = []
    for name in (API_KEY, TOKEN):
        found += [
            CredentialSource(variable, partial(_key, name), _RENEW[name].format(variable))
            for variable in _set(name)
        ]
    if file := text_of(KEY_FILE):
        found.append(CredentialSource(KEY_FILE, lambda: read_key_file(file), _RENEW[KEY_FILE]))
    secrets = _set(CLIENT_SECRET)
    if secrets[1:]:
        found += [CredentialSource(variable, _client, _RENEW[CLIENT_ID]) for variable in secrets]
    elif secrets or _set(CLIENT_ID):
        found.append(CredentialSource((_set(CLIENT_ID) or secrets)[0], _client, _RENEW[CLIENT_ID]))
    return found


def chosen(found: list[CredentialSource]) -> tuple[Proof, str, str]:
    """Return the only credential that is set, its variable, and advice to print if it is refused.

    Raises MisusedError if several are set or the value is unusable, and ProfileError.
    """
    if found[1:]:
        raise MisusedError(f"{found[0].name} is set, and so is {found[1].name}; choose one.")
    [source] = found
    advice = f"The credential in use is that of {source.name}. {source.renew}"
    return source.read(), source.name, advice


def token() -> str | None:
    """Return the token of OSTIARY_TOKEN or its file, even if other credentials are set. Raises MisusedError."""
    return _held(TOKEN) if _set(TOKEN) else None


def _set(name: str) -> list[str]:
    """Return those of the variables NAME and NAME_FILE that are set."""
    found = [name] if given_text(os.environ.get(name, "")) else []
    # A client id is not a secret, so OSTIARY_CLIENT_ID_FILE does not exist.
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
    """Return the credential in the variable or in the file of NAME_FILE. Raises MisusedError, without the value."""
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
        raise MisusedError(
            f"{name} is not a credential: it is empty, or has white space or invalid characters."
        )
    kind, right = _recognised(text) or ("", name)
    if right != name:
        advice = f"Unset {variables[0]}, and set {right} instead."
        if right == CLIENT_SECRET:
            advice = f"Unset {variables[0]}, and set {right} instead, and {CLIENT_ID} to the client id."
        raise MisusedError(f"{variables[0]} contains {kind}.\n{advice}")
    return text


def _recognised(text: str) -> tuple[str, str] | None:
    """Return the kind of a credential and its variable; None if the form is unknown, as of imported keys."""
    if text.startswith(CLIENT_SECRET_PREFIX):
        return "a client secret", CLIENT_SECRET
    if text.startswith(SESSION):
        return "a session", TOKEN
    if _SIGNED.fullmatch(text):
        return "an access token", TOKEN
    if text.startswith("ak-") or looks_like_secret(text):
        return "an API key", API_KEY
    return None
