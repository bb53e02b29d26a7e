"""Client secrets and key files in the API: what is created, what is shown once, and how they differ from API keys."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ostiary.core import key_file
from ostiary.core.secret import checksum
from tests.cast import Answer, Front

KINDS = ("client_secret", "key_file")
ACCOUNTS = "/v1/service-accounts"


def create(front: Front, account: str, body: dict[str, Any], key: str | None = None, **fields: str) -> Answer:
    return front.ask(
        "POST",
        f"{ACCOUNTS}/{account}/credentials",
        body,
        key=key or front.house.alice_key,
        headers={name.replace("_", "-"): value for name, value in fields.items()},
    )


def test_a_client_secret_comes_with_its_client_id(front: Front) -> None:
    """API breaks: the creator of a client secret does not get the full secret, or its client id."""
    robo = front.house.account().account
    made = create(front, robo.id, {"kind": "client_secret"})
    assert made.status == 201
    credential, secret = made.json()["credential"], made.json()["secret"]
    assert (credential["kind"], credential["client_id"], credential["compat"]) == (
        "client_secret",
        robo.client_id,
        None,
    )
    assert secret.startswith(f"secret_{credential['access_id']}")
    assert credential["display"] == f"secret_{credential['access_id']}…{secret[-6:]}"


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
def test_a_key_file_is_whole(front: Front, algorithm: str) -> None:
    """Files break: a key file cannot be used unchanged, or does not belong to the account."""
    view = front.house.account()
    made = create(front, view.account.id, {"kind": "key_file", "algorithm": algorithm}).json()
    file = made["secret"]
    load_pem_private_key(file["private_key"].encode(), None)
    assert {name: file[name] for name in file if name != "private_key"} == {
        "type": "service_account",
        "project_id": front.house.acme.id,
        "project_code": "",
        "private_key_id": made["credential"]["access_id"],
        "key_id": made["credential"]["access_id"],
        "client_email": view.channel_identifier,
        "channel_identifier": view.channel_identifier,
        "client_id": view.account.client_id,
        "token_uri": "http://localhost:8080/oauth/token",
    }
    assert made["credential"]["client_id"] == view.account.client_id
    assert made["credential"]["display"] == f"{file['key_id']}…{made['credential']['last6']}"


def test_compat_is_kept_and_told(front: Front) -> None:
    """Files break: the `compat` setting of a key file is lost."""
    robo = front.house.account().account
    made = create(front, robo.id, {"kind": "key_file", "compat": "google"}).json()["credential"]
    address = f"/v1/credentials/{made['id']}"
    assert front.ask("GET", address, key=front.house.alice_key).json()["compat"] == "google"


@pytest.mark.promise("P7")
@pytest.mark.parametrize("kind", ["api_key", *KINDS])
def test_its_secret_is_in_one_answer(front: Front, kind: str) -> None:
    """P7 breaks: a repeated request, a list or a later read shows the secret of a credential again."""
    robo = front.house.account().account
    made = create(front, robo.id, {"kind": kind}, idempotency_key="once").json()
    again = create(front, robo.id, {"kind": kind}, idempotency_key="once")
    assert again.json() == {"credential": made["credential"], "secret": None}
    assert again.headers["idempotency-replayed"] == "true"
    secret = made["secret"] if kind != "key_file" else made["secret"]["private_key"].splitlines()[1]
    for path in (f"credentials/{made['credential']['id']}", "credentials", "audit-events"):
        shown = front.ask("GET", f"/v1/{path}", key=front.house.alice_key)
        assert shown.status == 200
        assert secret.encode() not in shown.body
        assert b"PRIVATE KEY" not in shown.body


@pytest.mark.parametrize("kind", KINDS)
def test_it_comes_with_a_new_account(front: Front, kind: str) -> None:
    """API breaks: `credential` of a new account does not accept every kind, or its errors have wrong pointers."""
    body = {"display_name": "CI", "credential": {"kind": kind}}
    made = front.ask("POST", ACCOUNTS, body, key=front.house.alice_key).json()
    assert made["credential"]["kind"] == kind
    assert made["credential"]["client_id"] == made["service_account"]["client_id"]
    assert isinstance(made["secret"], dict) is (kind == "key_file")
    body["credential"] = {"kind": "client_secret", "compat": "google"}
    wrong = front.ask("POST", ACCOUNTS, body, key=front.house.alice_key)
    assert wrong.status == 422
    assert [each["pointer"] for each in wrong.json()["errors"]] == ["/credential/compat"]


def test_without_a_kind_it_is_an_api_key(front: Front) -> None:
    """API breaks: the default kind differs from the documented default."""
    made = create(front, front.house.account().account.id, {}).json()["credential"]
    assert (made["kind"], made["client_id"]) == ("api_key", None)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"kind": "password"}, "/kind"),
        ({"kind": "key_file", "algorithm": "HS256"}, "/algorithm"),
        ({"kind": "key_file", "compat": "azure"}, "/compat"),
        ({"kind": "key_file", "algorithm": "EdDSA", "compat": "google"}, "/compat"),
        ({"kind": "api_key", "algorithm": "RS256"}, "/algorithm"),
        ({"kind": "key_file", "private_key": "x"}, "/private_key"),
    ],
)
def test_a_kind_that_is_none_is_refused(front: Front, body: dict[str, Any], pointer: str) -> None:
    """B8 breaks: an invalid kind, algorithm or compat creates a credential."""
    robo = front.house.account().account
    refused = create(front, robo.id, body)
    assert refused.status == 422
    assert [each["pointer"] for each in refused.json()["errors"]] == [pointer]


@pytest.mark.parametrize("member", ["kind", "algorithm", "compat"])
def test_a_direct_key_has_no_kind(front: Front, member: str) -> None:
    """API breaks: a user's direct key can be of another kind than API key."""
    answer = front.ask("POST", "/v1/api-keys", {member: "key_file"}, key=front.house.alice_key)
    assert answer.status == 422
    assert answer.json()["errors"][0]["code"] == "unknown-member"


@pytest.mark.promise("P20")
def test_a_key_is_made_for_those_only_who_may_have_it(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """P20 breaks: a caller who may not create a key file can still use up CPU time with requests for one."""
    robo = front.house.account().account
    bob = front.house.key(front.house.account("Bob", ("viewer",))).secret.reveal()
    made = create(front, robo.id, {"kind": "key_file", "algorithm": "EdDSA"}).json()["credential"]["id"]
    monkeypatch.delattr(key_file, "generate")
    assert create(front, robo.id, {"kind": "key_file"}, bob).status == 403
    for key, status in ((bob, 403), (front.house.charlie_key, 404)):
        assert front.ask("POST", f"/v1/credentials/{made}/rotate", {}, key=key).status == status


@pytest.mark.parametrize("body", [{"kind": "client_secret"}, {"kind": "key_file", "algorithm": "EdDSA"}])
def test_it_is_rotated(front: Front, body: dict[str, Any]) -> None:
    """API breaks: a rotation of this kind returns no new secret, or a repeated request gets a different response."""
    made = create(front, front.house.account().account.id, body).json()
    address = f"/v1/credentials/{made['credential']['id']}/rotate"

    def rotate() -> Answer:
        key, fields = front.house.alice_key, {"idempotency-key": "rotate"}
        return front.ask("POST", address, {"overlap": "24h"}, key=key, headers=fields)

    new = rotate()
    assert new.status == 201
    assert new.json()["credential"]["generation"] == 2
    assert new.json()["secret"] != made["secret"]
    if body["kind"] == "key_file":
        assert new.json()["secret"]["key_id"] == new.json()["credential"]["access_id"]
        assert new.json()["secret"]["private_key"] != made["secret"]["private_key"]
        assert len(new.json()["secret"]["private_key"]) == len(made["secret"]["private_key"])
    policies = f"/v1/organizations/{front.house.acme.id}/policies"
    front.ask("PATCH", policies, {"deletion_delay": "0s"}, key=front.house.alice_key)
    gone = front.ask("DELETE", address.removesuffix("/rotate"), key=front.house.alice_key)
    assert gone.status == 204
    assert rotate().json() == new.json() | {"secret": None}


def test_lists_have_the_kind_that_was_asked_for(front: Front) -> None:
    """API breaks: `/v1/api-keys` lists other kinds, or the `kind` filter has no effect."""
    robo = front.house.account().account
    for kind in ("api_key", *KINDS):
        create(front, robo.id, {"kind": kind})

    def listed(address: str) -> list[str]:
        found = front.ask("GET", address, key=front.house.alice_key).json()["data"]
        return [each["kind"] for each in found if each["owner"]["id"] == robo.id]

    assert listed("/v1/api-keys") == ["api_key"]
    assert sorted(listed("/v1/credentials")) == ["api_key", "client_secret", "key_file"]
    for kind in ("api_key", *KINDS):
        assert listed(f"/v1/credentials?kind={kind}") == [kind]
        assert listed(f"{ACCOUNTS}/{robo.id}/credentials?kind={kind}") == [kind]
    wrong = front.ask("GET", "/v1/credentials?kind=password", key=front.house.alice_key)
    assert (wrong.status, wrong.json()["errors"][0]["pointer"]) == (422, "/kind")


@pytest.mark.promise("P14")
def test_no_other_kind_is_an_api_key(front: Front) -> None:
    """P14 breaks: a client secret, or the id of a key, is accepted as an API key."""
    robo = front.house.account().account
    text = create(front, robo.id, {"kind": "client_secret"}).json()["secret"]
    file = create(front, robo.id, {"kind": "key_file"}).json()["secret"]
    api_key = create(front, robo.id, {"kind": "api_key"}).json()["secret"]
    disguised = {
        text: "malformed",
        f"ak-{text.removeprefix('secret_')}": "malformed",
        file["key_id"]: "malformed",
        f"ak-{file['key_id']}": "malformed",
        # The full form of an API key with the id of the other kind. Its checksum is wrong.
        f"ak-{file['key_id']}{api_key[35:]}": "malformed",
    }
    for public in (text[7:39], file["key_id"]):
        body = f"ak-{public}{api_key[35:-6]}"
        disguised[body + checksum(body.encode())] = "unknown"
    for _ in range(2):  # from the database, and from memory
        for presented, code in disguised.items():
            verdict = front.verify(presented)
            assert (verdict["valid"], verdict["code"]) == (False, code)
            for name in ("x-api-key", "api-key"):
                for path in ("/v1/capabilities", "/v1/authorize/-", "/v1/authorize-nginx/-"):
                    assert front.ask("GET", path, headers={name: presented}).status == 401
