"""Renders Markdown as HTML, with GitHub's anchors for headings. HTML in the source is escaped.

This module reads no files. The `resolve` function maps links to pages; a link without a page becomes plain text.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from markupsafe import Markup, escape
from pygments import highlight as highlighted
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

ABSOLUTE: Final = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
COLOURED: Final = HtmlFormatter(nowrap=True)
SHORT: Final = 24
"""Inline code of up to this many characters is not broken across lines."""
COMMENT: Final = re.compile(r"\s*<!--(?:(?!-->).)*-->\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class LinkTarget:
    """The URL of a link, and the title of its page."""

    address: str
    title: str = ""


Resolve = Callable[[str], LinkTarget | None]
"""Maps the href of a link to its target. Returns None if the manual has no such page."""


@dataclass(frozen=True, slots=True)
class Heading:
    level: int
    anchor: str
    text: str


@dataclass(frozen=True, slots=True)
class Rendered:
    html: Markup
    headings: tuple[Heading, ...]


def slug(heading: str) -> str:
    """Return the anchor of a heading as GitHub makes it. Links and problem types use these anchors."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def render(text: str, resolve: Resolve = LinkTarget) -> Rendered:
    """Render a page. `resolve` maps its links."""
    tokens = _PARSER.parse(text)
    headings = tuple(_anchor(tokens))
    for token in tokens:
        if token.children:
            token.children = list(_follow(token.children, resolve))
    html: str = _PARSER.renderer.render(tokens, _PARSER.options, {})
    return Rendered(Markup(html), headings)  # noqa: S704 - by this renderer, which escapes all text


def code(text: str, language: str = "") -> Markup:
    """Render a block of code, with syntax colours if the language is known."""
    inner = escape(text)
    if language:
        try:
            lexer = get_lexer_by_name(language, stripnl=False)
            inner = Markup(highlighted(text, lexer, COLOURED))  # noqa: S704 - Pygments escapes
        except ClassNotFound:
            pass
    # A wide block scrolls, so it must be reachable with the keyboard.
    return Markup('<pre tabindex="0"><code>{}</code></pre>\n').format(inner)


def plain(text: str) -> str:
    """Return the plain text of one line of Markdown."""
    return "".join(_words(token.children or ()) for token in _PARSER.parseInline(text))


def _words(tokens: Sequence[Token]) -> str:
    return "".join(token.content for token in tokens if token.type in ("text", "code_inline"))


def _anchor(tokens: list[Token]) -> Iterator[Heading]:
    """Set the anchor of each heading and yield the headings. A repeated anchor gets a number."""
    seen: dict[str, int] = {}
    for opening, inline, closing in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if opening.type != "heading_open":
            continue
        text = _words(inline.children or ())
        anchor = slug(text)
        seen[anchor] = seen.get(anchor, -1) + 1
        if seen[anchor]:
            anchor += f"-{seen[anchor]}"
        level = int(opening.tag[1:])
        opening.attrSet("id", anchor)
        if level > 1:
            closing.meta["anchor"] = anchor
        yield Heading(level, anchor, text)


def _follow(tokens: list[Token], resolve: Resolve) -> Iterator[Token]:
    """Yield the tokens with links resolved. A link without a target becomes plain text."""
    target: LinkTarget | None = None
    said = ""
    for token in tokens:
        if token.type == "link_open":
            said = str(token.attrGet("href"))
            target = LinkTarget(said) if ABSOLUTE.match(said) else resolve(said)
            if target is not None:
                token.attrSet("href", target.address)
                yield token
        elif token.type != "link_close":
            if target is not None and target.title and token.content == said.partition("#")[0]:
                token.content = (
                    target.title
                )  # `[concepts.md](concepts.md)` shows a file name; show the title instead
            yield token
        elif target is not None:
            target = None
            yield token


# Renderers for tokens that differ from CommonMark


def _html(_self: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: Any) -> str:
    """Escape HTML as text. Comments are dropped, and `<br>` is kept."""
    content = tokens[index].content
    if COMMENT.fullmatch(content):
        return ""
    return content if content == "<br>" else str(escape(content))


def _fence(_self: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: Any) -> str:
    return str(code(tokens[index].content, tokens[index].info.strip()))


def _code_inline(
    _self: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: Any
) -> str:
    """Keep short code on one line. Long code may break after an underscore."""
    content = tokens[index].content
    if len(content) <= SHORT:
        return str(Markup('<code class="short">{}</code>').format(content))
    return str(Markup("<code>{}</code>").format(escape(content).replace("_", Markup("_<wbr>"))))


def _heading_close(
    self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: Any
) -> str:
    anchor = tokens[index].meta.get("anchor")
    link = Markup(' <a class="anchor" href="#{}" aria-label="Link to this section">#</a>').format(anchor)
    return (str(link) if anchor else "") + self.renderToken(tokens, index, options, env)


def _table_open(*_: Any) -> str:
    return '<div class="table" tabindex="0" role="region" aria-label="Table"><table>\n'


def _table_close(*_: Any) -> str:
    return "</table></div>\n"


def _parser() -> MarkdownIt:
    # With `html`, the parser makes tokens of HTML. `_html` drops the comments and escapes the rest.
    parser = MarkdownIt("commonmark", {"html": True}).enable("table").disable("image")
    for name, rule in (
        ("html_block", _html),
        ("html_inline", _html),
        ("code_inline", _code_inline),
        ("fence", _fence),
        ("code_block", _fence),
        ("heading_close", _heading_close),
        ("table_open", _table_open),
        ("table_close", _table_close),
    ):
        parser.add_render_rule(name, rule)
    return parser


_PARSER: Final = _parser()
