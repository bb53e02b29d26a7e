"""The list of the manual's pages, their source files, and their order in the menu.

The list is read from the directory once, at first use. No other file can be requested.
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
"""The order of the pages. Pages that are not listed here come last."""
FURTHER: Final = "Further"


@dataclass(frozen=True, slots=True)
class ManualPage:
    """The source of a page. `name` is its path below `/docs/`; the first page has an empty name."""

    name: str
    title: str
    text: str
    folder: str = ""
    """The folder that relative links start from."""


@dataclass(frozen=True, slots=True)
class Link:
    name: str
    title: str
    address: str


def directory() -> Path:
    """Return the directory of the Markdown files: inside the installed package, or `docs/` in the repository."""
    installed = Path(__file__).with_name("docs")
    return installed if installed.is_dir() else Path(ostiary.__path__[0]).parents[1] / "docs"


@cache
def sources() -> Mapping[str, ManualPage]:
    """Return every page by its name. A folder without a README gets a page that lists its contents."""
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
    """Return the groups of pages in menu order, including the API reference."""
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
    """Map `concepts.md#words` to `/docs/concepts#words`. Return None if the file is not a page."""
    path, hash_, anchor = link.partition("#")
    if not path:
        return LinkTarget(link)
    name = posixpath.normpath(posixpath.join(source.folder, path)).removesuffix(".md").removesuffix("README")
    name = "" if name == "." else name.rstrip("/")
    page = sources().get(name)
    return None if page is None else LinkTarget(address(name) + hash_ + anchor, page.title)
