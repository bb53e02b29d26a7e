"""The public keys of an OAuth client: a JWK Set (RFC 7517 §5) from outside, read so that each key has one algorithm.

Ostiary's own signing keys are in `signing`, the keys of key files in `key_file`.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ostiary.core.jws import Algorithm, algorithm_of, is_text

MAX_KEYS: Final = 10
MAX_KEY_ID: Final = 256
MAX_RSA_BITS: Final = 8_192
_EXPONENTS: Final = range(65_537, 2**32)
# Private parameters (RFC 7518 §6.2.2, §6.3.2 and §6.4.1). A key that was sent with one of them is compromised.
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_KEPT: Final = ("kty", "crv", "kid", "use", "key_ops", "alg", "n", "e", "x", "y")
_NAMES: Final[Mapping[Algorithm, frozenset[str]]] = {
    "ES256": frozenset({"ES256"}),
    "EdDSA": frozenset({"EdDSA", "Ed25519"}),
    "RS256": frozenset({"RS256"}),
}


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A public key that a client signs with."""

    id: str | None
    """Its `kid`. None is allowed only if the client has a single key."""
    algorithm: Algorithm
    public_key: bytes
    """SubjectPublicKeyInfo, DER."""


def read_keys(jwks: Any) -> tuple[ClientKey, ...]:
    """Return the signature keys of a JWK Set. Raises ValueError with the reason.

    Encryption keys are left out. Any other unsupported key is an error, because its owner would sign with it.
    """
    keys = jwks.get("keys") if isinstance(jwks, Mapping) else None
    if not isinstance(keys, list) or not all(isinstance(each, Mapping) for each in keys):
        raise ValueError("must be a JWK Set")
    if len(keys) > MAX_KEYS:
        raise ValueError(f"must have at most {MAX_KEYS} keys")
    if any(_PRIVATE & each.keys() or each.get("kty") == "oct" for each in keys):
        raise ValueError("must contain public keys only")
    found = tuple(_key(each) for each in keys if each.get("use") != "enc")
    if not found:
        raise ValueError("must contain a signature key")
    names = {each.id for each in found}
    if len(found) > 1 and (None in names or len(names) < len(found)):
        raise ValueError("must have a different kid for each key")
    return found


def known_parameters(jwks: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JWK Set with only the parameters that `read_keys` reads. Call `read_keys` first."""
    return {"keys": [{name: each[name] for name in _KEPT if name in each} for each in jwks["keys"]]}


def _key(jwk: Mapping[str, Any]) -> ClientKey:
    name, use, operations = jwk.get("kid"), jwk.get("use"), jwk.get("key_ops")
    if name is not None and not (is_text(name) and 0 < len(name) <= MAX_KEY_ID):
        raise ValueError(f"has a kid that is not a string of at most {MAX_KEY_ID} characters")
    if use not in (None, "sig") or not (
        operations is None or (isinstance(operations, list) and "verify" in operations)
    ):
        raise ValueError("has a key that is not for signatures")
    try:
        public_key = _public_key(jwk)
        algorithm = algorithm_of(public_key)
    except (ValueError, TypeError):
        raise ValueError("has a key that is not RSA of 2048 bits or more, EC P-256 or Ed25519") from None
    given = jwk.get("alg")
    if given is not None and not (isinstance(given, str) and given in _NAMES[algorithm]):
        raise ValueError(f"has a key whose alg is not {' or '.join(sorted(_NAMES[algorithm]))}")
    return ClientKey(name, algorithm, public_key)


def _public_key(jwk: Mapping[str, Any]) -> bytes:
    """Return the key as SubjectPublicKeyInfo (DER). Raises ValueError if the parameters are not those of a supported
    key."""
    match jwk.get("kty"), jwk.get("crv"):
        case "RSA", _:
            exponent, modulus = _number(jwk, "e"), _number(jwk, "n")
            if exponent not in _EXPONENTS or modulus.bit_length() > MAX_RSA_BITS:
                raise ValueError
            return _der(RSAPublicNumbers(exponent, modulus).public_key())
        case "EC", "P-256":
            point = EllipticCurvePublicNumbers(_number(jwk, "x"), _number(jwk, "y"), SECP256R1())
            return _der(point.public_key())
        case "OKP", "Ed25519":
            return _der(Ed25519PublicKey.from_public_bytes(_bytes(jwk, "x")))
        case _:
            raise ValueError


def _der(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _number(jwk: Mapping[str, Any], name: str) -> int:
    return int.from_bytes(_bytes(jwk, name))


def _bytes(jwk: Mapping[str, Any], name: str) -> bytes:
    """Decode base64url without padding. Only the canonical spelling is accepted (RFC 7515 §2)."""
    text = jwk.get(name)
    if not isinstance(text, str) or not text.isascii():
        raise ValueError
    raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if urlsafe_b64encode(raw).rstrip(b"=").decode() != text:
        raise ValueError
    return raw
