"""The answers of the manual: whole pages, made once in a process and kept.

Anybody may read them; they are the same for everyone, set no cookie and load nothing but one style sheet of ours.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from ostiary.api import openapi
from ostiary.core.problem import Problem
from ostiary.http.routing import problem_response
from ostiary.http.static_response import StaticResponse, make, respond
from ostiary.manual import ROOT, pages, reference
from ostiary.manual.markdown import Heading
from ostiary.manual.pages import REFERENCE, Link

HERE: Final = Path(__file__).parent

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "img-src 'self' data:",  # data: is the icon, which stands in the page
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
PROTECTED: Final = {
    "content-security-policy": POLICY,
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
FOREVER: Final = "public, max-age=31536000, immutable"


def show_page(request: Request) -> Response:
    """A page by its name, the first one without; 404 for anything that is not in the list."""
    name = request.path_params.get("page", pages.INDEX)
    found = page(name)
    if found is None:
        return _nothing(request)
    return respond(request, found, "text/html; charset=utf-8", {**PROTECTED, "cache-control": "no-cache"})


def show_style(request: Request) -> Response:
    """The style sheet. Pages name it with the tag of its bytes, so that version may be kept for good."""
    found = style()
    caching = FOREVER if request.url.query == found.tag else "no-cache"
    return respond(request, found, "text/css; charset=utf-8", {**PROTECTED, "cache-control": caching})


@cache
def style() -> StaticResponse:
    return make((HERE / "style.css").read_bytes())


def page(name: str) -> StaticResponse | None:
    """A whole page, or None if there is none of that name. What is no name of ours is not kept."""
    return _made(name) if name == REFERENCE or name in pages.sources() else None


@cache
def _made(name: str) -> StaticResponse:
    if name == REFERENCE:
        return make(reference_page(json.loads(openapi.DOCUMENT.body)).encode())
    source = pages.sources()[name]
    rendered = pages.render(source)
    text = _fill(
        "page.html", name, source.title, content=rendered.html, headings=_contents(rendered.headings)
    )
    return make(text.encode())


def reference_page(found: Mapping[str, Any]) -> str:
    """The reference of an OpenAPI document as a page."""
    read = reference.read(found)
    return _fill("reference.html", REFERENCE, "API reference", reference=read, headings=read.headings)


def _contents(headings: tuple[Heading, ...]) -> list[Heading]:
    """What the table of contents of a page names."""
    return [each for each in headings if each.level in (2, 3)]


def _fill(template: str, name: str, title: str, **facts: Any) -> str:
    groups = pages.navigation()
    listed = [link for _, links in groups for link in links]
    before, after = _neighbours(listed, name)
    return (
        _templates()
        .get_template(template)
        .render(
            groups=groups,
            name=name,
            title=title,
            style=f"{ROOT}/style.css?{style().tag}",
            before=before,
            after=after,
            **facts,
        )
    )


def _neighbours(listed: list[Link], name: str) -> tuple[Link | None, Link | None]:
    """The pages before and after this one, for whoever reads them all."""
    names = [link.name for link in listed]
    if name not in names:
        return None, None
    at = names.index(name)
    return listed[at - 1] if at else None, listed[at + 1] if at + 1 < len(listed) else None


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _nothing(request: Request) -> Response:
    """404: a page with the way back for a browser, a problem for anything else."""
    sentence = "The manual has no page at this address."
    if "text/html" in request.headers.get("accept", ""):
        text = _fill("page.html", "?", "Not found", content=_missing(sentence), headings=[])
        fields = {**PROTECTED, "cache-control": "no-store", "vary": "accept"}
        return Response(text, 404, fields, media_type="text/html")
    response = problem_response(request, Problem("not-found", sentence))
    response.headers["vary"] = "accept"
    return response


def _missing(sentence: str) -> Markup:
    return Markup(
        '<h1>Not found</h1>\n<p>{}</p>\n<p>Go to the <a href="{}">overview</a>, or choose a page from the menu.</p>\n'
    ).format(sentence, ROOT)
