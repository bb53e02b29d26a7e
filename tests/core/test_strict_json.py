"""The one reader of JSON: what two parsers could read differently is refused, whoever asks."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core import strict_json
from ostiary.core.strict_json import MAX_DEPTH, MAX_INTEGER, MAX_VALUES, JSONError

pytestmark = pytest.mark.promise("P20")

REFUSED: dict[str, tuple[bytes, str]] = {
    "a member twice": (b'{"a":1,"a":1}', "twice"),
    "a member twice, further in": (b'[{"b":{"a":1,"a":2}}]', "twice"),
    "a member twice, in two spellings": (b'{"a":1,"\\u0061":2}', "twice"),
    "NaN": (b'{"a":NaN}', "NaN"),
    "infinity": (b"[-Infinity]", "NaN"),
    "a number that becomes infinite": (b"[1e400]", "too large"),
    "an integer that a float cannot tell": (b"[%d]" % (MAX_INTEGER + 1), "2⁵³"),
    "an integer of many digits": (b"[" + b"9" * 5000 + b"]", "2⁵³"),
    "too deep": (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "levels"),
    "too deep, and unfinished": (b'{"a":' * 5000, "levels"),
    "too many values": (b"[" + b"0," * MAX_VALUES + b"0]", "values"),
    "not UTF-8": (b'{"a":"\xff"}', "UTF-8"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "not JSON"),
    "two documents": (b"{}{}", "not JSON"),
    "nothing": (b"", "not JSON"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_be_read_in_two_ways_is_refused(name: str) -> None:
    """B8 breaks: a document is read that another parser reads otherwise, or that fills the memory."""
    raw, why = REFUSED[name]
    with pytest.raises(JSONError, match=why):
        strict_json.read(raw)


def test_the_limits_themselves_are_read() -> None:
    """B8 breaks: what is within the limits is refused."""
    deep = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert strict_json.read(deep) == json.loads(deep)
    assert strict_json.read(b"[%d,-%d]" % (MAX_INTEGER, MAX_INTEGER)) == [MAX_INTEGER, -MAX_INTEGER]
    assert len(strict_json.read(b"[" + b"0," * (MAX_VALUES - 2) + b"0]")) == MAX_VALUES - 1
    assert strict_json.read(json.dumps(["[{" * 50]).encode()) == ["[{" * 50]


PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.text(max_size=5)
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
)


@given(VALUES)
def test_what_it_reads_is_what_was_written(value: Any) -> None:
    """B8 breaks: a document is read as something else than was written."""
    assert strict_json.parse(json.dumps(value)) == value


def test_no_value_is_repeated_in_a_refusal() -> None:
    """P7 breaks: a secret that stands in a document is in the message, and so in a log."""
    for text in ('{"ak-SECRET":1,"ak-SECRET":2}', '["ak-SECRET"', '{"a":ak-SECRET}'):
        with pytest.raises(JSONError) as refused:
            strict_json.parse(text)
        assert "SECRET" not in str(refused.value)
