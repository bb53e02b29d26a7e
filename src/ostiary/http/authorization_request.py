"""Reads and checks the request that a client sends to `/oauth/authorize` (RFC 6749 §4.1, RFC 7636, RFC 8707,
RFC 9207).

There are two kinds of errors. If the client or its redirect URI is not certain, the error is shown to the
person and never redirected. All other errors are sent to the client's registered redirect URI.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode

from ostiary.auth.authenticator import Authenticator
from ostiary.core.access_token import mixes_audiences
from ostiary.core.model import OAuthClient
from ostiary.core.oauth import (
    AUTHORIZATION_CODE,
    NO_SCOPE,
    OFFLINE_ACCESS,
    default_scopes,
    known_scopes,
    scope_names,
)
from ostiary.core.permission import Catalogue
from ostiary.core.redirect import redirect_matches
from ostiary.http.oauth_error import OAuthError, invalid_target

MAX_FIELDS: Final = 64
PROMPTS: Final = frozenset({"none", "login", "consent", "select_account"})
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_ONCE_ONLY: Final = "resource"
"""The only parameter that may occur more than once (RFC 8707 §2)."""


class NotRedirectableError(Exception):
    """An error that must not be sent by a redirect. `developer` is the explanation for the client's
    developer.
    """

    def __init__(self, code: str, developer: str) -> None:
        super().__init__(code)
        self.code = code
        self.developer = developer


class RedirectError(Exception):
    """An error that is sent to the client, at its redirect URI."""

    def __init__(
        self, target: "RedirectTarget", code: str, description: str, refused: OAuthError | None = None
    ) -> None:
        super().__init__(code)
        self.target = target
        self.code = code
        self.description = description
        self.refused = refused
        """The refusal of a resource, for the audit log."""


@dataclass(frozen=True, slots=True)
class RedirectTarget:
    """The redirect URI of the response, and the state that ties the response to the request."""

    redirect_uri: str
    redirect_named: bool
    """Whether the request contained `redirect_uri`."""
    state: str | None


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A valid authorization request."""

    client: OAuthClient
    target: RedirectTarget
    scopes: tuple[str, ...]
    challenge: str
    audiences: tuple[str, ...]
    prompts: frozenset[str]


def read(
    query: str,
    find: Callable[[str], OAuthClient],
    catalogue: Catalogue,
    audiences_of: Callable[[Sequence[str]], tuple[str, ...]],
) -> AuthorizationRequest:
    """Check a request. Raises NotRedirectableError or RedirectError for the first error found.

    `find` raises NotRedirectableError for an unknown client. `audiences_of` raises OAuthError for resources
    that cannot be the audiences of one token.
    """
    given = _parameters(query)
    client = find(_one(given, "client_id", "client_id is missing, or occurs more than once."))
    target = _target(client, given)

    def wrong(code: str, description: str) -> RedirectError:
        return RedirectError(target, code, description)

    for name, values in given.items():
        if len(values) > 1 and name != _ONCE_ONLY:
            raise wrong("invalid_request", "A parameter stands twice.")
    found = {name: values[0] for name, values in given.items() if values[0]}
    if "request" in found:
        raise wrong("request_not_supported", "Request objects are not supported.")
    if "request_uri" in found:
        raise wrong("request_uri_not_supported", "Request objects are not supported.")
    if found.get("response_type") is None:
        raise wrong("invalid_request", "response_type is missing.")
    if found["response_type"] != "code":
        raise wrong("unsupported_response_type", "response_type must be code.")
    if AUTHORIZATION_CODE not in client.grant_types:
        raise wrong("unauthorized_client", "The client is not registered for authorization codes.")
    if found.get("response_mode", "query") != "query":
        raise wrong("invalid_request", "response_mode must be query.")
    challenge = found.get("code_challenge", "")
    if not challenge:
        raise wrong("invalid_request", "code_challenge is missing. PKCE with S256 is required.")
    if found.get("code_challenge_method") != "S256":
        raise wrong("invalid_request", "code_challenge_method must be S256.")
    if not _CHALLENGE.fullmatch(challenge):
        raise wrong("invalid_request", "code_challenge must be 43 characters of base64url.")
    prompts = frozenset(found.get("prompt", "").split())
    if not prompts <= PROMPTS or ("none" in prompts and len(prompts) > 1):
        raise wrong(
            "invalid_request", "prompt must be none, or a combination of login, consent and select_account."
        )
    scopes = _scopes(client, catalogue, given, wrong)
    try:
        audiences = audiences_of(tuple(filter(None, given.get(_ONCE_ONLY, ()))))
    except OAuthError as error:
        raise RedirectError(target, error.code, error.description, error) from None
    return AuthorizationRequest(client, target, scopes, challenge, audiences, prompts)


def redirect_url(target: RedirectTarget, issuer: str, members: Mapping[str, str]) -> str:
    """Return the redirect URI with the parameters of a response or an error, `state` and `iss` (RFC 6749
    §4.1.2, RFC 9207 §2).
    """
    told = dict(members)
    if target.state is not None:
        told["state"] = target.state
    told["iss"] = issuer
    separator = "&" if "?" in target.redirect_uri else "?"
    return f"{target.redirect_uri}{separator}{urlencode(told)}"


def _parameters(query: str) -> dict[str, list[str]]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise NotRedirectableError("invalid_request", "The parameters cannot be read.") from None
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def _one(given: Mapping[str, list[str]], name: str, otherwise: str) -> str:
    values = given.get(name, [])
    if len(values) != 1 or not values[0]:
        raise NotRedirectableError("invalid_request", otherwise)
    return values[0]


def _target(client: OAuthClient, given: Mapping[str, list[str]]) -> RedirectTarget:
    states = given.get("state", [])
    # Which of two it was nobody can say.
    state = states[0] if len(states) == 1 else None
    if "redirect_uri" not in given:
        if len(client.redirect_uris) != 1:
            raise NotRedirectableError(
                "invalid_request", "redirect_uri is missing, and the client has not just one."
            )
        return RedirectTarget(client.redirect_uris[0], False, state)
    asked = _one(given, "redirect_uri", "redirect_uri is empty, or stands twice.")
    if not any(redirect_matches(each, asked) for each in client.redirect_uris):
        raise NotRedirectableError(
            "invalid_request",
            "redirect_uri is not, character by character, one that the client has registered.",
        )
    return RedirectTarget(asked, True, state)


def _scopes(
    client: OAuthClient,
    catalogue: Catalogue,
    given: Mapping[str, list[str]],
    wrong: Callable[[str, str], RedirectError],
) -> tuple[str, ...]:
    """Return the requested scopes (RFC 6749 §3.3) that exist, or the client's default scopes."""
    if "scope" not in given:
        named = default_scopes(client)
    else:
        try:
            named = scope_names(given["scope"][0])
        except ValueError as error:
            raise wrong("invalid_scope", f"The scope {error}.") from None
    asked = known_scopes(named, catalogue)
    if not asked:
        raise wrong("invalid_scope", NO_SCOPE)
    if client.scopes and not set(asked) <= {*client.scopes, OFFLINE_ACCESS}:
        raise wrong("invalid_scope", "The client is not registered for all of this scope.")
    if client.access == "organization" and not set(asked) <= catalogue.names | {OFFLINE_ACCESS}:
        raise wrong("invalid_scope", "Another organization gives scopes of the application only.")
    return asked


def known_audiences(authenticator: Authenticator, resources: Iterable[str]) -> tuple[str, ...]:
    """Return the registered audiences that these resources name, each once (RFC 8707 §2).

    Raises OAuthError for an unknown resource, and for this service together with another resource.
    """
    found: dict[str, None] = {}
    for resource in resources:
        audience = authenticator.facts.audience(resource)
        if audience is None:
            raise invalid_target(resource, "unknown resource")
        found[audience] = None
    if mixes_audiences(found, authenticator.issuer):
        other = next(each for each in found if each != authenticator.issuer)
        raise invalid_target(other, "this service and another")
    return tuple(found)
