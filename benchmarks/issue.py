"""S7: `POST /oauth/token` with client credentials and ES256, compared with bare signatures and with a peer.

Each token is an event in the audit log, which is committed before the response. Waiting requests share a commit.
Therefore the benchmark uses many connections, and its result includes the disk.
"""

import statistics
import time
from base64 import b64encode
from contextlib import ExitStack
from pathlib import Path

from benchmarks import rivals
from benchmarks.measure import Load, Plan, Row, Target, absent, at_least, body_script, rate, sound, wrk
from benchmarks.verify import client
from ostiary.core import access_token
from ostiary.core.secret import Secret
from ostiary.core.signing import Signer, SigningKey, generate
from tests import servers
from tests.cast import MASTER_KEY
from tests.servers import Ostiary

CONNECTIONS = 32
OF_SIGN, OF_PEER = 0.35, 1.5
CLAIMS = {
    "iss": "http://localhost:8080",
    "sub": "sa_01m7zz0000e008000000000000",
    "aud": "http://localhost:8080",
    "client_id": "ostiary-sa-01m7zz0000e008000000000000",
    "account_id": "org_01m7zz0000e008000000000000",
    "scope": "api",
    "iat": 1_795_000_000,
    "exp": 1_795_086_400,
    "jti": "tok_01m7zz0000e008000000000000",
    "cid": "ostiary-sa-01m7zz0000e008000000000000",
    "ost_cred": "cred_01m7zz0000e008000000000000:1",
}
"""The same number and length of claims as in a real token."""


def signer() -> Signer:
    """Return a signer like the service's own."""
    pair = generate("ES256")
    key = SigningKey("k", "access_token", "ES256", pair.public_key, 0, 0, None, None)
    return Signer(key, Secret(pair.private_key.reveal()))


def signatures(sign: Signer) -> float:
    """Return the signatures per CPU-second, the same unit as for the servers."""
    begun, used = time.perf_counter(), time.process_time()
    per_second = rate(lambda: sign.sign(access_token.TYPE, dict(CLAIMS)))
    return per_second * (time.perf_counter() - begun) / (time.process_time() - used)


def asking(service: Ostiary, scratch: Path, name: str) -> Target:
    """Return the load of one client that requests tokens with its secret."""
    script = body_script(scratch / f"issue-{name}.lua", rivals.TRADE, rivals.FORM)
    fields = (rivals.basic(*client(service)),)
    return Target(f"{service.url}/oauth/token", service.process.pid, fields, script)


def run(scratch: Path, plan: Plan) -> list[Row]:
    rows: list[Row] = []
    with ExitStack() as stack:
        targets: dict[str, Target] = {}
        service = stack.enter_context(rivals.service(scratch / "issue-sqlite"))
        targets["sqlite"] = asking(service, scratch, "sqlite")
        try:
            database = stack.enter_context(servers.postgres())
            service = stack.enter_context(
                rivals.service(
                    scratch / "issue-postgresql",
                    OSTIARY_DATABASE_URL=database.url("postgres"),
                    OSTIARY_MASTER_KEY=b64encode(MASTER_KEY).decode(),
                )
            )
            targets["postgresql"] = asking(service, scratch, "postgresql")
        except servers.UnavailableError as error:
            rows.append(absent("S7", "POST /oauth/token on postgresql", str(error)))
        peer = version = ""
        try:
            targets["peer"], version = stack.enter_context(rivals.issuing_peer(scratch))
            peer = "peer"
        except servers.UnavailableError as error:
            rows.append(absent("S7", "the peer's token", str(error)))
        sign = signer()
        for target in targets.values():
            sound(wrk(target, plan.warm_up, CONNECTIONS))
        loads: dict[str, list[Load]] = {name: [] for name in targets}
        signs: list[float] = []
        for _ in range(plan.rounds):
            signs.append(signatures(sign))
            for name, target in targets.items():
                loads[name].append(sound(wrk(target, plan.seconds, CONNECTIONS)))
    for name, mine in loads.items():
        if name == peer:
            continue
        work = f"POST /oauth/token on {name}, {CONNECTIONS} connections"
        per_second = statistics.median(load.per_second for load in mine)
        note = f"{per_second:,.0f} tokens/s, p99 {statistics.median(load.p99 for load in mine):.1f} ms"
        of_sign = [load.per_cpu_second / each for load, each in zip(mine, signs, strict=True)]
        rows.append(at_least("S7", f"{work}, of our own signatures", of_sign, OF_SIGN, note))
        if peer:
            of_peer = [
                load.per_cpu_second / other.per_cpu_second
                for load, other in zip(mine, loads[peer], strict=True)
            ]
            rows.append(at_least("S7", f"{work}, of the peer's", of_peer, OF_PEER, version))
    rows.append(Row("S7", "our own signatures per CPU-second", f"{statistics.median(signs):,.0f}"))
    for name, mine in loads.items():
        per_cpu = statistics.median(load.per_cpu_second for load in mine)
        rows.append(Row("S7", f"POST /oauth/token, {name}, tokens per CPU-second", f"{per_cpu:,.0f}"))
    return rows
