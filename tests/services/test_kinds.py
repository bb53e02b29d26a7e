"""Client secrets and key files have the same life cycle as API keys, on both databases."""

from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from ostiary.core import key_file, secret
from ostiary.core.instant import DAY, HOUR
from ostiary.core.key_file import KeyPair
from ostiary.core.model import CredentialFilter, CredentialKind, shown
from ostiary.services import credentials, projects, rotation, service_accounts
from ostiary.services.credentials import Created
from ostiary.services.issuance import CredentialSpec
from ostiary.storage import generations
from ostiary.storage.store import Tx
from tests.cast import House
from tests.services.questions import events, refused

KINDS: tuple[CredentialKind, ...] = ("client_secret", "key_file")
PAIRS = [key_file.generate("EdDSA") for _ in range(4)]
"""Ready-made random key pairs; each test uses each once."""


def spec(kind: CredentialKind, pair: KeyPair = PAIRS[0], **members: Any) -> CredentialSpec:
    if kind == "key_file":
        members |= {"algorithm": "EdDSA", "key_pair": pair}
    return CredentialSpec(kind=kind, **members)


def make(house: House, kind: CredentialKind, pair: KeyPair = PAIRS[0], **members: Any) -> Created:
    account = house.account().account.id
    return house.store.write(credentials.create, house.alice, account, spec(kind, pair, **members))


def id_of(created: Created) -> str:
    return created.listed.credential.id


def public_keys(house: House, credential_id: str) -> dict[str, bytes | None]:
    """The public keys, by access id, of a credential's accepted secrets; None for a client secret."""

    def read(tx: Tx) -> dict[str, bytes | None]:
        return {
            each.access_id: generations.public_key_of(tx, each.access_id)
            for each in generations.list_of_credential(tx, credential_id)
            if each.accepted(tx.now)
        }

    return house.store.read(read)


def test_a_client_secret_has_the_form_of_our_secrets(house: House) -> None:
    """P7 breaks: a client secret has no recognisable form, or reading the credential returns it."""
    made = make(house, "client_secret", name="CI")
    text = made.secret.reveal()
    found = made.listed.credential
    assert secret.parse(text.encode(), (b"secret_",)) == found.access_id
    assert (found.kind, found.prefix, found.last6, found.compat) == (
        "client_secret",
        "secret_",
        text[-6:],
        None,
    )
    assert made.file is None
    assert public_keys(house, found.id) == {found.access_id: None}


def test_of_a_key_file_the_public_half_is_kept(house: House) -> None:
    """P7 breaks: the private half of a key file is stored, or its public half is not."""
    made = make(house, "key_file", name="CI")
    found = made.listed.credential
    assert made.secret is PAIRS[0].private_key
    assert public_keys(house, found.id) == {found.access_id: PAIRS[0].public_key}
    assert found.last6 == key_file.last6_of(PAIRS[0].public_key)
    assert shown(found.prefix, found.access_id, found.last6) == f"{found.access_id}…{found.last6}"
    assert made.file is not None
    assert made.file.channel_identifier.startswith("robo@acme.")
    assert (made.file.key_id, made.file.project_id, made.file.project_code) == (
        found.access_id,
        house.acme.id,
        "",
    )


def test_a_key_file_for_a_project_names_it(house: House) -> None:
    """Files break: a key file names another project than the one that it is bound to."""
    shop = house.store.write(projects.create, house.alice, "Shop", "shop", "")
    made = make(house, "key_file", project="shop")
    assert made.file is not None
    assert (made.file.project_id, made.file.project_code) == (shop.id, "shop")


def test_nobody_gets_a_key_that_somebody_has(house: House) -> None:
    """P14 breaks: two credentials share one key, so that each can sign for the other."""
    make(house, "key_file")
    with pytest.raises(IntegrityError):
        make(house, "key_file")


@pytest.mark.parametrize("kind", KINDS)
def test_it_lives_and_dies_like_an_api_key(house: House, kind: CredentialKind) -> None:
    """P1 breaks: an operation does not work for a kind of credential, or is not in the audit log."""
    made = make(house, kind)
    credential = id_of(made)
    for act, status in (
        (credentials.deactivate, "deactivated"),
        (credentials.activate, "active"),
        (credentials.revoke, "revoked"),
    ):
        done = house.store.write(act, house.alice, credential)
        assert done.credential.status(house.clock.now) == status
    house.clock.advance(DAY)
    house.store.write(credentials.delete, house.alice, credential)
    with refused("not-found"):
        house.store.read(credentials.get, house.alice, credential)
    recorded = events(house, target=credential)
    assert [each.action.removeprefix("credential.") for each in recorded] == [
        "created",
        "deactivated",
        "activated",
        "revoked",
        "deleted",
    ]
    assert [recorded[0].details["kind"], recorded[-1].details["kind"]] == [kind, kind]


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_rotated_with_an_overlap(house: House, kind: CredentialKind) -> None:
    """Rotation breaks: a kind's old secret does not live for the overlap, or outlives it."""
    made = make(house, kind)
    house.clock.advance(HOUR)
    new = house.store.write(rotation.rotate, house.alice, id_of(made), DAY, None, PAIRS[1])
    before, after = made.listed.credential, new.listed.credential
    assert (after.id, after.kind, after.prefix, after.generation) == (before.id, kind, before.prefix, 2)
    assert after.access_id != before.access_id
    assert new.secret.reveal() != made.secret.reveal()
    halves = [None, None] if kind == "client_secret" else [each.public_key for each in PAIRS[:2]]
    kept = dict(zip((before.access_id, after.access_id), halves, strict=True))
    assert public_keys(house, before.id) == kept
    assert (new.file is None) is (kind == "client_secret")
    if new.file is not None:
        assert new.file.key_id == after.access_id
    house.clock.advance(DAY)
    assert list(public_keys(house, before.id)) == [after.access_id]


def test_a_rotation_knows_how_the_key_signs(house: House) -> None:
    """P14 breaks: a rotated key file gets a key of another algorithm. P19: a stranger learns its algorithm."""
    made = make(house, "key_file")
    assert house.store.read(rotation.algorithm, house.alice, id_of(made)) == "EdDSA"
    assert house.store.read(rotation.algorithm, house.alice, id_of(make(house, "client_secret"))) is None
    with refused("insufficient-permissions"):
        house.store.read(rotation.algorithm, house.bob, id_of(made))
    with refused("not-found"):
        house.store.read(rotation.algorithm, house.charlie, id_of(made))


def test_without_a_pair_there_is_no_key_file(house: House) -> None:
    """P19 breaks: a caller for whom no key pair was generated creates or rotates a key file."""
    with refused("insufficient-permissions"):
        house.key(house.account(), kind="key_file")
    made = make(house, "key_file")
    with refused("insufficient-permissions"):
        house.store.write(rotation.rotate, house.alice, id_of(made), None, None)


@pytest.mark.parametrize(
    ("wrong", "pointers"),
    [
        ({"algorithm": "RS256"}, ["/algorithm"]),
        ({"compat": "google"}, ["/compat"]),
        ({"kind": "client_secret", "compat": "google", "algorithm": "EdDSA"}, ["/algorithm", "/compat"]),
        (
            {"kind": "key_file", "compat": "google", "algorithm": "EdDSA", "scopes": ("x:y",)},
            ["/compat", "/scopes/0"],
        ),
    ],
)
def test_what_only_key_files_have_is_for_key_files(
    house: House, wrong: dict[str, Any], pointers: list[str]
) -> None:
    """B8 breaks: a field that has no meaning for a kind is accepted, or its errors come one at a time."""
    with refused("validation-failed") as caught:
        house.key(house.account(), **wrong)
    assert [each.pointer for each in caught.value.errors] == pointers


@pytest.mark.parametrize("kind", KINDS)
def test_a_user_has_api_keys_only(house: House, kind: CredentialKind) -> None:
    """Credentials break: a user gets what only a service account can use."""
    with refused("validation-failed") as caught:
        house.store.write(credentials.create_direct, house.alice, spec(kind))
    assert [each.pointer for each in caught.value.errors] == ["/kind"]


def test_each_kind_is_listed_by_itself_and_counts(house: House) -> None:
    """Limits break: some kinds do not count, or a list of one kind has another."""
    account = house.account()
    name = account.account.id
    house.key(account)
    for kind in KINDS:
        house.store.write(credentials.create, house.alice, name, spec(kind))
    for kind in ("api_key", *KINDS):
        page = house.store.read(credentials.list_page, house.alice, name, None, 50, CredentialFilter(kind))
        assert [each.credential.kind for each in page] == [kind]
    assert len(house.store.read(credentials.list_page, house.alice, name, None, 50)) == 3
    assert house.store.read(service_accounts.get, house.alice, name).credentials == 3
    for _ in range(7):
        house.key(account)
    for kind in KINDS:
        with refused("limit-reached"):
            house.store.write(credentials.create, house.alice, name, spec(kind, PAIRS[2]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_one_replaces_the_first_of_its_kind_only(house: House, kind: CredentialKind) -> None:
    """Rotation breaks: a revocation after a key of another kind was created counts as a rotation by hand."""
    account = house.account()
    made = house.store.write(credentials.create, house.alice, account.account.id, spec(kind))
    house.clock.advance(HOUR)
    house.key(account)
    assert house.store.write(credentials.revoke, house.alice, id_of(made)).credential.replaced_at is None
