"""P19: nobody grants more than they hold, by any operation."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from ostiary.core.import_file import ImportedKey
from ostiary.core.permission import Caller
from ostiary.services import credentials, imports, rotation, service_accounts
from ostiary.services.issuance import CredentialSpec
from ostiary.services.roles import RoleSpec
from ostiary.services.service_accounts import AccountSpec, AccountView
from tests.cast import House
from tests.services.questions import refused

pytestmark = pytest.mark.promise("P19")

DEVELOPER = ("read:agents", "read:plugins", "write:agents", "write:plugins", "read:service-accounts")
FULL = CredentialSpec()
READS_AGENTS = CredentialSpec(access_level="fine_grained", scopes=("read:agents",))
EVERYTHING = CredentialSpec(access_level="fine_grained", scopes=("api",))
UNHELD = CredentialSpec(scopes=("read:audit",))

Act = Callable[[House, Caller], object]


def on_key(
    service: Callable[..., object], spec: CredentialSpec, *rest: object, first: str | None = None
) -> Act:
    """An act on a developer's key that Alice made, after she deactivated it where `first` says so."""

    def act(house: House, caller: Caller) -> object:
        key = house.store.write(credentials.create, house.alice, house.account().account.id, spec)
        if first:
            house.store.write(getattr(credentials, first), house.alice, key.listed.credential.id)
        return house.store.write(service, caller, key.listed.credential.id, *rest)

    return act


def on_account(service: Callable[..., object], *rest: object, disabled: bool = False, **spec: object) -> Act:
    """An act on an account with the role developer that Alice made."""

    def act(house: House, caller: Caller) -> object:
        view: AccountView = house.account(**spec)  # type: ignore[arg-type] # the fields of an account
        if disabled:
            house.store.write(service_accounts.set_disabled, house.alice, view.account.id, True)
        return house.store.write(service, caller, view.account.id, *rest)

    return act


def new_account(*roles: str) -> Act:
    spec = AccountSpec("New", roles=tuple(RoleSpec(role) for role in roles))
    return lambda house, caller: house.store.write(service_accounts.create, caller, spec)


def direct(spec: CredentialSpec) -> Act:
    return lambda house, caller: house.store.write(credentials.create_direct, caller, spec)


KEYS = "write:credentials"
ACCOUNTS = "write:service-accounts"
READS = "read:agents"

CASES: list[tuple[str, Act, tuple[str, ...], Sequence[str] | None]] = [
    # Name, operation, scopes of the caller, and the scopes beyond them that it would grant (None: it succeeds).
    ("a full key", on_account(credentials.create, FULL), (KEYS,), DEVELOPER),
    ("a full key, all but one held", on_account(credentials.create, FULL), (KEYS, *DEVELOPER[1:]), [READS]),
    ("a full key, all held", on_account(credentials.create, FULL), (KEYS, *DEVELOPER), None),
    ("a narrow key", on_account(credentials.create, READS_AGENTS), (KEYS,), [READS]),
    ("a narrow key, held", on_account(credentials.create, READS_AGENTS), (KEYS, READS), None),
    ("a narrow key that lists api", on_account(credentials.create, EVERYTHING), (KEYS, READS), DEVELOPER[1:]),
    ("a key of what its account lacks", on_account(credentials.create, UNHELD), (KEYS,), None),
    ("a full key of an account without role", on_account(credentials.create, FULL, roles=()), (KEYS,), None),
    (
        "a full key under a narrow ceiling",
        on_account(credentials.create, FULL, access_level="fine_grained", scopes=(READS,)),
        (KEYS, READS),
        None,
    ),
    ("a direct key", direct(FULL), (READS,), ["read:alerts"]),
    ("a narrow direct key", direct(READS_AGENTS), (READS,), None),
    ("a direct key that lists api", direct(EVERYTHING), (READS,), ["read:alerts"]),
    ("an account", new_account(), (ACCOUNTS,), None),
    ("an account with a role", new_account("viewer"), (ACCOUNTS,), ["read:plugins"]),
    ("an account with a role, held", new_account("developer"), (ACCOUNTS, *DEVELOPER), None),
    ("an admin's account", new_account("organization-admin"), (ACCOUNTS, *DEVELOPER), ["write:credentials"]),
    (
        "binding a role",
        on_account(service_accounts.set_role_bindings, [RoleSpec("developer")], roles=()),
        (ACCOUNTS,),
        DEVELOPER,
    ),
    (
        "binding a role more",
        on_account(service_accounts.set_role_bindings, [RoleSpec("developer"), RoleSpec("resource-server")]),
        (ACCOUNTS,),
        ["verify:credentials"],
    ),
    (
        "keeping a role",
        on_account(service_accounts.set_role_bindings, [RoleSpec("developer")]),
        (ACCOUNTS,),
        None,
    ),
    ("taking roles away", on_account(service_accounts.set_role_bindings, []), (ACCOUNTS,), DEVELOPER),
    (
        "taking roles away, held",
        on_account(service_accounts.set_role_bindings, []),
        (ACCOUNTS, *DEVELOPER),
        None,
    ),
    ("enabling", on_account(service_accounts.set_disabled, False, disabled=True), (ACCOUNTS,), DEVELOPER),
    (
        "enabling, held",
        on_account(service_accounts.set_disabled, False, disabled=True),
        (ACCOUNTS, *DEVELOPER),
        None,
    ),
    ("disabling", on_account(service_accounts.set_disabled, True), (ACCOUNTS,), DEVELOPER),
    ("disabling, held", on_account(service_accounts.set_disabled, True), (ACCOUNTS, *DEVELOPER), None),
    ("deleting", on_account(service_accounts.delete), (ACCOUNTS,), DEVELOPER),
    ("deleting, held", on_account(service_accounts.delete), (ACCOUNTS, *DEVELOPER), None),
    (
        "lifting a ceiling",
        on_account(
            service_accounts.update,
            {"access_level": "full"},
            access_level="fine_grained",
            scopes=(READS,),
        ),
        (ACCOUNTS, READS),
        DEVELOPER[1:],
    ),
    (
        "lifting a ceiling of resources",
        on_account(service_accounts.update, {"resources": ()}, resources=("agents/one",)),
        (ACCOUNTS,),
        DEVELOPER,
    ),
    (
        "renaming an account",
        on_account(service_accounts.update, {"display_name": "Other"}),
        (ACCOUNTS,),
        None,
    ),
    ("activating", on_key(credentials.activate, FULL, first="deactivate"), (KEYS,), DEVELOPER),
    ("activating, held", on_key(credentials.activate, FULL, first="deactivate"), (KEYS, *DEVELOPER), None),
    (
        "activating narrow",
        on_key(credentials.activate, READS_AGENTS, first="deactivate"),
        (KEYS, READS),
        None,
    ),
    ("deactivating", on_key(credentials.deactivate, FULL), (KEYS,), None),
    ("revoking", on_key(credentials.revoke, FULL), (KEYS,), None),
    (
        "widening to full",
        on_key(credentials.update, READS_AGENTS, {"access_level": "full"}),
        (KEYS, READS),
        DEVELOPER[1:],
    ),
    (
        "widening by a scope",
        on_key(credentials.update, READS_AGENTS, {"scopes": (READS, "write:agents")}),
        (KEYS, READS),
        ["write:agents"],
    ),
    (
        "prolonging",
        on_key(credentials.update, FULL, {"expires_at": None}),
        (KEYS,),
        DEVELOPER,
    ),
]


@pytest.mark.parametrize(
    ("act", "held", "beyond"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_what_a_fine_grained_caller_may_grant(
    sqlite_house: House, act: Act, held: tuple[str, ...], beyond: Sequence[str] | None
) -> None:
    """P19 breaks: a caller grants a scope that it does not hold, or cannot grant one that it holds."""
    caller = replace(sqlite_house.alice, scopes=frozenset(held))
    if beyond is None:
        act(sqlite_house, caller)
        return
    with refused("scope-exceeds-grantor") as caught:
        act(sqlite_house, caller)
    named = caught.value.members["scopes"]
    assert isinstance(named, list)
    assert set(beyond) <= set(named)
    assert not set(named) & set(held)


@pytest.mark.parametrize(
    "act",
    [on_account(credentials.create, UNHELD), on_key(credentials.revoke, FULL), new_account()],
    ids=["a key", "a revocation", "an account"],
)
def test_holding_the_scopes_is_not_enough(sqlite_house: House, act: Act) -> None:
    """P19 breaks: a user of an application may also manage its keys."""
    caller = replace(sqlite_house.alice, scopes=frozenset(DEVELOPER))
    with refused("insufficient-permissions"):
        act(sqlite_house, caller)


KEEPER = ("read:credentials", "write:credentials")
LISTED = CredentialSpec(access_level="fine_grained", scopes=KEEPER)


@pytest.mark.parametrize("act", ["create", "rotate", "widen", "activate", "import"])
def test_only_an_operator_admin_gives_an_operator_admin_a_credential(house: House, act: str) -> None:
    """P19 breaks: a manager of the operator's keys gets a key that reaches into every organization."""
    keeper = replace(house.alice, actor=house.bob.actor, operator_admin=False)
    admin = house.alice
    operations = house.account("Operations", roles=("operator-admin",))
    key = house.store.write(credentials.create, admin, operations.account.id, LISTED).listed.credential.id
    own = house.store.write(credentials.create_direct, admin, LISTED).listed.credential.id
    if act == "activate":
        house.store.write(credentials.deactivate, admin, key)
    if act == "import":
        house.store.write(imports.register_prefix, admin, "sk_live_")

    def acts(caller: Caller) -> None:
        if act == "create":
            house.store.write(credentials.create, caller, operations.account.id, LISTED)
        elif act == "rotate":
            house.store.write(rotation.rotate, caller, key, 0, None)
            house.store.write(rotation.rotate, caller, own, 0, None)
        elif act == "widen":
            house.store.write(credentials.update, caller, key, {"allowed_ips": ()})
        elif act == "activate":
            house.store.write(credentials.activate, caller, key)
        else:
            keys = [ImportedKey(bytes(32))]
            house.store.write(imports.import_keys, caller, operations.account.id, "sk_live_", keys)

    with refused("scope-exceeds-grantor"):
        acts(keeper)
    acts(admin)


def test_a_customers_admin_account_has_no_further_reach(house: House) -> None:
    """P19 breaks the other way: a caller who holds all scopes may not grant them, although no other tenant is reachable."""
    spec = AccountSpec("Operations", roles=(RoleSpec("organization-admin"),))
    account = house.store.write(service_accounts.create, house.charlie, spec).account.id
    keeper = replace(house.charlie, actor=house.bob.actor, scopes=frozenset(KEEPER))
    house.store.write(credentials.create, keeper, account, LISTED)
