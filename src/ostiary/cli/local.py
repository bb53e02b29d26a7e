"""Commands that use the data directory and its database: `serve`, `init`, `migrate`, `config`, `doctor`."""

import contextlib
import gc
import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ostiary import config as settings_room
from ostiary import memory
from ostiary.cli import streams
from ostiary.cli.secret_request import CreatedSecret, hand_over
from ostiary.cli.terminal import json_option, printable, show_json
from ostiary.config import ConfigurationError, InvalidSetting, Loaded, Settings
from ostiary.core import check

if TYPE_CHECKING:
    from ostiary.node.installation import InitialAdmin

LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
PASSWORD_LENGTH = 20
DEFAULT_PORT = 8080


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that all local commands share."""
    for option in (
        click.option(
            "--config",
            "file",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="A TOML file with settings.",
        ),
        click.option(
            "--data",
            metavar="DIR",
            type=click.Path(path_type=Path),
            help="The data directory (OSTIARY_DATA). Default: ostiary-data.",
        ),
    ):
        command = option(command)
    return command


@contextlib.contextmanager
def _without(module: str) -> Iterator[None]:
    """Hide a module from imports in this context. Packages that use it only if it is installed do without it."""
    modules: dict[str, Any] = sys.modules
    before = modules.pop(module, None)
    modules[module] = None  # Python takes this as "not installed"
    try:
        yield
    finally:
        del modules[module]
        if before is not None:
            modules[module] = before


def load(file: Path | None, **command_line: Any) -> Loaded:
    memory.hide()  # before the master key is read
    loaded = settings_room.load(command_line, os.environ, file)
    for warning in loaded.warnings:
        click.echo(printable(warning), err=True)
    return loaded


@click.command("serve")
@settings_options
@click.option("--host", help="The address to bind. Default: 127.0.0.1 and ::1.")
@click.option("--port", metavar="INTEGER", help="The port to bind. Default: 8080.")
@click.option(
    "--workers", metavar="INTEGER", help="Number of worker processes (OSTIARY_WORKERS). Default: 1."
)
def serve_command(
    file: Path | None, data: Path | None, host: str | None, port: str | None, workers: str | None
) -> int:
    """Start the service. On SIGTERM it finishes the requests in progress and exits with 0.

    Run `ostiary init` first. All other settings come from the environment (OSTIARY_…) or the file; `ostiary config`
    prints all of them.

    \b
    Example:
      ostiary serve --data /var/lib/ostiary --port 8080 --workers 2
    """
    # Imports leave almost no garbage, and searching for it takes a quarter of the start. Frozen objects are never
    # searched again, neither here nor in the forked processes.
    gc.disable()
    with _without("rich"):  # structlog would import it to color tracebacks, which our logs do not have
        from ostiary import logs
    from ostiary.node.processes import serve

    gc.freeze()
    gc.enable()

    loaded = load(file, data=data, host=host, port=port, workers=workers)
    logs.configure(loaded.settings.log_format)

    def announce(url: str) -> None:
        try:
            click.echo(f"Ostiary is ready at {url}")
        except OSError:  # standard output is closed or its disk is full; the service keeps running
            streams.give_up()

    return serve(loaded.settings, announce)


@click.command("init")
@settings_options
@click.option("--organization", metavar="NAME", help="Name of the operator's organization.")
@click.option("--email", help="Email address of the first admin.")
@click.option(
    "--port", metavar="INTEGER", help="The port that the service will use. The printed commands contain it."
)
@click.option("--recover", is_flag=True, help="Create a new operator key and password for the first admin.")
@json_option
def init_command(
    file: Path | None,
    data: Path | None,
    organization: str | None,
    email: str | None,
    port: str | None,
    recover: bool,
    as_json: bool,
) -> None:
    """Create the operator's organization, its first admin and the operator key, and print them once.

    If the key and the password are lost, `ostiary init --recover` creates new ones.

    \b
    Example:
      ostiary init --organization Acme --email alice@acme.example
    """
    from ostiary.core.problem import Problem
    from ostiary.node import installation, worker

    settings = load(file, data=data, port=port).settings
    if port is not None and not recover:
        # Check the port before anything is created: the printed secrets and commands are for a service that can start.
        for each in worker.bind(settings.host, settings.port):
            each.close()
    password = "".join(secrets.choice(LETTERS) for _ in range(PASSWORD_LENGTH))
    if recover and (organization or email):
        raise click.UsageError(
            "--recover cannot be combined with --organization or --email: they do not change."
        )
    name, address = ("", "") if recover else _first_names(organization, email)

    def begin() -> "InitialAdmin":
        if recover:
            return installation.recover(settings, password)
        try:
            return installation.initialise(settings, name, address, password)
        except Problem as problem:
            if problem.code == "wrong-state":
                raise ConfigurationError(_already(settings)) from None
            if problem.errors:
                raise click.UsageError(f"--email {problem.errors[0].detail}.") from None
            raise

    def made(beginning: "InitialAdmin") -> CreatedSecret:
        return CreatedSecret(
            f"Operator key {beginning.key_id}",
            lambda: installation.withdraw(settings, beginning),
            f"The operator key {beginning.key_id} is revoked.",
            "",
            f"Create another key and password: ostiary init --recover --data {settings.data}",
        )

    serve = shlex.join(
        ["ostiary", "serve"]
        + (["--config", str(file)] if file else [])
        + ["--data", str(settings.data)]
        + (["--port", port] if port and settings.port != DEFAULT_PORT else [])
    )
    hand_over(begin, made, lambda found: _show_beginning(settings, found, password, serve, recover, as_json))


def _show_beginning(
    settings: Settings, beginning: "InitialAdmin", password: str, serve: str, recover: bool, as_json: bool
) -> None:
    key = beginning.key.reveal()
    if as_json:
        show_json(
            {
                "organization": {
                    "id": beginning.organization.id,
                    "name": beginning.organization.name,
                    "slug": beginning.organization.slug,
                },
                "admin": {"id": beginning.user_id, "email": beginning.email, "password": password},
                "api_key": key,
            }
        )
        return
    click.echo(f"Organization  {printable(beginning.organization.name)} ({beginning.organization.id})")
    click.echo(f"Admin         {beginning.email}")
    click.echo(f"Password      {password}  (to sign in at /sign-in)")
    click.echo(f"Operator key  {key}")
    if recover:
        click.echo(
            "\nStore them now. They are not shown again. Older keys still work: `ostiary credential list` lists"
        )
        click.echo("them, and `ostiary credential revoke` revokes the lost one.")
        return
    click.echo(
        "\nStore them now. They are not shown again. Then, in another terminal, while the service runs:\n"
    )
    if shutil.which("ostiary") is None:
        click.echo(f'  export PATH="{Path(sys.executable).parent}:$PATH"')
    if settings.public_url != "http://localhost:8080":
        click.echo(f"  export OSTIARY_URL={settings.public_url}")
    click.echo(f"  export OSTIARY_API_KEY={key}")
    click.echo('  ostiary service-account create --name "CI bot" --role developer --credential none')
    click.echo("  KEY=$(ostiary api-key generate --service-account ci-bot --scope read:agents)")
    click.echo(f'  curl -H "X-API-Key: $KEY" {settings.public_url}/v1/capabilities\n')
    click.echo(f"Start the service: {serve}\n")


def _first_names(organization: str | None, email: str | None) -> tuple[str, str]:
    if not organization or not email:
        raise click.UsageError("--organization NAME and --email EMAIL are required.")
    try:
        name = check.display_name(organization)
    except ValueError as error:
        raise click.UsageError(f"--organization {error}.") from None
    try:
        return name, check.email(email)
    except ValueError as error:
        raise click.UsageError(f"--email {error}.") from None


def _already(settings: Settings) -> InvalidSetting:
    return InvalidSetting(
        "OSTIARY_DATA",
        str(settings.data),
        f"is initialised already; `ostiary init --recover --data {settings.data}` creates a new operator key",
    )


@click.command("migrate")
@settings_options
@json_option
def migrate_command(file: Path | None, data: Path | None, as_json: bool) -> None:
    """Bring the database schema up to date. It is safe to run this again.

    Run it after an upgrade, before the service starts.
    """
    from ostiary.node import installation

    before, after = installation.migrate(load(file, data=data).settings)
    if as_json:
        show_json({"before": before, "after": after})
    elif before == after:
        click.echo(f"The schema is up to date ({after}).")
    else:
        click.echo(f"The schema was upgraded from {before or 'nothing'} to {after}.")


@click.command("config")
@settings_options
@json_option
def config_command(file: Path | None, data: Path | None, as_json: bool) -> None:
    """Print the settings in effect and where each one is set. Secrets are hidden."""
    loaded = load(file, data=data)
    shown = loaded.settings.shown()
    if as_json:
        show_json(
            {
                name: {
                    "setting": settings_room.setting_name(name),
                    "value": value,
                    "source": loaded.sources.get(name, "default"),
                }
                for name, value in shown.items()
            }
        )
        return
    width = max(len(settings_room.setting_name(name)) for name in shown)
    for name, value in shown.items():
        source = loaded.sources.get(name, "default")
        click.echo(f"{settings_room.setting_name(name):<{width}}  {printable(value)}  ({source})")


@click.command("doctor")
@settings_options
@json_option
def doctor_command(file: Path | None, data: Path | None, as_json: bool) -> int:
    """Check the data directory, the database and the settings. Exits with 1 if something is wrong."""
    from ostiary.node.doctor import examine

    findings = examine(load(file, data=data).settings)
    if as_json:
        show_json([{"check": name, "state": state, "detail": detail} for name, state, detail in findings])
    else:
        marks = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "wrong": ("✗", "red")}
        for name, state, detail in findings:
            mark, colour = marks[state]
            click.echo(f"{click.style(mark, fg=colour)} {name}: {printable(detail)}")
    return 1 if any(state == "wrong" for _, state, _ in findings) else 0
