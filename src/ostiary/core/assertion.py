"""What a JWT that was signed by a key file has to say, at each of the three doors where one may be shown.

`client` proves who a client is (private_key_jwt, RFC 7523 §2.2), `grant` is traded for an access token (RFC 7523
§2.1), `login` begins a session. A JWT is good at one door only: what `login` takes has no audience, the others need
one. Used marks are kept elsewhere; here is said what to mark, and for how long.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from math import ceil, isfinite
from typing import Any, Final, Literal

from ostiary.core.instant import SECOND, Instant
from ostiary.core.jws import Algorithm, InvalidTokenError, Unverified, is_text, verify
from ostiary.core.url import comparable

Door = Literal["client", "grant", "login"]

SKEW: Final = 30 * SECOND
"""By how much a clock may be ahead of ours. There is none for what has expired."""
LONGEST: Final = 3600 * SECOND
LOGIN_WINDOW: Final = 300 * SECOND
MAX_ID: Final = 256
GOOGLE_AUDIENCE: Final = "https://oauth2.googleapis.com/token"
"""What Google's client libraries name whatever the key file says."""
_LARGEST: Final = 2**43
"""Seconds; what is larger is no time, and a float could not tell it to the microsecond."""


@dataclass(frozen=True, slots=True)
class Signer:
    """A key that may have signed a JWT: of a key file, with the account that owns it, or one of a client's own."""

    key_id: str
    """Empty for a client's only key if that has no `kid`."""
    algorithm: Algorithm
    public_key: bytes
    """SubjectPublicKeyInfo, DER."""
    client_id: str
    channel: str
    """The channel identifier, which is the key file's `client_email`."""
    account_id: str
    google: bool = False
    """Made for Google's libraries (compat): neither `jti` nor `sub`, and their audience."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A JWT that is good if its mark is new. Until `expires_at` it would be accepted again."""

    jti_digest: bytes
    expires_at: Instant
    scope: str | None
    """The claim, which a grant may have."""


@dataclass(frozen=True, slots=True)
class _Shown:
    claims: Mapping[str, Any]
    token: Unverified
    signer: Signer
    audiences: frozenset[str]
    now: Instant


def check(
    door: Door, text: bytes, token: Unverified, signer: Signer, audiences: frozenset[str], now: Instant
) -> Checked:
    """Check a JWT, which was read as `token`, at a door. Raises InvalidTokenError.

    `audiences` are our own: the issuer and the token endpoint.
    """
    claims = verify(text, token, signer.algorithm, signer.public_key)
    shown = _Shown(claims, token, signer, audiences, now)
    for rule in RULES[door]:
        rule(shown)
    if door == "login":
        return Checked(_mark(door, shown), _time(claims, "iat") + LOGIN_WINDOW, None)
    scope = _text(claims, "scope") if door == "grant" and "scope" in claims else None
    return Checked(_mark(door, shown), _time(claims, "exp"), scope)


def check_any(
    door: Door,
    text: bytes,
    token: Unverified,
    signers: Iterable[Signer],
    audiences: frozenset[str],
    now: Instant,
) -> tuple[Signer, Checked]:
    """Check a JWT with each of these keys. Return the key that signed it, and the checked claims.

    Raises the InvalidTokenError of the last key if none did.
    """
    error = InvalidTokenError("no usable key")
    for signer in signers:
        try:
            return signer, check(door, text, token, signer, audiences, now)
        except InvalidTokenError as last:
            error = last
    raise error


# Rules


def _kind(shown: _Shown) -> None:
    """No other type: an access token is not an assertion, whoever signed it (RFC 8725 §3.11)."""
    _require(shown.token.type is None or shown.token.type.upper() == "JWT", "type")


def _key(shown: _Shown) -> None:
    """A JWT with `kid` must be signed by that key."""
    _require(shown.token.key_id in (None, shown.signer.key_id), "kid")


def _partner_algorithm(shown: _Shown) -> None:
    _require(shown.signer.algorithm in ("RS256", "EdDSA"), "algorithm")


def _issued_by_client(shown: _Shown) -> None:
    _require(_text(shown.claims, "iss") == shown.signer.client_id, "iss")


def _issued_by_account(shown: _Shown) -> None:
    _require(_text(shown.claims, "iss") in (shown.signer.client_id, shown.signer.channel), "iss")


def _about_client(shown: _Shown) -> None:
    _require(_text(shown.claims, "sub") == shown.signer.client_id, "sub")


def _about_account(shown: _Shown) -> None:
    if "sub" in shown.claims:
        _require(_text(shown.claims, "sub") in (shown.claims["iss"], shown.signer.account_id), "sub")


def _about_key(shown: _Shown) -> None:
    _require(_text(shown.claims, "sub") == shown.signer.key_id, "sub")


def _for_us(shown: _Shown) -> None:
    _require(_names_only(shown.audiences, shown.claims), "aud")


def _for_us_or_google(shown: _Shown) -> None:
    ours = shown.audiences | {GOOGLE_AUDIENCE} if shown.signer.google else shown.audiences
    _require(_names_only(ours, shown.claims), "aud")


def _for_nobody(shown: _Shown) -> None:
    _require("aud" not in shown.claims, "aud")


def _not_expired(shown: _Shown) -> None:
    _require(_time(shown.claims, "exp") > shown.now, "expired")


def _not_expired_if_said(shown: _Shown) -> None:
    if "exp" in shown.claims:
        _not_expired(shown)


def _not_for_long(shown: _Shown) -> None:
    _require(_time(shown.claims, "exp") <= shown.now + LONGEST + SKEW, "exp")


def _issued_before(shown: _Shown) -> None:
    if "iat" in shown.claims:
        issued = _time(shown.claims, "iat")
        _require(issued <= shown.now + SKEW, "iat")
        _require(_time(shown.claims, "exp") - issued <= LONGEST, "lifetime")


def _issued_just_now(shown: _Shown) -> None:
    _require(abs(shown.now - _time(shown.claims, "iat")) <= LOGIN_WINDOW, "iat")


def _begun(shown: _Shown) -> None:
    if "nbf" in shown.claims:
        _require(_time(shown.claims, "nbf") <= shown.now + SKEW, "nbf")


def _named(shown: _Shown) -> None:
    _require(0 < len(_text(shown.claims, "jti")) <= MAX_ID, "jti")


def _named_or_google(shown: _Shown) -> None:
    if "jti" in shown.claims or not shown.signer.google:
        _named(shown)


Rule = Callable[[_Shown], None]
RULES: Final[Mapping[Door, tuple[Rule, ...]]] = {
    "client": (
        _kind,
        _key,
        _issued_by_client,
        _about_client,
        _for_us,
        _not_expired,
        _not_for_long,
        _issued_before,
        _begun,
        _named,
    ),
    "grant": (
        _kind,
        _key,
        _issued_by_account,
        _about_account,
        _for_us_or_google,
        _not_expired,
        _not_for_long,
        _issued_before,
        _begun,
        _named_or_google,
    ),
    "login": (
        _kind,
        _key,
        _partner_algorithm,
        _about_key,
        _for_nobody,
        _not_expired_if_said,
        _issued_just_now,
        _begun,
        _named,
    ),
}


# Claims


def _require(holds: bool, reason: str) -> None:
    if not holds:
        raise InvalidTokenError(reason)


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not is_text(value):
        raise InvalidTokenError(name)
    return value


def _names_only(audiences: frozenset[str], claims: Mapping[str, Any]) -> bool:
    """Return whether every audience in `aud` is one of these, in any spelling.

    Another audience would receive the assertion as well, and could present it here first.
    """
    return set(map(comparable, _audience(claims))) <= set(map(comparable, audiences))


def _audience(claims: Mapping[str, Any]) -> frozenset[str]:
    """One text, or a list of at least one (RFC 7519 §4.1.3)."""
    value = claims.get("aud")
    named = value if isinstance(value, list) else [value]
    if not named or not all(isinstance(each, str) for each in named):
        raise InvalidTokenError("aud")
    return frozenset(named)


def _time(claims: Mapping[str, Any], name: str) -> Instant:
    """A NumericDate (RFC 7519 §2), rounded up: seconds, perhaps with a fraction."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTokenError(name)
    if (isinstance(value, float) and not isfinite(value)) or abs(value) > _LARGEST:
        raise InvalidTokenError(name)
    return ceil(value * SECOND)


def _mark(door: Door, shown: _Shown) -> bytes:
    """What no other JWT of this client and key has. Both doors of the token endpoint are one place: it is good once."""
    place = b"login" if door == "login" else b"token"
    value = shown.claims["jti"].encode() if "jti" in shown.claims else shown.token.signing_input
    # None of the first three can hold the NUL between them. Keys of clients' own may have equal names.
    return sha256(
        b"\0".join((place, shown.signer.client_id.encode(), shown.signer.key_id.encode(), value))
    ).digest()
