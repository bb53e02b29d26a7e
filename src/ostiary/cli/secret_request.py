"""Requests that create a secret, and how to undo them if the secret cannot be delivered.

Only one response contains the secret. If the response is lost or cannot be written, an active credential would remain
that its owner does not have, and that someone else may have read. So the command revokes it and says so.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from ostiary.cli import streams
from ostiary.cli.invocation import again
from ostiary.cli.terminal import printable
from ostiary.client.api import Client, RefusedError, ResponseLostError

T = TypeVar("T")

ROTATE = "/rotate"
REVOKE_PATH = "/oauth/token/revoke"
LOST_BY_PROXY = (502, 504)
"""Status codes from a proxy that does not know whether the service did the work."""


class NotHandedOverError(click.ClickException):
    """A secret was created, but could not be delivered."""


class MaybeMadeError(click.ClickException):
    """It is unknown whether the service created the secret. Exits with 3."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class CreatedSecret:
    """What a request created, and how to undo it."""

    name: str
    """The name to print on standard error before the secret is written; empty if other lines name it."""
    undo: Callable[[], object]
    undone: str
    """The sentence to print after a successful undo."""
    by_hand: str
    """What to do if the undo fails."""
    beside: str = ""
    """What remains in any case, and what to do next."""


def made_of(api: Client, path: str, answer: Any) -> CreatedSecret | None:
    """Return what a POST to this path created; None if the response has no secret.

    In the response to a repeated request, the secret is null.
    """
    if not isinstance(answer, dict):
        return None
    if "credential" in answer and "secret" in answer:
        return _credential(api, path, answer)
    if "invitation" in answer and "secret" in answer:
        return _invitation(api, str(answer["invitation"]["id"]))
    if "link" in answer:
        return CreatedSecret(
            "A reset link",
            lambda: None,
            f"The link was not delivered. It expires at {printable(str(answer['expires_at']))}.",
            "",
            "Create another one.",
        )
    token = answer.get("access_token", answer.get("token"))
    if isinstance(token, str):
        return CreatedSecret(
            "",
            lambda: api.request("POST", REVOKE_PATH, {"token": token}),
            "The token is revoked.",
            "The token was not delivered, but stays valid until it expires.",
        )
    return None


def _credential(api: Client, path: str, answer: dict[str, Any]) -> CreatedSecret:
    identifier = printable(str(answer["credential"]["id"]))
    address = f"/v1/credentials/{identifier}"
    if path.partition("?")[0].endswith(ROTATE):
        if answer["credential"]["rotation"] is None:
            return CreatedSecret(
                identifier,
                lambda: None,
                f"The new secret of {identifier} was not delivered, and the old one has ended.",
                "",
                f"Create another secret: {again(f'credential rotate {identifier}')}",
            )
        return CreatedSecret(
            identifier,
            lambda: api.request("POST", f"{address}/rotation", json={"action": "cancel"}),
            f"The rotation of {identifier} is cancelled. Its old secret stays valid.",
            f"Cancel the rotation: {again(f'credential rotation cancel {identifier}')}",
        )
    beside = ""
    account = answer.get("service_account")
    if account is not None:
        username = printable(str(account["username"]))
        kind = str(answer["credential"]["kind"]).replace("_", "-")
        generate = again(f"{kind} generate --service-account {username}")
        beside = f"The service account {username} stays. Create another credential: {generate}"
    return CreatedSecret(
        identifier,
        lambda: api.request("POST", f"{address}/revoke"),
        f"{identifier} is revoked.",
        f"Revoke it: {again(f'credential revoke {identifier}')}",
        beside,
    )


def _invitation(api: Client, identifier: str) -> CreatedSecret:
    identifier = printable(identifier)
    return CreatedSecret(
        identifier,
        lambda: api.request("DELETE", f"/v1/invitations/{identifier}"),
        f"{identifier} is withdrawn.",
        f"Withdraw it: {again(f'invitation delete {identifier}')}",
    )


def post(api: Client, path: str, body: Any = None) -> Any:
    """Send a POST that creates something. Return its response; None if it is empty.

    If the response is lost, the request is sent once more with the same Idempotency-Key. If the first request was
    carried out, the second response has no secret: then the creation is undone, and NotHandedOverError is raised. If
    the second response is lost, too, raises MaybeMadeError.
    """
    key = secrets.token_urlsafe(24)
    try:
        try:
            return api.request("POST", path, json=body, idempotency_key=key)
        except (ResponseLostError, RefusedError) as error:
            if isinstance(error, RefusedError) and error.status not in LOST_BY_PROXY:
                raise
            answer = api.request("POST", path, json=body, idempotency_key=key)
    except KeyboardInterrupt:
        click.echo(f"Interrupted before the response. {_look(path)}", err=True)
        raise
    except (ResponseLostError, RefusedError) as error:
        if isinstance(error, RefusedError) and error.status not in LOST_BY_PROXY:
            raise
        raise MaybeMadeError(f"{error}\n{_look(path)}") from None
    made = made_of(api, path, answer)
    if made is not None and any(answer.get(name, "") is None for name in ("secret", "link")):
        raise NotHandedOverError(_undone(made, "The response with the secret was lost."))
    return answer


def hand_over(
    ask: Callable[[], T],
    identify: Callable[[T], CreatedSecret | None],
    put: Callable[[T], object],
    note: Callable[[T], object] | None = None,
) -> T:
    """Send a request by `ask`, and write the secret by `put`. Return the response.

    Before `put`, `note` prints on standard error what was created; by default, its id. If anything fails before the
    secret is written, Ctrl-C included, the creation is undone: raises NotHandedOverError, or KeyboardInterrupt again.
    """
    answer, made = None, None
    try:
        answer = ask()
        made = identify(answer)
        if note is not None:
            note(answer)
        elif made is not None and made.name:
            click.echo(f"{made.name} is created.", err=True)
        put(answer)
        streams.settle()
    except BaseException as error:
        if made is None:
            raise
        message = _undone(made, f"The secret could not be written: {_reason(error)}.")
        if isinstance(error, KeyboardInterrupt):
            click.echo(message, err=True)
            raise
        raise NotHandedOverError(message) from None
    return answer


def create(
    api: Client,
    path: str,
    body: Any,
    put: Callable[[Any], object],
    note: Callable[[Any], object] | None = None,
) -> Any:
    """Create something with a secret: `hand_over` with a POST that is sent by `post`."""
    return hand_over(lambda: post(api, path, body), lambda answer: made_of(api, path, answer), put, note)


def _undone(made: CreatedSecret, why: str) -> str:
    """Undo the creation. Return the message for the user."""
    try:
        made.undo()
    except (Exception, KeyboardInterrupt) as error:
        done = (
            f"The secret of {made.name} was not delivered, but is still valid ({error})." if made.name else ""
        )
        return "\n".join(each for each in (why, done, made.by_hand, made.beside) if each)
    return "\n".join(each for each in (why, made.undone, made.beside) if each)


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    message = error.message if isinstance(error, click.ClickException) else str(error)
    return message.removesuffix(".") or type(error).__name__


def _look(path: str) -> str:
    """Return what may exist after a lost response, and how to check it."""
    if path.endswith(ROTATE):
        identifier = path.split("/")[-2]
        return (
            "The credential may have a new secret that was not delivered. "
            f"Check with `{again(f'credential rotation show {identifier}')}`; `… cancel` ends the new secret."
        )
    if path == "/v1/invitations":
        return f"The invitation may exist. Check with `{again('invitation list')}`."
    if path.endswith("/password-reset"):
        return "The link may exist. It expires within an hour."
    if path == "/v1/service-accounts":
        return (
            "The account may exist, with a credential whose secret was not delivered. "
            f"Check with `{again('service-account list')}`."
        )
    return (
        "The credential may exist, but its secret was not delivered. "
        f"Find it with `{again('credential list')}` and revoke it."
    )
