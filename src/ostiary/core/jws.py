"""Signed JSON in compact form (RFC 7515, RFC 7519): parsed strictly here, signed and verified by a library.

These rules apply to every signed token that is presented. A key has exactly one algorithm, and a header can choose no
other key, no other algorithm, and nothing to fetch. Callers check the claims.
"""

import base64
import binascii
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, TypeGuard

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)
from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import ECKey, OKPKey, RSAKey

from ostiary.core import strict_json
from ostiary.core.strict_json import JSONError

Algorithm = Literal["ES256", "EdDSA", "RS256"]
PrivateKey = ECKey | OKPKey | RSAKey

MAX_LENGTH: Final = 8 * 1024
MIN_RSA_BITS: Final = 2048
_KEYS: Final[dict[str, type[PrivateKey]]] = {"ES256": ECKey, "EdDSA": OKPKey, "RS256": RSAKey}
# Parameters that would change how the token is parsed, or that carry a key or its location.
_REFUSED: Final = frozenset({"crit", "jwk", "jku", "x5u", "x5c", "b64", "zip", "enc", "epk", "p2c"})
_COMPACT: Final = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
# RFC 9864 added a second name for the signature algorithm of Ed25519 keys.
_NAMES: Final = {"ES256": ("ES256",), "EdDSA": ("EdDSA", "Ed25519"), "RS256": ("RS256",)}


class _Registry(jws.JWSRegistry):
    """The library's registry without its recommendations: this module decides which algorithms are allowed."""

    def get_alg(self, name: str) -> JWSAlgModel:
        if self.allowed is None or name not in self.allowed:
            raise UnsupportedAlgorithmError
        return self.algorithms[name]


# Unknown header parameters are ignored (RFC 7515 §4). `read` refuses the dangerous ones before.
_REGISTRIES: Final = {
    name: _Registry(algorithms=names, strict_check_header=False) for name, names in _NAMES.items()
}


class InvalidTokenError(ValueError):
    """The text is not a valid signed token. The message is for the audit log only."""


@dataclass(frozen=True, slots=True)
class Unverified:
    """The parts of a token before its signature is checked. Do not trust them before `verify`."""

    algorithm: str
    type: str | None
    key_id: str | None
    claims: dict[str, Any]
    signing_input: bytes


def looks_signed(text: bytes) -> bool:
    """Return whether the text has the form of a signed token: three parts in base64url."""
    return text.startswith(b"eyJ") and _COMPACT.fullmatch(text) is not None


def read(text: bytes) -> Unverified:
    """Parse a token strictly, without checking its signature. Raises InvalidTokenError."""
    if len(text) > MAX_LENGTH:
        raise InvalidTokenError("too long")
    match = _COMPACT.fullmatch(text)
    if match is None:
        raise InvalidTokenError("not compact")
    header, claims = _object(match[1], "header"), _object(match[2], "claims")
    _decoded(match[3], "signature")
    if header.keys() & _REFUSED:
        raise InvalidTokenError("header parameter")
    algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ")
    if not isinstance(algorithm, str):
        raise InvalidTokenError("algorithm")
    if not (key_id is None or isinstance(key_id, str)) or not (kind is None or isinstance(kind, str)):
        raise InvalidTokenError("header parameter")
    return Unverified(algorithm, kind, key_id, claims, text.rpartition(b".")[0])


def is_text(value: object) -> TypeGuard[str]:
    """Return whether a claim is a string without unpaired surrogates, which cannot be encoded."""
    return isinstance(value, str) and not any("\ud800" <= each <= "\udfff" for each in value)


def verify(text: bytes, unverified: Unverified, algorithm: Algorithm, public_key: bytes) -> dict[str, Any]:
    """Check the signature with this key (SubjectPublicKeyInfo, DER) and return the claims. Raises InvalidTokenError."""
    if unverified.algorithm not in _NAMES[algorithm]:
        raise InvalidTokenError("algorithm")
    try:
        jws.deserialize_compact(text, _imported(algorithm, public_key), registry=_REGISTRIES[algorithm])
    except (JoseError, ValueError):
        raise InvalidTokenError("signature") from None
    return unverified.claims


def sign(key: PrivateKey, algorithm: Algorithm, key_id: str, kind: str, claims: dict[str, Any]) -> str:
    """Return a signed token of this type (`typ`)."""
    header = {"alg": algorithm, "typ": kind, "kid": key_id}
    payload = json.dumps(claims, separators=(",", ":")).encode()
    return jws.serialize_compact(header, payload, key, registry=_REGISTRIES[algorithm])


def private_key(algorithm: Algorithm, pem: bytes) -> PrivateKey:
    """Load a private key (PKCS#8, PEM) for signing."""
    return _KEYS[algorithm].import_key(pem)


def any_private_key(pem: bytes) -> tuple[Algorithm, PrivateKey]:
    """Load a private key (PKCS#8, PEM) and derive its algorithm. Raises ValueError, whose message has no part of the
    key."""
    try:
        public = load_pem_private_key(pem, None).public_key()
        algorithm = algorithm_of(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        return algorithm, private_key(algorithm, pem)
    except (ValueError, TypeError, UnsupportedAlgorithm, JoseError):
        raise ValueError("is not a supported private key") from None


def public_jwk(algorithm: Algorithm, public_key: bytes) -> dict[str, Any]:
    """Return the key parameters of a public key (SubjectPublicKeyInfo, DER) as a JWK (RFC 7517)."""
    return dict(_imported(algorithm, public_key).as_dict(private=False))


@lru_cache(maxsize=1024)
def algorithm_of(public_key: bytes) -> Algorithm:
    """Return the one algorithm of a public key (SubjectPublicKeyInfo, DER). Raises ValueError if it is not supported."""
    try:
        key = load_der_public_key(public_key)
    except UnsupportedAlgorithm:
        raise ValueError("is a key of an unsupported type") from None
    if isinstance(key, RSAPublicKey) and key.key_size >= MIN_RSA_BITS:
        return "RS256"
    if isinstance(key, Ed25519PublicKey):
        return "EdDSA"
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return "ES256"
    raise ValueError("is a key of an unsupported type or size")


@lru_cache(maxsize=1024)
def _imported(algorithm: Algorithm, public_key: bytes) -> PrivateKey:
    return _KEYS[algorithm].import_key(_pem(public_key))


def _pem(public_key: bytes) -> bytes:
    lines = base64.encodebytes(public_key)
    return b"-----BEGIN PUBLIC KEY-----\n" + lines + b"-----END PUBLIC KEY-----\n"


def _decoded(part: bytes, what: str) -> bytes:
    try:
        raw = base64.b64decode(part + b"=" * (-len(part) % 4), b"-_", validate=True)
    except binascii.Error:
        raise InvalidTokenError(what) from None
    # Only the canonical spelling of the bytes is accepted, so that each token has exactly one text.
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != part:
        raise InvalidTokenError(what)
    return raw


def _object(part: bytes, what: str) -> dict[str, Any]:
    try:
        value = strict_json.read(_decoded(part, what))
    except JSONError as error:
        raise InvalidTokenError(f"{what} {error}") from None
    if not isinstance(value, dict):
        raise InvalidTokenError(what)
    return value
