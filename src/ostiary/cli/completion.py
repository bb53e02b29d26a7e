"""Shell completion: `ostiary completion …`, and the completion of names that the service or the profile knows.

A shell completes at every key press. So nothing here prints errors, waits long, or imports modules early.
"""

import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from ostiary.cli.invocation import Invocation

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PATIENCE_SECONDS: Final = 1.0
PAGE: Final = 200
"""Most accounts or credentials that are offered: the newest ones."""

SHELLS: Final = {
    "bash": "Completion of `ostiary` in bash, in every new shell:\n"
    "  echo 'source <(ostiary completion bash)' >> ~/.bashrc",
    "zsh": "Completion of `ostiary` in zsh, in every new shell (after compinit):\n"
    "  echo 'source <(ostiary completion zsh)' >> ~/.zshrc",
    "fish": "Completion of `ostiary` in fish, in every new shell:\n"
    "  ostiary completion fish > ~/.config/fish/completions/ostiary.fish",
}

# Text that is safe without quotes. A response of a hostile service must not put anything else on a command line.
_HARMLESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@click.command("completion")
@click.argument("shell", type=click.Choice(list(SHELLS)))
def completion_command(shell: str) -> None:
    """Print a completion script for your shell. Its first lines say how to install it.

    \b
    Example:
      echo 'source <(ostiary completion bash)' >> ~/.bashrc
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    root = click.get_current_context().find_root().command
    first, _, rest = kind(root, {}, "ostiary", "_OSTIARY_COMPLETE").source().partition("\n")
    comment = "".join(f"# {line}\n" for line in SHELLS[shell].splitlines())
    # zsh requires its #compdef line to be the first line of the file.
    click.echo(
        f"{first}\n{comment}{rest}" if first.startswith("#") else f"{comment}{first}\n{rest}", nl=False
    )


def contexts(
    _context: click.Context, _option: click.Parameter, incomplete: str
) -> "list[CompletionItem[str]]":
    """Return names of contexts."""

    def find() -> list[tuple[str, str]]:
        from ostiary.cli import profile

        return [(each.name, each.url or "") for each in profile.load().contexts.values()]

    return _offered(find, incomplete)


def accounts(
    context: click.Context, _option: click.Parameter, incomplete: str
) -> "list[CompletionItem[str]]":
    """Return usernames of service accounts."""
    rows = _ask(context, "/v1/service-accounts", {"limit": PAGE})
    return _offered(lambda: [(each["username"], each["display_name"]) for each in rows()], incomplete)


def credentials(
    context: click.Context, _option: click.Parameter, incomplete: str
) -> "list[CompletionItem[str]]":
    """Return ids of credentials."""
    rows = _ask(context, "/v1/credentials", {"limit": PAGE})

    def find() -> list[tuple[str, str]]:
        return [(each["id"], f"{each['name']} {each['display']} {each['status']}") for each in rows()]

    return _offered(find, incomplete)


def sessions(
    context: click.Context, _option: click.Parameter, incomplete: str
) -> "list[CompletionItem[str]]":
    """Return ids of sessions."""
    rows = _ask(context, "/v1/sessions", {"limit": PAGE})
    return _offered(
        lambda: [(each["id"], f"{each['owner']['display_name']} {each['address']}") for each in rows()],
        incomplete,
    )


def clients(context: click.Context, _option: click.Parameter, incomplete: str) -> "list[CompletionItem[str]]":
    ask = _ask(context, "/v1/clients", {})
    return _offered(lambda: [(each["id"], each["name"]) for each in ask()], incomplete)


def grants(context: click.Context, _option: click.Parameter, incomplete: str) -> "list[CompletionItem[str]]":
    ask = _ask(context, "/v1/grants", {})
    return _offered(lambda: [(each["id"], each["client"]["name"]) for each in ask()], incomplete)


def roles(context: click.Context, _option: click.Parameter, incomplete: str) -> "list[CompletionItem[str]]":
    """Return names of roles: the built-in ones, then the organization's own."""
    from ostiary.core.permission import BUILT_IN_ROLES

    rows = _ask(context, "/v1/roles", {})
    built_in = _offered(lambda: [(role, "") for role in BUILT_IN_ROLES], incomplete)
    own = _offered(lambda: [(each["name"], each["description"]) for each in rows()], incomplete)
    return built_in + [each for each in own if each.value not in BUILT_IN_ROLES]


def _ask(context: click.Context, path: str, params: dict[str, Any]) -> Callable[[], list[Any]]:
    """Return a function that requests a list from the API and returns its rows."""

    def ask() -> list[Any]:
        from ostiary.cli.connection import connect

        client = connect(context.ensure_object(Invocation)).client(PATIENCE_SECONDS)
        rows: list[Any] = client.request("GET", path, params=params)["data"]
        return rows

    return ask


def _offered(find: Callable[[], list[tuple[str, str]]], incomplete: str) -> "list[CompletionItem[str]]":
    """Return the matching names with their descriptions; none if `find` fails or takes too long."""
    from click.shell_completion import CompletionItem

    found: list[tuple[str, str]] = []

    def work() -> None:
        try:
            found.extend(find())
        except Exception:
            found.clear()  # completion shows no errors

    # Runs in a thread, because no library's time-out covers the DNS look-up.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    return [
        CompletionItem(name, help=_one_line(help_text))
        for name, help_text in list(found)
        if isinstance(name, str) and name.startswith(incomplete) and _HARMLESS.fullmatch(name)
    ]


def _one_line(text: Any) -> str | None:
    return "".join(c if c.isprintable() else " " for c in str(text)) or None
