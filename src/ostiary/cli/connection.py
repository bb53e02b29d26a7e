"""The connection of a command: service, credential and organization, and where each of them was set.

Each is taken from the first source that has it: the command line (`--organization`, the context that `--context`
names), the environment, the context of OSTIARY_CONTEXT or of the profile's `defaultContext`, a default. If no source
has a credential, the login at that service is used. A credential of the profile or of a login is sent only to its own
URL.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from ostiary.cli import environment, logins
from ostiary.cli.invocation import Invocation, MisusedError
from ostiary.cli.logins import plain
from ostiary.cli.profile import ProfileContext, load, profile_path
from ostiary.cli.token_source import ClientSecret, Key, Proof, StoredLogin, bearer
from ostiary.client.api import TIMEOUT_SECONDS, Client

DEFAULT_URL: Final = "http://localhost:8080"

_ORGANIZATION = re.compile(r"org_[0-9a-hjkmnp-tv-z]{26}|[a-z0-9][a-z0-9-]{1,62}")


@dataclass(frozen=True, slots=True)
class Connection:
    """The service, credential and organization of a command, with texts for error messages."""

    url: str
    url_from: str
    proof: Proof | None = field(repr=False)
    """None for a command that needs no credential."""
    credential_from: str
    unknown: str
    """Advice to print if the service does not know the credential."""
    organization: str | None = None
    organization_from: str = ""
    context: str | None = None

    def client(self, timeout: float = TIMEOUT_SECONDS) -> Client:
        """Return an API client with the credential, or with a new access token for it."""
        credential = None if self.proof is None else bearer(self.url, self.proof, timeout)
        return Client(self.url, credential, self.organization, timeout)


def connect(called: Invocation) -> Connection:
    """Choose service, credential and organization, and store them in `called`. Raises MisusedError, ProfileError."""
    url = environment.text_of("OSTIARY_URL")
    sources = environment.sources()
    context, passed_over = _context(called, url, bool(sources))
    organization, organization_from = _organization(called, context)
    proof: Proof
    if sources and (called.context is None or context is None or not context.has_credential):
        proof, source, unknown = environment.chosen(sources)
    elif context is not None and context.has_credential:
        key = context.credential()
        proof = Key(key) if key is not None else ClientSecret(*context.client())
        source = f"the context {context.name}"
        unknown = (
            f"The credential in use is that of the context {context.name}. Replace it:\n"
            f"ostiary context add {context.name} --replace --url {context.url}"
        )
    elif logins.find(_address(url, context)[0]) is not None:
        where = _address(url, context)[0]
        proof, source = StoredLogin(), f"the login at {where} ({logins.path()})"
        unknown = f"The credential in use is the login at {where}. Run `ostiary login --url {where}` again."
    elif passed_over is not None:
        raise MisusedError(
            f"No credential for OSTIARY_URL: that of the context {passed_over.name} is only for {passed_over.url}.\n"
            "Set OSTIARY_API_KEY too, or unset OSTIARY_URL, or create a context for it: `ostiary context add`."
        )
    else:
        raise MisusedError(
            "No credential: set OSTIARY_API_KEY, OSTIARY_TOKEN, OSTIARY_KEY_FILE, or OSTIARY_CLIENT_ID with "
            "OSTIARY_CLIENT_SECRET.\n"
            "Or sign in: `ostiary login`.\n"
            "Or store one in a context: `ostiary context add NAME --url URL`."
        )
    called.connection = Connection(
        *_address(url, context),
        proof,
        source,
        unknown,
        organization,
        organization_from,
        context.name if context else None,
    )
    return called.connection


def connect_without_credential(called: Invocation) -> Connection:
    """Like `connect`, for a command that needs no credential. Raises MisusedError, ProfileError."""
    url = environment.text_of("OSTIARY_URL")
    context, _ = _context(called, url, True)
    called.connection = Connection(*_address(url, context), None, "", "", *_organization(called, context))
    return called.connection


def _address(url: str | None, context: ProfileContext | None) -> tuple[str, str]:
    """Return the service's URL, and where it is set."""
    if context is not None:
        assert context.url is not None
        return context.url, f"contexts.{context.name}.url in {profile_path()}"
    return url or DEFAULT_URL, "OSTIARY_URL"


def chosen_name(called: Invocation) -> str | None:
    """Return the context that `--context` or OSTIARY_CONTEXT names; None if neither does."""
    return called.context if called.context is not None else environment.text_of("OSTIARY_CONTEXT")


def checked_organization(text: str, source: str) -> str:
    """Return the id or slug of an organization if it is well-formed. Raises MisusedError, without the value."""
    if _ORGANIZATION.fullmatch(text) is None:
        raise MisusedError(
            f"{source} is not an organization's id or slug, such as org_01m80q07epayqz1jx2aq5c980j or acme.\n"
            "`ostiary organization list` shows the organizations."
        )
    return text


def _context(
    called: Invocation, url: str | None, credential: bool
) -> tuple[ProfileContext | None, ProfileContext | None]:
    """Return the context in use, and the default context that OSTIARY_URL overrides. At most one is not None."""
    name = chosen_name(called)
    if name is None and url is not None and credential:
        return None, None  # the environment is complete, so a job does not depend on a person's profile
    profile = load()
    context = profile.current() if name is None else profile.find(name)
    if context is None:
        return None, None
    if context.url is None:
        raise MisusedError(f"{profile_path()}: contexts.{context.name}.url is missing.")
    if url is None or called.context is not None or plain(url) == plain(context.url):
        return context, None
    if name is not None:
        raise MisusedError(
            f"OSTIARY_CONTEXT names {context.name}, which is for {context.url}, but OSTIARY_URL names another service.\n"
            "Unset one of them: the credential of a context is only sent to its own URL."
        )
    return None, context


def _organization(called: Invocation, context: ProfileContext | None) -> tuple[str | None, str]:
    variable = environment.text_of("OSTIARY_ORGANIZATION")
    layers = [(called.organization, "--organization"), (variable, "OSTIARY_ORGANIZATION")]
    if context is not None:
        source = f"contexts.{context.name}.organization in {profile_path()}"
        layers.insert(1 if called.context is not None else 2, (context.organization, source))
    for value, source in layers:
        if value is not None:
            return checked_organization(value, source), source
    return None, ""
