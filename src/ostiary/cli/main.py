"""The entry: which command lives where, and what each kind of failure exits with.

Exit codes: 0 done, 1 failed, 2 wrong use or configuration, 3 not reachable, 4 refused (401, 403).
Commands are imported when they are used: `ostiary --help` is asked for more often than any of them.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import Final

import click

COMMANDS: Final = {
    # name: (module, one line)
    "serve": ("local", "Start the service on an initialised data directory."),
    "init": ("local", "Make the first organization, its admin and the operator key."),
    "migrate": ("local", "Bring the database's schema up to date."),
    "config": ("local", "Print the settings in effect, secrets hidden."),
    "doctor": ("local", "Check that the installation is sound."),
    "whoami": ("remote", "Who the credential in use is, and what it may do."),
    "service-account": ("accounts", "Create and manage service accounts."),
    "api-key": ("keys", "Generate API keys."),
    "credential": ("keys", "List, deactivate, revoke and delete credentials."),
    "access-rule": ("rules", "Say which scopes a request behind a proxy needs."),
    "audit": ("audit", "Read the audit log."),
    "api-call": ("remote", "Call any address of the API."),
}


class Commands(click.Group):
    """The table above as a click group."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"ostiary.cli.{COMMANDS[name][0]}")
        command = getattr(module, name.replace("-", "_") + "_command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        for title, modules in (("The service", ("local",)), ("What it manages", ())):
            rows = [
                (name, line)
                for name, (module, line) in COMMANDS.items()
                if (module in modules if modules else module != "local")
            ]
            with formatter.section(title):
                formatter.write_dl(rows)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        import difflib

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise click.UsageError(f"There is no command '{args[0][:40]}'.{hint}", context)
        return super().resolve_command(context, args)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ostiary", message="ostiary %(version)s")
def ostiary() -> None:
    """Ostiary issues, verifies and watches over machine credentials.

    Remote commands take the service from OSTIARY_URL and the credential from OSTIARY_API_KEY.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run the command line; its exit code."""
    from ostiary.core.secret import looks_like_secret

    if any(looks_like_secret(each) for each in arguments):
        _complain(
            "A secret stands on the command line, where every process of this machine can read it.\n"
            "Put it into OSTIARY_API_KEY or a file, or hand it over on standard input. Then revoke that one."
        )
        return 2
    try:
        code = ostiary.main(arguments, prog_name="ostiary", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        _complain("Aborted.")
        return 1
    except click.ClickException as error:
        error.show()
        return 2 if isinstance(error, click.UsageError) else error.exit_code
    except BrokenPipeError:
        return 1
    except Exception as error:
        code = _explained(error)
        if code is None:
            raise
        return code


def _explained(error: Exception) -> int | None:
    """Say what went wrong in the user's words; the exit code, or None for a fault of ours."""
    # Only what the failing command has already imported can have been raised.
    client = sys.modules.get("ostiary.client.api")
    if client is not None:
        if isinstance(error, client.RefusedError):
            _complain(str(error))
            for each in error.body.get("errors", []):
                _complain(f"  {each['pointer'].lstrip('/') or 'body'}: {each['detail']}")
            if error.status == 401:
                _complain(
                    "Set OSTIARY_API_KEY to a valid key (or OSTIARY_API_KEY_FILE to a file that holds it)."
                )
            if error.status >= 500:
                return 3 if error.status == 503 else 1
            return 4 if error.status in (401, 403) else 1
        if isinstance(error, client.NotReachableError):
            _complain(f"{error} Is `ostiary serve` running, and OSTIARY_URL right?")
            return 3
        if isinstance(error, client.InsecureUrlError):
            _complain(str(error))
            return 2
    config = sys.modules.get("ostiary.config")
    if config is not None and isinstance(error, config.ConfigurationError):
        for wrong in error.wrong:
            _complain(f"{wrong.name} ({wrong.source}) {wrong.reason}")
        return 2
    app = sys.modules.get("ostiary.http.app")
    if app is not None and isinstance(error, app.NotReachableError):
        _complain(str(error))
        return 3
    problem = sys.modules.get("ostiary.core.problem")
    if problem is not None and isinstance(error, problem.Problem):
        _complain(f"{error.title}: {error.detail}")
        return 3 if error.status == 503 else 1
    return None


def _complain(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main()
