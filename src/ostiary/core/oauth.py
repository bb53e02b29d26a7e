"""OAuth constants that several rooms use, and Ostiary's built-in clients."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from ostiary.core.instant import MINUTE, SECOND
from ostiary.core.model import OAuthClient
from ostiary.core.permission import API_SCOPES, EVERYTHING, Catalogue

AUTHORIZATION_CODE: Final = "authorization_code"
REFRESH_TOKEN: Final = "refresh_token"  # noqa: S105 - RFC 6749's name
CLIENT_CREDENTIALS: Final = "client_credentials"
DEVICE_CODE: Final = "urn:ietf:params:oauth:grant-type:device_code"
JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - RFC 8693's name
CLIENT_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

NO_SESSION: Final = "A session cannot be exchanged."
NO_SECOND_EXCHANGE: Final = "An exchanged token cannot be exchanged again."
"""Errors of the token endpoint that say what to do next. The command line adds no advice of its own to them."""

TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 - a path
DEVICE_PAGE: Final = "/oauth/device/verify"
"""The page where a person enters the code of a device."""

OFFLINE_ACCESS: Final = "offline_access"
"""The scope that requests a refresh token. It grants nothing by itself."""

NO_SCOPE: Final = (
    "The scope is empty, or none of its names exists here: see scopes_supported in the server metadata. "
    "openid is not supported, and offline_access grants nothing by itself."
)
# The characters of scope names and the spaces between them (RFC 6749 §3.3).
_SCOPE: Final = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]*")

CODE_LIFETIME: Final = 60 * SECOND
DEVICE_CODE_LIFETIME: Final = 30 * MINUTE
POLLING_INTERVAL: Final = 5
"""Seconds (RFC 8628 §3.2)."""

CLI: Final = "ostiary-cli"


_COMMAND_LINE: Final = OAuthClient(
    id=CLI,
    source="built_in",
    organization_id=None,
    project_id=None,
    access="user",
    name="Ostiary command line",
    redirect_uris=(),
    grant_types=(DEVICE_CODE, REFRESH_TOKEN),
    scopes=(),
    auth_method="none",
    jwks=None,
    jwks_uri=None,
    client_uri=None,
    created_at=0,
    disabled_at=None,
)

BUILT_IN: Final[Mapping[str, OAuthClient]] = dict.fromkeys((CLI, "noorle-cli"), _COMMAND_LINE)
"""One client under each of its names. The second name is in the examples of another system's documentation."""


def scope_names(text: str) -> tuple[str, ...]:
    """Read a `scope` parameter (RFC 6749 §3.3): its names in order, each once.

    Additional spaces before, after and between the names are ignored. Raises ValueError for a character that no
    scope name can have, such as a tab.
    """
    if _SCOPE.fullmatch(text) is None:
        raise ValueError("must be scope names, separated by spaces")
    return tuple(dict.fromkeys(filter(None, text.split(" "))))


def default_scopes(client: OAuthClient) -> tuple[str, ...]:
    """Return the scopes of a request for consent that has no `scope` (RFC 6749 §3.3)."""
    scopes = client.scopes or ("api",)
    if REFRESH_TOKEN in client.grant_types and OFFLINE_ACCESS not in scopes:
        scopes = (*scopes, OFFLINE_ACCESS)
    return scopes


def known_scopes(names: Iterable[str], catalogue: Catalogue) -> tuple[str, ...]:
    """Return the scopes that exist here, `offline_access` included (RFC 6749 §3.3, RFC 7591 §2).

    Unknown scopes, such as `openid`, are left out. The result is empty if nothing but `offline_access` is left,
    because that scope grants nothing by itself.
    """
    known = tuple(each for each in names if each == OFFLINE_ACCESS or catalogue.knows(each))
    return () if set(known) <= {OFFLINE_ACCESS} else known


def is_dangerous(client: OAuthClient, scopes: Iterable[str]) -> bool:
    """Return whether consent to these scopes requires a recently confirmed password.

    It does if the client could change objects of this service later without a further question, or if the consent
    gives another organization access. A screen that was left open must not be enough for that.
    """
    write_scopes = EVERYTHING | {scope for scope in API_SCOPES if scope.startswith("write:")}
    return client.access == "organization" or not write_scopes.isdisjoint(scopes)
