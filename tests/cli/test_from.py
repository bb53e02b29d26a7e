"""docs/from.md: runs every step of the page, in order, in one shell, against a real service."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import javascript, servers
from tests.conftest import unavailable
from tests.house.source import ROOT
from tests.servers import PATIENCE, UnavailableError

pytestmark = pytest.mark.full

PAGE = ROOT / "docs" / "from.md"
END = "---end-of-block---"


@dataclass(frozen=True, slots=True)
class Step:
    line: int
    commands: str
    expected: list[str]


def steps() -> list[Step]:
    """Each `sh` block with the `text` block that follows it."""
    text = PAGE.read_text("utf-8")
    blocks = [
        (text.count("\n", 0, found.start()) + 1, found[1], found[2])
        for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    ]
    return [
        Step(line, content, expected.splitlines())
        for (line, kind, content), (_, next_kind, expected) in zip(
            blocks, [*blocks[1:], (0, "", "")], strict=True
        )
        if kind == "sh" and (next_kind == "text" or pytest.fail(f"line {line} has no output"))
    ]


def fits(lines: list[str], expected: list[str]) -> bool:
    """Whether the output matches. `…` stands for any text; on its own line, for any lines."""
    pattern = ""
    for line in expected:
        if line == "…":
            pattern += r"(?:.*\n)*?"
        else:
            parts = [re.escape(part.strip()) for part in line.split("…")]
            pattern += ".*?".join(re.sub(r"(\\ )+", r"\\s+", part) for part in parts) + r"\s*?\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


def test_the_page_is_read_as_it_is_meant() -> None:
    """This test itself breaks: different output counts as equal."""
    assert fits(["a b", "x", "y", "200"], ["a …", "…", "200"])
    assert fits(["State:     done"], ["State: done"])
    for wrong in (["a b"], ["a b", "200", "z"], ["b", "200"], ["a b", "201"]):
        assert not fits(wrong, ["a …", "…", "200"])
    assert len(steps()) >= 25


def test_each_step_does_what_the_page_says(tmp_path: Path) -> None:
    """docs/from.md breaks: a step of the old system's manual does not do what the page says."""
    if shutil.which("curl") is None:
        unavailable(UnavailableError("curl is not installed: apt-get install curl"))
    binary = tmp_path / "bin"
    binary.mkdir()
    (binary / "ostiary").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ostiary.cli.main "$@"\n')
    (binary / "ostiary").chmod(0o755)
    # A partner's Python has a library that signs.
    (binary / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (binary / "python3").chmod(0o755)
    try:
        (binary / "node").symlink_to(javascript.program("node"))
    except UnavailableError as error:
        unavailable(error)
    with servers.ostiary(tmp_path / "data") as server:
        script = "".join(f"{step.commands}\necho '{END}'\n" for step in steps())
        done = subprocess.run(
            ["bash", "-u"],
            cwd=tmp_path,
            input=script,
            env=servers.clean_environment()
            | {
                "PATH": f"{binary}:{os.environ['PATH']}",
                "HOME": str(tmp_path),
                "OSTIARY_URL": server.url,
                "OSTIARY_API_KEY": server.key,
                "EMAIL": server.first["admin"]["email"],
                "PASSWORD": server.first["admin"]["password"],
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=5 * PATIENCE,
        )
    outputs = done.stdout.split(f"{END}\n")
    assert len(outputs) == len(steps()) + 1
    for step, output in zip(steps(), outputs, strict=False):
        assert fits(output.splitlines(), step.expected), f"{PAGE.name}, line {step.line}:\n{output}"
