"""golang.org/x/oauth2, the library of Go programs: machine clients with a secret, and public clients of people.

The Go compiler is large, so these tests run in `make prove` only, with Debian's packages of compiler and library.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.applications import CHALLENGE, VERIFIER
from tests.clients.conftest import Robo
from tests.clients.conversation import conversation
from tests.clients.people import CALLBACK, Alice
from tests.conftest import unavailable
from tests.servers import UnavailableError

pytestmark = [pytest.mark.full, pytest.mark.promise("clients"), pytest.mark.prove]

SOURCE = Path(__file__).with_name("oauth2.go")
PACKAGES = Path("/usr/share/gocode")
"""The directory of Debian's packages for Go libraries."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The compiled program."""
    go = shutil.which("go")
    if go is None or not (PACKAGES / "src/golang.org/x/oauth2").is_dir():
        unavailable(UnavailableError("Go or golang.org/x/oauth2 is not installed"))
    home = tmp_path_factory.mktemp("go")
    environment = {
        "GO111MODULE": "off",
        "GOFLAGS": "",
        "GOPATH": str(PACKAGES),
        "GOCACHE": str(home / "cache"),
    }
    built = home / "oauth2"
    subprocess.run([str(go), "build", "-o", built, SOURCE], env=os.environ | environment, check=True)
    return str(built)


def machine(program: str, robo: Robo, style: str, **changed: Any) -> dict[str, Any]:
    usual = {"client_id": robo.client_id, "client_secret": robo.secret, "scopes": ["read:agents"]}
    told = {"task": "machine", "issuer": robo.issuer, "style": style}

    def answer(question: dict[str, Any]) -> list[str]:
        return robo.capable(question["capable"])

    found: dict[str, Any] = conversation([program], told | usual | changed, answer)
    return found


@pytest.mark.parametrize("style", ["header", "params", "detect"])
def test_a_machine_gets_a_token_for_its_secret(program: str, robo: Robo, style: str) -> None:
    """RFC 6749 §2.3.1 breaks: a Go program gets no token for its client secret."""
    found = machine(program, robo, style)
    assert found == {"type": "Bearer", "valid": True, "scopes": ["read:agents"]}


@pytest.mark.parametrize("style", ["header", "params", "detect"])
def test_the_client_id_is_percent_encoded(program: str, robo: Robo, style: str) -> None:
    """RFC 6749 §2.3.1 breaks: a client id with `@`, which the library sends as `%40` in Basic, is not accepted."""
    email = robo.key_file["client_email"]
    assert "@" in email
    assert machine(program, robo, style, client_id=email)["scopes"] == ["read:agents"]


def test_a_wrong_secret_is_refused_in_its_own_words(program: str, robo: Robo) -> None:
    """RFC 6749 §5.2 breaks: a Go program with a wrong secret gets a token, or cannot read the error."""
    assert machine(program, robo, "detect", client_secret=robo.secret[:-1] + "%") == {
        "refused": "invalid_client"
    }


@pytest.mark.parametrize("style", ["header", "params", "detect"])
def test_an_application_without_a_secret_keeps_its_access(program: str, alice: Alice, style: str) -> None:
    """RFC 6749 §4.1 and §6 break: a Go program without a secret gets no access, or loses it at the first refresh.

    By default it sends HTTP Basic with an empty password.
    """
    told = {
        "task": "code",
        "issuer": alice.issuer,
        "style": style,
        "client_id": alice.application(),
        "redirect_uri": CALLBACK,
        "scopes": ["read:agents", "offline_access"],
        "verifier": VERIFIER,
        "challenge": CHALLENGE,
    }
    found = conversation([program], told, alice.answer)
    assert found == {"before": ["read:agents"], "kept": ["read:agents"], "rotated": True}
