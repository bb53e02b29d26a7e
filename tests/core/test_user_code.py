"""The code that people type to connect a device: its format, and its stored form."""

import pytest

from ostiary.core import secret, user_code

CODE = "WDJBMJHT"


@pytest.mark.parametrize(
    "text", ["WDJB-MJHT", "wdjbmjht", " Wdjb mjhT ", "W-D-J-B-M-J-H-T", "WDJB\u2013MJHT"]
)
def test_a_code_is_read_as_people_write_it(text: str) -> None:
    """RFC 8628 §6.1 breaks: a correctly typed code is refused."""
    assert user_code.read(text) == CODE


@pytest.mark.parametrize(
    "text", ["", "WDJB-MJH", "WDJB-MJHTT", "ADJB-MJHT", "WDJB_MJHT", "\uff37DJBMJHT", "-" * 33]
)
def test_other_texts_are_no_code(text: str) -> None:
    """B5 breaks: a text that is not a code causes a look-up, or is taken for another person's code."""
    assert user_code.read(text) is None


def test_a_code_is_made_of_all_its_letters() -> None:
    """RFC 8628 §5.1 breaks: there are fewer different codes than the format suggests."""
    made = [user_code.make(number.to_bytes(user_code.ENTROPY)) for number in range(20)]
    assert {code[0] for code in made} == set(user_code.LETTERS)
    assert all(user_code.read(user_code.formatted(code)) == code for code in made)


def test_a_digest_is_no_other_things() -> None:
    """P7 breaks: the digest of a code equals that of another kind of secret, or with another pepper."""
    one, other = bytes(32), bytes(31) + b"1"
    assert user_code.digest(CODE, one) != secret.digest_of_sha256(CODE.encode(), one)
    assert user_code.digest(CODE, one) != user_code.digest(CODE, other)
