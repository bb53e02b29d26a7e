"""P20: every response of the API matches its OpenAPI document, and none is a 500.

Schemathesis generates valid and invalid requests from the document and sends them to the application in this process:
first to each operation alone, then in chains that use ids of earlier responses. Charlie, of another organization, sends
them too, and must never see data of Acme. Each chain gets a new house, because it may revoke the key that it uses.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

import pytest
import schemathesis
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from ostiary.services import credentials
from ostiary.services.issuance import CredentialSpec
from ostiary.storage.store import Tx
from ostiary.storage.tables import metadata
from tests.cast import Front, House
from tests.conftest import PROVE
from tests.house.generated_pages import OPENAPI
from tests.house.openapi import oauth
from tests.house.openapi.examples import PREPARE, PROXY, Studio, nothing, studio

pytestmark = [pytest.mark.promise("P20"), pytest.mark.full]

CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
NARROW: Final = ("read:service-accounts", "write:credentials", "read:agents")
WHO: Final = ("narrow", "stranger", "admin")
"""The senders of each request. The one with the most permissions comes last."""
EXAMPLES: Final = 100 if PROVE else 2
"""The number of requests for each operation, besides the document's examples."""
LOGIN: Final = {"token": "$login"}
PROOFS: Final = oauth.BODIES | {"/v1/sessions": LOGIN, "/identity/public/v1/api/login": LOGIN}
"""Bodies with credentials. The document's examples contain no complete secrets."""
CHAINS: Final = 500 if PROVE else 50
ID: Final = re.compile(r"\b(?:org|prj|usr|inv|role|sa|cred|app|gra|ses|evt)_[0-9a-z]{26}\b")


class Entrance:
    """The application on the current house. Periodic tasks do not run."""

    front: Front | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        assert self.front is not None
        await self.front.door({**scope, "client": (PROXY, 40000)}, receive, send)


ENTRANCE: Final = Entrance()
ACCOUNTS: Final = (
    # Where account ids are found. Schemathesis recognizes other parameters by their names.
    ("/v1/service-accounts", "post", "201", "/service_account/id"),
    ("/v1/service-accounts", "get", "200", "/data/0/id"),
)


def load() -> Any:
    """Return the document for schemathesis, with links from responses to the operations that use their ids."""
    document = json.loads(OPENAPI.read_text("utf-8"))
    taking = {
        operation["operationId"]
        for path, methods in document["paths"].items()
        for operation in methods.values()
        if "{account}" in path
    }
    for path, method, status, pointer in ACCOUNTS:
        document["paths"][path][method]["responses"][status]["links"] = {
            name: {"operationId": name, "parameters": {"account": f"$response.body#{pointer}"}}
            for name in taking
        }
    config = {
        "generation": {"with-security-parameters": False},
        "phases": {"coverage": {"enabled": PROVE}},
    }
    schema = schemathesis.openapi.from_dict(document, config=SchemathesisConfig.from_dict(config))
    schema.app = ENTRANCE
    schema.apply_stateful_inference(None)
    return schema


SCHEMA: Final = load()
USING_IDS: Final = {
    operation["operationId"]
    for path, methods in SCHEMA.raw_schema["paths"].items()
    for operation in methods.values()
    if "{" in path and "/authorize" not in path and "{session}" not in path
}
"""A session requires a JWT by a key file, which no chain can sign."""


class Visit:
    """A new house, and the senders of requests."""

    def __init__(self, made: Studio, tally: Counter[tuple[str, str, int]]) -> None:
        self._stack = ExitStack()
        self.front = self._stack.enter_context(made.house("fuzz"))
        self.names = made.names
        self.fill = made.fill
        self.tally = tally
        house = self.front.house
        spec = CredentialSpec(name="narrow", access_level="fine_grained", scopes=NARROW)
        self.keys = {
            "narrow": house.store.write(credentials.create_direct, house.alice, spec).secret.reveal(),
            "stranger": house.charlie_key,
            "admin": house.alice_key,
        }

    def end(self) -> None:
        self._stack.close()

    def prepare(self, case: Any) -> None:
        """Run the preparations of the examples, once."""
        if not self.tally:
            PREPARE.get(operation_of(case), nothing)(self.front, self.names)

    def aim(self, case: Any) -> None:
        """Replace ids in the request by existing ones. Random ids would never exist."""
        case.path_parameters = {name: self.names[name] for name in case.path_parameters or {}}
        if case.operation.path in PROOFS:
            case.media_type = "application/json"
            case.body = self.fill(PROOFS[case.operation.path])
        loosen(case)

    def send(self, case: Any, who: str) -> Response:
        """Send the request and check its response."""
        ENTRANCE.front = self.front
        response: Response = case.call(headers={"X-API-Key": self.keys[who]})
        self.tally[operation_of(case), who, response.status_code] += 1
        case.validate_response(response, checks=CHECKS)
        if who == "stranger" and 200 <= response.status_code < 300:
            self._nothing_of_acme(case, response)
        return response

    def _nothing_of_acme(self, case: Any, response: Response) -> None:
        named = {*(case.path_parameters or {}).values(), (case.query or {}).get("organization")}
        if "/authorize" in case.operation.path:
            named = set()  # rules belong to the installation, and every path below one is valid
        seen = {str(name) for name in named} | set(ID.findall(response.content.decode()))
        assert not seen & self.front.house.store.read(_ids_of, self.front.house), case.operation.label


def operation_of(case: Any) -> str:
    name: str = case.operation.definition.raw["operationId"]
    return name


def loosen(case: Any) -> None:
    """Remove what would refuse nearly every request: a random organization, cursor or tag."""
    for name in ("organization", "cursor"):
        (case.query or {}).pop(name, None)
    case.headers.pop("If-Match", None)


def reached(tally: Counter[tuple[str, str, int]]) -> set[str]:
    """Operations that succeeded for at least one sender."""
    return {name for name, _, status in tally if 200 <= status < 300}


def _ids_of(tx: Tx, house: House) -> set[str]:
    """Return every id in Acme."""
    found = {house.acme.id}
    for table in metadata.tables.values():
        if "organization_id" in table.c:
            columns = [column for column in table.primary_key if column.name != "organization_id"]
            rows = (
                tx.execute(sa.select(*columns).where(table.c.organization_id == house.acme.id))
                if columns
                else ()
            )
            found |= {str(value) for row in rows for value in row}
    return {each for each in found if ID.fullmatch(each)}


@pytest.fixture(scope="module")
def made() -> Iterator[Studio]:
    with studio() as found:
        yield found


@pytest.fixture
def visit(made: Studio) -> Iterator[Visit]:
    """All requests of an operation use one house. At least one request must succeed."""
    found = Visit(made, Counter())
    yield found
    found.end()
    assert reached(found.tally) == {name for name, _, _ in found.tally}


SETTINGS: Final = settings(
    deadline=None,
    derandomize=not PROVE,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


@SCHEMA.parametrize()  # type: ignore[untyped-decorator] # schemathesis is not typed here
@settings(SETTINGS, max_examples=EXAMPLES)
def test_an_operation(case: Any, visit: Visit) -> None:
    """P20 breaks: a response is a 500, or differs from the document. P19: a stranger sees data of Acme."""
    visit.prepare(case)
    for who in WHO:
        visit.send(case, who)
    visit.aim(case)
    for who in WHO:
        visit.send(case, who)


def test_chains_of_operations(made: Studio) -> None:
    """P20 breaks: a request makes a later one fail. P19: a stranger gets data of Acme."""
    tally: Counter[tuple[str, str, int]] = Counter()

    # OAuth responses contain no ids for other operations. The test above covers these endpoints.
    class Chain(SCHEMA.exclude(tag="OAuth").as_state_machine()):  # type: ignore[misc] # made at run time
        def setup(self) -> None:
            self.visit = Visit(made, tally)

        def teardown(self) -> None:
            self.visit.end()

        def before_call(self, case: Any) -> None:
            loosen(case)

        def call(self, case: Any, **_: Any) -> Response:
            self.visit.send(case, "stranger")
            return self.visit.send(case, "admin")

        def validate_response(self, *_: Any, **__: Any) -> None:
            pass  # `send` did

    Chain.run(
        settings=settings(SETTINGS, max_examples=CHAINS, stateful_step_count=12, phases=[Phase.generate])
    )
    admins = {(name, status): number for (name, who, status), number in tally.items() if who == "admin"}
    done = sum(number for (_, status), number in admins.items() if 200 <= status < 300)
    locked_out = sum(number for (_, status), number in admins.items() if status == 401)
    assert done > sum(admins.values()) / 4, "most requests were refused: the chains show little"
    assert locked_out < sum(admins.values()) / 10, "keys were revoked early: the chains show little"
    assert len(reached(tally) & USING_IDS) > len(USING_IDS) / 3, "ids of earlier answers are hardly used"
