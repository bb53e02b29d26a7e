"""The manual's HTTP responses. Each page is rendered once in a process and cached.

The pages are public and the same for everyone. They set no cookie and load only the manual's style sheet.
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
        "img-src 'self' data:",  # data: is for the icon, which is inline
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
    """Return a page by its name, or the first page without one; 404 if there is no such page."""
    name = request.path_params.get("page", pages.INDEX)
    found = page(name)
    if found is None:
        return _not_found(request)
    return respond(request, found, "text/html; charset=utf-8", {**PROTECTED, "cache-control": "no-cache"})


def show_style(request: Request) -> Response:
    """Return the style sheet. Pages link to it with its hash in the query, so browsers may cache it forever."""
    found = style()
    caching = FOREVER if request.url.query == found.tag else "no-cache"
    return respond(request, found, "text/css; charset=utf-8", {**PROTECTED, "cache-control": caching})


@cache
def style() -> StaticResponse:
    return make((HERE / "style.css").read_bytes())


def page(name: str) -> StaticResponse | None:
    """Return a rendered page, or None if there is no such page. Unknown names do not enter the cache."""
    return _rendered(name) if name == REFERENCE or name in pages.sources() else None


@cache
def _rendered(name: str) -> StaticResponse:
    if name == REFERENCE:
        return make(reference_page(json.loads(openapi.DOCUMENT.body)).encode())
    source = pages.sources()[name]
    rendered = pages.render(source)
    text = _fill(
        "page.html", name, source.title, content=rendered.html, headings=_contents(rendered.headings)
    )
    return make(text.encode())


def reference_page(found: Mapping[str, Any]) -> str:
    """Render the API reference of an OpenAPI document."""
    read = reference.read(found)
    return _fill("reference.html", REFERENCE, "API reference", reference=read, headings=read.headings)


def _contents(headings: tuple[Heading, ...]) -> list[Heading]:
    """Return the headings in the table of contents."""
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
    """Return the previous and the next page in the menu."""
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


def _not_found(request: Request) -> Response:
    """Status 404: a page with a link to the overview for browsers, a problem in JSON for other clients."""
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
