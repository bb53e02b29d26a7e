"""Entry point of the command line: the table of commands, and the message and exit code of each kind of failure.

Exit codes: 0 success, 1 failure, 2 wrong use or configuration, 3 not reachable, 4 refused (401, 403); 130 after Ctrl-C.
A command's module is imported only when the command runs, so that `ostiary --help` and completion stay fast.
"""

import contextlib
import errno
import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from ostiary.cli import streams
from ostiary.cli.invocation import Invocation
from ostiary.cli.service_options import service_options

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS: Final = {
    # name: (module, one line)
    "serve": ("local", "Start the service."),
    "init": ("local", "Create the first organization, its admin and the operator key."),
    "migrate": ("local", "Bring the database schema up to date."),
    "import": ("importing", "Import another system's keys by their digests."),
    "keys": ("signing_keys", "List, rotate and revoke the keys that sign tokens."),
    "config": ("local", "Print the settings in effect."),
    "doctor": ("local", "Check the installation for problems."),
    "login": ("login", "Sign in with a browser."),
    "logout": ("login", "Sign out and delete the login here."),
    "whoami": ("remote", "Show the owner of the credential in use, and what it may do."),
    "verify": ("verifying", "Check whether a credential is valid, and why not."),
    "organization": ("organizations", "Show your organization; for the operator: manage all organizations."),
    "policy": ("policies", "Show and set an organization's limits."),
    "project": ("projects", "Manage projects and the roles on them."),
    "member": ("members", "Invite people and manage their roles."),
    "invitation": ("members", "List and withdraw invitations."),
    "role": ("roles", "Manage an organization's own roles."),
    "scope": ("roles", "List the catalogue of scopes; for the operator: change it."),
    "service-account": ("service_accounts", "Create and manage service accounts."),
    "api-key": ("api_keys", "Generate API keys."),
    "client-secret": ("client_secrets", "Generate client secrets."),
    "key-file": ("key_files", "Generate key files."),
    "oauth-token": ("tokens", "Exchange a credential for an access token."),
    "token": ("tokens", "Revoke and introspect access tokens."),
    "credential": ("credentials", "List, change, rotate, revoke and delete credentials."),
    "session": ("sessions", "List and revoke the sessions of sign-ins and logins."),
    "client": ("clients", "Manage OAuth clients: applications that ask people for access."),
    "grant": ("clients", "List and withdraw people's consents to clients."),
    "access-rule": ("access_rules", "Manage which scopes a request behind a proxy needs."),
    "audit": ("audit", "Read the audit log."),
    "usage": ("usage", "Show how often credentials were accepted and refused."),
    "api-call": ("remote", "Call any endpoint of the API."),
    "context": ("contexts", "Store services with their credentials, and choose one."),
    "completion": ("completion", "Print a completion script for your shell."),
}

SECTIONS: Final = {
    "local": "Run the service",
    "importing": "Run the service",
    "signing_keys": "Run the service",
    "contexts": "This command line",
    "completion": "This command line",
}
"""The help section of a module's commands. The modules that are not here call a service."""
REMOTE: Final = "Use the service"

_SIGNED: Final = re.compile(r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
"""A signed token: three parts of base64url, the first a JSON object."""

INTERRUPTED: Final = 130
"""The exit code that shells use for a command that Ctrl-C ended."""


class Commands(click.Group):
    """A click group that reads its commands from the table above."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"ostiary.cli.{COMMANDS[name][0]}")
        command = getattr(module, name.replace("-", "_") + "_command")
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, context: click.Context, incomplete: str) -> "list[CompletionItem[str]]":
        """Return names from the table, without importing any module."""
        from click.shell_completion import CompletionItem

        named = [
            CompletionItem(name, help=COMMANDS[name][1]) for name in COMMANDS if name.startswith(incomplete)
        ]
        return [*named, *click.Command.shell_complete(self, context, incomplete)]

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        for title in ("Run the service", REMOTE, "This command line"):
            rows = [
                (name, line)
                for name, (module, line) in COMMANDS.items()
                if SECTIONS.get(module, REMOTE) == title
            ]
            with formatter.section(title):
                formatter.write_dl(rows)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            if context.resilient_parsing:
                return None, None, []
            raise click.exceptions.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=context)
        return super().resolve_command(context, args)


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 success, 1 failure, 2 wrong use or configuration, 3 not reachable, 4 refused.",
)
@service_options
@click.version_option(package_name="ostiary", message="ostiary %(version)s")
@click.pass_context
def ostiary(context: click.Context) -> None:
    """Ostiary issues, verifies and watches over machine credentials.

    Commands that call a service read its URL from OSTIARY_URL, and one credential from OSTIARY_API_KEY,
    OSTIARY_TOKEN, OSTIARY_KEY_FILE, or OSTIARY_CLIENT_ID with OSTIARY_CLIENT_SECRET. If they are not set, commands use
    a context (`ostiary context add`) or the login of `ostiary login`. A variable with _FILE, such as
    OSTIARY_API_KEY_FILE, names a file with the value.

    Never give a credential as an argument: other processes can read it.

    \b
    Examples:
      ostiary init --organization Acme --email alice@acme.example
      ostiary serve
      ostiary service-account create --name "CI bot" --role developer
      ostiary audit logs --since 24h
    """
    called = context.ensure_object(Invocation)
    called.command = context.invoked_subcommand or ""
    chosen = called.context is not None or called.organization is not None
    if chosen and COMMANDS[called.command][0] in SECTIONS:
        raise click.UsageError(
            f"--context and --organization are for commands that call a service. {called.command} does not."
        )
    if called.organization is not None and COMMANDS[called.command][0] == "tokens":
        raise click.UsageError(
            f"{called.command} has no --organization: a token belongs to its credential's organization."
        )
    if called.organization is not None and COMMANDS[called.command][0] == "login":
        raise click.UsageError(f"{called.command} has no --organization: you choose it in the browser.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run the command line. Return its exit code."""
    streams.prepare()
    try:
        code = _run(arguments)
        if code == 0:
            sys.stdout.flush()
    except streams.OutputError as error:
        # A closed pipe, as with `| head`, is not an error worth a message.
        code = 1 if error.errno == errno.EPIPE else _unwritable(error)
    streams.give_up()
    return code


def _run(arguments: list[str]) -> int:
    if any(_is_secret(each) for each in _kept_back(arguments)):
        return _failed(
            2,
            "An argument contains a secret. Every process on this machine can read it there.",
            "Revoke that secret. Give a new one in OSTIARY_API_KEY, OSTIARY_TOKEN, a file or standard input.",
        )
    called = Invocation()
    if os.environ.get("_OSTIARY_COMPLETE"):
        return _complete(called)
    try:
        code = ostiary.main(
            arguments, prog_name="ostiary", standalone_mode=False, color=_colour(), obj=called
        )
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.Abort as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            return INTERRUPTED
        click.echo("Aborted: nothing was changed.", err=True)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except click.UsageError as error:
        error.show()
        return 2
    except click.ClickException as error:
        return _failed(error.exit_code, *error.format_message().splitlines())
    except streams.OutputError:
        raise
    except UnicodeEncodeError:
        return _failed(2, "An argument is not UTF-8 text.")
    except Exception as error:
        code = _explained(error, called)
        if code is None:
            raise
        return code


def _is_secret(argument: str) -> bool:
    from ostiary.core.secret import looks_like_secret

    return looks_like_secret(argument) or _SIGNED.search(argument) is not None


def _kept_back(arguments: list[str]) -> list[str]:
    """Return the arguments that must not be secrets: all, except the token of `token revoke`, which revokes it."""
    words = list(arguments)
    while words and words[0].startswith("-"):
        # --context NAME and --organization ORG can stand before the command.
        del words[: 1 if "=" in words[0] else 2]
    if words[:2] != ["token", "revoke"]:
        return arguments
    shown = next((each for each in words[2:] if each[:1] != "-" and _is_secret(each)), None)
    rest = list(arguments)
    if shown is not None:
        rest.reverse()
        rest.remove(shown)
    return rest


def _complete(called: Invocation) -> int:
    """Print completions for the shell. Errors are suppressed, because the shell would show them at the prompt."""
    with contextlib.suppress(Exception, KeyboardInterrupt):
        ostiary.main([], prog_name="ostiary", standalone_mode=False, obj=called)
    return 1


def _explained(error: Exception, called: Invocation) -> int | None:
    """Print what went wrong, for the user. Return the exit code, or None for an unexpected error."""
    if isinstance(error, ModuleNotFoundError) and not (error.name or "ostiary").startswith("ostiary"):
        return _failed(
            2,
            f"This command needs the server's libraries, and {error.name} is not installed.",
            "Install them: pip install 'ostiary[server]'",
        )
    url = called.connection.url_from if called.connection is not None else "OSTIARY_URL"
    # An error class can only have been raised if the failing command has imported its module.
    client = sys.modules.get("ostiary.client.api")
    if client is not None:
        if isinstance(error, client.RefusedError):
            return _refused(error, called)
        if isinstance(error, client.ResponseLostError):
            return _failed(3, str(error), "The service may have done it. Check before you try again.")
        if isinstance(error, client.UntrustedError):
            return _failed(3, *str(error).splitlines())
        if isinstance(error, client.NotReachableError):
            return _failed(3, str(error), f"Is `ostiary serve` running? Is {url} right?")
        if isinstance(error, client.MissingFieldError):
            return _failed(
                1,
                str(error),
                f"If {url} is right, the service has another version than this command (`ostiary --version`).",
            )
        if isinstance(error, client.NotOstiaryError):
            return _failed(1, str(error), f"Is {url} right?")
        if isinstance(error, client.InsecureUrlError):
            return _failed(2, str(error), f"Set {url} to the https:// URL of the service.")
        if isinstance(error, client.UrlError):
            return _failed(2, f"{url} {error}.")
    config = sys.modules.get("ostiary.config")
    if config is not None and isinstance(error, config.ConfigurationError):
        for wrong in error.wrong:
            _failed(2, f"{wrong.name} ({wrong.source}) {wrong.reason}")
        return 2
    installation = sys.modules.get("ostiary.node.installation")
    if installation is not None and isinstance(error, installation.DatabaseNotReachableError):
        return _failed(3, str(error))
    problem = sys.modules.get("ostiary.core.problem")
    if problem is not None and isinstance(error, problem.Problem):
        return _failed(3 if error.status == 503 else 1, f"{error.title}: {error.detail}")
    return None


def _refused(error: Any, called: Invocation) -> int:
    """Print an error response and what to do next. Return the exit code."""
    group, connection = called.command, called.connection
    hints = []
    if error.code in _OAUTH and "error" in error.body:
        from ostiary.core.oauth import NO_SECOND_EXCHANGE, NO_SESSION  # takes 30 ms

        exit_code, hint = _OAUTH[error.code]
        own = ""
        if (
            connection is not None
            and error.code in _OF_THE_CREDENTIAL
            and not error.detail.startswith((NO_SESSION, NO_SECOND_EXCHANGE))
        ):
            own = connection.unknown
        return _failed(exit_code, str(error), *(own or hint).splitlines())
    if error.status == 401 and connection is not None:
        # A 401 without a problem code comes from another program and says nothing about the credential.
        hints = connection.unknown.splitlines() if error.code else [f"Is {connection.url_from} right?"]
    elif error.status == 403:
        hints = ["`ostiary whoami` shows what the credential in use may do."]
    elif error.status == 404 and (listed := _listing(error.detail, group)):
        hints = [f"`ostiary {listed} list` shows what exists."]
    elif error.status == 404 and connection is not None and error.detail.startswith("There is nothing at"):
        hints = [
            f"Is {connection.url} right (set by {connection.url_from})? It must be the service's URL, without a path."
        ]
    elif "earliest" in error.body:
        hints = [f"It can be deleted from {error.body['earliest']} on."]
    if error.status in (403, 404) and connection is not None and connection.organization is not None:
        hints.append(
            f"The organization was {connection.organization} (set by {connection.organization_from})."
        )
    if error.status == 422 and error.field_errors:
        for pointer, detail in error.field_errors:
            _failed(2, f"{_option(pointer, group)}{_scope(error, pointer)} {detail}")
        for code, hint in _FIELD_HINTS.items():
            if any(each.get("code") == code for each in error.body["errors"] if isinstance(each, dict)):
                click.echo(hint, err=True)
        return 2
    if error.status in (502, 503, 504):
        return _failed(3, str(error), *hints)
    return _failed(4 if error.status in (401, 403) else 1, str(error), *hints)


_OAUTH: Final = {
    # code of RFC 6749 §5.2, RFC 8707 and RFC 7009: (exit code, what to do next)
    "invalid_client": (4, ""),
    "invalid_grant": (4, ""),
    "unauthorized_client": (4, ""),
    "invalid_scope": (4, "`ostiary whoami` shows what the credential in use may do."),
    "invalid_target": (
        2,
        "--resource must be the service's own URL or the audience of an access rule: `ostiary access-rule list`.",
    ),
    "unsupported_token_type": (
        2,
        "`ostiary credential list` shows its id, `ostiary credential revoke ID` revokes it.",
    ),
}
_OF_THE_CREDENTIAL: Final = ("invalid_client", "invalid_grant", "unauthorized_client")
_LISTED: Final = (
    "organization", "project", "member", "invitation", "role", "scope", "service-account", "credential", "session",
    "client", "grant", "access-rule",
)  # fmt: skip


def _listing(detail: str, group: str) -> str | None:
    """Return the command whose `list` shows what exists: the noun that the response names, else this command's."""
    noun = detail.removeprefix("There is no such ").removesuffix(".").partition(" or ")[0].replace(" ", "-")
    return next((each for each in (noun, group) if each in _LISTED), None)


_FIELD_HINTS: Final = {
    "unknown-role": "`ostiary role list` shows the roles.",
    "unknown-scope": "`ostiary scope list` and `ostiary role show organization-admin` show the scopes.",
}

_OPTIONS: Final = {
    "display_name": "--name",
    "contact_email": "--email",
    "scopes": "--scope",
    "resources": "--resource",
    "projects": "--project",
    "allowed_ips": "--ip",
    "expires_at": "--expires",
    "redirect_uris": "--redirect-uri",
    "grant_types": "--grant-type",
    "roles": "ROLE",
    "bindings": "ROLE",
    "email": "EMAIL",
    "scope": "SCOPE",
}


def _option(pointer: str, group: str) -> str:
    """Return the option or argument for a field of the API; the field itself if the command sent a whole document."""
    path = pointer.strip("/").removeprefix("credential/")
    if group in {"api-call", "access-rule"}:
        return path or "The body"
    if group == "policy":
        return path.replace("ceilings/", "the ceiling of ")
    name = path.partition("/")[0]
    if (group, name) == ("role", "name"):
        return "NAME"
    return _OPTIONS.get(name, f"--{name.replace('_', '-')}")


def _scope(error: Any, pointer: str) -> str:
    """Return the scope that an error is about, if it has a scope's form. Other values are not repeated."""
    from ostiary.core.permission import is_scope

    value = error.sent_at(pointer) if "/scopes/" in pointer else None
    return f" {value}" if isinstance(value, str) and is_scope(value) else ""


def _colour() -> bool | None:
    """Return False if the environment asks for no colour, else None: then the stream decides."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def _failed(code: int, message: str, *hints: str) -> int:
    """Print an error and its hints on standard error, each on its own line. Return the exit code."""
    from ostiary.cli.terminal import printable

    click.echo(
        f"{click.style('Error:', fg='red', bold=True)} {printable(message)}", err=True, color=_colour()
    )
    for hint in hints:
        click.echo(printable(hint), err=True)
    return code


def _unwritable(error: OSError) -> int:
    """Report that standard output cannot be written, if standard error can. Return the exit code."""
    with contextlib.suppress(OSError):
        return _failed(1, f"Standard output cannot be written: {error.strerror}.")
    return 1


if __name__ == "__main__":
    main()
