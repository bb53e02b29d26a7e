"""Signing keys: what they sign, from when, how long what they signed is believed, and how they are published.

A key has one purpose and one algorithm. It is published before it signs, so that who keeps the published keys for a
while knows it in time; and it is believed after it stopped, until the last token that it signed has expired.
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
"""No token that such a key signs may live longer."""
BELIEF: Final = LONGEST_TOKEN + HOUR
"""How long a key is believed after it stopped signing; the hour is for machines that learn of it late."""
LEAD: Final = 15 * MINUTE
"""How long a key is published before it signs: longer than anybody is told to keep the published keys."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The public half of a key, and its life. `public_key` is SubjectPublicKeyInfo, DER."""

    kid: str
    purpose: Purpose
    algorithm: Algorithm
    public_key: bytes
    created_at: Instant
    signs_from: Instant
    believed_until: Instant | None
    """Set when another takes its place."""
    revoked_at: Instant | None

    def believed(self, now: Instant) -> bool:
        """Whether what it signed counts. So does a key that does not sign yet: a clock elsewhere may be ahead."""
        return self.revoked_at is None and (self.believed_until is None or now < self.believed_until)

    def state(self, now: Instant) -> Literal["revoked", "expired", "next", "signing", "retired"]:
        """In a word; `retired` keys sign no more (or soon), and what they signed is believed still."""
        if self.revoked_at is not None:
            return "revoked"
        if not self.believed(now):
            return "expired"
        if self.signs_from > now:
            return "next"
        return "signing" if self.believed_until is None else "retired"


@dataclass(frozen=True, slots=True)
class Pair:
    """A key pair that nobody keeps yet: PKCS#8 in PEM, and SubjectPublicKeyInfo in DER."""

    algorithm: Algorithm
    private_key: Secret
    public_key: bytes


@dataclass(frozen=True, slots=True)
class Signer:
    """A key that signs now."""

    key: SigningKey
    _private_key: Secret = field(repr=False)

    def sign(self, kind: str, claims: dict[str, Any]) -> str:
        """A token of this type (`typ`)."""
        private = _imported(self.key.algorithm, self._private_key.reveal())
        return jws.sign(private, self.key.algorithm, self.key.kid, kind, claims)


class KeySet:
    """Every key of the installation, and the private halves that could be opened here. It never changes."""

    __slots__ = ("_by_id", "_private", "keys")

    def __init__(self, keys: Iterable[SigningKey], private: Mapping[str, Secret]) -> None:
        self.keys: Final = tuple(sorted(keys, key=_order))
        """The one that signs from latest last."""
        self._by_id: Final = MappingProxyType({key.kid: key for key in self.keys})
        self._private: Final = MappingProxyType(dict(private))

    def signer(self, purpose: Purpose, now: Instant) -> Signer | None:
        """Return the newest usable key of this purpose whose time has come, if there is one.

        If the time of no key has come, the newest usable key signs. So a clock that is or was wrong, here or where
        the key was made, never stops the issuing of tokens.
        """
        waiting = None
        for key in reversed(self.keys):
            if key.purpose != purpose or not key.believed(now) or not self.usable(key):
                continue
            if key.signs_from <= now:
                return Signer(key, self._private[key.kid])
            waiting = waiting or key
        return None if waiting is None else Signer(waiting, self._private[waiting.kid])

    def find(self, kid: str, now: Instant) -> SigningKey | None:
        """The key of this id, if what it signed is believed now."""
        key = self._by_id.get(kid)
        return key if key is not None and key.believed(now) else None

    def usable(self, key: SigningKey) -> bool:
        """Whether its private half could be opened here."""
        return key.kid in self._private

    def jwks(self, now: Instant, purposes: Collection[Purpose]) -> dict[str, Any]:
        """The public halves of what is believed now, as a JWK set (RFC 7517 §5), the newest first."""
        return {
            "keys": [
                jws.public_jwk(key.algorithm, key.public_key)
                | {"kid": key.kid, "use": "sig", "alg": key.algorithm}
                for key in reversed(self.keys)
                if key.purpose in purposes and key.believed(now)
            ]
        }


def _order(key: SigningKey) -> tuple[Instant, Instant, bool, str]:
    """Of two that were made in the same instant, the one that stays is the newer one."""
    return key.signs_from, key.created_at, key.believed_until is None, key.kid


def algorithm_for(purpose: Purpose, configured: Algorithm) -> Algorithm:
    """What a key of this purpose signs with. Machine tokens of the alias are RS256 always: their clients insist."""
    return "RS256" if purpose == "m2m" else configured


def generate(algorithm: Algorithm) -> Pair:
    """A new key pair from the crypto library's own random source. RSA takes tens of milliseconds or more."""
    private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
    if algorithm == "ES256":
        private = ec.generate_private_key(ec.SECP256R1())
    elif algorithm == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
    else:
        private = rsa.generate_private_key(65537, jws.MIN_RSA_BITS)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Pair(algorithm, Secret(pem), public)


def succeeded(keys: KeySet, purpose: Purpose, signs_from: Instant, now: Instant) -> tuple[SigningKey, ...]:
    """The keys whose life another changes that signs from then on, as they are afterwards.

    What signs until then is believed until its last token has expired; what has not signed yet is withdrawn.
    So the first rotation by a correct clock removes a key that a wrong clock dated in the future.
    """
    live = [key for key in keys.keys if key.purpose == purpose and key.believed(now)]
    signing = keys.signer(purpose, now)
    changed = []
    for key in live:
        signs = signing is not None and key.kid == signing.key.kid
        if key.signs_from > now and not signs:
            changed.append(replace(key, believed_until=now))
        elif signs or key.believed_until is None:
            changed.append(replace(key, believed_until=signs_from + BELIEF))
    return tuple(changed)


@lru_cache(maxsize=16)
def _imported(algorithm: Algorithm, pem: str) -> jws.PrivateKey:
    """Reading an RSA key checks it, which costs more than signing with it."""
    return jws.private_key(algorithm, pem.encode())
