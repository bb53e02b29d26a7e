"""The credential of a command, and how it becomes the bearer token of its requests.

An API key or a token is sent unchanged. A client secret, or a JWT signed with a key file, is exchanged for an access
token first.
"""

import json
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ostiary.cli import logins, profile
from ostiary.cli.invocation import MisusedError
from ostiary.client.api import TIMEOUT_SECONDS, Client, NotOstiaryError, is_safe, same_address
from ostiary.core.oauth import JWT_BEARER, TOKEN_EXCHANGE
from ostiary.core.secret import Secret

TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 - a path
KEY_FILE: Final = "OSTIARY_KEY_FILE"
ASSERTION_SECONDS: Final = 300

_ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - RFC 8693's name


@dataclass(frozen=True, slots=True)
class Key:
    """An API key or an access token."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientSecret:
    client_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyFileProof:
    """The fields of a key file that an assertion needs."""

    key_id: str
    client_email: str
    token_uri: str
    private_key: Secret


@dataclass(frozen=True, slots=True)
class StoredLogin:
    """The stored login of `ostiary login`."""


Proof = Key | ClientSecret | KeyFileProof | StoredLogin


def bearer(url: str, proof: Proof, timeout: float = TIMEOUT_SECONDS) -> str:
    """Return the bearer token for requests: the key itself, or a new access token with all its permissions.

    Raises what `trade` and `logins.token` raise.
    """
    if isinstance(proof, Key):
        return proof.text
    if isinstance(proof, StoredLogin):
        return logins.token(url, timeout)
    return str(trade(url, proof, None, (), timeout)["access_token"])


def trade(
    url: str,
    proof: Proof,
    scope: str | None,
    resources: tuple[str, ...],
    timeout: float = TIMEOUT_SECONDS,
) -> dict[str, Any]:
    """Exchange a credential at the token endpoint. Return the response (RFC 6749 §5.1), with a valid `access_token`.

    `scope` None requests the default scope. Raises MisusedError, NotOstiaryError, and the errors of a request.
    """
    fields: list[tuple[str, str]] = [("resource", each) for each in resources]
    if scope is not None:
        fields.append(("scope", scope))
    basic = None
    match proof:
        case Key() | StoredLogin():
            text = bearer(url, proof, timeout)
            grant = TOKEN_EXCHANGE
            fields += [("subject_token", text), ("subject_token_type", _ACCESS_TOKEN)]
        case ClientSecret(client_id, secret):
            grant, basic = "client_credentials", (client_id, secret)
        case KeyFileProof():
            grant = JWT_BEARER
            fields.append(("assertion", assertion(url, proof)))
    client = Client(url, timeout=timeout)
    answer = client.form(TOKEN_PATH, [("grant_type", grant), *fields], basic)
    token = answer.get("access_token") if isinstance(answer, dict) else None
    if not isinstance(token, str) or not profile.is_credential(token):
        raise NotOstiaryError(f"{url} answers, but not as an Ostiary service does.")
    return dict(answer)


def read_key_file(name: str) -> KeyFileProof:
    """Read a key file. Raises MisusedError or ProfileError that names the invalid field, without any value."""
    # No message has the path: a person may have put the key itself into the variable.
    text = profile.read_private(Path(name), f"The file of {KEY_FILE}", f'"${KEY_FILE}"')
    if text is None:
        raise MisusedError(f"{KEY_FILE} names a file that does not exist.")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("type") != "service_account":
        raise MisusedError(
            f"{KEY_FILE}: type is not that of a key file; `ostiary key-file generate` creates one."
        )
    for member in ("key_id", "client_email", "token_uri", "private_key"):
        if not isinstance(found.get(member), str) or not found[member]:
            raise MisusedError(f"{KEY_FILE}: {member} is missing.")
    return KeyFileProof(
        found["key_id"], found["client_email"], found["token_uri"], Secret(found["private_key"])
    )


def assertion(url: str, file: KeyFileProof) -> str:
    """Return a signed JWT for the token endpoint of `url` (RFC 7523 §2.1). It works once, within five minutes.

    Raises MisusedError if the key file is for another service or its key is invalid.
    """
    if not is_safe(file.token_uri):
        raise MisusedError(f"{KEY_FILE}: token_uri is neither https nor on this machine.")
    if not same_address(file.token_uri, url.rstrip("/") + TOKEN_PATH):
        raise MisusedError(
            f"{KEY_FILE}: token_uri belongs to another service than {url}.\n"
            "Set OSTIARY_URL to the service that created the key file."
        )
    try:
        from ostiary.core import jws
    except ImportError:
        raise MisusedError(f"{KEY_FILE} needs more libraries: pip install 'ostiary[server]'") from None
    now = int(time.time())
    claims = {
        "iss": file.client_email,
        "aud": file.token_uri,
        "iat": now,
        "exp": now + ASSERTION_SECONDS,
        "jti": secrets.token_urlsafe(16),
    }
    try:
        algorithm, key = jws.any_private_key(file.private_key.reveal().encode())
        return jws.sign(key, algorithm, file.key_id, "JWT", claims)
    except ValueError:
        raise MisusedError(f"{KEY_FILE}: private_key is not a supported private key.") from None
