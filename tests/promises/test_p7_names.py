"""P7: a secret in the place of a name is refused, because names are stored, logged and shown forever."""

from pathlib import Path
from typing import Any

import pytest

from ostiary.core import key_file
from ostiary.core.model import CredentialKind
from ostiary.services.service_accounts import AccountView
from tests.cast import Front

pytestmark = pytest.mark.promise("P7")

ACCOUNTS, RULE = "/v1/service-accounts", "/v1/access-rules/agents"

# Every field that is stored as it was sent: method, path, body with KEY in the place of the pasted key.
STORED: dict[str, tuple[str, str, Any]] = {
    "account's name": ("POST", ACCOUNTS, {"display_name": "Robo KEY"}),
    "account's description": ("POST", ACCOUNTS, {"display_name": "Robo", "description": "it has\nKEY"}),
    "account's resource": ("POST", ACCOUNTS, {"display_name": "Robo", "resources": ["agents/KEY"]}),
    "first key's name": ("POST", ACCOUNTS, {"display_name": "R", "credential": {"kind": "api_key", "name": "KEY"}}),
    "account's new name": ("PATCH", f"{ACCOUNTS}/ROBO", {"display_name": "KEY"}),
    "account's new description": ("PATCH", f"{ACCOUNTS}/ROBO", {"description": "KEY"}),
    "key's name": ("POST", f"{ACCOUNTS}/ROBO/credentials", {"kind": "api_key", "name": "KEY"}),
    "key's description": ("POST", f"{ACCOUNTS}/ROBO/credentials", {"kind": "api_key", "description": "KEY"}),
    "key's resource": ("POST", f"{ACCOUNTS}/ROBO/credentials", {"kind": "api_key", "resources": ["KEY"]}),
    "direct key's name": ("POST", "/v1/api-keys", {"name": "KEY"}),
    "key's new name": ("PATCH", "/v1/credentials/CREDENTIAL", {"name": "KEY"}),
    "rule's path": ("PUT", RULE, {"match": [{"path": "/KEY"}]}),
    "rule's resource": ("PUT", RULE, {"match": [{"path": "/x", "resource": "agents/KEY"}]}),
}  # fmt: skip


def pasted(front: Front, robo: AccountView, kind: CredentialKind) -> tuple[str, bytes, str]:
    """A secret of this kind: its text, its unique part, and the id of its credential."""
    pair = key_file.generate("EdDSA") if kind == "key_file" else None
    made = front.house.key(robo, kind=kind, key_pair=pair)
    text = made.secret.reveal()
    secret = text.splitlines()[1][-43:] if kind == "key_file" else text[-44:]
    return text, secret.encode(), made.listed.credential.id


@pytest.mark.parametrize("kind", ["api_key", "client_secret", "key_file"])
@pytest.mark.parametrize("case", STORED.values(), ids=[name.replace(" ", "-") for name in STORED])
def test_a_pasted_key_is_refused_and_not_stored(
    front: Front, tmp_path: Path, case: tuple[str, str, Any], kind: CredentialKind
) -> None:
    """P7 breaks: a key that was pasted as a name is in the database and the audit log in clear text."""
    robo = front.house.account()
    key, secret, credential_id = pasted(front, robo, kind)

    def put(text: str) -> str:
        text = text.replace("CREDENTIAL", credential_id).replace("ROBO", robo.account.id)
        return text.replace("KEY", key)

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: fill(member) for name, member in value.items()}
        if isinstance(value, list):
            return [fill(member) for member in value]
        return put(value) if isinstance(value, str) else value

    method, path, body = case
    answer = front.ask(method, put(path), fill(body), key=front.house.alice_key)
    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert answer.status == 422, answer.status
    assert answer.json()["code"] == "validation-failed"
    assert secret not in answer.body
    assert secret not in files
