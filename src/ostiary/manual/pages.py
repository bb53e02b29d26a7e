"""Which pages the manual has, where their text comes from, and in which order they are shown.

The list is made of the files that are there when it is first asked for: nothing else can be named.
"""

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import ostiary
from ostiary.manual import ROOT, markdown
from ostiary.manual.markdown import LinkTarget, Rendered

INDEX: Final = ""
REFERENCE: Final = "reference"

GROUPS: Final = (
    ("Start", (INDEX, "quickstart", "concepts", "from")),
    (
        "Integrate",
        ("api", REFERENCE, "tokens", "applications", "proxies", "divergences", "problems", "audit-events"),
    ),
    (
        "Operate",
        (
            "administration",
            "people",
            "cli",
            "configuration",
            "operations",
            "security",
            "promises",
            "speed",
            "troubleshooting",
        ),
    ),
)
"""The order of the pages; one that is not named here stands after them."""
FURTHER: Final = "Further"


@dataclass(frozen=True, slots=True)
class ManualPage:
    """A page as it is written. `name` is its address below `/docs/`; that of the first page is empty."""

    name: str
    title: str
    text: str
    folder: str = ""
    """Where the relative links of its text begin."""


@dataclass(frozen=True, slots=True)
class Link:
    name: str
    title: str
    address: str


def directory() -> Path:
    """Where the Markdown is: with the package once it is installed, in the repository's `docs/` before."""
    installed = Path(__file__).with_name("docs")
    return installed if installed.is_dir() else Path(ostiary.__path__[0]).parents[1] / "docs"


@cache
def sources() -> Mapping[str, ManualPage]:
    """Every page by its name. A folder without a page of its own gets one that lists what is in it."""
    root = directory()
    found: dict[str, ManualPage] = {}
    for path in sorted(root.rglob("*.md")):
        text = path.read_text("utf-8")
        relative = path.relative_to(root)
        folder = "" if relative.parent == Path() else relative.parent.as_posix()
        name = folder if path.stem == "README" else relative.with_suffix("").as_posix()
        found[name] = ManualPage(name, _title(text), text, folder)
    for folder in sorted({each.folder for each in found.values()} - found.keys()):
        inside = sorted(each.name for each in found.values() if each.folder == folder)
        lines = [f"- [{found[name].title}]({posixpath.basename(name)}.md)" for name in inside]
        title = folder.rpartition("/")[2].capitalize()
        found[folder] = ManualPage(folder, title, "\n".join([f"# {title}", "", *lines]), folder)
    return found


def address(name: str) -> str:
    return f"{ROOT}/{name}" if name else ROOT


def render(source: ManualPage) -> Rendered:
    return markdown.render(source.text, lambda link: _resolve(source, link))


def navigation() -> list[tuple[str, list[Link]]]:
    """The groups of pages in their order, with the reference of the API."""
    titles = {name: each.title for name, each in sources().items() if not each.folder or name == each.folder}
    titles[INDEX] = "Overview"
    titles[REFERENCE] = "API reference"
    named = {name for _, names in GROUPS for name in names}
    groups: list[tuple[str, Iterable[str]]] = [*GROUPS, (FURTHER, sorted(titles.keys() - named))]
    shown = [
        (group, [Link(name, titles[name], address(name)) for name in names if name in titles])
        for group, names in groups
    ]
    return [(group, links) for group, links in shown if links]


def _title(text: str) -> str:
    return markdown.plain(text.partition("\n")[0].removeprefix("# "))


def _resolve(source: ManualPage, link: str) -> LinkTarget | None:
    """`concepts.md#words` is `/docs/concepts#words`; a file that is no page leads nowhere."""
    path, hash_, anchor = link.partition("#")
    if not path:
        return LinkTarget(link)
    name = posixpath.normpath(posixpath.join(source.folder, path)).removesuffix(".md").removesuffix("README")
    name = "" if name == "." else name.rstrip("/")
    page = sources().get(name)
    return None if page is None else LinkTarget(address(name) + hash_ + anchor, page.title)
