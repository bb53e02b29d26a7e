"""Key files: their contents, and that private and public key match."""

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)

from ostiary.core import key_file
from ostiary.core.key_file import KeyAlgorithm, KeyFile

FILE = KeyFile("0" * 32, "ostiary-sa-1", "robo@acme.localhost", "prj_1", "shop")


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
def test_both_halves_belong_together(algorithm: KeyAlgorithm) -> None:
    """P14 breaks: a key file's signature is not accepted, or its key is weaker than documented."""
    pair = key_file.generate(algorithm)
    key = load_pem_private_key(pair.private_key.reveal().encode(), None)
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert public == pair.public_key
    assert key_file.algorithm_of(pair.public_key) == algorithm
    assert isinstance(key, RSAPrivateKey) == (algorithm == "RS256")
    if isinstance(key, RSAPrivateKey):
        assert (key.key_size, load_der_public_key(public)) == (2048, key.public_key())
    assert pair.private_key.reveal().startswith("-----BEGIN PRIVATE KEY-----\n")


def test_no_two_keys_are_one() -> None:
    """P14 breaks: two accounts get the same key."""
    assert key_file.generate("EdDSA").public_key != key_file.generate("EdDSA").public_key


@pytest.mark.promise("P7")
def test_a_pair_does_not_print_its_key() -> None:
    """P7 breaks: a traceback or log line with a key pair shows the private key."""
    pair = key_file.generate("EdDSA")
    assert pair.private_key.reveal().splitlines()[1] not in repr(pair)
    assert "PRIVATE" not in repr(pair)


def test_the_file_has_the_members_that_its_readers_want() -> None:
    """Files break: Google's libraries or the partners' scripts do not find a field of a key file."""
    pair = key_file.generate("EdDSA")
    assert key_file.document(FILE, pair.private_key, "https://keys.example.com/oauth/token") == {
        "type": "service_account",
        "project_id": "prj_1",
        "project_code": "shop",
        "private_key_id": "0" * 32,
        "key_id": "0" * 32,
        "private_key": pair.private_key.reveal(),
        "client_email": "robo@acme.localhost",
        "channel_identifier": "robo@acme.localhost",
        "client_id": "ostiary-sa-1",
        "token_uri": "https://keys.example.com/oauth/token",
    }
