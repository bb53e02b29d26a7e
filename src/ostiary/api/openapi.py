"""`/openapi.json`: the OpenAPI document.

`make docs` writes it from the source; it is never built at run time.
"""

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from ostiary.http import static_response

DOCUMENT = static_response.make(files("ostiary.api").joinpath("openapi.json").read_bytes())


async def document(request: Request) -> Response:
    """Return the document, or 304 if the client already has this version."""
    fields = {"cache-control": "public, max-age=0, must-revalidate"}
    return static_response.respond(request, DOCUMENT, "application/json", fields)
