"""CLI: every command exists, has help, and is fast to ask about."""

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from ostiary.cli.main import COMMANDS as MODULES
from ostiary.cli.main import SECTIONS, ostiary, run
from tests.servers import clean_environment

COMMANDS = {
    "serve": "--config --data --host --port --workers",
    "init": "--config --data --email --json --organization --port --recover",
    "migrate": "--config --data --json",
    "import": "--config --data --dry-run --exceed-limits --json --organization --prefix --register --service-account",
    "keys list": "--config --data --json",
    "keys rotate": "--config --data --json --now --purpose",
    "keys revoke": "--config --data --json --yes",
    "config": "--config --data --json",
    "doctor": "--config --data --json",
    "login": "--no-browser --scope --url",
    "logout": "--json --url",
    "whoami": "--json",
    "verify": "--audience --file --ip --json --no-count --project --resource --scope",
    "organization list": "--json",
    "organization create": "--json --name --slug",
    "organization show": "--json",
    "organization update": "--json --name",
    "organization suspend": "--json --yes",
    "organization resume": "--json",
    "policy show": "--json",
    "policy set": "--ceiling --dry-run --json",
    "project list": "--json",
    "project create": "--code --description --json --name",
    "project show": "--json",
    "project update": "--description --json --name",
    "project delete": "--json --yes",
    "project roles": "--json",
    "project grant": "--json --role",
    "project ungrant": "--json --role",
    "member list": "--json",
    "member show": "--json",
    "member invite": "--json --role",
    "member reset-password": "--json",
    "member remove": "--json --yes",
    "member grant": "--json --role",
    "member ungrant": "--json --role",
    "invitation list": "--json",
    "invitation delete": "--json --yes",
    "role list": "--json",
    "role show": "--json",
    "role create": "--description --json --scope",
    "role update": "--add-scope --description --json --remove-scope --scope",
    "role delete": "--json --yes",
    "scope list": "--json",
    "scope create": "--json",
    "scope delete": "--json --yes",
    "service-account create": "--access-level --credential --description --email --expires --ip --json --name "
    "--out --project --resource --role --scope --username",
    "service-account list": "--json",
    "service-account activity": "--json --limit",
    "service-account show": "--json",
    "service-account update": "--access-level --description --email --json --name --project --resource --scope",
    "service-account roles": "--json",
    "service-account grant": "--json --role",
    "service-account ungrant": "--json --role",
    "service-account set-roles": "--json --role --yes",
    "service-account disable": "--json",
    "service-account enable": "--json",
    "service-account delete": "--json --yes",
    "api-key generate": "--description --expires --format --ip --json --name --project --rate-limit --resource"
    " --scope --service-account",
    "client-secret generate": "--description --expires --format --ip --json --name --project --rate-limit"
    " --resource --scope --service-account",
    "key-file generate": "--algorithm --compat --description --expires --ip --json --name --out --project"
    " --rate-limit --resource --scope --service-account",
    "oauth-token generate": "--format --json --resource --scope",
    "token revoke": "--json",
    "token introspect": "--json",
    "credential list": "--expires-before --json --kind --search --service-account --sort --status --unused-since",
    "credential show": "--json",
    "credential update": "--access-level --description --expires --ip --json --name --rate-limit --resource --scope",
    "credential deactivate": "--json",
    "credential activate": "--json",
    "credential revoke": "--json --yes",
    "credential delete": "--json --yes",
    "credential rotate": "--expires --format --json --out --overlap --yes",
    "credential rotation show": "--json",
    "credential rotation complete": "--json --yes",
    "credential rotation cancel": "--json --yes",
    "session list": "--json",
    "session revoke": "--all --json",
    "client create": "--access --auth-method --client-uri --grant-type --json --jwks --jwks-uri --name --project"
    " --redirect-uri --scope",
    "client list": "--json",
    "client show": "--json",
    "client update": "--auth-method --client-uri --grant-type --json --jwks --jwks-uri --name --project"
    " --redirect-uri --scope",
    "client disable": "--json",
    "client enable": "--json",
    "client delete": "--json --yes",
    "grant list": "--json",
    "grant show": "--json",
    "grant withdraw": "--json --yes",
    "access-rule put": "--json",
    "access-rule list": "--json",
    "access-rule show": "--json",
    "access-rule delete": "--json --yes",
    "audit logs": "--action --actor --export --filter --follow --json --limit --since --target --until",
    "usage": "--credential --interval --json --service-account --since --until",
    "api-call": "--data --json",
    "context list": "--json",
    "context show": "--json",
    "context use": "--json",
    "context add": "--api-key-file --json --no-check --organization --replace --url",
    "context remove": "--json --yes",
    "completion": "",
}
"""Each command and its options: scripts rely on them, so a change here is a change of the contract.

Every command that asks a service also has SERVICE; those about tokens, which act in no other organization, `--context`.
"""
SERVICE = {"--context", "--organization"}


def _commands(
    group: click.Group, context: click.Context, path: str = ""
) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, context, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


FOUND = dict(_commands(ostiary, click.Context(ostiary)))


def _options(command: click.Command) -> list[click.Option]:
    return [each for each in command.params if isinstance(each, click.Option)]


def test_the_commands_and_options_are_those_of_the_contract() -> None:
    """CLI breaks: a command or an option came, went or changed its name."""
    found = {}
    for path, command in FOUND.items():
        names = {each.opts[0] for each in _options(command)}
        if MODULES[path.split()[0]][0] not in SECTIONS:
            kept = {"--context"} if MODULES[path.split()[0]][0] in {"tokens", "login"} else SERVICE
            assert names >= kept
            names -= kept
        found[path] = " ".join(sorted(names))
    assert found == COMMANDS


@pytest.mark.parametrize("path", FOUND)
def test_every_command_and_option_says_what_it_does(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """CLI breaks: a command or an option has no help."""
    assert [each.opts[0] for each in _options(FOUND[path]) if not each.help] == []
    assert run([*path.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage: ostiary {path}")
    assert (FOUND[path].help or "").split(".")[0].split()[0] in shown


@pytest.mark.parametrize("group", ["", *sorted({path.split()[0] for path in COMMANDS if " " in path})])
def test_a_group_alone_prints_its_help(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    """CLI breaks: `ostiary` or `ostiary credential` alone gives an error, or cut lines."""
    assert run(group.split()) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"Usage: ostiary {group}".rstrip())
    assert "..." not in shown.out.replace("[ARGS]...", "")
    assert shown.err == ""


@pytest.mark.parametrize(
    "arguments, hint",
    [
        ("servce", "'serve'"),
        ("credential revok x", "'revoke'"),
        ("whoami --jsn", "'--json'"),
        ("frobnicate", ""),
    ],
    ids=["command", "subcommand", "option", "nothing near"],
)
def test_a_mistyped_word_is_refused_with_the_nearest_one(
    arguments: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """CLI breaks: wrong use does not exit 2, or leaves its user without the next step."""
    assert run(arguments.split()) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert ("Did you mean" in shown.err) == bool(hint)
    assert hint in shown.err


def test_help_and_client_commands_load_no_server() -> None:
    """The start of a command breaks: `--help` or a client command imports what it does not use."""
    script = (
        "import sys; from ostiary.cli.main import run\n"
        "assert run(['--help']) == 0 and run(['service-account', 'create', '--help']) == 0\n"
        "print('\\nLOADED', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=clean_environment()
    )
    loaded = set(done.stdout.partition("\nLOADED ")[2].split())
    assert "click" in loaded
    assert (
        loaded & {"fastapi", "sqlalchemy", "pydantic", "httpx2", "rich", "uvicorn", "cryptography"} == set()
    )


@pytest.mark.parametrize("command", ["serve", "init", "migrate", "config", "doctor", "import x", "keys list"])
def test_without_the_server_s_libraries_a_local_command_says_how_to_get_them(command: str) -> None:
    """CLI breaks: after `pip install ostiary` a command of the service ends with a traceback."""
    script = (
        "import importlib.abc, sys\n"
        "class Missing(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.partition('.')[0] in {'pydantic', 'sqlalchemy', 'uvicorn', 'fastapi', 'orjson'}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from ostiary.cli.main import main\n"
        f"main({command.split()!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=clean_environment()
    )
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (2, "", False), done.stderr
    assert done.stderr.splitlines()[-1] == "Install them: pip install 'ostiary[server]'"
