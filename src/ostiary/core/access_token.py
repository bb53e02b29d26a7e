"""Access tokens: the claims in new ones (RFC 9068), and the checks of presented ones.

A token names its origin, the credential or session that it came from. The origin's standing is judged on every use. A
check here proves only that Ostiary issued the token, and for whom.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from ostiary.core import jws
from ostiary.core.instant import SECOND, Instant
from ostiary.core.jws import InvalidTokenError, is_text
from ostiary.core.model import Standing, Token, client_id_of, is_session
from ostiary.core.signing import LONGEST_TOKEN, Purpose, SigningKey
from ostiary.core.url import normalized_audience

TYPE: Final = "at+jwt"
ALIAS: Final = "/oauth2/ostiary"
"""The path after the issuer in the alternative issuer, which clients of the TOML configuration expect."""
PURPOSES: Final[dict[str, Purpose]] = {"": "access_token", ALIAS: "m2m"}
_TYPES: Final = frozenset({TYPE, "application/at+jwt"})


FindKey = Callable[[str, Instant], SigningKey | None]
"""Returns the key with this id if it is accepted at an instant, else None."""


def claims_of(token: Token, standing: Standing, issuer: str) -> dict[str, Any]:
    """Return the claims of a token (RFC 9068 §2.2), including its origin."""
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": standing.principal.id,
        "aud": token.audiences[0] if len(token.audiences) == 1 else list(token.audiences),
        "client_id": token.client_id,
        "account_id": standing.organization.id,
        "scope": " ".join(sorted(token.scopes)),
        "iat": token.issued_at // SECOND,
        "exp": token.expires_at // SECOND,
        "jti": token.id,
        "cid": token.client_id,
    }
    if is_session(token.origin_id):
        claims["ost_grant"] = token.origin_id
    else:
        claims["ost_cred"] = f"{token.origin_id}:{standing.generation}"
    if token.exchanged_from is not None:
        claims["ost_from"] = token.exchanged_from
    return claims


def client_id_of_principal(standing: Standing) -> str:
    """Return the client id for tokens: of the client that has the session, else of the service account, else the
    user's id."""
    principal = standing.principal
    if standing.client_id is not None:
        return standing.client_id
    return client_id_of(principal.id) if principal.kind == "service_account" else principal.id


def read(text: bytes, find: FindKey, issuer: str, now: Instant) -> Token:
    """Verify a token and return it. Expiry is not checked. Raises InvalidTokenError if Ostiary did not issue it."""
    unverified = jws.read(text)
    if unverified.type is None or unverified.type.lower() not in _TYPES:
        raise InvalidTokenError("type")
    if unverified.key_id is None:
        raise InvalidTokenError("key")
    key = find(unverified.key_id, now)
    if key is None:
        raise InvalidTokenError("key")
    claims = jws.verify(text, unverified, key.algorithm, key.public_key)
    # Each issuer has keys of its own, so a token of one issuer is never valid as a token of the other.
    if key.purpose not in PURPOSES.values():
        raise InvalidTokenError("purpose")
    if not any(claims.get("iss") == issuer + path and key.purpose == use for path, use in PURPOSES.items()):
        raise InvalidTokenError("issuer")
    issued_at, expires_at = _time(claims, "iat"), _time(claims, "exp")
    if not 0 <= expires_at - issued_at <= LONGEST_TOKEN:
        raise InvalidTokenError("lifetime")
    return Token(
        kind="access_token",
        id=_text(claims, "jti"),
        origin_id=_origin(claims),
        scopes=frozenset(_text(claims, "scope").split(" ")),
        audiences=_audiences(claims.get("aud"), issuer),
        client_id=_text(claims, "client_id"),
        issued_at=issued_at,
        expires_at=expires_at,
        exchanged_from=_text(claims, "ost_from") if "ost_from" in claims else None,
        issuer=_text(claims, "iss"),
    )


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not is_text(value) or not value:
        raise InvalidTokenError(name)
    return value


def _origin(claims: dict[str, Any]) -> str:
    """Return the id of the origin: the session of a person or client, or a credential."""
    if "ost_grant" in claims:
        origin_id = _text(claims, "ost_grant")
        if "ost_cred" in claims or not is_session(origin_id):
            raise InvalidTokenError("ost_grant")
        return origin_id
    origin_id, separator, _ = _text(claims, "ost_cred").partition(":")
    if not separator or is_session(origin_id):
        raise InvalidTokenError("ost_cred")
    return origin_id


def _time(claims: dict[str, Any], name: str) -> Instant:
    value = claims.get(name)
    # Ostiary writes whole seconds only.
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidTokenError(name)
    return value * SECOND


def _audiences(value: Any, issuer: str) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(map(is_text, values)) or mixes_audiences(values, issuer):
        raise InvalidTokenError("aud")
    return tuple(values)


def mixes_audiences(audiences: Iterable[str], issuer: str) -> bool:
    """Return whether the audiences name this service, in any spelling, and others, which could use the token here."""
    named = set(map(normalized_audience, audiences))
    return normalized_audience(issuer) in named and len(named) > 1
