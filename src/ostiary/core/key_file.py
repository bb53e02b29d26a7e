"""Key files: the private key is handed out once, in a JSON file; the public key is stored.

Google's client libraries and partners' scripts read the same file. See docs/tokens.md.
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
    """`private_key` is PKCS#8 in PEM, `public_key` is SubjectPublicKeyInfo in DER."""

    private_key: Secret
    public_key: bytes


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The contents of a key file besides the private key."""

    key_id: str
    """The access id of the secret, which identifies the public key."""
    client_id: str
    channel_identifier: str
    project_id: str
    """The id of the credential's project, else of the organization."""
    project_code: str
    """Empty if the credential has no project."""


def generate(algorithm: KeyAlgorithm) -> KeyPair:
    """Return a new key pair: RSA of 2048 bits, or Ed25519. The random bytes come from the operating system.

    An RSA key takes about 30 ms, without holding the interpreter's lock. Generate it before a transaction begins.
    """
    key = Ed25519PrivateKey.generate() if algorithm == "EdDSA" else generate_private_key(65537, RSA_BITS)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return KeyPair(Secret(pem.decode()), public)


def algorithm_of(public_key: bytes) -> KeyAlgorithm:
    """Return how the key with this public key (DER) signs."""
    return "EdDSA" if isinstance(load_der_public_key(public_key), Ed25519PublicKey) else "RS256"


def last6_of(public_key: bytes) -> str:
    """Return what lists show of a key: the last six hexadecimal digits of the SHA-256 of its public key."""
    return sha256(public_key).hexdigest()[-6:]


def document(file: KeyFile, private_key: Secret, token_uri: str) -> dict[str, str]:
    """Return the file's JSON object. It contains the private key in clear: put it only in the response that hands it
    out."""
    return {
        "type": "service_account",
        "project_id": file.project_id,
        "project_code": file.project_code,
        # Both the names that Google's libraries read and those of the partners' scripts.
        "private_key_id": file.key_id,
        "key_id": file.key_id,
        "private_key": private_key.reveal(),
        "client_email": file.channel_identifier,
        "channel_identifier": file.channel_identifier,
        "client_id": file.client_id,
        "token_uri": token_uri,
    }
