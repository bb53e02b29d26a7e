"""Static responses: fixed bytes with an entity tag, and 304 for clients that have them cached."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

from starlette.requests import Request
from starlette.responses import Response


@dataclass(frozen=True, slots=True)
class StaticResponse:
    """Fixed bytes, and their entity tag without quotes."""

    body: bytes
    tag: str


def make(body: bytes) -> StaticResponse:
    return StaticResponse(body, blake2b(body, digest_size=12).hexdigest())


def respond(request: Request, kept: StaticResponse, media_type: str, fields: Mapping[str, str]) -> Response:
    """Return the bytes, or 304 if the client has them (RFC 9110 §13.1.2)."""
    fields = {**fields, "etag": f'"{kept.tag}"'}
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if "*" in known or fields["etag"] in known:
        return Response(status_code=304, headers=fields)
    return Response(kept.body, headers=fields, media_type=media_type)
