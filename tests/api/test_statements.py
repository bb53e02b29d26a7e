"""The number of SQL statements per request. Each is a round trip, and holds the organization's lock longer."""

from pathlib import Path
from typing import Any

import pytest

from ostiary.services import projects
from tests.cast import Front, House
from tests.watch import statements

MOST = 10
ACCOUNT = "/v1/service-accounts/{account}/credentials"


@pytest.mark.parametrize(
    ("path", "body", "repeatable"),
    [
        (ACCOUNT, {"kind": "api_key"}, True),
        (ACCOUNT, {"kind": "client_secret"}, True),
        ("/v1/api-keys", {}, True),
        # A key file names the account and organization, and a credential its project: one or two more look-ups.
        (ACCOUNT, {"kind": "key_file"}, False),
        (ACCOUNT, {"kind": "api_key", "project": "shop"}, False),
    ],
)
def test_a_credential_takes_ten_statements(
    house: House, tmp_path: Path, path: str, body: dict[str, Any], repeatable: bool
) -> None:
    """Creating credentials gets slow: the transaction reads the same rows several times."""
    account = house.account(roles=("viewer",)).account.id
    house.store.write(projects.create, house.alice, "Shop", "shop", "")
    front = Front(house, tmp_path)
    try:
        assert front.ask("GET", "/v1/service-accounts", key=house.alice_key).status == 200  # she is known now
        for headers in ({}, {"idempotency-key": "one"}) if repeatable else ({},):
            with statements(house.store.engines) as sent:
                answer = front.ask(
                    "POST", path.format(account=account), body, key=house.alice_key, headers=headers
                )
            assert answer.status == 201, answer.body
            assert len(sent) <= MOST, "\n".join(sent)
    finally:
        front.close()
