"""Helpers for tests of services: expected refusals, recorded events, the current verdict."""

import contextlib
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from ostiary.core import secret
from ostiary.core.permission import Catalogue
from ostiary.core.problem import Problem
from ostiary.core.verdict import UNKNOWN, Access, Verdict, judge
from ostiary.services.credentials import Created
from ostiary.storage import audit as audit_rows
from ostiary.storage import roles as role_rows
from ostiary.storage import standing_queries as credential_rows
from ostiary.storage import tables
from ostiary.storage.audit import Filter, Recorded
from ostiary.storage.store import Tx
from tests.cast import House


@contextlib.contextmanager
def refused(code: str) -> Iterator[pytest.ExceptionInfo[Problem]]:
    """The block must be refused with this problem code."""
    with pytest.raises(Problem) as caught:
        yield caught
    assert caught.value.code == code


def events(house: House, organization_id: str | None = None, **wanted: str) -> list[Recorded]:
    """The events in the audit log of Acme or another organization, oldest first."""
    found = Filter(**wanted)  # type: ignore[arg-type] # the texts among its fields
    return house.store.read(audit_rows.page, organization_id or house.acme.id, found, None, 10_000, True)


def all_rows(house: House) -> dict[str, list[tuple[str, ...]]]:
    """Every row of the database except the audit log."""

    def dump(tx: Tx) -> dict[str, list[tuple[str, ...]]]:
        return {
            table.name: sorted(tuple(map(repr, row)) for row in tx.execute(sa.select(table)))
            for table in tables.metadata.sorted_tables
            if table is not tables.audit_events
        }

    return house.store.read(dump)


def verdict(house: House, created: Created, project: str | None = None) -> Verdict:
    """The verdict on a credential now, read from the database without a cache."""
    text = created.secret.reveal().encode()

    def facts(tx: Tx) -> Verdict:
        catalogue = Catalogue(role_rows.scopes_of_catalogue(tx))
        standing = credential_rows.find_standing(tx, created.listed.credential.access_id, catalogue)
        pepper = tx.installation.keyring.peppers[tx.installation.keyring.newest]
        if standing is None or not secret.matches(standing.digest, secret.digest(text, pepper)):
            return UNKNOWN
        return judge(standing, Access(tx.now, project=project or standing.project_id))

    return house.store.read(facts)
