"""Server metadata (RFC 8414) and published keys (RFC 7517), which clients and resource servers read
automatically.

There are two issuers: the service itself, and an alias below it for programs that need a separate issuer with
RS256 keys. Both use the same accounts and credentials. The metadata lists only what works.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from ostiary.auth.authenticator import Authenticator
from ostiary.core.access_token import ALIAS
from ostiary.core.oauth import (
    CLIENT_CREDENTIALS,
    OFFLINE_ACCESS,
)
from ostiary.core.problem import Problem
from ostiary.core.signing import PURPOSES, Purpose
from ostiary.http.routing import problem_response
from ostiary.http.static_response import make, respond
from ostiary.oauth.grants import GRANTS

Handler = Callable[[Request], Response]

CACHING: Final = {"cache-control": "public, max-age=300"}
"""Much shorter than the time between a key's publication and its first signature."""
DOCUMENTS: Final = ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")
AUTHENTICATION: Final = ("client_secret_basic", "client_secret_post", "private_key_jwt", "none")
ASKING: Final = ("client_secret_basic", "client_secret_post", "Bearer")
"""Authentication methods for introspection and revocation. Both also accept the caller's own key or token
(RFC 8414 §2).
"""
ALGORITHMS: Final = ("RS256", "EdDSA", "Ed25519", "ES256")
"""Algorithms for signing assertions. Key files use the first three. Clients' own keys can use all of them."""
DEVICE_AUTHORIZATION: Final = "/oauth/device/authorize"


def routes(issuer: str, authenticator: Authenticator, registers: bool = False) -> dict[str, Handler]:
    """Return the handler at each path, for GET and HEAD. `issuer` must not end with a slash."""
    machines: tuple[Purpose, ...] = ("m2m",)
    found = {
        "/.well-known/jwks.json": _keys(PURPOSES, authenticator),
        f"{ALIAS}/v1/keys": _keys(machines, authenticator),
    }
    for path in ("", ALIAS):
        shown = _metadata(issuer, path, authenticator, registers)
        # RFC 8414 §3.1 puts the issuer's path after the well-known part, OpenID Connect puts it before.
        found |= {f"{document}{path}": shown for document in DOCUMENTS}
        found |= {f"{path}{document}": shown for document in DOCUMENTS}
    return found


def document(issuer: str, path: str, scopes: Collection[str], registers: bool = False) -> dict[str, Any]:
    """Return the metadata of the issuer at this path (RFC 8414 §2): the service itself, or the alias."""
    token, keys = (
        (f"{path}/v1/token", f"{path}/v1/keys") if path else ("/oauth/token", "/.well-known/jwks.json")
    )
    # Registered clients ask people for access. The alias is for machines only.
    registration = {"registration_endpoint": f"{issuer}/oauth/register"} if registers and not path else {}
    return {
        "issuer": f"{issuer}{path}",
        "token_endpoint": f"{issuer}{token}",
        "jwks_uri": f"{issuer}{keys}",
        "introspection_endpoint": f"{issuer}/oauth/introspect",
        "revocation_endpoint": f"{issuer}/oauth/token/revoke",
        # Required, even without an authorization endpoint.
        "response_types_supported": [] if path else ["code"],
        "grant_types_supported": [CLIENT_CREDENTIALS] if path else [*GRANTS],
        "scopes_supported": [*sorted(scopes), "api"] + ([] if path else [OFFLINE_ACCESS]),
        "token_endpoint_auth_methods_supported": AUTHENTICATION,
        "token_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "introspection_endpoint_auth_methods_supported": ASKING,
        "revocation_endpoint_auth_methods_supported": ASKING,
        "service_documentation": f"{issuer}/docs",
        **registration,
        **({} if path else _for_people(issuer)),
    }


def _for_people(issuer: str) -> dict[str, Any]:
    """Return the metadata for people's clients. Only the service's own issuer has it."""
    return {
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "device_authorization_endpoint": f"{issuer}{DEVICE_AUTHORIZATION}",
        "response_modes_supported": ["query"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "client_id_metadata_document_supported": True,
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
    }


def _metadata(issuer: str, path: str, authenticator: Authenticator, registers: bool) -> Handler:
    def tell() -> dict[str, Any] | None:
        catalogue = authenticator.facts.catalogue()
        return None if catalogue is None else document(issuer, path, catalogue.names, registers)

    return partial(_show, authenticator, tell)


def _keys(purposes: Collection[Purpose], authenticator: Authenticator) -> Handler:
    def tell() -> dict[str, Any] | None:
        keys = authenticator.facts.keys()
        return None if keys is None else keys.jwks(authenticator.clock(), purposes)

    return partial(_show, authenticator, tell)


def _show(
    authenticator: Authenticator, tell: Callable[[], dict[str, Any] | None], request: Request
) -> Response:
    """Return a response with the current facts, or 503 if they are unavailable."""
    try:
        authenticator.current_facts()
    except Problem as problem:
        return problem_response(request, problem)
    found = tell()
    if found is None:  # the facts were dropped after a long pause
        return problem_response(request, Problem("unavailable", "Try again."))
    return respond(request, make(orjson.dumps(found)), "application/json", CACHING)
