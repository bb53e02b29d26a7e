"""The format of keys: a mistyped key is refused offline, a released key keeps working, no key is printed by mistake."""

import copy
import io
import json
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable
from dataclasses import asdict
from hashlib import sha256
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ostiary.core import secret
from ostiary.core.keyring import derive
from ostiary.core.secret import SECRET_ENTROPY, Secret, create, parse, redact
from tests.cast import MASTER_KEY

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PREFIXES = (b"ak-", b"acme1-")

KNOWN = [
    # prefix, entropy, key, digest with the pepper of tests.cast.MASTER_KEY. Never change a line; only add lines.
    (
        "ak-",
        bytes(64),
        "ak-00000000000040008000000000000000000000000000000000000000000000000000000zu8DD",
        "ae3e94e0a6e14141c50de5127ebc809755505a252d84839a3c7adac29ebf5c2d",
    ),
    (
        "ak-",
        bytes(range(64)),
        "ak-000102030405460788090a0b0c0d0e0ff2TJW00V2CaLkwL4vEyyLRZisBqKikaRKsXCpT0giZB5",
        "396e171d7514a587ffa8324468d353d86c0f373f883a12f9d1bdc519de7862ff",
    ),
    (
        "ak-",
        b"\xff" * 64,
        "ak-ffffffffffff4fffbfffffffffffffffYiWHdsxNz50GTerEOR5ucj2TITPXxyaCUli1oF4erXlK",
        "de2bf3171e39e2089a4f1cec2544ffde621cca449a87048f44159ba2f18a0f28",
    ),
    (
        "acme1-",
        bytes(range(64, 128)),
        "acme1-404142434445464788494a4b4c4d4e4f0df40Qvi6ahDyhnGnl4LYK9qE5bprErnC4GXSp4C9R1X",
        "1040c8c31282ac9ad6764ca0348466263fae88042447f6a116573547e7f985bd",
    ),
]
KEY = KNOWN[1][2]
ENTROPY = st.binary(min_size=SECRET_ENTROPY, max_size=SECRET_ENTROPY)


@pytest.mark.promise("P21")
@pytest.mark.parametrize("prefix, entropy, key, digest", KNOWN, ids=["zeros", "counting", "ones", "prefix"])
def test_released_keys_keep_working(prefix: str, entropy: bytes, key: str, digest: str) -> None:
    """P21 breaks: a key of a released version cannot be parsed, or does not match its stored digest."""
    keyring = derive([MASTER_KEY])
    minted = create(prefix, entropy)
    assert minted.secret.reveal() == key
    assert parse(key.encode(), PREFIXES) == minted.access_id == key[len(prefix) : len(prefix) + 32]
    assert minted.last6 == key[-6:]
    assert secret.digest(key.encode(), keyring.peppers[keyring.newest]).hex() == digest


@pytest.mark.parametrize(
    "body, expected",
    [(b"", "000000"), (b"16660", "000Gcv"), (b"a", "4GEHKN"), (b"123456789", "3jZRME")],
    ids=["nothing", "padded", "letter", "the check value of CRC-32"],
)
def test_the_checksum_is_base62_crc32(body: bytes, expected: str) -> None:
    """P21 breaks: scanners and clients that check keys offline get other results (CRC-32 of 123456789 is cbf43926)."""
    assert secret.checksum(body) == expected
    assert sum(ALPHABET.index(c) * 62**place for place, c in enumerate(reversed(expected))) < 2**32


@given(ENTROPY)
def test_what_is_minted_is_read_and_has_its_form(entropy: bytes) -> None:
    """P21 breaks: some new keys cannot be used, or have another format than documented."""
    minted = create("ak-", entropy)
    text = minted.secret.reveal()
    assert len(text) == 3 + 32 + 44
    assert set(text[35:]) <= set(ALPHABET)
    assert parse(text.encode(), PREFIXES) == minted.access_id
    assert UUID(minted.access_id).version == 4
    assert secret.looks_like_secret(text)
    assert create("ak-", entropy).secret.reveal() == text


@pytest.mark.promise("P7")
@pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "ENCRYPTED "])
def test_a_private_key_is_a_secret_wherever_it_stands(kind: str) -> None:
    """P7 breaks: a pasted private key is stored in a name, or shown in a pointer or user agent."""
    text = f"my key:\n-----BEGIN {kind}PRIVATE KEY-----\nMC4CAQAw\n-----END {kind}PRIVATE KEY-----\n"
    assert secret.looks_like_secret(text)
    assert redact(text) == f"my key:\n-----BEGIN {kind}PRIVATE KEY-----…"
    public = text.replace("PRIVATE", "PUBLIC")
    assert not secret.looks_like_secret(public)
    assert redact(public) == public


@given(st.lists(ENTROPY, min_size=2, max_size=8, unique_by=lambda entropy: entropy[16:]))
def test_every_random_byte_counts(all_entropy: list[bytes]) -> None:
    """P7 breaks: two keys share their secret part although their random bytes differ."""
    secrets = {create("ak-", entropy).secret.reveal()[35:-6] for entropy in all_entropy}
    assert len(secrets) == len(all_entropy)


@pytest.mark.parametrize("length", [0, 16, SECRET_ENTROPY - 1, SECRET_ENTROPY + 1])
def test_minting_takes_exactly_its_entropy(length: int) -> None:
    """P7 breaks: a key is made from fewer random bytes than promised."""
    with pytest.raises(ValueError):
        create("ak-", bytes(length))


def changed(key: str) -> set[str]:
    """Return every single typing error: a character changed, missing, doubled or inserted, or two neighbours swapped."""
    letters = ALPHABET + "-_ .é０"
    slips = {key[:at] + other + key[at + 1 :] for at in range(len(key)) for other in letters}
    slips |= {key[:at] + other + key[at:] for at in range(len(key) + 1) for other in letters}
    slips |= {key[:at] + key[at + 1 :] for at in range(len(key))}
    slips |= {key[:at] + key[at + 1] + key[at] + key[at + 2 :] for at in range(len(key) - 1)}
    return slips - {key}


@pytest.mark.parametrize("key", [known[2] for known in KNOWN], ids=["zeros", "counting", "ones", "prefix"])
def test_every_slip_is_refused_without_a_look_up(key: str) -> None:
    """B2 breaks: a mistyped key causes a look-up, or a text that is not exactly a key has an access id."""
    slips = changed(key)
    assert len(slips) > 8_000
    assert [slip for slip in slips if parse(slip.encode(), PREFIXES) is not None] == []


MALFORMED = {
    "empty": b"",
    "prefix alone": b"ak-",
    "no prefix": KEY[3:].encode(),
    "unknown prefix": b"zk-" + KEY[3:].encode(),
    "other separator": b"ak_" + KEY[3:].encode(),
    "upper-case prefix": b"AK-" + KEY[3:].encode(),
    "upper-case access id": (KEY[:3] + KEY[3:35].upper() + KEY[35:]).encode(),
    "space before": b" " + KEY.encode(),
    "space after": KEY.encode() + b" ",
    "line feed after": KEY.encode() + b"\n",
    "NUL after": KEY.encode() + b"\0",
    "twice": KEY.encode() * 2,
    "quoted": b'"' + KEY.encode() + b'"',
    "cut": KEY[:-1].encode(),
    "full-width digit": KEY.replace("0", "０", 1).encode(),
    "Arabic digit": (KEY[:40] + "٣" + KEY[41:]).encode(),
    "zero-width inside": (KEY[:40] + "\u200b" + KEY[40:]).encode(),
    "UTF-16": KEY.encode("utf-16"),
    "not UTF-8": b"ak-" + b"\xff" * 76,
    "huge": b"ak-" + b"0" * 100_000,
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_key_is_refused(text: bytes) -> None:
    """B2 breaks: extra characters in a key are ignored."""
    assert parse(text, PREFIXES) is None


def test_the_checksum_of_another_prefix_does_not_count() -> None:
    """B2 breaks: a key is accepted with another prefix."""
    assert parse(b"acme1-" + KEY[3:].encode(), PREFIXES) is None
    assert parse(KEY.encode(), (b"acme1-",)) is None


@pytest.mark.parametrize("name", ["ak", "a1", "acme", "a" * 12])
def test_a_prefix_has_its_form(name: str) -> None:
    """P23 breaks: a valid key prefix is refused."""
    assert secret.prefix_of(name) == name + "-"


@pytest.mark.parametrize(
    "name", ["", "a", "1a", "Ak", "ak-", "a_b", "é1", "a" * 13, "ak\n", "a b"], ids=lambda name: repr(name)
)
def test_a_prefix_of_another_form_is_refused(name: str) -> None:
    """P23 breaks: a prefix is accepted that makes keys ambiguous."""
    with pytest.raises(ValueError):
        secret.prefix_of(name)


# Digests


@given(ENTROPY, st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_a_digest_needs_key_and_pepper(entropy: bytes, pepper: bytes, other: bytes) -> None:
    """P7 breaks: a stolen table of digests is useful without the pepper, or digests collide."""
    text = create("ak-", entropy).secret.reveal().encode()
    digest = secret.digest(text, pepper)
    assert len(digest) == 32
    assert digest != sha256(text).digest()
    assert secret.matches(digest, secret.digest(text, pepper))
    assert (digest == secret.digest(text, other)) == (pepper == other)
    assert not secret.matches(digest, secret.digest(text + b"x", pepper))


# A secret never prints


def _logged(value: Secret) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    record = logging.LogRecord("x", logging.INFO, "x", 1, "made %s %r", (value, value), None)
    handler.emit(record)
    return stream.getvalue()


def _traced(value: Secret) -> str:
    try:
        raise ValueError(value, [value])
    except ValueError as error:
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


PRINTED: dict[str, Callable[[Secret], str]] = {
    "str": str,
    "repr": repr,
    "f-string": lambda value: f"{value} {value!r} {value!s:>9} {value:>90}",
    "percent": lambda value: "%s %r" % (value, value),  # noqa: UP031
    "format": lambda value: "{0} {0!r}".format(value),  # noqa: UP032
    "in a list": lambda value: str([value, {"secret": value}]),
    "pprint": lambda value: pprint.pformat({"secret": value}),
    "json default": lambda value: json.dumps({"secret": value}, default=str),
    "log": _logged,
    "traceback with locals": _traced,
    "ascii": ascii,
}


@pytest.mark.promise("P7")
@pytest.mark.parametrize("print_it", PRINTED.values(), ids=PRINTED)
def test_a_secret_never_prints(print_it: Callable[[Secret], str]) -> None:
    """P7 breaks: a secret appears in a log line, a traceback or a page because code formatted it."""
    shown = print_it(Secret("hunter2hunter2"))
    assert "***" in shown
    assert "hunter2" not in shown
    assert "hunter2" not in repr(create("ak-", bytes(SECRET_ENTROPY)))


COPIED: dict[str, Callable[[Secret], object]] = {
    "pickle": pickle.dumps,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "json": json.dumps,
    "bytes": bytes,  # type: ignore[dict-item]  # the mistake under test
    "join": "".join,  # type: ignore[dict-item]
    "vars": vars,
    "asdict": lambda value: asdict(secret.NewSecret(value, "", "")),
}


@pytest.mark.promise("P7")
@pytest.mark.parametrize("copy_it", COPIED.values(), ids=COPIED)
def test_a_secret_is_opened_by_name_only(copy_it: Callable[[Secret], object]) -> None:
    """P7 breaks: a secret's text can be read in another way than by `reveal`."""
    with pytest.raises(TypeError) as caught:
        copy_it(Secret("hunter2hunter2"))
    assert "hunter2" not in str(caught.value)


# Redaction


@pytest.mark.promise("P7")
@pytest.mark.parametrize(
    "around",
    ["{}", "X-API-Key: {}", "?token={}&a=b", '{{"key":"{}"}}', "{0}{0}", "xx{}", "{}/x", "a\n{}\nb", "{}x"],
    ids=["alone", "header", "query", "JSON", "twice", "glued", "path", "lines", "longer"],
)
def test_a_key_in_a_text_is_reduced(around: str) -> None:
    """P7 breaks: a pasted key appears in the log."""
    text = around.format(KEY)
    assert secret.looks_like_secret(text)
    shown = redact(text)
    assert not any(KEY[at : at + 12] in shown for at in range(35, len(KEY) - 11))
    assert KEY[:35] in shown
    assert redact(shown) == shown


@pytest.mark.promise("P7")
@given(
    st.lists(st.tuples(ENTROPY, st.integers(35, 79), st.sampled_from(["", " ", "x", "-", "ak"])), max_size=4)
)
@example([(KNOWN[1][1], 60, "")])
@example([(KNOWN[1][1], 60, ""), (KNOWN[2][1], 79, "")])
@example([(KNOWN[1][1], 79, ""), (KNOWN[2][1], 60, "")])
@example([(KNOWN[1][1], 50, ""), (KNOWN[2][1], 60, "")])
def test_keys_that_were_cut_or_ran_together_are_reduced_too(parts: list[tuple[bytes, int, str]]) -> None:
    """P7 breaks: a text that was truncated before redaction, or has adjacent keys, shows part of a secret."""
    keys = [(create("ak-", entropy).secret.reveal(), kept, after) for entropy, kept, after in parts]
    shown = redact("".join(key[:kept] + after for key, kept, after in keys))
    for key, kept, _ in keys:
        assert not any(key[at : at + 12] in shown for at in range(35, kept - 11))


@pytest.mark.parametrize(
    "text",
    ["", "no key here", KEY[:35], "cred_01m7q5cqg0000g40r40m30e209", f"{'0' * 32}{'a' * 44}", "ak-…giZB5"],
    ids=["empty", "prose", "access id", "id", "no prefix", "redacted"],
)
def test_what_holds_no_key_stays_as_it_is(text: str) -> None:
    """P7 breaks the other way: logs lose text that is not a secret."""
    assert redact(text) == text
    assert not secret.looks_like_secret(text)
