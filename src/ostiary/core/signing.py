"""Signing keys: what they sign, from when, how long their tokens are accepted, and how the keys are published.

A key has one purpose and one algorithm. It is published before it signs, so that clients that cache the published keys
have it in time. It is accepted after it stops signing, until the last token that it signed has expired.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from ostiary.core import jws
from ostiary.core.instant import HOUR, MINUTE, Instant
from ostiary.core.jws import Algorithm
from ostiary.core.secret import Secret

Purpose = Literal["access_token", "assertion", "m2m"]

PURPOSES: Final[tuple[Purpose, ...]] = get_args(Purpose)
LONGEST_TOKEN: Final = 24 * HOUR
"""The longest lifetime of a token that such a key signs."""
ACCEPTED_AFTER: Final = LONGEST_TOKEN + HOUR
"""How long a key is accepted after it stopped signing. The extra hour is for machines that learn of the change late."""
PUBLISHED_BEFORE: Final = 15 * MINUTE
"""How long a key is published before it signs. This is longer than clients are told to cache the published keys."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The public half of a key, with its times. `public_key` is SubjectPublicKeyInfo, DER."""

    kid: str
    purpose: Purpose
    algorithm: Algorithm
    public_key: bytes
    created_at: Instant
    signs_from: Instant
    believed_until: Instant | None
    """Set when another key replaces it."""
    revoked_at: Instant | None

    def believed(self, now: Instant) -> bool:
        """Return whether tokens that it signed are accepted. This includes keys that do not sign yet, because clocks
        differ."""
        return self.revoked_at is None and (self.believed_until is None or now < self.believed_until)

    def state(self, now: Instant) -> Literal["revoked", "expired", "next", "signing", "retired"]:
        """Return the state for lists. A `retired` key has a successor; the tokens that it signed are still accepted."""
        if self.revoked_at is not None:
            return "revoked"
        if not self.believed(now):
            return "expired"
        if self.signs_from > now:
            return "next"
        return "signing" if self.believed_until is None else "retired"


@dataclass(frozen=True, slots=True)
class SigningKeyPair:
    """A key pair that is not stored yet: PKCS#8 in PEM, and SubjectPublicKeyInfo in DER."""

    algorithm: Algorithm
    private_key: Secret
    public_key: bytes


@dataclass(frozen=True, slots=True)
class Signer:
    """A key that signs now."""

    key: SigningKey
    _private_key: Secret = field(repr=False)

    def sign(self, kind: str, claims: dict[str, Any]) -> str:
        """Return a signed token of this type (`typ`)."""
        private = _loaded(self.key.algorithm, self._private_key.reveal())
        return jws.sign(private, self.key.algorithm, self.key.kid, kind, claims)


class KeySet:
    """All keys of the installation, with the private keys that could be decrypted here. Immutable."""

    __slots__ = ("_by_id", "_private", "keys")

    def __init__(self, keys: Iterable[SigningKey], private: Mapping[str, Secret]) -> None:
        self.keys: Final = tuple(sorted(keys, key=_order))
        """In order of `signs_from`, the latest last."""
        self._by_id: Final = MappingProxyType({key.kid: key for key in self.keys})
        self._private: Final = MappingProxyType(dict(private))

    def signer(self, purpose: Purpose, now: Instant) -> Signer | None:
        """Return the newest usable key of this purpose that signs already, if there is one.

        If no key signs already, return the newest usable key. So a wrong clock, here or where the key was created,
        never stops the issuing of tokens. None if there is no usable key.
        """
        not_yet = None
        for key in reversed(self.keys):
            if key.purpose != purpose or not key.believed(now) or not self.usable(key):
                continue
            if key.signs_from <= now:
                return Signer(key, self._private[key.kid])
            not_yet = not_yet or key
        return None if not_yet is None else Signer(not_yet, self._private[not_yet.kid])

    def find(self, kid: str, now: Instant) -> SigningKey | None:
        """Return the key with this id if tokens that it signed are accepted now, else None."""
        key = self._by_id.get(kid)
        return key if key is not None and key.believed(now) else None

    def usable(self, key: SigningKey) -> bool:
        """Return whether the private key could be decrypted here."""
        return key.kid in self._private

    def jwks(self, now: Instant, purposes: Collection[Purpose]) -> dict[str, Any]:
        """Return the public keys that are accepted now as a JWK Set (RFC 7517 §5), the newest first."""
        return {
            "keys": [
                jws.public_jwk(key.algorithm, key.public_key)
                | {"kid": key.kid, "use": "sig", "alg": key.algorithm}
                for key in reversed(self.keys)
                if key.purpose in purposes and key.believed(now)
            ]
        }


def _order(key: SigningKey) -> tuple[Instant, Instant, bool, str]:
    """Sort by `signs_from`. Of two keys from the same instant, the one without an end is the newer."""
    return key.signs_from, key.created_at, key.believed_until is None, key.kid


def algorithm_for(purpose: Purpose, configured: Algorithm) -> Algorithm:
    """Return the algorithm for new keys of this purpose. Tokens of the alias are always RS256: their clients require
    it."""
    return "RS256" if purpose == "m2m" else configured


def generate(algorithm: Algorithm) -> SigningKeyPair:
    """Return a new key pair. The crypto library supplies the random bytes. RSA takes tens of milliseconds or more."""
    private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
    if algorithm == "ES256":
        private = ec.generate_private_key(ec.SECP256R1())
    elif algorithm == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
    else:
        private = rsa.generate_private_key(65537, jws.MIN_RSA_BITS)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return SigningKeyPair(algorithm, Secret(pem), public)


def keys_after_rotation(
    keys: KeySet, purpose: Purpose, signs_from: Instant, now: Instant
) -> tuple[SigningKey, ...]:
    """Return the keys that change when a new key signs from `signs_from`, with their new values.

    The current key is accepted until its last token has expired. A key that has not signed yet is withdrawn. So the
    first rotation with a correct clock removes a key that a wrong clock dated in the future.
    """
    live = [key for key in keys.keys if key.purpose == purpose and key.believed(now)]
    signing = keys.signer(purpose, now)
    changed = []
    for key in live:
        signs = signing is not None and key.kid == signing.key.kid
        if key.signs_from > now and not signs:
            changed.append(replace(key, believed_until=now))
        elif signs or key.believed_until is None:
            changed.append(replace(key, believed_until=signs_from + ACCEPTED_AFTER))
    return tuple(changed)


@lru_cache(maxsize=16)
def _loaded(algorithm: Algorithm, pem: str) -> jws.PrivateKey:
    """Return the loaded key, cached: loading an RSA key validates it, which costs more than signing."""
    return jws.private_key(algorithm, pem.encode())
