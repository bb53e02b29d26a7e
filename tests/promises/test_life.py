"""The life of credentials compared with a small model, on both databases.

Hypothesis plays an administrator, a user and the clock over the API, in any order. The model below has no rows, caches
or verdicts: it says in a few lines what a person would expect. After every step, the test verifies every secret that
was ever issued, and compares every list with the model.
"""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from hypothesis.stateful import run_state_machine_as_test as run

from ostiary.core.instant import DAY, HOUR, to_text
from ostiary.core.model import RoleBinding
from ostiary.services import credentials, imports, members
from ostiary.services.issuance import CredentialSpec
from tests.cast import Answer, Front, House, caller
from tests.conftest import PROVE

pytestmark = [pytest.mark.promise("P1"), pytest.mark.promise("P12")]

EXAMPLES, STEPS = (int(os.environ.get("OSTIARY_PROVE_RUNS", "400")), 60) if PROVE else (12, 30)
PREFIX = "sk_live_"
PER_ACCOUNT, PER_ORGANIZATION, DELETION_DELAY = 3, 6, DAY
_numbers = itertools.count()


@dataclass(eq=False)
class Account:
    id: str
    disabled: bool = False
    deleted: bool = False


@dataclass(eq=False)
class Key:
    """A credential of the model. Its last secret that was not cancelled is the current one."""

    id: str
    owner: Account | None
    """None for Eve's own credentials."""
    expires_at: int | None
    secrets: list["Secret"] = field(default_factory=list)
    deactivated: bool = False
    revoked_at: int | None = None
    deleted: bool = False

    @property
    def counts(self) -> bool:
        return self.revoked_at is None and not self.deleted

    def final(self, now: int) -> bool:
        return self.revoked_at is not None or self.expired(now)

    def expired(self, now: int) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def status(self, now: int) -> str:
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expired(now) else "deactivated" if self.deactivated else "active"

    def ended_at(self, now: int) -> int | None:
        ends = [self.revoked_at] if self.revoked_at is not None else []
        if self.expires_at is not None and self.expires_at <= now:
            ends.append(self.expires_at)
        return min(ends, default=None)

    def old(self, now: int) -> "Secret | None":
        """The previous secret, while it is still accepted."""
        return next((each for each in self.secrets[:-1] if each.accepted(now)), None)


@dataclass(eq=False)
class Secret:
    text: str
    until: int | None = None
    ended: bool = False

    def accepted(self, now: int) -> bool:
        return not self.ended and (self.until is None or self.until > now)


class Life(RuleBasedStateMachine):
    """Each run has its own organization. Alice acts in it for the operator, Eve is a member."""

    front: Front
    accounts = Bundle("accounts")
    keys = Bundle("keys")

    @initialize(may_leave=st.booleans())
    def begin(self, may_leave: bool) -> None:
        self.may_leave = may_leave
        self.number = next(_numbers)
        self.suspended = self.eve_left = False
        self.known_accounts: list[Account] = []
        self.known: list[Key] = []
        self.cancelled: list[tuple[Key, Secret]] = []
        made = self.alice(
            "POST", "/v1/organizations", {"name": "Life", "slug": f"life-{self.number}"}, elsewhere=False
        )
        self.organization = made.json()["id"]
        limits = {
            "max_credentials_per_service_account": PER_ACCOUNT,
            "max_credentials_per_organization": PER_ORGANIZATION + 1,
        }
        self.expect(self.alice("PATCH", f"/v1/organizations/{self.organization}/policies", limits), 200)
        house = self.house
        eve = f"eve{self.number}@life.test"
        as_alice = caller(house.acme, house.alice.actor.id or "", "alice", "organization-admin")
        bindings = [RoleBinding("organization-admin", None)]
        self.eve = house.store.write(members.insert, as_alice, self.organization, eve, None, bindings)
        other = f"mallory{self.number}@life.test"
        house.store.write(members.insert, as_alice, self.organization, other, None, bindings)
        as_eve = caller(house.umbrella, self.eve, eve, "organization-admin")
        as_eve = type(as_eve)(as_eve.actor, self.organization, as_eve.scopes)
        first = house.store.write(credentials.create_direct, as_eve, CredentialSpec(name="first"))
        self.eve_key = first.secret.reveal()

    @property
    def house(self) -> House:
        return self.front.house

    @property
    def now(self) -> int:
        return self.house.clock.now

    def alice(self, method: str, target: str, body: Any = None, elsewhere: bool = True) -> Answer:
        where = f"?organization={self.organization}" if elsewhere else ""
        return self.front.ask(method, target + where, body, key=self.house.alice_key)

    def expect(self, answer: Answer, status: int, code: str | None = None) -> Any:
        told: Any = answer.json() if answer.body else {}
        assert (answer.status, told.get("code") if status >= 400 else None) == (status, code), told
        return told

    # Accounts

    @rule(target=accounts)
    def make_account(self) -> Account:
        told = self.expect(
            self.alice(
                "POST", "/v1/service-accounts", {"display_name": "Robo", "roles": [{"role": "viewer"}]}
            ),
            201,
        )
        account = Account(told["service_account"]["id"])
        self.known_accounts.append(account)
        return account

    @rule(account=accounts, disable=st.booleans())
    def disable_or_enable(self, account: Account, disable: bool) -> None:
        verb = "disable" if disable else "enable"
        answer = self.alice("POST", f"/v1/service-accounts/{account.id}/{verb}")
        if account.deleted:
            self.expect(answer, 404, "not-found")
        else:
            self.expect(answer, 200)
            account.disabled = disable

    @rule(account=consumes(accounts))
    def delete_account(self, account: Account) -> None:
        self.expect(self.alice("DELETE", f"/v1/service-accounts/{account.id}"), 204)
        account.deleted = True
        for key in self.known:
            if key.owner is account and key.counts:
                key.revoked_at = self.now
        self.expect(self.alice("GET", f"/v1/service-accounts/{account.id}"), 404, "not-found")

    # Keys

    def refusal(self, account: Account | None) -> tuple[int, str] | None:
        """The reason why a new key is refused, if any."""
        if account is not None and account.disabled:
            return 409, "account-disabled"
        mine = sum(key.counts for key in self.known if key.owner is account)
        if account is not None and mine >= PER_ACCOUNT:
            return 409, "limit-reached"
        # Eve's first key counts until she leaves.
        room = PER_ORGANIZATION + (1 if self.eve_left else 0)
        return (409, "limit-reached") if sum(key.counts for key in self.known) >= room else None

    def keep(self, answer: Answer, owner: Account | None, expires_at: int | None, status: int = 201) -> Any:
        refusal = self.refusal(owner)
        if refusal is not None:
            self.expect(answer, *refusal)
            return multiple()
        told = self.expect(answer, status)
        key = Key(told["credential"]["id"], owner, expires_at, [Secret(told["secret"])])
        self.known.append(key)
        return key

    @rule(target=keys, account=accounts, lives=st.sampled_from([None, None, HOUR, 2 * DAY]))
    def make_key(self, account: Account, lives: int | None) -> Any:
        expires_at = None if lives is None else self.now + lives
        body = {"kind": "api_key", "expires_at": None if expires_at is None else to_text(expires_at)}
        return self.keep(
            self.alice("POST", f"/v1/service-accounts/{account.id}/credentials", body), account, expires_at
        )

    @rule(target=keys)
    def make_direct_key(self) -> Any:
        answer = self.front.ask("POST", "/v1/api-keys", {}, key=self.eve_key)
        if self.eve_left or self.suspended:
            self.expect(answer, 401, "invalid-credential")
            return multiple()
        return self.keep(answer, None, None)

    @rule(target=keys, account=accounts)
    def import_key(self, account: Account) -> Any:
        text = f"{PREFIX}{self.number}_{next(_numbers)}"
        body = {
            "prefix": PREFIX,
            "owner": account.id,
            "keys": [{"sha256": sha256(text.encode()).hexdigest()}],
        }
        answer = self.alice("POST", "/v1/credentials/import", body)
        refusal = self.refusal(account)
        if refusal is not None:
            self.expect(answer, *refusal)
            return multiple()
        (made,) = self.expect(answer, 200)["credentials"]
        assert self.expect(self.alice("POST", "/v1/credentials/import", body), 200)["skipped"] == 1
        key = Key(made, account, None, [Secret(text)])
        self.known.append(key)
        return key

    def act(self, key: Key, verb: str, body: Any = None, method: str = "POST") -> Answer:
        return self.alice(method, f"/v1/credentials/{key.id}{verb}", body)

    def gone(self, key: Key, answer: Answer) -> bool:
        if key.deleted:
            self.expect(answer, 404, "not-found")
        return key.deleted

    @rule(key=keys, deactivate=st.booleans())
    def deactivate_or_activate(self, key: Key, deactivate: bool) -> None:
        answer = self.act(key, "/deactivate" if deactivate else "/activate")
        if self.gone(key, answer):
            return
        if key.final(self.now):
            self.expect(answer, 409, "wrong-state")
        else:
            self.expect(answer, 200)
            key.deactivated = deactivate

    @rule(key=keys)
    def revoke(self, key: Key) -> None:
        answer = self.act(key, "/revoke")
        if not self.gone(key, answer):
            self.expect(answer, 200)
            key.revoked_at = self.now if key.revoked_at is None else key.revoked_at

    @rule(key=keys)
    def delete(self, key: Key) -> None:
        answer = self.act(key, "", method="DELETE")
        if self.gone(key, answer):
            return
        ended = key.ended_at(self.now)
        if ended is None:
            self.expect(answer, 409, "wrong-state")
        elif self.now < ended + DELETION_DELAY:
            told = self.expect(answer, 409, "too-early")
            assert told["earliest"] == to_text(ended + DELETION_DELAY)
        else:
            self.expect(answer, 204)
            key.deleted = True

    @rule(key=keys, lives=st.sampled_from([None, HOUR, 2 * DAY]))
    def move_expiry(self, key: Key, lives: int | None) -> None:
        expires_at = None if lives is None else self.now + lives
        body = {"expires_at": None if expires_at is None else to_text(expires_at)}
        answer = self.act(key, "", body, "PATCH")
        if self.gone(key, answer):
            return
        if key.final(self.now):
            self.expect(answer, 409, "wrong-state")
        else:
            self.expect(answer, 200)
            key.expires_at = expires_at

    # Rotation

    @rule(key=keys, overlap=st.sampled_from([None, 0, HOUR, DAY]))
    def rotate(self, key: Key, overlap: int | None) -> None:
        answer = self.act(key, "/rotate", {} if overlap is None else {"overlap": f"{overlap // HOUR}h"})
        if self.gone(key, answer):
            return
        if key.final(self.now) or key.old(self.now):
            self.expect(answer, 409, "wrong-state")
        elif key.owner is not None and key.owner.disabled:
            self.expect(answer, 409, "account-disabled")
        else:
            told = self.expect(answer, 201)
            key.secrets[-1].until = None if overlap is None else self.now + overlap
            key.secrets.append(Secret(told["secret"]))

    @rule(key=keys)
    def complete(self, key: Key) -> None:
        answer = self.act(key, "/rotation", {"action": "complete"})
        if self.gone(key, answer):
            return
        old = key.old(self.now)
        if old is not None:
            assert self.expect(answer, 200)["state"] == "completed"
            old.ended = True
        else:
            # A repeated request changes nothing. Without a rotation, there is nothing to complete.
            assert answer.status == (200 if self.state(key) == "completed" else 409)

    @rule(key=keys)
    def cancel(self, key: Key) -> None:
        last_was_cancelled = self.state(key) == "cancelled"
        answer = self.act(key, "/rotation", {"action": "cancel"})
        if self.gone(key, answer):
            return
        old = key.old(self.now)
        if last_was_cancelled:
            self.expect(answer, 200)
        elif old is None or key.final(self.now):
            self.expect(answer, 409, "wrong-state")
        else:
            assert self.expect(answer, 200)["state"] == "cancelled"
            new = key.secrets.pop()
            new.ended = True
            self.cancelled.append((key, new))
            old.until = None

    def state(self, key: Key) -> str | None:
        return (
            None if key.deleted else str(self.expect(self.act(key, "/rotation", method="GET"), 200)["state"])
        )

    # Parents of credentials

    @rule(suspend=st.booleans())
    def suspend_or_resume(self, suspend: bool) -> None:
        self.expect(
            self.alice("PATCH", f"/v1/organizations/{self.organization}", {"suspended": suspend}), 200
        )
        self.suspended = suspend

    @precondition(lambda self: self.may_leave and not self.eve_left)
    @rule()
    def eve_leaves(self) -> None:
        """Only in some runs, because it ends all of her keys."""
        self.expect(self.alice("DELETE", f"/v1/members/{self.eve}"), 204)
        self.eve_left = True
        for key in self.known:
            if key.owner is None and key.counts:
                key.revoked_at = self.now

    @rule(length=st.sampled_from([1_000, HOUR - 1_000, HOUR, 12 * HOUR]))
    def wait(self, length: int) -> None:
        self.house.clock.advance(length)

    # Invariants after every step

    @invariant()
    def every_secret_is_judged_as_the_model_says(self) -> None:
        for key in self.known:
            for secret in key.secrets:
                assert self.front.verify(secret.text)["code"] == self.code(key, secret), (key, secret)
        for key, secret in self.cancelled:
            assert self.front.verify(secret.text)["code"] == ("unknown" if key.deleted else "revoked")

    def code(self, key: Key, secret: Secret) -> str:
        if key.deleted:
            return "unknown"
        if not secret.accepted(self.now):
            return "revoked"
        status = key.status(self.now)
        if status != "active":
            return status
        barred = self.suspended or (key.owner is not None and key.owner.disabled)
        return "disabled" if barred else "valid"

    @invariant()
    def lists_tell_what_the_model_says(self) -> None:
        if not hasattr(self, "organization"):
            return
        found: dict[str, Any] = {}
        answer = self.front.ask(
            "GET", f"/v1/credentials?limit=200&organization={self.organization}", key=self.house.alice_key
        )
        for each in self.expect(answer, 200)["data"]:
            found[each["id"]] = (each["status"], each["rotation"] is not None)
        expected = {
            key.id: (key.status(self.now), key.old(self.now) is not None)
            for key in self.known
            if not key.deleted
        }
        assert {name: state for name, state in found.items() if name in expected} == expected
        assert len(found) == len(expected) + 1  # no rule created Eve's first key
        for account in self.known_accounts:
            if not account.deleted:
                told = self.expect(self.alice("GET", f"/v1/service-accounts/{account.id}"), 200)
                assert told["credentials"] == sum(key.counts for key in self.known if key.owner is account)


@pytest.fixture
def anywhere(house: House, tmp_path: Path) -> Iterator[Front]:
    """The application on each database. Its clock stands still between steps, so rate limits would be reached."""
    found = Front(house.with_policy(rate_limit=None), tmp_path)
    house.store.write(imports.register_prefix, house.alice, PREFIX)
    yield found
    found.close()


def test_credentials_live_as_the_model_says(anywhere: Front) -> None:
    """P1, P12 break: after some sequence of operations a credential lives too long or too short, or is listed wrongly."""
    machine = type("LifeHere", (Life,), {"front": anywhere})
    run(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
        ),
    )
