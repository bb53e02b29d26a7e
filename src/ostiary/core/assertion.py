"""The claims that a JWT signed with a key file must have, for each of its three uses.

`client` authenticates a client (private_key_jwt, RFC 7523 §2.2). `grant` is exchanged for an access token (RFC 7523
§2.1). `login` begins a session. A JWT is valid for `login` or for the token endpoint, never for both: `login` refuses
an audience, the others require one. Used marks are stored elsewhere; `check` returns what to mark, and for how long.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from math import ceil, isfinite
from typing import Any, Final, Literal

from ostiary.core.instant import SECOND, Instant
from ostiary.core.jws import Algorithm, InvalidTokenError, Unverified, is_text, verify
from ostiary.core.url import normalized_audience

AssertionUse = Literal["client", "grant", "login"]

SKEW: Final = 30 * SECOND
"""By how much the signer's clock may be ahead. There is no tolerance for expired tokens."""
MAX_LIFETIME: Final = 3600 * SECOND
LOGIN_WINDOW: Final = 300 * SECOND
MAX_ID: Final = 256
GOOGLE_AUDIENCE: Final = "https://oauth2.googleapis.com/token"
"""The audience that Google's client libraries use regardless of the key file's `token_uri`."""
_LARGEST: Final = 2**43
"""Seconds. Larger values are not plausible times, and a float could not represent them to the microsecond."""


@dataclass(frozen=True, slots=True)
class AssertionKey:
    """A key that may have signed a JWT: of a key file, with the account that owns it, or a client's own key."""

    key_id: str
    """The `kid`. Empty for a client's only key without a `kid`."""
    algorithm: Algorithm
    public_key: bytes
    """SubjectPublicKeyInfo, DER."""
    client_id: str
    channel: str
    """The channel identifier, which is `client_email` in the key file."""
    account_id: str
    google: bool = False
    """Made for Google's libraries (`compat`): `jti` is optional and Google's audience is accepted."""


@dataclass(frozen=True, slots=True)
class CheckedAssertion:
    """A JWT that is valid if its mark is new. It could be presented again until `expires_at`."""

    jti_digest: bytes
    expires_at: Instant
    scope: str | None
    """The claim `scope`, which only `grant` reads."""


@dataclass(frozen=True, slots=True)
class _Presented:
    claims: Mapping[str, Any]
    token: Unverified
    signer: AssertionKey
    audiences: frozenset[str]
    now: Instant


def check(
    use: AssertionUse,
    text: bytes,
    token: Unverified,
    signer: AssertionKey,
    audiences: frozenset[str],
    now: Instant,
) -> CheckedAssertion:
    """Verify a JWT's signature and check its claims for one use. `token` is the parsed `text`. Raises
    InvalidTokenError.

    `audiences` are this service's own: the issuer and the token endpoint.
    """
    claims = verify(text, token, signer.algorithm, signer.public_key)
    presented = _Presented(claims, token, signer, audiences, now)
    for rule in RULES[use]:
        rule(presented)
    if use == "login":
        return CheckedAssertion(_mark(use, presented), _time(claims, "iat") + LOGIN_WINDOW, None)
    scope = _text(claims, "scope") if use == "grant" and "scope" in claims else None
    return CheckedAssertion(_mark(use, presented), _time(claims, "exp"), scope)


def check_any(
    use: AssertionUse,
    text: bytes,
    token: Unverified,
    signers: Iterable[AssertionKey],
    audiences: frozenset[str],
    now: Instant,
) -> tuple[AssertionKey, CheckedAssertion]:
    """Check a JWT with each of these keys. Return the key that signed it, and the checked claims.

    Raises the InvalidTokenError of the last key if none matches.
    """
    error = InvalidTokenError("no usable key")
    for signer in signers:
        try:
            return signer, check(use, text, token, signer, audiences, now)
        except InvalidTokenError as last:
            error = last
    raise error


# Rules


def _type(presented: _Presented) -> None:
    """Refuse other token types: an access token is not an assertion, whoever signed it (RFC 8725 §3.11)."""
    _require(presented.token.type is None or presented.token.type.upper() == "JWT", "type")


def _key(presented: _Presented) -> None:
    """Require that a JWT with `kid` names the key that signed it."""
    _require(presented.token.key_id in (None, presented.signer.key_id), "kid")


def _partner_algorithm(presented: _Presented) -> None:
    _require(presented.signer.algorithm in ("RS256", "EdDSA"), "algorithm")


def _issued_by_client(presented: _Presented) -> None:
    _require(_text(presented.claims, "iss") == presented.signer.client_id, "iss")


def _issued_by_account(presented: _Presented) -> None:
    _require(_text(presented.claims, "iss") in (presented.signer.client_id, presented.signer.channel), "iss")


def _about_client(presented: _Presented) -> None:
    _require(_text(presented.claims, "sub") == presented.signer.client_id, "sub")


def _about_account(presented: _Presented) -> None:
    if "sub" in presented.claims:
        _require(
            _text(presented.claims, "sub") in (presented.claims["iss"], presented.signer.account_id), "sub"
        )


def _about_key(presented: _Presented) -> None:
    _require(_text(presented.claims, "sub") == presented.signer.key_id, "sub")


def _for_service(presented: _Presented) -> None:
    _require(_names_only(presented.audiences, presented.claims), "aud")


def _for_service_or_google(presented: _Presented) -> None:
    ours = presented.audiences | {GOOGLE_AUDIENCE} if presented.signer.google else presented.audiences
    _require(_names_only(ours, presented.claims), "aud")


def _no_audience(presented: _Presented) -> None:
    _require("aud" not in presented.claims, "aud")


def _not_expired(presented: _Presented) -> None:
    _require(_time(presented.claims, "exp") > presented.now, "expired")


def _not_expired_if_said(presented: _Presented) -> None:
    if "exp" in presented.claims:
        _not_expired(presented)


def _not_for_long(presented: _Presented) -> None:
    _require(_time(presented.claims, "exp") <= presented.now + MAX_LIFETIME + SKEW, "exp")


def _issued_before(presented: _Presented) -> None:
    if "iat" in presented.claims:
        issued = _time(presented.claims, "iat")
        _require(issued <= presented.now + SKEW, "iat")
        _require(_time(presented.claims, "exp") - issued <= MAX_LIFETIME, "lifetime")


def _issued_just_now(presented: _Presented) -> None:
    _require(abs(presented.now - _time(presented.claims, "iat")) <= LOGIN_WINDOW, "iat")


def _not_before(presented: _Presented) -> None:
    if "nbf" in presented.claims:
        _require(_time(presented.claims, "nbf") <= presented.now + SKEW, "nbf")


def _named(presented: _Presented) -> None:
    _require(0 < len(_text(presented.claims, "jti")) <= MAX_ID, "jti")


def _named_or_google(presented: _Presented) -> None:
    if "jti" in presented.claims or not presented.signer.google:
        _named(presented)


Rule = Callable[[_Presented], None]
RULES: Final[Mapping[AssertionUse, tuple[Rule, ...]]] = {
    "client": (
        _type,
        _key,
        _issued_by_client,
        _about_client,
        _for_service,
        _not_expired,
        _not_for_long,
        _issued_before,
        _not_before,
        _named,
    ),
    "grant": (
        _type,
        _key,
        _issued_by_account,
        _about_account,
        _for_service_or_google,
        _not_expired,
        _not_for_long,
        _issued_before,
        _not_before,
        _named_or_google,
    ),
    "login": (
        _type,
        _key,
        _partner_algorithm,
        _about_key,
        _no_audience,
        _not_expired_if_said,
        _issued_just_now,
        _not_before,
        _named,
    ),
}


# Claims


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise InvalidTokenError(reason)


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not is_text(value):
        raise InvalidTokenError(name)
    return value


def _names_only(audiences: frozenset[str], claims: Mapping[str, Any]) -> bool:
    """Return whether every audience in `aud` is one of these, in any equivalent spelling.

    Another recipient of the assertion could present it here first.
    """
    return set(map(normalized_audience, _audience(claims))) <= set(map(normalized_audience, audiences))


def _audience(claims: Mapping[str, Any]) -> frozenset[str]:
    """Return the audiences: a string, or an array of at least one (RFC 7519 §4.1.3)."""
    value = claims.get("aud")
    named = value if isinstance(value, list) else [value]
    if not named or not all(isinstance(each, str) for each in named):
        raise InvalidTokenError("aud")
    return frozenset(named)


def _time(claims: Mapping[str, Any], name: str) -> Instant:
    """Return a NumericDate (RFC 7519 §2), rounded up. It is in seconds, possibly with a fraction."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTokenError(name)
    if (isinstance(value, float) and not isfinite(value)) or abs(value) > _LARGEST:
        raise InvalidTokenError(name)
    return ceil(value * SECOND)


def _mark(use: AssertionUse, presented: _Presented) -> bytes:
    """Return a digest that is unique to this JWT of this client and key.

    `client` and `grant` share one namespace, so that a JWT is accepted once at the token endpoint.
    """
    place = b"login" if use == "login" else b"token"
    value = presented.claims["jti"].encode() if "jti" in presented.claims else presented.token.signing_input
    # The first three cannot contain the NUL that separates them. The client id is included because keys of different
    # clients may have the same `kid`.
    return sha256(
        b"\0".join((place, presented.signer.client_id.encode(), presented.signer.key_id.encode(), value))
    ).digest()
