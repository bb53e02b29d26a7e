"""Key files: a key pair of which the private half is handed out once, in a JSON file, and the public half kept.

The file is read by Google's client libraries and by partners' own scripts alike; docs/tokens.md says how.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)

from ostiary.core.secret import Secret

KeyAlgorithm = Literal["RS256", "EdDSA"]
"""How a key signs (RFC 7518 §3.3, RFC 8037 §3.1)."""

RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class KeyPair:
    """`private_key` is PKCS#8 in PEM, `public_key` SubjectPublicKeyInfo in DER."""

    private_key: Secret
    public_key: bytes


@dataclass(frozen=True, slots=True)
class KeyFile:
    """What a key file says beside the key itself."""

    key_id: str
    """The access id of the secret, by which its public half is found."""
    client_id: str
    channel_identifier: str
    project_id: str
    """Of the project that the credential is for; else the organization's id."""
    project_code: str
    """Empty without a project."""


def generate(algorithm: KeyAlgorithm) -> KeyPair:
    """A new key: RSA of 2048 bits, or Ed25519. Takes its random bytes from the system.

    An RSA key takes some 30 ms, without the interpreter's lock, so it is made before a transaction begins.
    """
    key = Ed25519PrivateKey.generate() if algorithm == "EdDSA" else generate_private_key(65537, RSA_BITS)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return KeyPair(Secret(pem.decode()), public)


def algorithm_of(public_key: bytes) -> KeyAlgorithm:
    """How the key with this public half (DER) signs."""
    return "EdDSA" if isinstance(load_der_public_key(public_key), Ed25519PublicKey) else "RS256"


def last6_of(public_key: bytes) -> str:
    """What lists show of a key: the end of the SHA-256 of its public half, in hexadecimal."""
    return sha256(public_key).hexdigest()[-6:]


def document(file: KeyFile, private_key: Secret, token_uri: str) -> dict[str, str]:
    """The file's JSON object. `private_key` is in clear: this goes into the one answer that carries it."""
    return {
        "type": "service_account",
        "project_id": file.project_id,
        "project_code": file.project_code,
        # The names that Google's libraries read, and those of the partner scripts.
        "private_key_id": file.key_id,
        "key_id": file.key_id,
        "private_key": private_key.reveal(),
        "client_email": file.channel_identifier,
        "channel_identifier": file.channel_identifier,
        "client_id": file.client_id,
        "token_uri": token_uri,
    }
