"""Sealed data opens with its own key and in its own place only."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.keyring import derive
from ostiary.core.sealing import NONCE, SealedError, seal, unseal
from tests.cast import MASTER_KEY

pytestmark = pytest.mark.promise("P7")

OURS = derive([MASTER_KEY])
OTHER = derive([bytes(32)])
BOTH = derive([bytes(32), MASTER_KEY])
NONCE_BYTES = bytes(range(NONCE))
PLACE = "signing_keys/key_1/1"


def test_the_form_is_aes_256_gcm_with_the_place_as_associated_data() -> None:
    """P21 breaks: data that a released version sealed can no longer be opened."""
    sealing_id, sealed = seal(OURS, PLACE, b"plain", NONCE_BYTES)
    assert sealed[:NONCE] == NONCE_BYTES
    assert AESGCM(OURS.sealing[sealing_id]).decrypt(NONCE_BYTES, sealed[NONCE:], PLACE.encode()) == b"plain"


@given(st.binary(min_size=16, max_size=200), st.binary(min_size=NONCE, max_size=NONCE))
def test_it_opens_with_an_older_master_key_as_well(plain: bytes, nonce: bytes) -> None:
    """P7 breaks: sealed data contains the plain text, or is lost when a newer master key is added."""
    sealing_id, sealed = seal(OURS, PLACE, plain, nonce)
    assert plain not in sealed
    assert unseal(BOTH, PLACE, sealing_id, sealed) == plain
    assert seal(BOTH, PLACE, plain, nonce)[0] == OTHER.newest_sealing


def test_it_opens_nowhere_else() -> None:
    """P7 breaks: a key from one row works in another, a changed key is accepted, or another master key opens it."""
    sealing_id, sealed = seal(OURS, PLACE, b"plain", NONCE_BYTES)
    flipped = [sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :] for i in range(len(sealed))]
    wrong = [
        (OURS, "signing_keys/key_2/1", sealing_id, sealed),
        (OURS, "signing_keys/key_1/2", sealing_id, sealed),
        (OTHER, PLACE, sealing_id, sealed),
        (OTHER, PLACE, OTHER.newest_sealing, sealed),
        *((OURS, PLACE, sealing_id, each) for each in (*flipped, b"", sealed[:NONCE], sealed[:-1])),
    ]
    for keyring, place, name, text in wrong:
        with pytest.raises(SealedError):
            unseal(keyring, place, name, text)


def test_a_nonce_has_its_length() -> None:
    """P7 breaks: a short nonce repeats, which breaks the encryption."""
    with pytest.raises(ValueError):
        seal(OURS, PLACE, b"plain", bytes(NONCE - 1))
