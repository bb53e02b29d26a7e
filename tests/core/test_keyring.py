"""Keys derived from master keys: fixed values, and equality with RFC 5869 computed by hand."""

import base64
import hmac
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.keyring import derive, read_master_keys
from tests.cast import MASTER_KEY

KEYS = st.binary(min_size=32, max_size=32)


def hkdf(key: bytes, purpose: bytes) -> bytes:
    """RFC 5869 with SHA-256, no salt, one block."""
    extracted = hmac.digest(bytes(32), key, sha256)
    return hmac.digest(extracted, purpose + b"\x01", sha256)


@pytest.mark.promise("P21")
def test_derived_keys_never_change() -> None:
    """P21 breaks: no released key matches its stored digest, and every page cursor is refused."""
    keyring = derive([MASTER_KEY])
    assert keyring.newest == "061dc46cc26bcd29"
    assert {name: pepper.hex() for name, pepper in keyring.peppers.items()} == {
        "061dc46cc26bcd29": "2cad1aa887042a7ef3aadf0def48a8f32671a8603ea75c835ae4390b29b7123a"
    }
    assert keyring.newest_sealing == next(iter(keyring.sealing)) == "659d50d056f60475"
    assert (
        keyring.sealing["659d50d056f60475"].hex()
        == "1f0ce3681660c51e4b73f9e523bcabd4ea2a63f448ff47fea4e79f479676cd65"
    )
    assert keyring.cursor.hex() == "92bd562c2e8c03eb867823d80270bbbef87d85e244eb8e830dd589d1336bce51"


@given(st.lists(KEYS, min_size=1, max_size=4, unique=True))
def test_newest_first_and_a_key_for_each_purpose(keys: list[bytes]) -> None:
    """P7 breaks: one key serves two purposes, or an older master key is used where the newest should be."""
    keyring = derive(keys)
    assert list(keyring.peppers.values()) == [hkdf(key, b"ostiary/pepper/1") for key in keys]
    assert keyring.cursor == hkdf(keys[0], b"ostiary/cursor/1")
    assert keyring.newest == next(iter(keyring.peppers))
    assert list(keyring.sealing.values()) == [hkdf(key, b"ostiary/sealing/1") for key in keys]
    assert keyring.newest_sealing == next(iter(keyring.sealing))
    derived = {*keyring.peppers.values(), *keyring.sealing.values(), keyring.cursor}
    assert len(derived) == 2 * len(keys) + 1
    assert not derived & set(keys)
    assert derive(keys[-1:]).newest in keyring.peppers


@pytest.mark.promise("P7")
def test_a_keyring_does_not_print_its_keys() -> None:
    """P7 breaks: a traceback shows a pepper."""
    keyring = derive([MASTER_KEY])
    shown = repr(keyring)
    for key in (*keyring.peppers.values(), *keyring.sealing.values(), keyring.cursor, MASTER_KEY):
        assert key.hex() not in shown
        assert repr(key) not in shown


@given(st.lists(KEYS, min_size=1, max_size=4, unique=True), st.sampled_from([",", " ", "\n", ", ", "\n\n"]))
def test_master_keys_read_in_their_order(keys: list[bytes], between: str) -> None:
    """P21 breaks: after a change of the master key the old one is not found, or is used as the newest."""
    text = between.join(base64.b64encode(key).decode() for key in keys)
    assert read_master_keys(f"\n{text}\n") == tuple(keys)


ONE = base64.b64encode(MASTER_KEY).decode()


@pytest.mark.promise("P23")
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ,\n",
        "hunter2!",
        ONE[:-4],
        base64.b64encode(bytes(31)).decode(),
        base64.b64encode(bytes(33)).decode(),
        MASTER_KEY.hex(),
        base64.urlsafe_b64encode(b"\xff" * 32).decode(),
        f"{ONE},{ONE}",
        f"{ONE},x",
        ONE.replace("A", "Ａ"),
    ],
    ids=[
        "empty", "separators", "word", "cut", "31 bytes", "33 bytes", "hex", "URL alphabet", "twice",
        "one bad", "full-width",
    ],
)  # fmt: skip
def test_a_bad_master_key_is_refused_without_being_shown(text: str) -> None:
    """P23 breaks: the service starts with a weak or ambiguous master key, or prints it."""
    with pytest.raises(ValueError) as caught:
        read_master_keys(text)
    assert not text.strip() or text not in str(caught.value)
    assert ONE not in str(caught.value)
