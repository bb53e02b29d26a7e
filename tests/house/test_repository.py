"""What the repository may and may not contain."""

import re
from pathlib import Path

import pytest

from tests.house.source import ROOT, files, found_by, modules

LONGEST = 500
"""The maximum number of lines of a module. Split a longer one by noun."""

FORBIDDEN_NAMES = {
    "utils",
    "util",
    "helpers",
    "helper",
    "common",
    "base",
    "manager",
    "handler",
    "impl",
    "misc",
}

REGISTRIES = [
    "pypi",
    "python" + "hosted",
    "npm" + "js",
    "crates" + r"\.io",
    "docker" + r"\.io",
    "ghcr" + r"\.io",
]
REGISTRIES += ["quay" + r"\.io", "deb" + r"\.debian", "archive" + r"\.ubuntu", "proxy" + r"\.golang"]
ELSEWHERE = re.compile(
    rf"\b(?:{'|'.join(REGISTRIES[1:])})\b|\b{REGISTRIES[0]}\.org\b"
    r"|(?<![\w.~%-])/(?:wor[k]|roo[t])(?=/|\b(?![\w.%-]))"
    r"|--(?:extra-)?index[-]url|--find[-]links",
    re.IGNORECASE,
)
"""Hosts of package registries, and paths of one machine. Written so that this line does not match itself."""


def test_a_module_can_be_read_at_a_sitting() -> None:
    """Style breaks: a module is too long."""
    lines = {each.path: each.text.count("\n") for each in modules()}
    assert {path: count for path, count in lines.items() if count > LONGEST} == {}


def test_a_module_is_named_for_what_it_holds() -> None:
    """Style breaks: the name of a module says nothing about its content."""
    assert (
        found_by(lambda each: FORBIDDEN_NAMES & set(re.split(r"[./_]", each.path.removesuffix(".py")))) == {}
    )


def test_a_module_says_what_it_owns() -> None:
    """Style breaks: a module has no docstring."""
    assert found_by(lambda each: each.tree.body and not re.match(r'("""|r""")\S', each.text)) == {}


def strangers(text: str) -> list[str]:
    return [match[0] for match in ELSEWHERE.finditer(text)]


def text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        return ""


def test_no_file_names_a_machine_or_a_registry() -> None:
    """Build breaks: the build works on one machine only, or downloads from a host that the user did not choose."""
    found = {str(path.relative_to(ROOT)): strangers(text_of(path)) for path in files()}
    assert {name: names for name, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "text",
    [
        "cd /wor" + "k/main",
        "'/roo" + "t/.cache'",
        "https://files.python" + "hosted.org/x",
        "--index" + "-url x",
    ],
)
def test_this_rule_sees_what_it_forbids(text: str) -> None:
    """Build breaks unseen: the rule about hosts and paths no longer detects a violation."""
    assert strangers(text)


@pytest.mark.parametrize(
    "text", ["/v1/work", "network/root", "/workers", "/rooted", "a/work/b", "root / path"]
)
def test_this_rule_leaves_others_alone(text: str) -> None:
    """Build breaks the other way: the rule refuses text that is not a path of a machine."""
    assert strangers(text) == []


REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))


PIN = re.compile(
    r"[a-z0-9][a-z0-9._-]*(\[[a-z,]+\])?==[^\s;]+( ; [^-]\S.*?)? *(--hash=sha256:[0-9a-f]{64} *)+"
)


def test_every_requirement_is_pinned_by_hash() -> None:
    """Build breaks: an installation uses whatever version the registry serves that day."""
    for path in REQUIREMENTS:
        lines = re.sub(r"\\\n\s*", "", path.read_text("utf-8")).splitlines()
        pins = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
        assert len(pins) > 5
        assert [pin for pin in pins if not PIN.fullmatch(pin)] == []
        assert "://" not in path.read_text("utf-8")


def test_both_requirements_are_there() -> None:
    """Build breaks: a dependency of the server or the tests is not pinned."""
    assert [path.name for path in REQUIREMENTS] == ["dev.txt", "server.txt"]


def test_nothing_secret_or_generated_is_kept() -> None:
    """P7 breaks: a data directory, a key or a cache is in the repository."""
    kept = [
        str(path.relative_to(ROOT))
        for path in files()
        if re.search(
            r"\.(db|db-wal|db-shm|key|pem|pyc|log|sqlite3?|env)$|__pycache__|/\.venv/",
            str(path.relative_to(ROOT)),
        )
    ]
    assert kept == []
