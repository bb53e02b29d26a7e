"""Imports keys directly into the data directory, without the service, for `ostiary import`."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ostiary.config import Settings
from ostiary.core.import_file import ImportedKey, ImportOutcome
from ostiary.core.permission import Caller
from ostiary.node.installation import open_installation, remember
from ostiary.services import imports, installation, service_accounts
from ostiary.services.callers import SYSTEM_CALLER
from ostiary.services.execute import execute
from ostiary.storage.store import Store


@dataclass(frozen=True, slots=True)
class ImportJob:
    """A running import: its service account, its prefix, and the callers that act for it."""

    store: Store
    caller: Caller
    operator: Caller
    account_id: str
    account: str
    prefix: str
    exceed_limits: bool

    def register(self) -> None:
        """Register the prefix if it is not registered yet."""
        execute(self.store, self.operator, imports.register_prefix, self.prefix)

    def foresee(self, batches: Iterable[Sequence[ImportedKey]]) -> Counter[ImportOutcome]:
        """Count the outcomes that all batches would have. Raise the Problem that would stop the import."""
        found: Counter[ImportOutcome] = Counter()
        fresh: set[bytes] = set()
        for batch in batches:
            new = [each for each in batch if each.sha256 not in fresh]
            found["repeated"] += len(batch) - len(new)
            outcomes = self.store.read(imports.foresee, self.caller, self.account_id, new, self.exceed_limits)
            found.update(outcomes)
            fresh.update(
                each.sha256 for each, outcome in zip(new, outcomes, strict=True) if outcome == "imported"
            )
        if not self.exceed_limits:
            self.store.read(imports.require_room, self.caller, self.account_id, found["imported"])
        return found

    def add(self, keys: Sequence[ImportedKey]) -> Counter[ImportOutcome]:
        """Import one batch in one transaction. Return the counted outcomes of its keys."""
        done = execute(
            self.store,
            self.caller,
            imports.import_keys,
            self.account_id,
            self.prefix,
            keys,
            self.exceed_limits,
        )
        return Counter(done.outcomes)


@contextmanager
def open_job(
    settings: Settings,
    organization: str | None,
    account: str,
    prefix: str,
    register: bool,
    exceed_limits: bool,
) -> Iterator[ImportJob]:
    """Open the installation for an import into a service account.

    `organization` is an id or a slug; None means the operator's organization. Raise ConfigurationError,
    DatabaseNotReachableError or Problem.
    """
    opened = remember(open_installation(settings))
    try:
        caller = opened.store.read(installation.local_operator, SYSTEM_CALLER, organization)
        named = opened.store.read(service_accounts.list_page, caller, account, None, 1)
        found = (named or [opened.store.read(service_accounts.get, caller, account)])[0].account
        operator = opened.store.read(installation.local_operator, SYSTEM_CALLER, None)
        if register:
            opened.store.read(imports.require_registrable, operator, prefix)
        else:
            opened.store.read(imports.require_registered, caller, prefix)
        yield ImportJob(opened.store, caller, operator, found.id, found.display_name, prefix, exceed_limits)
    finally:
        opened.close()
