"""P5: every change is in the audit log once, in its own transaction, or it does not happen."""

import json
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from ostiary.core.instant import HOUR, to_text
from ostiary.core.permission import Caller
from ostiary.services import access_rules, credentials, service_accounts
from ostiary.services.credentials import Created
from ostiary.services.issuance import CredentialSpec
from ostiary.services.roles import RoleSpec
from ostiary.services.service_accounts import AccountSpec, AccountView
from tests.cast import House
from tests.services.questions import all_rows, events, refused

pytestmark = pytest.mark.promise("P5")

RULE = {"match": [{"path": "/**"}]}


class Scene:
    """A new account and key for each operation."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.robo: AccountView = house.account()
        self.key: Created = house.key(self.robo)
        self.account_id = self.robo.account.id
        self.key_id = self.key.listed.credential.id
        self.by_key = (self.key_id, f"Robo's API key (…{self.key.listed.credential.last6})")
        self.by_account = (self.account_id, "Robo")

    def do(self, service: Callable[..., object], *args: object) -> object:
        self.house.clock.advance(1000)
        return self.house.store.write(service, self.house.alice, *args)

    def revoke_long_ago(self) -> None:
        self.do(credentials.revoke, self.key_id)
        self.house.clock.advance(24 * HOUR)


Act = Callable[[Scene], object]
NEW = ("", "")

ACTS: list[tuple[str, Act | None, Act, Callable[[Scene], tuple[str, str]], bool]] = [
    # The event, the preparation, the operation, its target, and whether repeating it changes nothing.
    (
        "service_account.created",
        None,
        lambda s: s.do(service_accounts.create, AccountSpec("New")),
        lambda s: NEW,
        False,
    ),
    (
        "service_account.updated",
        None,
        lambda s: s.do(service_accounts.update, s.account_id, {"display_name": "New"}),
        lambda s: (s.account_id, "New"),
        True,
    ),
    (
        "service_account.roles_changed",
        None,
        lambda s: s.do(service_accounts.set_role_bindings, s.account_id, [RoleSpec("viewer")]),
        lambda s: s.by_account,
        True,
    ),
    (
        "service_account.disabled",
        None,
        lambda s: s.do(service_accounts.set_disabled, s.account_id, True),
        lambda s: s.by_account,
        True,
    ),
    (
        "service_account.enabled",
        lambda s: s.do(service_accounts.set_disabled, s.account_id, True),
        lambda s: s.do(service_accounts.set_disabled, s.account_id, False),
        lambda s: s.by_account,
        True,
    ),
    (
        "service_account.deleted",
        lambda s: s.do(credentials.revoke, s.key_id),
        lambda s: s.do(service_accounts.delete, s.account_id),
        lambda s: s.by_account,
        False,
    ),
    (
        "credential.created",
        None,
        lambda s: s.do(credentials.create, s.account_id, CredentialSpec(name="New")),
        lambda s: NEW,
        False,
    ),
    (
        "credential.created",
        None,
        lambda s: s.do(credentials.create_direct, CredentialSpec(name="New")),
        lambda s: NEW,
        False,
    ),
    (
        "credential.updated",
        None,
        lambda s: s.do(credentials.update, s.key_id, {"allowed_ips": ("192.0.2.1/32",)}),
        lambda s: s.by_key,
        True,
    ),
    (
        "credential.deactivated",
        None,
        lambda s: s.do(credentials.deactivate, s.key_id),
        lambda s: s.by_key,
        True,
    ),
    (
        "credential.activated",
        lambda s: s.do(credentials.deactivate, s.key_id),
        lambda s: s.do(credentials.activate, s.key_id),
        lambda s: s.by_key,
        True,
    ),
    ("credential.revoked", None, lambda s: s.do(credentials.revoke, s.key_id), lambda s: s.by_key, True),
    (
        "credential.deleted",
        lambda s: s.revoke_long_ago(),
        lambda s: s.do(credentials.delete, s.key_id),
        lambda s: s.by_key,
        False,
    ),
    (
        "access_rule.written",
        None,
        lambda s: s.do(access_rules.put_rule, "web", RULE),
        lambda s: ("web", "web"),
        False,
    ),
    (
        "access_rule.deleted",
        lambda s: s.do(access_rules.put_rule, "web", RULE),
        lambda s: s.do(access_rules.delete_rule, "web"),
        lambda s: ("web", "web"),
        False,
    ),
]


def test_every_change_has_exactly_one_event(house: House) -> None:
    """P5 breaks: a change records no event, two events, or an event without actor, time or action."""
    for action, before, act, about, settles in ACTS:
        scene = Scene(house)
        if before:
            before(scene)
        seen = len(events(house))
        act(scene)
        found = events(house)[seen:]
        assert [each.action for each in found] == [action]
        event = found[0]
        assert event.time == house.clock.now, action
        assert event.outcome == "success"
        actor = (event.actor_type, event.actor_id, event.actor_display, event.actor_credential_id)
        alice = house.alice.actor
        assert actor == ("user", alice.id, "alice@acme.test (API key)", alice.credential_id), action
        assert event.target_type == action.partition(".")[0]
        target = about(scene)
        if target == NEW:
            assert event.target_id not in (None, *scene.by_account, *scene.by_key)
            assert (event.target_display or "").startswith("New"), action
        else:
            assert (event.target_id, event.target_display) == target
        if settles:
            act(scene)
            assert len(events(house)) == seen + 1, f"{action} twice"


def test_a_change_that_cannot_be_recorded_does_not_happen(house: House) -> None:
    """P5 breaks: the audit log cannot be written, but the change is stored."""
    rename = "ALTER TABLE {} RENAME TO {}"
    for action, before, act, _, _ in ACTS:
        scene = Scene(house)
        if before:
            before(scene)
        number = house.number.read()
        with house.store.engines.writer.begin() as connection:
            connection.execute(sa.text(rename.format("audit_events", "elsewhere")))
        kept = all_rows(house)
        with refused("audit-unavailable"):
            act(scene)
        assert all_rows(house) == kept, action
        assert house.number.read() == number, action
        with house.store.engines.writer.begin() as connection:
            connection.execute(sa.text(rename.format("elsewhere", "audit_events")))


@pytest.mark.promise("P7")
def test_no_row_and_no_event_holds_a_secret(house: House) -> None:
    """P7 breaks: a secret, or twelve characters of one, is in the database or in an event."""
    texts = [house.alice_key, house.charlie_key]
    for action, before, act, _, _ in ACTS:
        scene = Scene(house)
        if before:
            before(scene)
        made = act(scene)
        texts.append(scene.key.secret.reveal())
        if action == "credential.created":
            assert isinstance(made, Created)
            texts.append(made.secret.reveal())
    assert len(texts) == 2 + len(ACTS) + 2
    everything = json.dumps(
        [repr(each) for each in (*events(house), *events(house, house.umbrella.id))], ensure_ascii=False
    ) + repr(all_rows(house))
    for text in texts:
        random = text[35:-6]
        windows = {random[start : start + 12] for start in range(len(random) - 11)}
        assert not [each for each in windows if each in everything]


def test_what_an_event_tells_of_a_credential_and_a_role(house: House) -> None:
    """P5 breaks: the log does not say what was granted."""
    scene = Scene(house)
    expires_at = house.clock.now + HOUR
    spec = CredentialSpec(
        name="CI",
        expires_at=expires_at,
        allowed_ips=("192.0.2.0/24",),
        scopes=("read:agents",),
        resources=("agents/*",),
        rate_limit=60,
    )
    made = house.store.write(credentials.create, house.alice, scene.account_id, spec)
    assert events(house)[-1].details == {
        "kind": "api_key",
        "owner": scene.account_id,
        "last6": made.listed.credential.last6,
        "expires_at": to_text(expires_at),
        "allowed_ips": ["192.0.2.0/24"],
        "access_level": "fine_grained",
        "scopes": ["read:agents"],
        "resources": ["agents/*"],
        "project": None,
        "rate_limit": 60,
        "compat": None,
    }
    scene.do(service_accounts.set_role_bindings, scene.account_id, [RoleSpec("viewer")])
    assert events(house)[-1].details == {
        "before": ["developer on organization"],
        "after": ["viewer on organization"],
    }


def test_an_event_keeps_the_names_as_they_were(house: House) -> None:
    """P5 breaks: renaming an account rewrites its history."""
    scene = Scene(house)
    scene.do(service_accounts.update, scene.account_id, {"display_name": "Renamed"})
    scene.do(service_accounts.delete, scene.account_id)
    shown = [each.target_display for each in events(house, target=scene.account_id)]
    assert shown == ["Robo", "Renamed", "Renamed"]


def test_an_account_and_its_first_credential_come_together(house: House) -> None:
    """P5 breaks: half of a creation remains when the other half is refused."""

    def make(caller: Caller, name: str, spec: CredentialSpec | None) -> tuple[AccountView, Created | None]:
        return house.store.write(credentials.create_account, caller, AccountSpec(name), spec)

    view, created = make(house.alice, "Both", CredentialSpec(name="First"))
    assert created is not None
    assert view.credentials == 1
    assert [each.action for each in events(house)[-2:]] == ["service_account.created", "credential.created"]
    kept = all_rows(house)
    seen = len(events(house))
    with refused("not-found"):
        make(house.alice, "Half", CredentialSpec(project="nowhere"))
    assert all_rows(house) == kept
    assert len(events(house)) == seen
    assert make(house.alice, "Alone", None)[1] is None
