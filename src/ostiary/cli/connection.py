"""Which service a command asks, with which credential, and in which organization it acts; and where each was set.

For each of the three the first of these that has it: the command line (`--organization`, the context that
`--context` names), the environment, the context of OSTIARY_CONTEXT or of the profile's `defaultContext`, a default.
A credential of the profile is sent to the URL of its own context and nowhere else.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ostiary.cli.invocation import Invocation
from ostiary.cli.profile import Context, is_credential, load, profile_path
from ostiary.cli.terminal import MisusedError
from ostiary.client.api import TIMEOUT_SECONDS, Client

DEFAULT_URL: Final = "http://localhost:8080"
CREDENTIALS: Final = ("OSTIARY_API_KEY", "OSTIARY_TOKEN")

_ORGANIZATION = re.compile(r"org_[0-9a-hjkmnp-tv-z]{26}|[a-z0-9][a-z0-9-]{1,62}")


@dataclass(frozen=True, slots=True)
class Connection:
    """What a command uses, in words that its errors can repeat."""

    url: str
    url_from: str
    credential: str = field(repr=False)
    credential_from: str
    unknown: str
    """What to do if the service does not know the credential."""
    organization: str | None = None
    organization_from: str = ""
    context: str | None = None

    def client(self, timeout: float = TIMEOUT_SECONDS) -> Client:
        return Client(self.url, self.credential, self.organization, timeout)


def connect(called: Invocation) -> Connection:
    """Settle the three, and let `called` know. Raises MisusedError, ProfileError."""
    url = os.environ.get("OSTIARY_URL") or None
    key = _environment_credential()
    context, passed_over = _context(called, url, key is not None)
    organization, organization_from = _organization(called, context)
    if key is not None and (called.context is None or context is None or not context.has_credential):
        source, read = key
        credential = read()
        credential_from = source
        unknown = (
            f"The credential in use is that of {source}. "
            "Set OSTIARY_API_KEY to a valid key (or OSTIARY_API_KEY_FILE to a file that holds it)."
        )
    elif context is not None and (kept := context.credential()) is not None:
        credential = kept
        credential_from = f"the context {context.name}"
        unknown = (
            f"The credential in use is that of the context {context.name}. Give it another:\n"
            f"ostiary context add {context.name} --replace --url {context.url}"
        )
    elif passed_over is not None:
        raise MisusedError(
            f"No credential for OSTIARY_URL: that of the context {passed_over.name} goes to {passed_over.url} only.\n"
            "Set OSTIARY_API_KEY too, or unset OSTIARY_URL, or make a context for it: `ostiary context add`."
        )
    else:
        raise MisusedError(
            "No credential: set OSTIARY_API_KEY to an API key, or OSTIARY_API_KEY_FILE to a file that holds one.\n"
            "Or keep one for good: `ostiary context add NAME --url URL`."
        )
    if context is not None:
        assert context.url is not None
        url, url_from = context.url, f"contexts.{context.name}.url in {profile_path()}"
    else:
        url, url_from = url or DEFAULT_URL, "OSTIARY_URL"
    called.connection = Connection(
        url,
        url_from,
        credential,
        credential_from,
        unknown,
        organization,
        organization_from,
        context.name if context else None,
    )
    return called.connection


def chosen_name(called: Invocation) -> str | None:
    """The context that this command or its environment names, if one does."""
    return called.context if called.context is not None else os.environ.get("OSTIARY_CONTEXT") or None


def checked_organization(text: str, source: str) -> str:
    """An organization's id or slug as addresses take it. Raises MisusedError, which does not repeat it."""
    if _ORGANIZATION.fullmatch(text) is None:
        raise MisusedError(
            f"{source} is no organization's id or slug, such as org_01m80q07epayqz1jx2aq5c980j or acme.\n"
            "`ostiary organization list` shows what there is."
        )
    return text


def _context(called: Invocation, url: str | None, credential: bool) -> tuple[Context | None, Context | None]:
    """The context in use; or none, and the default that OSTIARY_URL passed over."""
    name = chosen_name(called)
    if name is None and url is not None and credential:
        return None, None  # the environment says it all: a job never depends on somebody's file
    profile = load()
    context = profile.current() if name is None else profile.find(name)
    if context is None:
        return None, None
    if context.url is None:
        raise MisusedError(f"{profile_path()}: contexts.{context.name}.url is missing.")
    if url is None or called.context is not None or _same(url, context.url):
        return context, None
    if name is not None:
        raise MisusedError(
            f"OSTIARY_CONTEXT names {context.name}, which is {context.url}, and OSTIARY_URL another service.\n"
            "Unset one of them: the credential of a context goes to its own URL only."
        )
    return None, context


def _organization(called: Invocation, context: Context | None) -> tuple[str | None, str]:
    variable = os.environ.get("OSTIARY_ORGANIZATION") or None
    layers = [(called.organization, "--organization"), (variable, "OSTIARY_ORGANIZATION")]
    if context is not None:
        source = f"contexts.{context.name}.organization in {profile_path()}"
        layers.insert(1 if called.context is not None else 2, (context.organization, source))
    for value, source in layers:
        if value is not None:
            return checked_organization(value, source), source
    return None, ""


def _environment_credential() -> tuple[str, Callable[[], str]] | None:
    """The variable that holds a credential or names its file, and how to read it."""
    for name in CREDENTIALS:
        plain, file = os.environ.get(name, ""), os.environ.get(f"{name}_FILE")
        if plain and file:
            raise MisusedError(f"{name} is set, and so is {name}_FILE; choose one.")
        if file:
            return f"{name}_FILE", lambda name=name, file=file: _valid(name, _read(f"{name}_FILE", file))
        if plain.strip():
            return name, lambda name=name, plain=plain: _valid(name, plain)
    return None


def _valid(variable: str, text: str) -> str:
    text = text.strip()
    if not is_credential(text):
        raise MisusedError(
            f"{variable} is no credential: it is empty, or holds white space or odd characters."
        )
    return text


def _read(variable: str, name: str) -> str:
    try:
        return Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise MisusedError(f"{variable} names a file that cannot be read.") from None


def _same(left: str, right: str) -> bool:
    """Whether two URLs are one service; in doubt not."""

    def plain(url: str) -> str:
        scheme, mark, rest = url.partition("://")
        host, slash, path = rest.partition("/")
        return f"{scheme.lower()}{mark}{host.lower()}{slash}{path}".rstrip("/")

    return plain(left) == plain(right)
