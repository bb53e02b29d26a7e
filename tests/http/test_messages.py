"""Bodies are read in exactly one way: the quick reader agrees with the strict reader, or returns nothing."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.address import parse_network
from ostiary.core.problem import Problem
from ostiary.http import messages

pytestmark = pytest.mark.promise("P20")

TEXTS = st.text(alphabet=st.sampled_from('abc"\\{}[]:,/ü\u202e\ud83d\ude00 \t\x00'), max_size=6)
VALUES = TEXTS | st.none() | st.booleans() | st.integers() | st.lists(TEXTS | st.integers(), max_size=3)
WRITTEN = st.lists(st.tuples(TEXTS, VALUES), max_size=5)
"""Fields as pairs. Some occur twice."""


def strictly(raw: bytes) -> Any:
    """Read the body with the strict reader only. Return its value, or the code of the problem."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(messages, "_plain_json", lambda _: None)
        try:
            return messages.read_json(raw)
        except Problem as problem:
            return problem.code


def as_written(members: list[tuple[str, Any]], ascii_only: bool, gap: str) -> bytes:
    parts = (
        json.dumps(name, ensure_ascii=ascii_only)
        + gap
        + ":"
        + gap
        + json.dumps(value, ensure_ascii=ascii_only)
        for name, value in members
    )
    return ("{" + ("," + gap).join(parts) + "}").encode("utf-8", "surrogatepass")


@given(WRITTEN, st.booleans(), st.sampled_from(["", " ", "\n"]))
def test_the_quick_way_reads_what_the_strict_way_reads(
    members: list[tuple[str, Any]], ascii_only: bool, gap: str
) -> None:
    """B8 breaks: a duplicate field, or a string with invalid text, is accepted where it must be refused."""
    raw = as_written(members, ascii_only, gap)
    quick = messages._plain_json(raw)
    if quick is not None:
        assert quick == strictly(raw)


@given(st.binary(max_size=40))
def test_no_bytes_are_read_in_two_ways(raw: bytes) -> None:
    """B8 breaks: invalid JSON is accepted."""
    for body in (raw, b'{"credential":"' + raw + b'"}', b'{"credential":"x"' + raw + b"}"):
        quick = messages._plain_json(body)
        if quick is not None:
            assert quick == strictly(body)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"credential":"x","credential":"y"}',
        b'{"credential":null,"credential":null}',
        b'{"scopes":["a"],"scopes":["b"]}',
        b'{"a":"\\u0000"}',
        b'{"a":"\\ud800"}',
        b'\xef\xbb\xbf{"a":"b"}',
        b'{"a":NaN}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":[["b"]]}',
        b'["a"]',
        b'"a"',
    ],
)
def test_what_is_not_plain_takes_the_strict_way(raw: bytes) -> None:
    """B8 breaks: the quick reader accepts a body that two parsers could read differently."""
    assert messages._plain_json(raw) is None


def test_the_usual_question_takes_the_quick_way() -> None:
    """S1 breaks: ordinary requests are read the slow way, and nothing reports it."""
    assert messages._plain_json(
        b'{"credential":"ak-x","ip":"192.0.2.1","scopes":["read:a"],"count":true}'
    ) == {
        "credential": "ak-x",
        "ip": "192.0.2.1",
        "scopes": ["read:a"],
        "count": True,
    }


def test_a_proxy_that_is_not_trusted_is_told_to_the_operator(capsys: pytest.CaptureFixture[str]) -> None:
    """P16 breaks: every client has the proxy's address, and no log entry names the missing setting."""
    now = [0.0]
    origin = messages.origins((parse_network("10.0.0.0/8"),), lambda: now[0])
    forwarded = [(b"x-forwarded-for", b"203.0.113.9")]

    def told() -> str:
        read = capsys.readouterr()
        return read.out + read.err

    origin("192.0.2.1", [(b"host", b"a")])
    origin("10.0.0.1", forwarded)
    assert "forwarding headers" not in told()
    assert origin("192.0.2.1", forwarded).text == "192.0.2.1"
    first = told()
    assert "192.0.2.1" in first
    assert "OSTIARY_TRUSTED_PROXIES" in first
    now[0] = 59.0
    origin("192.0.2.2", forwarded)
    assert told() == ""
    now[0] = 60.0
    origin("192.0.2.2", forwarded)
    assert "192.0.2.2" in told()
