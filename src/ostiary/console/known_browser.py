"""Recognizes browsers in which a person has signed in before, by a cookie. The cookie gives no access.

Wrong passwords are limited for each account. A known browser has a limit of its own, so that attackers
who guess from many networks do not lock the person out.
"""

import hmac
import secrets
from hashlib import blake2b
from typing import Final

from starlette.responses import Response

from ostiary.console.page_request import PageRequest, cookie_value
from ostiary.http import cookies

SECONDS: Final = 180 * 86_400


def name_of(visit: PageRequest, email: str) -> str:
    """Return the id of the person's session in this browser, or of its cookie; empty if the browser is unknown."""
    if visit.visitor is not None and visit.visitor.email == email:
        return visit.visitor.session.id
    value = cookie_value(visit.request.scope["headers"], _cookie(visit))
    number, proof = value[:32], value[32:]
    return number if hmac.compare_digest(proof.encode(), _proof(visit, number, email).encode()) else ""


def remember(visit: PageRequest, response: Response, email: str) -> None:
    """Set the cookie by which this browser is recognized as the person's."""
    value = cookie_value(visit.request.scope["headers"], _cookie(visit))
    number = value[:32]
    if value != number + _proof(visit, number, email):
        number = secrets.token_hex(16)
    text = number + _proof(visit, number, email)
    response.headers.append("set-cookie", cookies.setting(_cookie(visit), text, SECONDS, "Lax"))


def _cookie(visit: PageRequest) -> bytes:
    return visit.wiring.cookie.name.replace(b"session", b"browser")


def _proof(visit: PageRequest, number: str, email: str) -> str:
    key = visit.wiring.store.installation.keyring.forms
    return blake2b(f"known browser {number} {email}".encode(), key=key, digest_size=16).hexdigest()
