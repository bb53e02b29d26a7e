"""Access rules for reverse proxies. They belong to the installation, so only the operator manages them."""

from typing import Any

from ostiary.core import access_rule, limits
from ostiary.core.event import Target
from ostiary.core.permission import Caller, require_operator
from ostiary.core.problem import FieldError, invalid, invalid_fields, not_found
from ostiary.services import audit
from ostiary.services.audit import change
from ostiary.storage import access_rules as rows
from ostiary.storage import roles as role_rows
from ostiary.storage.store import Tx


def put_rule(tx: Tx, caller: Caller, name: str, document: dict[str, Any]) -> dict[str, Any]:
    """Create or replace a rule. `document` is the rule as JSON, with its shape already checked.

    Raises validation-failed for an invalid name or line and for scopes that are not in the catalogue, and
    limit-reached.
    """
    require_operator(caller, "write:organization")
    if not access_rule.is_rule_name(name):
        raise invalid(
            "/name", "invalid", "must be lower-case letters, digits and hyphens, and not begin with a hyphen"
        )
    try:
        access_rule.read_rule(name, document)
    except access_rule.InvalidMatchError as error:
        raise invalid(f"/match/{error.line}", "invalid", str(error)) from None
    known = role_rows.catalogue_of(tx, caller.organization_id)
    unknown = [
        FieldError(f"/match/{number}/scopes", "unknown-scope", "names a scope that is not in the catalogue")
        for number, line in enumerate(document["match"])
        if not all(known.knows(scope) for scope in line.get("scopes") or ())
    ]
    if unknown:
        raise invalid_fields(tuple(unknown))
    before = rows.find(tx, name)
    others = rows.list_all(tx).keys() - {name}
    limits.check("access_rules", len(others))
    rows.put(tx, name, document)
    tx.changed("installation", "access_rules")
    audit.record_update(
        tx, caller, "access_rule.written", Target("access_rule", name, name), before or {}, document
    )
    return document


def list_rules(tx: Tx, caller: Caller) -> dict[str, dict[str, Any]]:
    require_operator(caller, "read:organization")
    return rows.list_all(tx)


def get_rule(tx: Tx, caller: Caller, name: str) -> dict[str, Any]:
    require_operator(caller, "read:organization")
    found = rows.find(tx, name)
    if found is None:
        raise not_found("access rule")
    return found


def delete_rule(tx: Tx, caller: Caller, name: str) -> None:
    require_operator(caller, "write:organization")
    if not rows.delete(tx, name):
        raise not_found("access rule")
    tx.changed("installation", "access_rules")
    change(tx, caller, "access_rule.deleted", Target("access_rule", name, name))
