"""Importing keys on the data directory, without the service: what `ostiary import` does."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ostiary.config import Settings
from ostiary.core.model import ImportedKey
from ostiary.core.permission import Caller
from ostiary.http.installation import open_installation, remember
from ostiary.services import imports, installation, service_accounts
from ostiary.services.callers import SYSTEM_CALLER
from ostiary.storage.store import Store


@dataclass(frozen=True, slots=True)
class Import:
    """An import that is under way: where to, and for whom."""

    store: Store
    caller: Caller
    account_id: str
    account: str
    prefix: str
    exceed_limits: bool
    registered: bool

    def add(self, keys: Sequence[ImportedKey]) -> tuple[int, int]:
        """One batch, wholly or not at all: how many were imported, and how many skipped."""
        done = self.store.write(
            imports.import_keys, self.caller, self.account_id, self.prefix, keys, self.exceed_limits
        )
        return done.count, len(keys) - done.count


@contextmanager
def importing(
    settings: Settings,
    organization: str | None,
    account: str,
    prefix: str,
    register: bool,
    exceed_limits: bool,
) -> Iterator[Import]:
    """Open the installation for an import into an account of an organization (id or slug; None: the operator's).

    Raises ConfigurationError, NotReachableError, Problem.
    """
    opened = remember(open_installation(settings))
    try:
        caller = opened.store.read(installation.custodian, SYSTEM_CALLER, organization)
        named = opened.store.read(service_accounts.list_page, caller, account, None, 1)
        found = (named or [opened.store.read(service_accounts.get, caller, account)])[0].account
        if register:
            operator = opened.store.read(installation.custodian, SYSTEM_CALLER, None)
            opened.store.write(imports.register_prefix, operator, prefix)
        known = prefix in opened.store.read(imports.list_prefixes, caller)
        yield Import(opened.store, caller, found.id, found.display_name, prefix, exceed_limits, known)
    finally:
        opened.close()
