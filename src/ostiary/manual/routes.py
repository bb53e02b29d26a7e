"""The routes of the manual.

The libraries that render pages (Markdown, syntax colours, templates) are imported on the first request. The handlers
are plain `def` functions, so the import runs in a thread.
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
    """Redirect `/`, the URL that `serve` prints, to the manual."""
    return RedirectResponse(ROOT, 303, {"cache-control": "no-store"})


ROUTES: Final = (
    Route("/", lead_in, methods=["GET"]),
    Route(ROOT, show_page, methods=["GET"]),
    Route(f"{ROOT}/style.css", show_style, methods=["GET"]),
    Route(f"{ROOT}/{{page:path}}", show_page, methods=["GET"]),
)
