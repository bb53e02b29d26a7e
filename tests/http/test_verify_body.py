"""R4: the body of `/v1/verify` is read strictly. The quick and the thorough check agree."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from ostiary.http.verify import MAX_SCOPES, TEXTS, _errors, _of_form

texts = st.text(max_size=3)
other = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(0, 1),
    st.floats(allow_nan=False),
    texts,
    st.lists(st.one_of(texts, st.none()), max_size=2),
    st.sampled_from([["a"] * MAX_SCOPES, ["a"] * (MAX_SCOPES + 1)]),
    st.dictionaries(texts, texts, max_size=1),
)
good = st.fixed_dictionaries(
    {"credential": texts},
    optional={
        **{name: st.none() | texts for name in TEXTS if name != "credential"},
        "scopes": st.none() | st.lists(texts, max_size=2),
        "count": st.none() | st.booleans(),
    },
)
names = st.sampled_from([*TEXTS, "scopes", "count", "", "Count", "credential/"])


@pytest.mark.promise("P20")
@given(value=good, changed=st.dictionaries(names, other, max_size=2), without=st.sets(names, max_size=1))
def test_both_looks_at_a_body_agree(
    value: dict[str, Any], changed: dict[str, Any], without: set[str]
) -> None:
    """P20 breaks: a wrong body gets a verdict, or a correct one is refused without a reason."""
    asked = {name: each for name, each in (value | changed).items() if name not in without}
    assert _of_form(asked) == (_errors(asked) == ())
