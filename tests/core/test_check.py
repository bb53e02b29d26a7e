"""Names, usernames and email addresses: what people enter, and what is refused in it."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core import check

SPOILERS = {
    "NUL": "\x00",
    "line feed": "\n",
    "tab": "\t",
    "escape": "\x1b",
    "delete": "\x7f",
    "C1 control": "\x85",
    "zero-width space": "\u200b",
    "zero-width joiner": "\u200d",
    "left-to-right mark": "\u200e",
    "bidi embedding": "\u202a",
    "bidi override": "\u202e",
    "bidi isolate": "\u2066",
    "end of isolate": "\u2069",
    "Arabic letter mark": "\u061c",
    "soft hyphen": "\u00ad",
    "byte order mark": "\ufeff",
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
    "lone surrogate": "\ud800",
    "private use": "\ue000",
    "not a character": "\uffff",
    "tag": "\U000e0041",
}


@pytest.mark.parametrize("spoiler", SPOILERS.values(), ids=SPOILERS)
def test_a_name_is_visible_text(spoiler: str) -> None:
    """B8 breaks: a name looks like another one, or controls the terminal that lists it."""
    with pytest.raises(ValueError, match="control, invisible or bidirectional"):
        check.display_name(f"Ro{spoiler}bo")
    if spoiler not in "\n\t":
        with pytest.raises(ValueError, match="control, invisible or bidirectional"):
            check.description(f"Ro{spoiler}bo")


@pytest.mark.parametrize(
    "text",
    [
        "می\u200cخواهم",  # Persian: "I want", of two parts
        "ශ්\u200dරී ලංකා",  # Sinhala: "Sri Lanka"
        "क्\u200dष",  # Devanagari: a half form
        "Team 👩\u200d💻",
        "👨🏽\u200d🚀",
        "🏳️\u200d🌈",
    ],
)
def test_a_joiner_stands_where_a_script_needs_it(text: str) -> None:
    """B8 breaks the other way: people cannot write their names in Persian or Sinhala."""
    assert check.display_name(text) == text


@pytest.mark.parametrize("joiner", ["\u200c", "\u200d"], ids=ascii)
@pytest.mark.parametrize(
    "form", ["Ro{}bo", "{}Robo", "می{}", "می{} خواهم", "می{}{}خواهم", "👩{}A", "1{}2", "Robo {}👩"], ids=ascii
)
def test_a_joiner_elsewhere_is_invisible_and_refused(joiner: str, form: str) -> None:
    """B8 breaks: two different names look the same."""
    with pytest.raises(ValueError, match="invisible"):
        check.display_name(form.replace("{}", joiner))


@pytest.mark.parametrize("text", ["", " ", "\t\n", "\u00a0\u2003\u3000"], ids=repr)
def test_a_name_is_not_blank(text: str) -> None:
    """B8 breaks: an account has no visible name."""
    with pytest.raises(ValueError, match="blank"):
        check.display_name(text)


@pytest.mark.parametrize("length, good", [(1, True), (253, True), (254, False), (10_000, False)])
def test_a_name_has_253_characters_at_most(length: int, good: bool) -> None:
    """B8 breaks: the documented maximum length of a name is wrong."""
    for letter in ("a", "é", "名", "🤖"):
        if good:
            assert check.display_name(f"  {letter * length} ") == letter * length
        else:
            with pytest.raises(ValueError, match="at most 253"):
                check.display_name(letter * length)


@pytest.mark.parametrize("text", ["Robo", "CI bot (staging)", "Zoë’s 名前", "ربوت", "🤖", "a  b", "<b>&'\""])
def test_people_name_things_as_they_like(text: str) -> None:
    """B8 breaks the other way: a harmless name is refused or changed."""
    assert check.display_name(text) == text


@pytest.mark.parametrize("text", ["", "one\n\ttwo", "é" * 2_000])
def test_a_description_may_have_lines(text: str) -> None:
    """B8 breaks the other way: a description is refused or changed."""
    assert check.description(text) == text


def test_a_description_has_2000_characters_at_most() -> None:
    """P20 breaks: a description of any size is stored."""
    with pytest.raises(ValueError, match="at most 2000"):
        check.description("a" * 2_001)


@pytest.mark.parametrize("text", ["ci", "0a", "a-", "a--b", "ci-bot-2", "a" * 63])
def test_a_username_has_its_form(text: str) -> None:
    """B8 breaks the other way: a good username is refused."""
    assert check.username(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "-a",
        "A1",
        "a_b",
        "a.b",
        "a b",
        "a@b",
        "a/b",
        "é1",
        "а1",
        "a１",
        "a" * 64,
        "ab\n",
        " ab",
        "ab\0",
    ],
    ids=repr,
)
def test_a_username_of_another_form_is_refused(text: str) -> None:
    """B8 breaks: a channel identifier is ambiguous, or a slug is not a valid host label."""
    with pytest.raises(ValueError):
        check.username(text)


@pytest.mark.parametrize(
    "text",
    [
        "alice@acme.test",
        "a@b",
        "first.last+tag@sub.acme-corp.test",
        "o'brien@acme.test",
        "!#$%&'*+/=?^_`{|}~-@acme.test",
        "a" * 64 + "@acme.test",
        "a@" + ".".join(["b" * 63] * 3) + "." + "b" * 60,
    ],
)
def test_an_email_address_is_taken(text: str) -> None:
    """B8 breaks the other way: a deliverable address is refused."""
    assert check.email(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice",
        "@acme.test",
        "alice@",
        "alice@@acme.test",
        "alice@acme@test",
        "alice @acme.test",
        "alice@acme.test ",
        "alice@acme.test\n",
        "alice@acme.test\r\nbcc: charlie@umbrella.test",
        "<alice@acme.test>",
        "Alice <alice@acme.test>",
        "alice@acme.test,bob@acme.test",
        '"alice"@acme.test',
        "alice(comment)@acme.test",
        "alice@[192.0.2.1]",
        ".alice@acme.test",
        "alice.@acme.test",
        "al..ice@acme.test",
        "alice@acme..test",
        "alice@.acme.test",
        "alice@acme.test.",
        "alice@-acme.test",
        "alice@acme-.test",
        "alice@ac_me.test",
        "alice@" + "a" * 64 + ".test",
        "alïce@acme.test",
        "alice@acmé.test",
        "alice@acme.test\0",
        "a" * 65 + "@acme.test",
        "a" * 60 + "@" + ".".join(["b" * 63] * 3) + ".bbb",
    ],
    ids=repr,
)
def test_a_malformed_email_address_is_refused(text: str) -> None:
    """B8 breaks: an alert cannot be delivered, or a header is injected into it."""
    with pytest.raises(ValueError, match="must be an email address"):
        check.email(text)


@pytest.mark.parametrize(
    "name, slug",
    [
        ("CI bot (staging)", "ci-bot-staging"),
        ("Zoë's Café", "zoe-s-cafe"),
        ("名前", "account"),
        ("", "account"),
        ("A", "a-account"),
        ("--- ! ---", "account"),
        ("ﬁ", "fi"),
        ("x" * 100, "x" * 56),
        ("x" * 55 + " y", "x" * 55),
    ],
)
def test_a_username_comes_from_a_name(name: str, slug: str) -> None:
    """B8 breaks: an account gets another username than documented."""
    assert check.slug_of(name) == slug


@given(st.text())
def test_every_name_gives_a_username(name: str) -> None:
    """B8 breaks: no username can be derived from some name, or no numbered one."""
    assert check.username(check.slug_of(name) + "-12345")
    assert check.username(check.slug_of(name)) == check.slug_of(check.slug_of(name))


@pytest.mark.parametrize("read", [check.display_name, check.description, check.username, check.email])
@given(text=st.text(alphabet=st.characters(codec=None), max_size=300))
def test_a_refusal_never_repeats_the_value(read: Callable[[str], str], text: str) -> None:
    """CLI breaks: an error repeats the value that was sent, or a text raises an unexpected error."""
    # The prefix occurs in no message, so the text cannot match by accident, as the word "mail" would.
    for sent in (text, f"\u2603{text}"):
        said = ""
        try:
            read(sent)
        except ValueError as error:
            said = str(error)
    assert sent not in said
