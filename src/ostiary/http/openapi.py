"""`/openapi.json`: the OpenAPI document, as `make docs` wrote it. It is made from the source, never at run time."""

from hashlib import blake2b
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

NAME = "openapi.json"

_BYTES = files("ostiary.http").joinpath(NAME).read_bytes()
_FIELDS = {
    "etag": f'"{blake2b(_BYTES, digest_size=12).hexdigest()}"',
    "cache-control": "public, max-age=0, must-revalidate",
}


async def document(request: Request) -> Response:
    """The document, or 304 to whoever has it already."""
    have = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if "*" in have or _FIELDS["etag"] in have:
        return Response(status_code=304, headers=_FIELDS)
    return Response(_BYTES, headers=_FIELDS, media_type="application/json")
