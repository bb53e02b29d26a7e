"""Requests whose answer alone holds a secret, and how to take back what they made if the secret reaches nobody.

A secret is in the answer once. If it cannot be written, or the answer is lost on the way, an active credential would
stay that nobody holds and somebody might have read. So it is revoked, and the command says so.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from ostiary.cli import streams
from ostiary.cli.invocation import again
from ostiary.cli.terminal import printable
from ostiary.client.api import AnswerLostError, Client, RefusedError

T = TypeVar("T")

ROTATE = "/rotate"
REVOKE_PATH = "/oauth/token/revoke"
LOST_BY_PROXY = (502, 504)
"""Answers of a proxy that does not know what the service did."""


class NotHandedOverError(click.ClickException):
    """The secret that was made reached nobody."""


class MaybeMadeError(click.ClickException):
    """The service did not say whether it made what was asked for: exit 3."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Made:
    """What a request made, and how to take it back."""

    name: str
    """What standard error names before the secret goes out; empty if other lines have named it."""
    undo: Callable[[], object]
    undone: str
    by_hand: str
    """What to do where undoing fails."""
    beside: str = ""
    """What stays, and what to do next."""


def made_of(api: Client, path: str, answer: Any) -> Made | None:
    """What a POST to this path made, if its answer holds a secret (or, of a repeat, null in its place)."""
    if not isinstance(answer, dict):
        return None
    if "credential" in answer and "secret" in answer:
        return _credential(api, path, answer)
    if "invitation" in answer and "secret" in answer:
        return _invitation(api, str(answer["invitation"]["id"]))
    if "link" in answer:
        return Made(
            "A link to choose a password",
            lambda: None,
            f"Nobody has the link; it ends by itself at {printable(str(answer['expires_at']))}.",
            "",
            "Make another one.",
        )
    token = answer.get("access_token", answer.get("token"))
    if isinstance(token, str):
        return Made(
            "",
            lambda: api.request("POST", REVOKE_PATH, {"token": token}),
            "The token is revoked.",
            "Nobody has the token, but it is good until it expires.",
        )
    return None


def _credential(api: Client, path: str, answer: dict[str, Any]) -> Made:
    identifier = printable(str(answer["credential"]["id"]))
    address = f"/v1/credentials/{identifier}"
    if path.partition("?")[0].endswith(ROTATE):
        if answer["credential"]["rotation"] is None:
            return Made(
                identifier,
                lambda: None,
                f"Nobody has the new secret of {identifier}, and the old one has ended.",
                "",
                f"Give it another: {again(f'credential rotate {identifier}')}",
            )
        return Made(
            identifier,
            lambda: api.request("POST", f"{address}/rotation", json={"action": "cancel"}),
            f"The rotation of {identifier} is cancelled: its old secret stays.",
            f"Cancel the rotation: {again(f'credential rotation cancel {identifier}')}",
        )
    beside = ""
    account = answer.get("service_account")
    if account is not None:
        username = printable(str(account["username"]))
        kind = str(answer["credential"]["kind"]).replace("_", "-")
        generate = again(f"{kind} generate --service-account {username}")
        beside = f"The service account {username} stays. Give it another: {generate}"
    return Made(
        identifier,
        lambda: api.request("POST", f"{address}/revoke"),
        f"{identifier} is revoked.",
        f"Revoke it: {again(f'credential revoke {identifier}')}",
        beside,
    )


def _invitation(api: Client, identifier: str) -> Made:
    identifier = printable(identifier)
    return Made(
        identifier,
        lambda: api.request("DELETE", f"/v1/invitations/{identifier}"),
        f"{identifier} is withdrawn.",
        f"Withdraw it: {again(f'invitation delete {identifier}')}",
    )


def post(api: Client, path: str, body: Any = None) -> Any:
    """The answer to a POST that makes something; None if it is empty.

    A request whose answer is lost is sent once more with the same Idempotency-Key: if the first one was carried out,
    the service names what it made, but tells no secret twice. Then it is taken back: NotHandedOverError. If the second
    answer is lost, too: MaybeMadeError.
    """
    key = secrets.token_urlsafe(24)
    try:
        try:
            return api.request("POST", path, json=body, idempotency_key=key)
        except (AnswerLostError, RefusedError) as error:
            if isinstance(error, RefusedError) and error.status not in LOST_BY_PROXY:
                raise
            answer = api.request("POST", path, json=body, idempotency_key=key)
    except KeyboardInterrupt:
        click.echo(f"The answer was not waited for. {_look(path)}", err=True)
        raise
    except (AnswerLostError, RefusedError) as error:
        if isinstance(error, RefusedError) and error.status not in LOST_BY_PROXY:
            raise
        raise MaybeMadeError(f"{error}\n{_look(path)}") from None
    made = made_of(api, path, answer)
    if made is not None and any(answer.get(name, "") is None for name in ("secret", "link")):
        raise NotHandedOverError(_taken_back(made, "The answer with the secret was lost on the way."))
    return answer


def hand_over(
    ask: Callable[[], T],
    identify: Callable[[T], Made | None],
    put: Callable[[T], object],
    note: Callable[[T], object] | None = None,
) -> T:
    """Ask, and hand the answer to `put`, which has written the secret when it returns. The answer.

    Before that, `note` says on standard error what was made; without it, its id stands there. If anything goes wrong
    before `put` returns, Ctrl-C included, it is taken back: NotHandedOverError, or KeyboardInterrupt again.
    """
    answer, made = None, None
    try:
        answer = ask()
        made = identify(answer)
        if note is not None:
            note(answer)
        elif made is not None and made.name:
            click.echo(f"{made.name} is made.", err=True)
        put(answer)
        streams.settle()
    except BaseException as error:
        if made is None:
            raise
        told = _taken_back(made, f"The secret could not be written: {_reason(error)}.")
        if isinstance(error, KeyboardInterrupt):
            click.echo(told, err=True)
            raise
        raise NotHandedOverError(told) from None
    return answer


def create(
    api: Client,
    path: str,
    body: Any,
    put: Callable[[Any], object],
    note: Callable[[Any], object] | None = None,
) -> Any:
    """`hand_over` what a POST makes, sent as `post` does."""
    return hand_over(lambda: post(api, path, body), lambda answer: made_of(api, path, answer), put, note)


def _taken_back(made: Made, why: str) -> str:
    """Undo, and what there is to say of it."""
    try:
        made.undo()
    except (Exception, KeyboardInterrupt) as error:
        done = f"Nobody has the secret of {made.name}, and it is still good ({error})." if made.name else ""
        return "\n".join(each for each in (why, done, made.by_hand, made.beside) if each)
    return "\n".join(each for each in (why, made.undone, made.beside) if each)


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    told = error.message if isinstance(error, click.ClickException) else str(error)
    return told.removesuffix(".") or type(error).__name__


def _look(path: str) -> str:
    """What may exist after an answer that was lost, and how to find it."""
    if path.endswith(ROTATE):
        identifier = path.split("/")[-2]
        return (
            "It may have a new secret, which nobody has: "
            f"`{again(f'credential rotation show {identifier}')}` tells, `… cancel` ends the new one."
        )
    if path == "/v1/invitations":
        return f"The invitation may exist: `{again('invitation list')}` shows it."
    if path.endswith("/password-reset"):
        return "The link may exist; it ends by itself within an hour."
    if path == "/v1/service-accounts":
        return f"The account may exist, with a credential whose secret nobody has: `{again('service-account list')}`."
    return (
        f"It may exist, with a secret that nobody has: `{again('credential list')}` shows it, to be revoked."
    )
