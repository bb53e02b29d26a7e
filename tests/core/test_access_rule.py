"""Access rules: the judged path is the path that the upstream serves, or the request is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.access_rule import (
    AccessRule,
    AmbiguousPathError,
    InvalidMatchError,
    is_rule_name,
    read_match,
    read_path,
    read_rule,
)

AMBIGUOUS = [
    # Dot segments, in every spelling
    "/.", "/..", "/./", "/../", "/a/.", "/a/..", "/a/./b", "/a/../b", "/a/b/..", "/../a", "/a/../../b",
    "/%2e", "/%2E", "/%2e%2e", "/%2E%2e", "/.%2e", "/%2e.", "/a/%2e/b", "/a/%2e%2e/b", "/a/.%2E/b", "/a/%2e./b",
    "/a/%2e%2e", "/a/..?b=c", "/a/%2e%2e?b=c",
    # Empty segments
    "//", "//a", "///", "/a//b", "/a//", "//evil.test/a", "/a///b", "//?x",
    # Encoded slashes and backslashes, plain backslashes
    "/a%2fb", "/a%2Fb", "/%2fa", "/a%2f", "/a/..%2fb", "/a/%2e%2e%2fb", "/a%2f%2fb",
    "/a%5cb", "/a%5Cb", "/a\\b", "/\\a", "/a/..\\b", "/a/..%5cb", "/a/%2e%2e%5c", "/a\\..\\b",
    # Path parameters
    "/a;b", "/a;b=c/d", "/a/..;/b", "/;/a", "/a;", "/a%3bb", "/a%3Bb", "/a/..%3b/b", "/a/.;x/b",
    # Double encoding
    "/%252e", "/a/%252e%252e/b", "/a%252fb", "/a%255cb", "/a%2500", "/a/%25", "/a/%25%32%65", "/a/..%252fb",
    "/%2561",
    # NUL, controls, white space
    "/a%00", "/a%00b", "/%00/a", "/a/..%00/b", "/a%0ab", "/a%0db", "/a%0d%0ab", "/a%09b", "/a%1fb", "/a%7fb",
    "/a%08", "/a%1B", "/a\tb", "/a\nb", "/a b", "/a\x00b", "/a\x7fb",
    # Percent signs without two hexadecimal digits
    "/%", "/a%", "/a%2", "/a%zz", "/a%2gb", "/a%u002e", "/a%%2e", "/a%-1", "/%２e", "/a% 2e",
    # Invalid UTF-8: overlong dots and slashes, truncated sequences, surrogates
    "/%c0%ae", "/%c0%ae%c0%ae/a", "/a%c0%afb", "/a%e0%80%afb", "/a%f0%80%80%af", "/a%c1%9cb", "/a%ff", "/a%c3",
    "/a%c2%85", "/a/..%c2%85/b", "/a/..%e2%80%a8/b", "/a%e2%80%a9", "/a%c2%9fb",
    "/a%80", "/a%ed%a0%80", "/a%f8%80%80%80%ae", "/a%f4%90%80%80",
    # Fragments, and characters that must be encoded
    "/a#b", "/#", "/a/..#/b", "/é", "/a\u2028b", "/a\u200bb", "/\uff0e\uff0e/a", "/a\uff0fb", "/a\x85b", "/a\xa0",
]  # fmt: skip


@pytest.mark.promise("P15")
@pytest.mark.parametrize("target", AMBIGUOUS, ids=ascii)
def test_a_path_that_two_servers_could_read_differently_is_refused(target: str) -> None:
    """P15 breaks: the upstream serves another path than the one that was judged."""
    assert len(set(AMBIGUOUS)) == len(AMBIGUOUS) >= 60
    with pytest.raises(AmbiguousPathError):
        read_path(target)


@pytest.mark.parametrize(
    "target", ["", "a", "a/b", "*", "?a", "http://localhost/a", "https:/a", "localhost:80", "%2fa", "\\a", " /a"],
    ids=repr,
)  # fmt: skip
def test_what_is_no_path_is_refused(target: str) -> None:
    """P15 breaks: a target that is not in origin form is judged as if it were a path."""
    with pytest.raises(ValueError):
        read_path(target)


@pytest.mark.parametrize(
    "target, expected",
    [
        ("/", ("",)),
        ("/a", ("a",)),
        ("/a/", ("a", "")),
        ("/a/b", ("a", "b")),
        ("/a?b=/../c;d%2f", ("a",)),
        ("/a?", ("a",)),
        ("/%61", ("a",)),
        ("/a%20b", ("a b",)),
        ("/%C3%A9", ("é",)),
        ("/.well-known/x", (".well-known", "x")),
        ("/a..b/c", ("a..b", "c")),
        ("/a%2eb", ("a.b",)),
        ("/~user/@x:y,z!$&'()*+=", ("~user", "@x:y,z!$&'()*+=")),
        ("/a+b", ("a+b",)),
    ],
)
def test_a_plain_path_is_read(target: str, expected: tuple[str, ...]) -> None:
    """P15 breaks: a plain path is refused, or read as another one."""
    assert read_path(target) == expected


UNRESERVED = "ABCXYZabcxyz0189-._~"
SEGMENTS = st.text(alphabet=UNRESERVED, min_size=1, max_size=8).filter(lambda text: not text.endswith("."))


@pytest.mark.promise("P15")
@given(st.lists(SEGMENTS, min_size=1, max_size=5), st.data())
def test_encoding_a_plain_letter_changes_nothing(segments: list[str], data: st.DataObject) -> None:
    """P15 breaks: a rule is bypassed by percent-encoding a letter of the path (RFC 3986 §6.2.2.2)."""

    def spell(letter: str) -> str:
        return data.draw(st.sampled_from([letter, f"%{ord(letter):02x}", f"%{ord(letter):02X}"]))

    target = "".join("/" + "".join(spell(letter) for letter in segment) for segment in segments)
    assert read_path(target) == tuple(segments)
    rule = AccessRule("x", (read_match(None, "/" + "/".join(segments), ["read:x"], None),))
    assert rule.match("GET", read_path(target)) is rule.matches[0]


@pytest.mark.promise("P15")
@given(st.text(alphabet="/.%25cCefF;\\?#a0\x00é ", max_size=24).map(lambda text: "/" + text))
def test_what_is_read_is_safe_for_whoever_reads_it_next(target: str) -> None:
    """P15 breaks: a decoded segment can still be read as several segments, or an unexpected error is raised."""
    try:
        segments = read_path(target)
    except ValueError:
        return
    assert segments
    for position, segment in enumerate(segments):
        assert segment not in {".", ".."}
        assert segment or position == len(segments) - 1
        assert not set(segment) & {"/", "\\", ";", "%", "\x00", "\n"}


# Entries of `match`


def fits(path: str, target: str, method: str = "GET", methods: list[str] | None = None) -> bool:
    return read_match(methods, path, [], None).fits(method, read_path(target))


@pytest.mark.promise("P15")
@pytest.mark.parametrize(
    "path, target, expected",
    [
        ("/", "/", True),
        ("/", "/a", False),
        ("/a", "/a", True),
        ("/a", "/a?b", True),
        ("/a", "/A", False),
        ("/a", "/a/", False),
        ("/a", "/ab", False),
        ("/a", "/a/b", False),
        ("/a/", "/a/", True),
        ("/a/", "/a", False),
        ("/a/", "/a/b", False),
        ("/a/{id}", "/a/1", True),
        ("/a/{id}", "/a/b%20c", True),
        ("/a/{id}", "/a/", False),
        ("/a/{id}", "/a", False),
        ("/a/{id}", "/a/1/", False),
        ("/a/{id}", "/a/1/b", False),
        ("/a/{id}/b", "/a/1/b", True),
        ("/a/{id}/b", "/a/1/c", False),
        ("/{x}/{y}", "/a/b", True),
        ("/{x}/{y}", "/a", False),
        ("/a/**", "/a/b", True),
        ("/a/**", "/a/b/c/d", True),
        ("/a/**", "/a/", True),
        ("/a/**", "/a", False),
        ("/a/**", "/ab", False),
        ("/a/**", "/b/a", False),
        ("/a/{id}/**", "/a/1/b", True),
        ("/a/{id}/**", "/a/", False),
        ("/**", "/", True),
        ("/**", "/a/b", True),
    ],
)
def test_a_line_fits_what_it_says(path: str, target: str, expected: bool) -> None:
    """P15 breaks: an entry of an access rule opens a path that it does not name."""
    assert fits(path, target) is expected


@pytest.mark.parametrize(
    "methods, method, expected",
    [
        (None, "GET", True),
        ([], "DELETE", True),
        (["GET"], "GET", True),
        (["GET"], "HEAD", False),
        (["GET"], "get", False),
        (["GET", "PUT"], "PUT", True),
        (["GET"], "", False),
        (["VERSION-CONTROL"], "VERSION-CONTROL", True),
    ],
)
def test_a_line_fits_its_methods(methods: list[str] | None, method: str, expected: bool) -> None:
    """P15, P19 break: a rule for reading also allows writing."""
    assert fits("/a", "/a", method, methods) is expected


def test_the_first_line_that_fits_decides_and_none_is_a_refusal() -> None:
    """P15 breaks: a later, wider entry overrides an earlier, stricter one; or a path that no entry names is open."""
    rule = read_rule(
        "api",
        {
            "match": [
                {"methods": ["GET"], "path": "/agents/{id}", "scopes": ["read:agents"], "resource": "agents/{id}"},
                {"path": "/agents/{id}", "scopes": ["write:agents"]},
                {"path": "/agents/**"},
            ],
            "project": "prj_x",
            "kinds": ["api_key"],
            "organizations": ["org_x"],
        },
    )  # fmt: skip
    assert (rule.name, rule.project) == ("api", "prj_x")
    assert rule.kinds == {"api_key"}
    assert rule.organizations == {"org_x"}
    found = {
        (method, target): rule.match(method, read_path(target))
        for method, target in [
            ("GET", "/agents/1"),
            ("PUT", "/agents/1"),
            ("PUT", "/agents/1/x"),
            ("GET", "/b"),
        ]
    }
    assert list(found.values()) == [*rule.matches, None]
    assert AccessRule("empty", ()).match("GET", ("",)) is None


@pytest.mark.parametrize(
    "path, resource, target, expected",
    [
        ("/a/{id}", None, "/a/1", None),
        ("/a/{id}", "agents/{id}", "/a/1", "agents/1"),
        ("/a/{id}", "agents", "/a/1", "agents"),
        ("/a/{x}/{y}", "{y}/{x}", "/a/1/2", "2/1"),
        ("/a/{x}/{y}", "{x}/{x}", "/a/1/2", "1/1"),
        ("/a/{x}/{y}", "{x}/{y}", "/a/%7By%7D/2", "{y}/2"),
        ("/a/{id}/**", "agents/{id}", "/a/1/2/3", "agents/1"),
    ],
)
def test_the_resource_has_the_values_of_the_path(
    path: str, resource: str | None, target: str, expected: str | None
) -> None:
    """P15 breaks: a credential that is limited to one resource is judged by the name of another."""
    match = read_match(None, path, [], resource)
    assert match.resource_of(read_path(target)) == expected


WRONG: dict[str, dict[str, Any]] = {
    "no slash": {"path": "a"},
    "empty path": {"path": ""},
    "dot segment": {"path": "/a/../b"},
    "single dot": {"path": "/./a"},
    "empty segment": {"path": "/a//b"},
    "query": {"path": "/a?b"},
    "encoded": {"path": "/a%20b"},
    "parameters": {"path": "/a;b"},
    "backslash": {"path": "/a\\b"},
    "white space": {"path": "/a b"},
    "not ASCII": {"path": "/é"},
    "star": {"path": "/a/*"},
    "star inside": {"path": "/a*"},
    "two stars inside": {"path": "/a/**/b"},
    "two stars glued": {"path": "/a**"},
    "slash after stars": {"path": "/a/**/"},
    "variable glued": {"path": "/a{id}"},
    "variable with a suffix": {"path": "/{id}.json"},
    "empty variable": {"path": "/{}"},
    "upper-case variable": {"path": "/{ID}"},
    "variable twice": {"path": "/{id}/{id}"},
    "open variable": {"path": "/{id"},
    "lower-case method": {"path": "/a", "methods": ["get"]},
    "any method": {"path": "/a", "methods": ["*"]},
    "scope without verb": {"path": "/a", "scopes": ["agents"]},
    "scope with a star": {"path": "/a", "scopes": ["read:*"]},
    "resource with a strange variable": {"path": "/{id}", "resource": "agents/{other}"},
    "resource with a star": {"path": "/{id}", "resource": "agents/*"},
    "empty resource": {"path": "/{id}", "resource": ""},
    "open variable of a resource": {"path": "/{id}", "resource": "agents/{id"},
    "variable of a resource with a bad name": {"path": "/{id}", "resource": "agents/{ID}"},
}


@pytest.mark.parametrize("line", WRONG.values(), ids=WRONG)
def test_a_wrong_line_is_named(line: dict[str, Any]) -> None:
    """B8 breaks: a meaningless or misread rule is stored, or its author is not told which entry is wrong."""
    with pytest.raises(InvalidMatchError) as caught:
        read_rule("api", {"match": [{"path": "/fine"}, line]})
    assert caught.value.line == 1


@pytest.mark.parametrize("name", ["a", "0", "api", "api-2", "a" * 63])
def test_a_rule_name_has_its_form(name: str) -> None:
    """B8 breaks the other way: a valid rule name is refused."""
    assert is_rule_name(name)


@pytest.mark.parametrize(
    "name", ["", "-", "-a", "A", "a_b", "a.b", "a/b", "a" * 64, "a\n", "é", "％"], ids=repr
)
def test_a_rule_name_of_another_form_is_refused(name: str) -> None:
    """P15 breaks: a rule name can be taken for part of a path, or for the rule `-`, which accepts any credential."""
    assert not is_rule_name(name)
