"""`/openapi.json`: the OpenAPI document, as `make docs` wrote it. It is made from the source, never at run time."""

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from ostiary.http import static_response

DOCUMENT = static_response.make(files("ostiary.api").joinpath("openapi.json").read_bytes())


async def document(request: Request) -> Response:
    """The document, or 304 to whoever has it already."""
    fields = {"cache-control": "public, max-age=0, must-revalidate"}
    return static_response.respond(request, DOCUMENT, "application/json", fields)
