"""Import files: both formats, and the errors in them."""

from base64 import b64encode, urlsafe_b64encode
from hashlib import sha256

import pytest

from ostiary.core.import_file import FileError, ImportedKey, read_keys
from ostiary.core.instant import from_text
from ostiary.core.secret import SECRET_ENTROPY, create

ONE, TWO = sha256(b"sk_live_one"), sha256(b"sk_live_two")
EXPIRES = "2030-01-31T00:00:00Z"
KEYS = [ImportedKey(ONE.digest(), "CI, bot", from_text(EXPIRES)), ImportedKey(TWO.digest())]

FORMS = {
    "JSON lines": f'{{"sha256":"{ONE.hexdigest()}","name":"CI, bot","expires_at":"{EXPIRES}"}}\n\n'
    f'{{"sha256":"{TWO.hexdigest()}","name":null}}\n',
    "CSV": f'sha256,name,expires_at\n{ONE.hexdigest().upper()},"CI, bot",{EXPIRES}\n{TWO.hexdigest()},,\n',
    "CSV in another order": "\ufeffname,expires_at,sha256\r\n"
    f'"CI, bot",{EXPIRES},{ONE.hexdigest()}\r\n ,,{TWO.hexdigest()}\r\n',
}


def test_digests_in_base64_and_dates_alone_are_read() -> None:
    """Import breaks: the export of another system must be converted first."""
    digest = b"\xfb\xff" + bytes(30)  # has both characters in which the alphabets differ
    texts = [b64encode(digest), urlsafe_b64encode(digest), urlsafe_b64encode(digest).rstrip(b"=")]
    lines = ["sha256,expires_at\n", *(f"{text.decode()},2030-01-31\n" for text in texts)]
    assert list(read_keys(lines)) == [ImportedKey(digest, None, from_text(EXPIRES))] * 3


@pytest.mark.parametrize("form", FORMS)
def test_both_forms_say_the_same(form: str) -> None:
    """Import breaks: JSON lines and CSV give different keys."""
    assert list(read_keys(FORMS[form].splitlines(keepends=True))) == KEYS


def test_nothing_is_no_key() -> None:
    """Import breaks: blank lines become keys."""
    assert list(read_keys(["\n", "  \n"])) == []


SECRET = "sk_live_4f1c9d2ab7"
OURS = create("ak-", bytes(SECRET_ENTROPY)).secret.reveal()


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (f"{SECRET}\n", 1, "columns"),
        ("sha256,sha256\n", 1, "columns"),
        ("sha256,colour\n", 1, "columns"),
        ("name\n", 1, "columns"),
        (f"sha256\n{SECRET}\n", 2, "sha256 must be"),
        (f"sha256\n{'A' * 42}B\n", 2, "sha256 must be"),  # bits that no encoder leaves
        (f"sha256,name\n{ONE.hexdigest()}\n", 2, "1 columns"),
        (f"sha256,name\n\n{ONE.hexdigest()},\u202e\n", 3, "name"),
        (f"sha256,expires_at\n{ONE.hexdigest()},tomorrow\n", 2, "expires_at"),
        (f'{{"sha256":"{SECRET}"}}\n', 1, "sha256 must be"),
        (f'{{"sha256":"{ONE.hexdigest()}","secret":"{SECRET}"}}\n', 1, "no fields other than"),
        (f'{{"name":"{SECRET}"}}\n', 1, "must have the field sha256"),
        (f'{{"sha256":"{ONE.hexdigest()}"}}\n{{"sha256":\n', 2, "is not JSON"),
        (f'{{"sha256":"{ONE.hexdigest()}"}}\n["{SECRET}"]\n', 2, "not a JSON object"),
        ('{"sha256":5}\n', 1, "not a string"),
        ('{"sha256":null}\n', 1, "sha256 must be"),
        (f'{{"sha256":"{ONE.hexdigest()}"}}\n{"[" * 5000}\n', 2, "longer than"),
        (f'{{"sha256":"{ONE.hexdigest()}"}}\n{"[" * 4000}\n', 2, "is nested"),
        (f'{{"sha256":"{ONE.hexdigest()}","sha256":"{TWO.hexdigest()}"}}\n', 1, "the same member twice"),
        ("sha256" * 30_000 + "\n", 1, "longer than"),
        (f"sha256,name\n{sha256(SECRET.encode()).hexdigest()},{SECRET}\n", 2, "name must not be a key"),
        (f"sha256,name\n{ONE.hexdigest()},mine: {OURS}\n", 2, "name must not be a key"),
    ],
)
def test_a_wrong_line_is_named_and_not_repeated(text: str, line: int, reason: str) -> None:
    """P7, B9 break: the file contains the keys themselves, and the error shows them."""
    with pytest.raises(FileError) as caught:
        list(read_keys(text.splitlines(keepends=True)))
    assert str(caught.value).startswith(f"line {line}: ")
    assert reason in str(caught.value)
    assert SECRET not in str(caught.value)
    assert OURS not in str(caught.value)
