"""CLI: shells complete commands, options, and names that only the profile or the service knows."""

import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ostiary.cli.main import run
from tests.cli.edge import Stranger
from tests.servers import OSTIARY, PATIENCE, Ostiary, clean_environment, run_command

JSON = "application/json"


def _asked(
    line: str, environment: Mapping[str, str] | None = None, shell: str = "bash"
) -> subprocess.CompletedProcess[str]:
    """What `ostiary` offers a shell for the last word of the line."""
    words = line.split(" ")
    return subprocess.run(
        OSTIARY,
        env=clean_environment()
        | {
            "_OSTIARY_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1) if shell != "fish" else words[-1],
        }
        | dict(environment or {}),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def _offered(line: str, environment: Mapping[str, str] | None = None) -> list[str]:
    done = _asked(line, environment)
    assert done.stderr == ""
    return [each.removeprefix("plain,") for each in done.stdout.splitlines() if each]


@pytest.fixture
def two_contexts(config: Path) -> None:
    config.write_text(
        '[contexts.prod]\nurl = "https://p.example"\n[contexts.test]\nurl = "https://t.example"\n'
    )
    config.chmod(0o600)


@pytest.mark.parametrize(
    "line, offered",
    [
        ("ostiary cont", ["context"]),
        ("ostiary credential re", ["revoke"]),
        ("ostiary context ", ["list", "show", "use", "add", "remove"]),
        ("ostiary context use ", ["prod", "test"]),
        ("ostiary context show t", ["test"]),
        ("ostiary --context p", ["prod"]),
        ("ostiary whoami --context ", ["prod", "test"]),
        ("ostiary api-key generate --format ", ["plain", "env", "json", "toml"]),
        ("ostiary service-account set-roles x --role res", ["resource-server"]),
        ("ostiary completion z", ["zsh"]),
        ("ostiary nothing x", []),
        ("ostiary credential show --nothing x", []),
    ],
)
@pytest.mark.usefixtures("two_contexts")
def test_words_that_need_no_service(line: str, offered: list[str]) -> None:
    """CLI breaks: a word is not completed, or an incomplete line answers with an error."""
    assert _offered(line) == offered


def test_options_are_completed() -> None:
    """CLI breaks: the options of a command are not offered."""
    assert {"--json", "--url", "--no-check"} <= set(_offered("ostiary context add -"))


@pytest.mark.full
def test_names_that_the_service_knows(service: Ostiary, robo: dict[str, Any], key: tuple[str, str]) -> None:
    """CLI breaks: the shell does not complete accounts and credentials."""
    environment = {"OSTIARY_URL": service.url, "OSTIARY_API_KEY": service.key}
    name = robo["username"]
    assert _offered(f"ostiary service-account show {name}", environment)[0] == name
    assert name in _offered("ostiary api-key generate --service-account ", environment)
    assert name in _offered("ostiary service-account disable ro", environment)
    assert key[0] in _offered("ostiary credential revoke cred_", environment)
    service.call("POST", "/v1/roles", {"name": "deployer", "scopes": ["read:agents"]})
    assert _offered("ostiary service-account create --role de", environment) == ["developer", "deployer"]
    # An id alone says little, so shells also get a description.
    explained = _asked(f"ostiary credential show {key[0][:-1]}", environment, "zsh").stdout
    assert f"…{key[1][-6:]} active" in explained
    assert _offered("ostiary service-account show -", environment)[0] == "--json"


@pytest.mark.parametrize(
    "answer",
    [
        (500, "text/html", b"boom"),
        (401, JSON, b"{}"),
        (200, JSON, b"[]"),
        (200, JSON, b'{"data":[{}]}'),
        (200, JSON, b'{"data":[{"username":7,"display_name":"x"}]}'),
        (
            200,
            JSON,
            json.dumps(
                {
                    "data": [
                        {"username": each, "display_name": "x"}
                        for each in ("x;rm -rf", "$(x)", "-x", "a\nplain,b", "", "\x1b[31m")
                    ]
                }
            ).encode(),
        ),
    ],
    ids=["broken", "refused", "no object", "no names", "no text", "harmful"],
)
def test_a_service_cannot_put_anything_on_the_command_line(
    answer: tuple[int, str, bytes], stranger: Stranger
) -> None:
    """CLI breaks: completing shows an error, or inserts what a shell would run."""
    stranger.says(answer)
    environment = {"OSTIARY_URL": stranger.url, "OSTIARY_API_KEY": "ak-x"}
    assert _offered("ostiary service-account show ", environment) == []
    assert len(stranger.asked) == 1


def test_nothing_is_said_where_nothing_can_be_known(config: Path) -> None:
    """CLI breaks: completion prints an error if there is no credential, the profile is invalid or the service is silent."""
    line = "ostiary service-account show "
    assert _offered(line) == []
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        assert _offered(line, {"OSTIARY_URL": url, "OSTIARY_API_KEY": "ak-x"}) == []
    config.write_text("not toml")
    assert _offered(line) == _offered("ostiary --context ") == []


def test_a_service_that_never_ends_its_answer_is_not_waited_for() -> None:
    """CLI breaks: a key press waits for a service without limit."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def trickle() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(ConnectionError):
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
                connection.settimeout(0.1)  # no time-out of a single read ever passes
                while True:
                    connection.sendall(b" ")
                    with contextlib.suppress(TimeoutError):
                        connection.recv(1)

        thread = threading.Thread(target=trickle)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        line = "ostiary service-account show "
        assert _offered(line, {"OSTIARY_URL": url, "OSTIARY_API_KEY": "ak-x"}) == []
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_no_credential_is_sent_in_clear_for_a_press_of_a_key(stranger: Stranger) -> None:
    """R22 breaks: completing sends a key over http to another machine."""
    stranger.says((200, JSON, b'{"data":[]}'))
    environment = {
        "OSTIARY_URL": "http://keys.example",
        "OSTIARY_API_KEY": "ak-x",
        "HTTP_PROXY": stranger.url,
    }
    assert _offered("ostiary service-account show ", environment) == []
    assert stranger.asked == []


def test_completing_words_loads_no_client() -> None:
    """The start of a command breaks: completion imports modules that it does not need."""
    script = (
        "import sys; from ostiary.cli.main import run\n"
        "try: run([])\n"
        "except SystemExit: print('LOADED', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=clean_environment()
        | {"_OSTIARY_COMPLETE": "bash_complete", "COMP_WORDS": "ostiary ser", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("plain,serve\nplain,service-account\nLOADED ")
    loaded = set(done.stdout.split())
    assert loaded & {"httpx2", "rich", "platformdirs", "tomllib", "ostiary.cli.terminal"} == set()


@pytest.fixture
def path_with_ostiary(tmp_path: Path) -> str:
    """A PATH on which `ostiary` is the program under test."""
    script = tmp_path / "bin" / "ostiary"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {shlex.join(OSTIARY)} "$@"\n')
    script.chmod(0o755)
    return f"{script.parent}:{os.environ['PATH']}"


def test_bash_completes_with_our_script(path_with_ostiary: str, two_contexts: None) -> None:
    """CLI breaks: what `ostiary completion bash` prints does not make bash complete."""
    script = """
source <(ostiary completion bash)
complete -p ostiary
for words in 'ostiary credential re' 'ostiary context use ' '~/bin/ostiary --context t'; do
  IFS=' ' read -ra COMP_WORDS <<< "$words"
  [[ $words == *' ' ]] && COMP_WORDS+=('')
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()
  _ostiary_completion ostiary
  echo "${COMPREPLY[@]}"
done
"""
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=clean_environment() | {"PATH": path_with_ostiary},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stderr == ""
    first, *offered = done.stdout.splitlines()
    assert "-F _ostiary_completion ostiary" in first
    assert offered == ["revoke", "prod test", "test"]
    assert two_contexts is None


@pytest.mark.parametrize(
    "shell, first, named",
    [("bash", "# ", "~/.bashrc"), ("zsh", "#compdef ostiary", "~/.zshrc"), ("fish", "# ", "ostiary.fish")],
)
def test_each_script_says_where_it_belongs(shell: str, first: str, named: str) -> None:
    """CLI breaks: a script does not say how to install it, or zsh does not take it for a completion."""
    shown = run_command("completion", shell).stdout
    assert shown.startswith(first)
    assert any(named in line for line in shown.splitlines() if line.startswith("# "))
    assert f"_OSTIARY_COMPLETE={shell}_complete" in shown


def test_another_shell_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    """CLI breaks: `completion` for a shell that we do not know prints a script that does nothing."""
    assert run(["completion", "tcsh"]) == 2
    assert "'bash', 'zsh', 'fish'" in capsys.readouterr().err
