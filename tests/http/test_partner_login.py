"""A partner's documented script against a real service: a key file's JSON, an RS256 JWT and a cookie jar."""

import json
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.servers import Ostiary

pytestmark = pytest.mark.full
RACERS = 100


def encoded(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(file: Path) -> str:
    """Return the JWT that the script signs, with `sub`, `iat` and `jti` only."""
    credentials = json.loads(file.read_text())
    claims = {"sub": credentials["key_id"], "iat": int(time.time()), "jti": str(uuid.uuid4())}
    text = f"{encoded({'alg': 'RS256', 'typ': 'JWT'})}.{encoded(claims)}"
    key = load_pem_private_key(credentials["private_key"].encode(), None)
    assert isinstance(key, RSAPrivateKey)
    return f"{text}.{encoded(key.sign(text.encode(), PKCS1v15(), SHA256()))}"


def log_in(service: Ostiary, file: Path) -> requests.Session:
    """Log in as the script does. Return the session with its cookie."""
    session = requests.Session()
    session.trust_env = False
    project_code = json.loads(file.read_text())["project_code"]
    answer = session.post(
        f"{service.url}/identity/public/v1/api/login",
        json={"token": signed(file), "default_project_code": project_code},
        timeout=30,
    )
    answer.raise_for_status()
    return session


def status(service: Ostiary, session: requests.Session, path: str = "/identity/v1/whoami") -> int:
    return session.get(service.url + path, timeout=30).status_code


@pytest.fixture
def robo(service: Ostiary) -> Any:
    body = {"display_name": "Partner", "roles": [{"role": "developer"}]}
    return service.call("POST", "/v1/service-accounts", body).json()["service_account"]


@pytest.fixture
def file(service: Ostiary, robo: Any, tmp_path: Path) -> Iterator[Path]:
    made = service.call("POST", f"/v1/service-accounts/{robo['id']}/credentials", {"kind": "key_file"}).json()
    path = tmp_path / "key.json"
    path.write_text(json.dumps(made["secret"]))
    yield path
    service.call("POST", f"/v1/credentials/{made['credential']['id']}/revoke")


def credential_of(service: Ostiary, file: Path) -> str:
    found = service.call("GET", "/v1/credentials", None).json()["data"]
    key_id = json.loads(file.read_text())["key_id"]
    return str(next(each["id"] for each in found if each["access_id"] == key_id))


def test_the_script_logs_in_and_asks_who_it_is(service: Ostiary, robo: Any, file: Path) -> None:
    """System 1 breaks: a partner's script does not work after changing only the host."""
    with log_in(service, file) as session:
        whoami = session.get(f"{service.url}/identity/v1/whoami", timeout=30).json()
        assert whoami["user_code"] == robo["id"]
        assert whoami["sub"] == robo["id"]
        assert whoami["channel_identifier"] == json.loads(file.read_text())["channel_identifier"]
        assert status(service, session, "/v1/service-accounts") == 200
        listed = session.get(f"{service.url}/v1/sessions", timeout=30).json()["data"]
        assert [each["id"] for each in listed] == [whoami["session"]["id"]]


@pytest.mark.promise("P1")
def test_a_deactivated_key_logs_in_no_more(service: Ostiary, file: Path) -> None:
    """System 1, P1 break: a deactivated key can still log in, or its earlier session remains valid."""
    credential = credential_of(service, file)
    with log_in(service, file) as session:
        assert status(service, session) == 200
        assert service.call("POST", f"/v1/credentials/{credential}/deactivate").status_code == 200
        assert status(service, session) == 401
        with pytest.raises(requests.HTTPError) as caught:
            log_in(service, file)
        assert caught.value.response is not None
        assert caught.value.response.status_code == 401


@pytest.mark.promise("P1")
def test_a_revoked_session_is_dead_at_once(service: Ostiary, file: Path) -> None:
    """P1 breaks: the next request accepts a session that `ostiary session revoke` ended."""
    with log_in(service, file) as one, log_in(service, file) as other:
        session = one.get(f"{service.url}/identity/v1/whoami", timeout=30).json()["session"]["id"]
        assert session in service.command("session", "list").stdout
        for _ in range(2):
            assert f"{session} is revoked." in service.command("session", "revoke", session).stdout
        assert (status(service, one), status(service, other)) == (401, 200)
        listed = json.loads(service.command("session", "list", "--json").stdout)
        assert session not in [each["id"] for each in listed]


@pytest.mark.promise("P8")
def test_of_many_logins_with_one_token_one_succeeds(service: Ostiary, file: Path) -> None:
    """P8 breaks: one token that is sent many times at once starts several sessions, or none."""
    token = signed(file)

    def post(_number: int) -> int:
        return service.call("POST", "/v1/sessions", {"token": token}).status_code

    with ThreadPoolExecutor(16) as threads:
        statuses = list(threads.map(post, range(RACERS)))
    assert sorted(statuses) == [201] + [401] * (RACERS - 1)
