"""Renders the console's pages: templates, the style sheet, and the security headers."""

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ostiary.console import words
from ostiary.core.instant import to_text
from ostiary.http.static_response import StaticResponse, make, respond

if TYPE_CHECKING:
    from jinja2 import Environment

HERE: Final = Path(__file__).parent
STYLE: Final = "/pages/style.css"
FOREVER: Final = "public, max-age=31536000, immutable"

_SOURCE: Final = re.compile(r"[a-z][a-z0-9+.-]*:(//[a-z0-9_.-]+(:[0-9]{1,5})?)?")


def protection(leads_to: str | None = None) -> dict[str, str]:
    """Return the security headers of a page.

    `leads_to` is the external origin or scheme to which a form may redirect: Chromium also applies `form-action` to
    the redirects after a form is sent. Raise ValueError if it is neither an origin nor a scheme.

    The referrer policy is `same-origin`. With `no-referrer`, browsers send `Origin: null` with a form (Fetch §3.2),
    and the service needs that header to detect forged forms.
    """
    if leads_to is not None and not _SOURCE.fullmatch(leads_to):
        raise ValueError("not an origin or a scheme")
    policy = (
        "default-src 'none'",
        "style-src 'self'",
        "img-src 'self' data:",  # data: is for the icon, which is inline
        "form-action 'self'" if leads_to is None else f"form-action 'self' {leads_to}",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
    return {
        "content-security-policy": "; ".join(policy),
        "x-frame-options": "DENY",
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cache-control": "no-store",
        "x-robots-tag": "noindex",
    }


def show(
    template: str, page: object, status: int = 200, leads_to: str | None = None, **more: Any
) -> Response:
    """Render a template as a response. The template sees the view as `page`. All text is escaped."""
    text = (
        _templates()
        .get_template(template)
        .render(
            page=page, style=f"{STYLE}?{style().tag}", form_token=getattr(page, "form_token", None), **more
        )
    )
    return Response(text, status, protection(leads_to), media_type="text/html")


def show_style(request: Request) -> Response:
    """Return the style sheet. Pages link to it with its hash in the query, so browsers may cache it forever."""
    found = style()
    caching = FOREVER if request.url.query == found.tag else "no-cache"
    return respond(request, found, "text/css; charset=utf-8", {"cache-control": caching})


ROUTES: Final = (Route(STYLE, show_style, methods=["GET"]),)


@cache
def style() -> StaticResponse:
    return make((HERE / "style.css").read_bytes())


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # only when a page is rendered

    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "scope": words.describe_scope,
        "time": words.describe_time,
        "day": words.describe_day,
        "rfc": to_text,
        "browser": words.describe_browser,
    }
    return made
