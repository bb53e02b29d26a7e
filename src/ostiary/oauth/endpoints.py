"""The OAuth endpoints outside the fast path, as ASGI applications: tokens, revocation, devices and registration."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from ostiary.core.access_token import ALIAS
from ostiary.core.oauth import TOKEN_PATH
from ostiary.http import messages
from ostiary.http.endpoint_request import EndpointRequest
from ostiary.oauth import registration, token
from ostiary.oauth.device import DeviceAuthorization
from ostiary.oauth.metadata import DEVICE_AUTHORIZATION
from ostiary.oauth.registration import Registration
from ostiary.oauth.revocation import Revocation
from ostiary.oauth.token import TokenEndpoint

REVOCATION: tuple[str, ...] = ("/oauth/token/revoke", "/oauth/revoke")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint for POST. The edge has already read the whole body."""

    answer: Callable[[EndpointRequest], Awaitable[bytes]]
    path: str
    """The path of this endpoint's issuer, relative to the service's issuer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, state = scope["headers"], scope["state"]
        body: bytes = (await receive())["body"]
        asked = EndpointRequest(
            headers,
            scope["query_string"],
            body,
            state["origin"],
            self.path,
            state["request_id"],
            messages.printable(messages.header(headers, b"user-agent") or b""),
        )
        status, fields, told = messages.unwire(await self.answer(asked))
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": told})


def endpoints(
    tokens: TokenEndpoint,
    revocation: Revocation,
    devices: DeviceAuthorization,
    registering: Registration | None,
) -> dict[str, Endpoint]:
    """Return the endpoint at each path."""
    found = {DEVICE_AUTHORIZATION: Endpoint(devices.answer, "")}
    found |= {TOKEN_PATH: Endpoint(tokens.answer, ""), token.ALIAS_PATH: Endpoint(tokens.answer, ALIAS)}
    if registering is not None:
        found[registration.PATH] = Endpoint(registering.answer, "")
    return found | {path: Endpoint(revocation.answer, "") for path in REVOCATION}
