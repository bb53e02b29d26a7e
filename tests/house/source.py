"""The source code for the tests in this directory: modules with their syntax trees, and the files of the repository."""

import ast
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "ostiary"


@dataclass(frozen=True)
class Module:
    """One file of `src/ostiary`. `path` is relative to it, `name` is the dotted name."""

    path: str
    name: str
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """The package or module directly below `ostiary`."""
        return self.name.split(".")[1] if "." in self.name else ""

    def imports(self) -> Iterator[str]:
        """Yield the dotted name of every import, at any depth of the code: `a.b.c` for `from a.b import c`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                package = "" if self.path.endswith("__init__.py") else self.name.rpartition(".")[0]
                base = node.module or ""
                if node.level:
                    parts = (package or self.name).split(".")
                    base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])
                yield from (f"{base}.{alias.name}" for alias in node.names)

    def texts(self) -> Iterator[str]:
        """Yield every string of the code except docstrings."""
        prose = {
            id(node.value)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
                yield node.value


def module(path: str, text: str) -> Module:
    dotted = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return Module(
        path, "ostiary" if dotted == "__init__" else f"ostiary.{dotted}", text, ast.parse(text, path)
    )


@cache
def modules() -> tuple[Module, ...]:
    return tuple(
        module(str(path.relative_to(SRC)), path.read_text("utf-8")) for path in sorted(SRC.rglob("*.py"))
    )


def found_by(rule: Callable[[Module], Any]) -> dict[str, Any]:
    """Return what a rule finds in each module, by the module's path. Modules without findings are left out."""
    return {each.path: found for each in modules() if (found := rule(each))}


@cache
def files() -> tuple[Path, ...]:
    """Return the files of the repository: tracked files, and new files that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    paths = (ROOT / name for name in listed.stdout.decode().split("\0") if name)
    return tuple(sorted(path for path in set(paths) if path.is_file()))
