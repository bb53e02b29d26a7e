"""P7: no plaintext secret at rest, in a log, a traceback, a metric, a page or a process list.

The test uses and misuses a real server and the real commands: it sends keys in every place where a person might put one
by mistake, and makes the server fail. Then it searches everything that was written, sent or printed.
"""

import base64
import json
import random
import re
import shlex
import socket
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ostiary.core.keyring import derive, read_master_keys
from ostiary.core.secret import SECRET_LENGTH
from ostiary.data_directory import DATABASE_FILE, MASTER_KEY_FILE
from ostiary.storage.engines import sqlite_module
from tests import servers
from tests.cast import SEED
from tests.conftest import PROVE
from tests.promises.canaries import WINDOW, Canaries
from tests.promises.line import prove
from tests.servers import OSTIARY, Ostiary

pytestmark = [pytest.mark.promise("P7"), pytest.mark.full]

KEYS = 12 if PROVE else 2


# The search itself

SECRET = bytes(
    random.Random(SEED).choices(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", k=44)
)


@pytest.mark.parametrize(
    "encode",
    {
        "raw": lambda text: text,
        "base64": base64.b64encode,
        "base64url": base64.urlsafe_b64encode,
        "hex": lambda text: text.hex().encode(),
        "HEX": lambda text: text.hex().upper().encode(),
        "URL": lambda text: quote(text).encode(),
        "percent": lambda text: "".join(f"%{byte:02X}" for byte in text).encode(),
    }.items(),
    ids=lambda item: item[0],
)
def test_the_searcher_finds_every_window_in_every_encoding(
    encode: tuple[str, Callable[[bytes], bytes]],
) -> None:
    """P7 breaks unnoticed: the search would miss a leak in this encoding."""
    canaries = Canaries()
    canaries.plant("key", SECRET)
    binary = Canaries()
    binary.plant("master key", bytes(range(200, 232)))
    noise = random.Random(SEED)
    for start in range(len(SECRET) - WINDOW + 1):
        for before in range(3):
            around = noise.randbytes(before), noise.randbytes(5)
            text = encode[1](around[0] + SECRET[start : start + WINDOW] + around[1])
            assert canaries.found_in(b"some text " + text + b" and more"), (start, before)
    assert binary.found_in(encode[1](b"x" + bytes(range(210, 222)) + b"y"))


def test_the_searcher_finds_nothing_where_nothing_is() -> None:
    """P7 breaks unnoticed: the search reports secrets that are not there."""
    canaries = Canaries()
    canaries.plant("key", SECRET)
    assert canaries.found_in(random.Random(SEED + 1).randbytes(100_000)) == set()
    assert canaries.found_in(b"ak-0123456789abcdef0123456789abcdef\xe2\x80\xa6" + SECRET[-6:]) == set()
    assert canaries.found_in(SECRET[:11] + b" " + SECRET[20:31]) == set()


# Uses and misuses


@dataclass(slots=True)
class Search:
    """The canaries, and all recorded output by its source."""

    canaries: Canaries = field(default_factory=Canaries)
    seen: list[tuple[str, bytes]] = field(default_factory=list)

    def key(self, name: str, text: str) -> None:
        """Plant an API key without its public parts, prefix and access id: only the 44 characters after them."""
        self.canaries.plant(name, text[-SECRET_LENGTH:].encode())

    def private_key(self, name: str, pem: str) -> None:
        """Plant the private half of a key file's key: its number, and its text without the common beginning."""
        key = load_pem_private_key(pem.encode(), None)
        if isinstance(key, RSAPrivateKey):
            number = key.private_numbers().d
            self.canaries.plant(name, number.to_bytes((number.bit_length() + 7) // 8))
        else:
            assert isinstance(key, Ed25519PrivateKey)
            self.canaries.plant(name, key.private_bytes_raw())
        lines = pem.splitlines()[1:-1]
        for line in lines[1:] or lines:
            self.canaries.plant(name, line.encode()[-43:])

    def see(self, where: str, text: bytes, showing: str | None = None) -> None:
        """Record output. `showing` is the one secret that it may contain, once."""
        if showing is not None:
            assert text.count(showing.encode()) == 1, f"{where} does not show its secret exactly once"
            text = text.replace(showing.encode(), b"")
        self.seen.append((where, text))

    def see_files(self, directory: Path, when: str) -> None:
        for path in sorted(directory.rglob("*")):
            # The one file where the master key belongs.
            if path.is_file() and path.name != MASTER_KEY_FILE:
                self.see(f"{path.name} {when}", path.read_bytes())

    def hits(self) -> list[str]:
        return sorted(
            f"{where}: {name} ({form})"
            for where, text in self.seen
            for name, form in self.canaries.found_in(text)
        )


def send(port: int, method: str, target: str, *fields: str, body: str = "") -> bytes:
    """Send one request unchanged and return the whole response."""
    head = [
        f"{method} {target} HTTP/1.1",
        *fields,
        f"content-length: {len(body.encode())}",
        "connection: close",
    ]
    if not any(each.lower().startswith("host:") for each in fields):
        head.append("host: localhost")
    with socket.create_connection(("127.0.0.1", port), timeout=servers.PATIENCE) as sock:
        sock.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body.encode())
        answer = b""
        while part := sock.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 "), f"no answer to {method}"
    return answer


JSON = "content-type: application/json"


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    fields: tuple[str, ...]
    body: str = ""

    def label(self, key: str) -> str:
        """Describe the request without its secrets."""
        text = f"{self.method} {self.target} {' '.join(self.fields[1:])} {self.body}"
        return (
            text.replace(key, "KEY")
            .replace(key[-64:], "KEY's end")
            .replace(key[:64], "KEY's beginning")[:160]
        )


def misuses(key: str, operator: str, account: str) -> list[Request]:
    """Return requests with a key in every place where a person might put it by mistake."""
    good = f"x-api-key: {operator}"
    wrong = key[:-1] + ("x" if key[-1] != "x" else "y")
    paths = [
        f"/{key}", f"/v1/{key}", f"/v1/credentials/{key}", f"/v1/service-accounts/{key}", f"/v1/access-rules/{key}",
        f"/v1/authorize/{key}", f"/v1/authorize/-/{key}", f"/v1/authorize-nginx/{key}",
        f"/v1/service-accounts/{account}/credentials/{key}",
        *(f"{path}?{name}={key}" for path in ("/v1/capabilities", "/v1/service-accounts", "/healthz", "/nowhere")
          for name in ("api_key", "access_token", "token", "q")),
        *(f"/v1/audit-events?{name}={key}" for name in ("actor", "target", "action", "filter", "since", "limit", "cursor")),
        f"/v1/audit-events?{key}=1", f"/v1/service-accounts?username={key}",
    ]  # fmt: skip
    accounts = "/v1/service-accounts"
    robo: dict[str, Any] = {"display_name": "Robo", "roles": [{"role": "developer"}]}
    asked = {"credential": operator}
    bodies: list[tuple[str, str, Any]] = [
        ("POST", accounts, robo | {"username": key}),
        ("POST", accounts, robo | {"scopes": [key]}),
        ("POST", accounts, robo | {"roles": [{"role": key[:64], "on": key[-64:]}]}),
        ("POST", accounts, robo | {key: 1}),
        ("POST", accounts, robo | {"credential": {"kind": "api_key", key: {}}}),
        ("POST", accounts, robo | {"credential": {"kind": key}}),
        ("POST", accounts, robo | {"credential": {"kind": "api_key", "expires_at": key, "allowed_ips": [key]}}),
        ("POST", accounts, [key]),
        ("POST", accounts, key),
        ("POST", "/v1/api-keys", {"project": key[-64:]}),
        ("PATCH", f"{accounts}/{account}", {key: key}),
        ("PATCH", f"{accounts}/{account}", {"display_name": f"\u202e{key}", "description": f"\u0007{key}"}),
        ("PUT", f"{accounts}/{account}/role-bindings", {"bindings": [{"role": key[-64:]}]}),
        ("PUT", "/v1/access-rules/agents", {"match": [{"path": f"/{key}", "resource": key, "scopes": [key]}]}),
        ("PUT", f"/v1/access-rules/{key}", {"match": []}),
        ("POST", "/v1/verify", asked | {key: 1}),
        ("POST", "/v1/verify", asked | {"ip": key, "scopes": [key], "project": key, "resource": key}),
        ("POST", "/v1/verify", asked | {"project": key, "audience": key}),
        ("POST", "/v1/verify", {"credential": {key: key}}),
    ]  # fmt: skip
    texts = [
        f'{{"credential": "{key}"', f'{{"credential": {key}}}', f"credential={key}", key,
        f'{{"{key}": 1, "{key}": 2}}', f'{{"{key}": "\\u0000"}}', f'{{"{key}": {{"a": "\\ud800"}}}}',
        f'{{"credential": NaN, "{key}": 1}}', f'{{"display_name": "{key}\\u0007"}}',
    ]  # fmt: skip
    presented = [
        f"authorization: Basic {base64.b64encode(f'alice:{key}'.encode()).decode()}",
        f"authorization: Digest {key}", f"authorization: Bearer Bearer {key}", f"authorization: {key}",
        f"x-api-key: {wrong}", f"x-api-key: {key}x", f"x-api-key: {key[:-1]}", f"x-api-key: zz-{key[3:]}",
        f"x-api-key: {key.upper()}", f"x-api-key: '{key}'", f"authorization: Bearer {wrong}",
        f"x-api-key: {key}\r\napi-key: {operator}",
    ]  # fmt: skip
    beside = [
        "user-agent: {}", "user-agent: curl/8 -H X-API-Key:{}", "referer: https://a.test/?k={}", "cookie: s={}",
        "x-forwarded-for: {}", "x-request-id: {}", "traceparent: {}", "accept: {}", "x-{}: 1", "host: {}", "origin: {}",
        "accept-language: {}", "if-match: {}", "idempotency-key: {}",
        # The audit log truncates user agents. No cut may leave half of a key.
        *(f"user-agent: {'x' * length}-{{}}" for length in range(90, 200, 7)),
    ]  # fmt: skip
    # One request changes nothing, one is refused, two change data: each leaves other traces.
    acts = [("GET", "/v1/capabilities"), ("GET", "/v1/credentials/cred_none"),
            ("POST", f"{accounts}/{account}/disable"), ("POST", f"{accounts}/{account}/enable")]  # fmt: skip
    judging = ("/v1/capabilities", accounts, "/v1/authorize/-", "/v1/authorize-nginx/-")
    return [
        *(Request(method, path, (good,)) for path in paths for method in ("GET", "DELETE")),
        *(Request(method, path, (good, JSON), json.dumps(body)) for method, path, body in bodies),
        *(Request("POST", path, (good, kind), text) for text in texts for path in ("/v1/verify", accounts)
          for kind in (JSON, f"content-type: {key}")),
        *(Request("GET", path, ("", each)) for each in presented for path in judging),
        *(Request(*act, (good, each.format(key))) for each in beside for act in acts),
        *(Request(method, "/v1/capabilities", (good,)) for method in (key, "GET" + key[-20:], key[-WINDOW:])),
    ]  # fmt: skip


def misuse(server: Ostiary, search: Search, key: str, account: str) -> list[int]:
    """Send all of these requests. Returns the statuses of the responses."""
    statuses = []
    for request in misuses(key, server.key, account):
        fields = [each for each in request.fields if each]
        answer = send(server.port, request.method, request.target, *fields, body=request.body)
        label = request.label(key).replace(server.key, "OPERATOR")
        search.see(f"answer to {label}", answer)
        statuses.append(int(answer[9:12]))
    return statuses


def use(server: Ostiary, search: Search, key: str, credential: str) -> None:
    """The daily uses of a key."""
    good = f"x-api-key: {server.key}"
    for code in ("deactivate", "activate", "revoke"):
        search.see(
            "answer of verify",
            send(server.port, "POST", "/v1/verify", good, JSON, body=json.dumps({"credential": key})),
        )
        search.see(
            f"answer of {code}", send(server.port, "POST", f"/v1/credentials/{credential}/{code}", good)
        )
        for name in ("x-api-key: ", "api-key: ", "authorization: Bearer ", "authorization: ApiKey "):
            for path in (
                "/v1/capabilities",
                "/v1/authorize/-/x",
                "/v1/authorize-nginx/-",
                "/v1/service-accounts",
            ):
                search.see(f"answer of {path}", send(server.port, "GET", path, name + key))
    for path in (
        "/v1/credentials",
        "/v1/api-keys",
        f"/v1/credentials/{credential}",
        "/v1/audit-events?limit=200",
    ):
        search.see(f"answer of {path}", send(server.port, "GET", path, good))


def fail(server: Ostiary, search: Search, key: str) -> list[bytes]:
    """Make the server fail: lock the database, then remove its tables. Returns the responses."""
    good = f"x-api-key: {server.key}"
    body = json.dumps({"display_name": "Robo"})
    connection: sqlite3.Connection = sqlite_module.connect(server.data / DATABASE_FILE, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    answers = [send(server.port, "POST", "/v1/service-accounts", good, JSON, f"user-agent: {key}", body=body)]
    connection.execute("ROLLBACK")
    connection.execute("ALTER TABLE audit_events RENAME TO elsewhere")
    answers.append(
        send(server.port, "POST", "/v1/service-accounts", good, JSON, f"user-agent: {key}", body=body)
    )
    answers.append(send(server.port, "GET", "/v1/audit-events", good, f"user-agent: {key}"))
    connection.execute("ALTER TABLE elsewhere RENAME TO audit_events")
    connection.execute("ALTER TABLE generations RENAME TO elsewhere")
    answers.append(send(server.port, "POST", "/v1/verify", good, JSON, body=json.dumps({"credential": key})))
    answers.append(send(server.port, "GET", "/v1/capabilities", f"x-api-key: {key}"))
    answers.append(send(server.port, "GET", "/v1/authorize/-", f"authorization: Bearer {key}"))
    answers.append(send(server.port, "POST", "/v1/api-keys", good, JSON, body="{}"))
    connection.execute("ALTER TABLE elsewhere RENAME TO generations")
    connection.close()
    for number, answer in enumerate(answers):
        search.see(f"answer {number} of a failing server", answer)
    return answers


def generate(server: Ostiary, search: Search, *options: str) -> str:
    """Create a key by the command line. Only its standard output may contain it."""
    done = server.command("api-key", "generate", "--service-account", "robo", *options)
    key = next(
        word
        for word in shlex.split(done.stdout.replace(",", " ").replace("=", " "))
        if word.startswith("ak-") and "…" not in word
    )
    search.key(f"key of the command line {options}", key)
    search.see(f"output of api-key generate {options}", done.stdout.encode(), showing=key)
    search.see(f"errors of api-key generate {options}", done.stderr.encode())
    return key


def other_kinds(server: Ostiary, search: Search, account: str, spare: Path) -> None:
    """Create and rotate client secrets and key files, by the API and by the command line."""
    good = f"x-api-key: {server.key}"
    for algorithm in ("RS256", "EdDSA"):
        body = json.dumps({"kind": "key_file", "algorithm": algorithm})
        address = f"/v1/service-accounts/{account}/credentials"
        for act in ("create", "rotate"):
            once = (good, JSON, f"idempotency-key: {act} {algorithm}")
            answer = send(server.port, "POST", address, *once, body=body)
            made = json.loads(answer.partition(b"\r\n\r\n")[2])
            private_key = made["secret"]["private_key"]
            search.private_key(f"key file {algorithm}, {act}", private_key)
            search.see(f"answer of {act}", answer, showing=json.dumps(private_key))
            search.see(f"repeat of {act}", send(server.port, "POST", address, *once, body=body))
            address, body = f"/v1/credentials/{made['credential']['id']}/rotate", "{}"
        out = spare.with_name(f"{algorithm}.json")
        done = server.command(
            "key-file", "generate", "--service-account", "robo", "--out", str(out), "--algorithm", algorithm
        )
        search.private_key(
            f"key file {algorithm} of the command line", json.loads(out.read_text())["private_key"]
        )
        search.see("output of key-file generate", (done.stdout + done.stderr).encode())
    for form in ("plain", "env", "json", "toml"):
        done = server.command("client-secret", "generate", "--service-account", "robo", "--format", form)
        text = re.search(r"secret_[0-9a-zA-Z]{76}", done.stdout)
        assert text is not None
        search.key(f"client secret {form}", text[0])
        search.see(f"output of client-secret generate {form}", done.stdout.encode(), showing=text[0])
        search.see(f"errors of client-secret generate {form}", done.stderr.encode())
        for name in ("x-api-key: ", "authorization: Bearer "):
            search.see(
                "answer to a client secret", send(server.port, "GET", "/v1/capabilities", name + text[0])
            )


def command_line(server: Ostiary, search: Search, key: str, credential: str, spare: Path) -> None:
    """Run every command that reads, with every wrong way to pass a key."""
    wrong = key[:-1] + ("x" if key[-1] != "x" else "y")
    data = str(server.data)
    runs: list[tuple[int, list[str], dict[str, str], str | None]] = [
        (0, ["whoami"], {}, None),
        (0, ["service-account", "list"], {}, None),
        (0, ["credential", "list"], {}, None),
        (0, ["credential", "list", "--json"], {}, None),
        (0, ["credential", "show", credential], {}, None),
        (0, ["audit", "logs", "--limit", "500"], {}, None),
        (0, ["audit", "logs", "--json"], {}, None),
        (0, ["config", "--data", data], {}, None),
        (0, ["config", "--data", data, "--json"], {}, None),
        (0, ["doctor", "--data", data], {}, None),
        (2, ["init", "--data", data, "--organization", "Acme", "--email", "alice@acme.test"], {}, None),
        # On the command line
        (2, ["credential", "show", key], {}, None),
        (2, ["credential", "revoke", "--yes", f"x{key}x"], {}, None),
        (2, ["api-call", "POST", "/v1/verify", "--data", json.dumps({"credential": key})], {}, None),
        (2, ["api-call", "GET", f"/v1/capabilities?api_key={key}"], {}, None),
        (2, ["service-account", "create", "--name", key], {}, None),
        (2, ["init", "--data", str(spare), "--organization", key, "--email", "alice@acme.test"], {}, None),
        (2, [key], {}, None),
        (2, [f"--{key}"], {}, None),
        # In the environment and on standard input
        (4, ["whoami"], {"OSTIARY_API_KEY": wrong}, None),
        (4, ["whoami"], {"OSTIARY_API_KEY": f"{key}x"}, None),
        (2, ["whoami"], {"OSTIARY_API_KEY": f"{key} {key}"}, None),
        (2, ["whoami"], {"OSTIARY_API_KEY": f"{key}é"}, None),
        (2, ["whoami"], {"OSTIARY_API_KEY": "", "OSTIARY_API_KEY_FILE": f"/nonexistent/{key}"}, None),
        (3, ["whoami"], {"OSTIARY_URL": "http://127.0.0.1:1"}, None),
        (2, ["whoami"], {"OSTIARY_URL": f"http://alice:{key}@127.0.0.1:1"}, None),
        (2, ["whoami"], {"OSTIARY_URL": f"http://alice:{key}@192.0.2.1"}, None),
        (0, ["api-call", "POST", "/v1/verify", "--data", "@-"], {}, json.dumps({"credential": key})),
        (2, ["api-call", "POST", "/v1/verify", "--data", "@-"], {}, json.dumps({"credential": key, key: 1})),
        (2, ["api-call", "POST", "/v1/verify", "--data", "@-"], {}, key),
        (2, ["serve", "--data", data], {"OSTIARY_MASTER_KEY": key}, None),
        (2, ["serve", "--data", data], {"OSTIARY_KEY_PREFIX": key}, None),
        (2, ["serve", "--data", data], {"OSTIARY_ISSUER": f"https://alice:{key}@keys.example.com"}, None),
    ]  # fmt: skip
    for number, (code, arguments, environment, stdin) in enumerate(runs):
        in_use = {"OSTIARY_URL": server.url, "OSTIARY_API_KEY": server.key} | environment
        done = servers.run_command(*arguments, code=None, stdin=stdin, environment=in_use)
        assert done.returncode == code, f"run {number} ({arguments[0]}) exited {done.returncode}, not {code}"
        search.see(f"output of run {number}: {arguments[0]}", done.stdout.encode())
        search.see(f"errors of run {number}: {arguments[0]}", done.stderr.encode())


def recover(server: Ostiary, search: Search) -> None:
    """`init --recover` prints a new key and a new password, each once, and no other."""
    done = servers.run_command("init", "--data", str(server.data), "--recover", "--json")
    again = json.loads(done.stdout)
    search.key("recovered operator key", again["api_key"])
    search.canaries.plant("recovered password", again["admin"]["password"].encode())
    rest = done.stdout.replace(again["admin"]["password"], "", 1).encode()
    search.see("output of init --recover", rest, showing=again["api_key"])
    search.see("errors of init --recover", done.stderr.encode())


def see_processes(server: Ostiary, search: Search) -> None:
    """Return the command lines of all processes, while the server and a client command run."""
    follower = subprocess.Popen(
        [*OSTIARY, "audit", "logs", "--follow"],
        env=servers.clean_environment() | {"OSTIARY_URL": server.url, "OSTIARY_API_KEY": server.key},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert follower.stdout is not None
    search.see("what audit logs --follow prints", follower.stdout.readline())
    lines = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines[int(path.parent.name)] = path.read_bytes()
        except OSError:
            continue  # it has ended
    follower.kill()
    search.see("rest of audit logs --follow", follower.communicate()[0])
    assert {server.process.pid, *server.workers(), follower.pid} <= lines.keys()
    for number, line in lines.items():
        search.see(f"command line of process {number}", line)


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_canary_is_seen_outside_the_one_showing(tmp_path: Path, form: Literal["json", "console"]) -> None:
    """P7 breaks: a secret can be read somewhere after it was shown."""
    search = Search()
    rng = random.Random(SEED)
    environment = {"OSTIARY_LOG_FORMAT": form, "OSTIARY_DEFAULT_MAX_CREDENTIALS_PER_SERVICE_ACCOUNT": "none"}
    statuses: list[int] = []
    with servers.ostiary(tmp_path / "data", None, None, **environment) as server:
        search.key("operator key", server.key)
        search.canaries.plant("admin's password", server.first["admin"]["password"].encode())
        text = (server.data / MASTER_KEY_FILE).read_text().strip()
        search.canaries.plant("master key in base64", text.encode())
        search.canaries.plant("master key", read_master_keys(text)[0])
        keyring = derive(read_master_keys(text))
        search.canaries.plant("pepper", keyring.peppers[keyring.newest])
        search.canaries.plant("cursor key", keyring.cursor)
        answer = send(
            server.port, "POST", "/v1/service-accounts", f"x-api-key: {server.key}", JSON,
            body=json.dumps({"display_name": "Robo", "username": "robo", "credential": {"kind": "api_key"}}),
        )  # fmt: skip
        made = json.loads(answer.partition(b"\r\n\r\n")[2])
        account, last = made["service_account"]["id"], made
        search.key("first key", made["secret"])
        search.see("answer of creation", answer, showing=made["secret"])
        for number in range(KEYS):
            answer = send(
                server.port, "POST", f"/v1/service-accounts/{account}/credentials", f"x-api-key: {server.key}", JSON,
                body=json.dumps({"kind": "api_key", "name": f"key {number} {rng.random()}"}),
            )  # fmt: skip
            last = json.loads(answer.partition(b"\r\n\r\n")[2])
            search.key(f"key {number}", last["secret"])
            search.see("answer of creation", answer, showing=last["secret"])
            statuses += misuse(server, search, last["secret"], account)
            use(server, search, last["secret"], last["credential"]["id"])
        options = ((), ("--format", "env"), ("--format", "json"), ("--format", "toml"))
        mine = [generate(server, search, *each) for each in options]
        other_kinds(server, search, account, tmp_path / "spare")
        command_line(server, search, mine[0], last["credential"]["id"], tmp_path / "spare")
        failed = fail(server, search, mine[1])
        statuses += [int(answer[9:12]) for answer in failed]
        search.see("metrics", send(server.port, "GET", "/metrics"))
        recover(server, search)
        see_processes(server, search)
        search.see_files(server.data, "while it runs")
        server.process.terminate()
        server.process.wait(servers.PATIENCE)
        search.see_files(server.data, "afterwards")
        search.see("log", server.log.read_bytes())
        assert not (tmp_path / "spare").exists()
    sizes = sum(len(text) for _, text in search.seen)
    counts = {status: statuses.count(status) for status in sorted(set(statuses))}
    print(
        f"seed {SEED}: {search.canaries.windows} windows as {len(search.canaries)} needles in {len(search.seen)} places,"
        f" {sizes} bytes; answers to misuse and failure: {counts}"
    )
    assert {400, 401, 404, 422, 500, 503} <= counts.keys()
    hits = search.hits()
    assert hits == [], "\n".join(hits)
    # B1: an internal error is an ordinary problem response with the request id and no details.
    kinds = {answer.partition(b"\r\ncontent-type: ")[2].partition(b"\r")[0] for answer in failed}
    assert kinds == {b"application/problem+json"}
    if PROVE and form == "console":
        prove(
            "P7",
            "no plaintext secret at rest, in a log, a traceback, a metric, a page or a process list",
            SEED,
            {
                "canaries' windows of 12 characters": search.canaries.windows,
                "needles (windows in each encoding)": len(search.canaries),
                "places searched (answers, files, outputs, command lines, log)": len(search.seen),
                "bytes searched": sizes,
                "hits": len(hits),
            }
            | {f"answers {status} to misuse and failure": count for status, count in counts.items()},
        )
