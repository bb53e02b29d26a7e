"""The addresses of OAuth that are not hot, as the application's routes: the token endpoint and revocation."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from ostiary.core.access_token import ALIAS
from ostiary.http import messages
from ostiary.http.api.route import printable
from ostiary.http.oauth import token
from ostiary.http.oauth.revocation import Revocation
from ostiary.http.oauth.token import TokenEndpoint

Handler = Callable[[Request], Awaitable[Response]]
REVOCATION: tuple[str, ...] = ("/oauth/token/revoke", "/oauth/revoke")


def routes(tokens: TokenEndpoint, revocation: Revocation) -> dict[str, Handler]:
    """What stands at each address, to be answered to POST."""
    found = {token.PATH: _asking(tokens.answer, ""), token.ALIAS_PATH: _asking(tokens.answer, ALIAS)}
    return found | {path: _asking(revocation.answer, "") for path in REVOCATION}


def _asking(answer: Callable[[token.Request], Awaitable[bytes]], path: str) -> Handler:
    async def endpoint(request: Request) -> Response:
        scope = request.scope
        asked = token.Request(
            scope["headers"],
            scope["query_string"],
            await request.body(),
            scope["state"]["origin"],
            path,
            scope["state"]["request_id"],
            printable(messages.header(scope["headers"], b"user-agent") or b""),
        )
        status, fields, body = messages.unwire(await answer(asked))
        response = Response(body, status)
        response.raw_headers = fields
        return response

    return endpoint
