"""`ostiary login` and `ostiary logout`: a person allows the command line to act for them (RFC 8628)."""

import os
import sys
import time
from typing import Any, Final

import click

from ostiary.cli import environment, logins
from ostiary.cli.connection import Connection, connect_without_credential
from ostiary.cli.invocation import MisusedError, invocation
from ostiary.cli.logins import Login, LoginEndedError
from ostiary.cli.profile import is_credential
from ostiary.cli.secret_request import CreatedSecret, hand_over
from ostiary.cli.service_options import context_option
from ostiary.cli.terminal import json_option, printable, reading, show_json
from ostiary.client.api import Client, NotOstiaryError, NotReachableError, RefusedError
from ostiary.core.oauth import CLI, DEVICE_CODE, OFFLINE_ACCESS

AUTHORIZE_PATH: Final = "/oauth/device/authorize"
REVOKE_PATH: Final = "/oauth/revoke"
SCOPE: Final = f"api {OFFLINE_ACCESS}"
SLOWER: Final = 5
LONGEST_SECONDS: Final = 24 * 3600
MOST_SECONDS: Final = 60
"""Longest interval between two polls, however often the service did not respond."""

url_option = click.option(
    "--url", metavar="URL", help="URL of the service. Default: OSTIARY_URL, else the context's."
)


@click.command("login")
@url_option
@click.option("--scope", "scopes", multiple=True, help="Ask only for this scope; may be given several times.")
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
@context_option
def login_command(url: str | None, scopes: tuple[str, ...], no_browser: bool) -> None:
    """Sign in with a browser. The command prints a URL and a code; enter the code there, on any device.

    The login is stored in ~/.ostiary/token.json. Commands use it if no other credential is set.

    \b
    Example:
      ostiary login --url https://keys.example.com
    """
    used = _service(url)
    api = used.client()
    scope = " ".join((*scopes, OFFLINE_ACCESS)) if scopes else SCOPE
    asked = api.form(AUTHORIZE_PATH, [("client_id", CLI), ("scope", scope)])
    begun = time.monotonic()
    with reading(used.url):
        code, wait = str(asked["device_code"]), _seconds(asked.get("interval", SLOWER))
        ends = begun + _seconds(asked["expires_in"])
        click.echo(f"Please visit: {printable(str(asked['verification_uri']))}")
        click.echo(f"Code: {printable(str(asked['user_code']))}")
        link = printable(str(asked.get("verification_uri_complete") or asked["verification_uri"]))
    click.echo(f"Or open {link} and compare the code.", err=True)
    if not is_credential(code):
        raise NotOstiaryError(f"{used.url} answers, but not as an Ostiary service does.")
    if not no_browser and _has_browser() and link.startswith(("https://", "http://")):
        import webbrowser

        webbrowser.open(link)

    def made(login: Login) -> CreatedSecret:
        fields = [("token", login.refresh_token or login.access_token), ("client_id", CLI)]
        return CreatedSecret(
            "",
            lambda: api.form(REVOKE_PATH, fields),
            "The login has ended.",
            "The login did not end at the service. End it there, at /account.",
        )

    login = hand_over(
        lambda: logins.from_response(_wait(api, code, max(1, wait), ends), used.url),
        made,
        lambda login: logins.keep(used.url, login),
    )
    found = Client(used.url, login.access_token).request("GET", "/v1/capabilities")
    with reading(used.url):
        who, where = found["principal"]["display_name"], found["organization"]["name"]
        click.echo(f"Signed in to {used.url} as {printable(str(who))}, in {printable(str(where))}.")
    before = [name for name in environment.NAMES if os.environ.get(name)]
    if before:
        click.echo(f"Note: {' and '.join(before)} overrides the login. Unset it to use the login.", err=True)


@click.command("logout")
@url_option
@json_option
@context_option
def logout_command(url: str | None, as_json: bool) -> None:
    """Sign out: end the login at the service and delete it here."""
    used = _service(url)
    login = logins.find(used.url)
    if login is None:
        raise MisusedError(f"There is no login at {used.url}.")
    text = login.refresh_token or login.access_token
    failure: Exception | None = None
    try:
        used.client().form(REVOKE_PATH, [("token", text), ("client_id", CLI)])
    except (NotReachableError, NotOstiaryError, RefusedError) as error:
        failure = error
    # Delete the local tokens even if the service refused or did not respond.
    logins.forget(used.url)
    if as_json:
        show_json({"url": used.url, "ended": failure is None})
    elif failure is None:
        click.echo(f"Signed out of {used.url}.")
    if failure is not None:
        click.echo(
            f"The login is deleted here, but did not end at {used.url}. End it there, at /account.",
            err=True,
        )
        raise failure


def _seconds(value: Any) -> int:
    """Return a plausible number of seconds from a response. Raises ValueError otherwise: the service is untrusted."""
    if not isinstance(value, int) or not 0 <= value <= LONGEST_SECONDS:
        raise ValueError("not a number of seconds")
    return value


def _service(url: str | None) -> Connection:
    """Return the connection to `url`, or to the service in use. Raises MisusedError, ProfileError."""
    called = invocation()
    if url is None:
        return connect_without_credential(called)
    if called.context is not None:
        raise MisusedError("--url and --context both name a service; choose one.")
    called.connection = Connection(url, "--url", None, "", "")
    return called.connection


def _has_browser() -> bool:
    """Return whether a browser can open a window for the person who runs this."""
    if sys.platform == "darwin":
        return "SSH_CONNECTION" not in os.environ
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _wait(api: Client, code: str, interval: int, ends: float) -> Any:
    """Poll until the person has decided, and return the token response.

    Raises LoginEndedError if access was denied or the code expired.
    """
    fields = [("grant_type", DEVICE_CODE), ("device_code", code), ("client_id", CLI)]
    terminal = sys.stderr.isatty()
    if terminal:
        click.echo("Waiting … (Ctrl-C cancels)", nl=False, err=True)
    try:
        while time.monotonic() < ends:
            time.sleep(interval)  # the interval that the service asked for (RFC 8628 §3.5)
            try:
                return api.form(logins.TOKEN_PATH, fields)
            except NotReachableError:
                interval = min(2 * interval, MOST_SECONDS)  # RFC 8628 §3.5
            except RefusedError as error:
                if error.code == "slow_down":
                    interval += SLOWER
                elif error.status in (429, 502, 503, 504):
                    interval = min(2 * interval, MOST_SECONDS)
                elif error.code == "access_denied":
                    raise LoginEndedError("Access was denied.") from None
                elif error.code == "expired_token":
                    break
                elif error.code != "authorization_pending":
                    raise
    finally:
        if terminal:
            click.echo("\r\033[K", nl=False, err=True)
    raise LoginEndedError("The code has expired.\nRun `ostiary login` again.")
