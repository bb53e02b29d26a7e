"""Every promise, rule and group of bad input that the repository cites is defined in `docs/promises.md`."""

import itertools
import re
from pathlib import Path

from tests.house.source import ROOT, files
from tests.house.test_repository import text_of

PAGE = ROOT / "docs" / "promises.md"
CITED = re.compile(r"\b[PRB][1-9][0-9]?\b")
MARKED = re.compile(r"""\bpromise\(\s*["'](\w+)["']""")
PAGE_NAME = re.compile(r"(?<![\w/.*\-])(?:[\w.\-]+/)*[\w\-]+\.md\b(?!['\"]?\))")
STANDARD = re.compile(r"RFC ?\d+|OAuth 2\.1|OpenID|Fetch|CSP|UAX|OpenAPI|JSON-RPC")
INVENTED = {"../README.md", "nowhere.md"}
"""Page names that tests make up."""
PROSE = {".py", ".md", ".mjs", ".go", ".toml", ".html", ""}

sections = dict(
    re.findall(r"^### ((?:P|B)\d+) .*?\n(.*?)(?=^#{2,3} |\Z)", PAGE.read_text("utf-8"), re.S | re.M)
)
"""The text of each promise and each group of bad input, by its number."""
named = dict(re.findall(r"^\| (R\d+|`\w+`) \| (.*)$", PAGE.read_text("utf-8"), re.M))
"""The row of each rule, and of each test subject without a number."""


def texts() -> dict[Path, str]:
    return {path: text_of(path) for path in files() if path.suffix in PROSE}


def marks() -> dict[str, set[str]]:
    """Return the files that test each promise, by their markers."""
    found: dict[str, set[str]] = {}
    for path, text in texts().items():
        if path.is_relative_to(ROOT / "tests") and path.suffix == ".py":
            for name in MARKED.findall(text):
                found.setdefault(name, set()).add(str(path.relative_to(ROOT)))
    return found


def test_what_is_cited_is_on_the_page() -> None:
    """Documentation breaks: a test or comment cites a promise, rule or group of bad input that is not defined."""
    known = sections.keys() | named.keys()
    unknown = {
        str(path.relative_to(ROOT)): cited
        for path, text in texts().items()
        if (cited := set(CITED.findall(text)) - known)
    }
    assert unknown == {}


def test_each_promise_has_tests() -> None:
    """Documentation breaks: a promise is not tested although the page says so, or its tests are in other files."""
    held = marks()
    promises = {name: text for name, text in sections.items() if name[0] == "P"}
    promises |= {name.strip("`"): text for name, text in named.items() if name[0] == "`"}
    assert len(promises) > 20
    assert held.keys() <= promises.keys()
    for name, text in promises.items():
        tests = set(re.findall(r"`(tests/[\w/]+\.py)`", text))
        assert all((ROOT / each).is_file() for each in tests), name
        if "To come: no test yet." in text:
            assert name not in held
            assert tests == set()
        else:
            assert tests, name
            assert tests <= held[name], name


def test_nothing_refers_to_a_page_outside_the_repository() -> None:
    """Documentation breaks: a reference points to a document that is not in the repository."""
    pages = {path.relative_to(ROOT).as_posix() for path in files() if path.suffix == ".md"}
    pages |= {path.name for path in files() if path.suffix == ".md"}
    missing: dict[str, set[str]] = {}
    for path, text in texts().items():
        names = set(PAGE_NAME.findall(text)) - INVENTED
        there = {
            name
            for name in names
            if name in pages or (path.parent / name).exists() or f"docs/{name}" in pages
        }
        if names - there:
            missing[str(path.relative_to(ROOT))] = names - there
    assert missing == {}


def without_standard(text: str) -> list[str]:
    """Return the lines with a section sign that name no document, on the line itself or the line before."""
    lines = ["", *text.splitlines()]
    return [
        line
        for before, line in itertools.pairwise(lines)
        if "§" in line and not STANDARD.search(f"{before} {line.lstrip()}")
    ]


def test_a_section_is_of_a_named_standard() -> None:
    """Documentation breaks: "§4" is cited without the name of a document."""
    found = {
        str(path.relative_to(ROOT)): lines
        for path, text in texts().items()
        if not path.is_relative_to(ROOT / "tests" / "rfc")
        and path != Path(__file__)
        and (lines := without_standard(text))
    }
    assert found == {}


def test_this_rule_sees_a_section_without_a_standard() -> None:
    """Documentation breaks unseen: the rule about section signs no longer detects a violation."""
    assert without_standard("see §4") == ["see §4"]
    assert without_standard("RFC 6749\n§4 says") == []
