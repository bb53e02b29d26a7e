"""The routes of the manual.

What makes its pages (Markdown, syntax colours, templates) is imported when the first page is asked for. The handlers
are plain `def`, so that happens in a thread.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ostiary.manual import ROOT


def show_page(request: Request) -> Response:
    from ostiary.manual import responses

    return responses.show_page(request)


def show_style(request: Request) -> Response:
    from ostiary.manual import responses

    return responses.show_style(request)


def lead_in(_request: Request) -> Response:
    """Whoever opens the address that `serve` prints finds the manual. The console will stand here."""
    return RedirectResponse(ROOT, 303, {"cache-control": "no-store"})


ROUTES: Final = (
    Route("/", lead_in, methods=["GET"]),
    Route(ROOT, show_page, methods=["GET"]),
    Route(f"{ROOT}/style.css", show_style, methods=["GET"]),
    Route(f"{ROOT}/{{page:path}}", show_page, methods=["GET"]),
)
