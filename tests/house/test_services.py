"""Every operation is a plain function `(tx, caller, …)`."""

import ast

from tests.house.source import modules

NOT_OPERATIONS = {
    # Public functions of services that are not operations, with the reason.
    "audit.event_of": "pure: an event from its parts",
    "callers.holder": "pure: a caller without what its credential gives it",
    "clients.from_metadata": "pure: a client from what it says of itself",
    "consents.end_sessions": "tells caches only, for operations that ended them",
    "consents.reason_to_refuse_code": "a question about a code's session, whoever redeems it",
    "consents.lock_and_check_code": "the same, in the transaction that begins the session",
    "consents.organizations_for": "a question that operations share, about a person and not a caller",
    "credentials.is_own": "pure: whether a direct key is the caller's",
    "credentials.require_not_final": "pure: what has ended stays ended",
    "credentials.owner_of": "a question that operations share, about a credential and not a caller",
    "credentials.spec_of": "pure: what a credential would be asked for with",
    "credentials.target_of": "pure: a credential as an event names it",
    "devices.begin": "asked by a device, for which nobody stands yet",
    "devices.poll": "asked by a device, which its code proves",
    "execute.execute": "begins the transaction in which an operation runs, after judging the caller again",
    "execute.execute_once": "the same, for a request with an idempotency key",
    "execute.record_refusal": "begins the transaction that records a refusal",
    "issuance.as_owner": "pure: an account as an owner",
    "issuance.check_lifetime": "pure: what a policy says of an expiry",
    "issuance.check_rate": "pure: what a policy says of a limit of uses",
    "issuance.require_enabled": "pure: a disabled account gets nothing new",
    "issuance.new_secret": "random bytes only, for operations that store what came of them",
    "issuance.new_secret_of_kind": "the same, for a credential of each kind",
    "organizations.policy_of": "a question that operations share, about an organization and not a caller",
    "roles.require_known_and_held": "pure: errors of scopes, and the rule below",
    "roles.names_of": "pure: bindings as the audit log tells them",
    "roles.require_to_change": "pure: whoever gives or takes a role holds it",
    "roles.require_to_grant": "pure: the rule below, for roles",
    "roles.require_to_hold": "pure: the rule that nobody grants more than they hold",
    "roles.is_admin": "pure: whether roles make an admin",
    "roles.require_to_take": "a question about a caller, which has its rows already",
    "roles.scopes_of": "pure: scopes of bindings",
    "service_accounts.check_names": "pure: errors of names",
    "service_accounts.level_of": "pure: the access level that was meant",
    "service_accounts.settle_level": "pure: changes in which level and scopes agree",
    "sessions.find_by_refresh_token": "a question about a token, whoever has it",
    "makers.require_still": "asks the rule of an operation again, of who made a row and not of a caller",
    "members.invitation_of": "a question that operations share, about a token and not a caller",
    "roles.require_reach": "pure: only who reaches everywhere gives that",
    "roles.check_role": "pure: errors of roles",
    "members.bindings_of_invitation": "the same, about an invitation",
    "passwords.verify_password": "pure work without rows, outside of any transaction",
    "passwords.is_outdated": "the same",
    "passwords.dummy_hash": "the same",
    "passwords.hash_password": "pure work without rows, outside of any transaction",
}
FUNCTIONS = {
    f"{each.name.rpartition('.')[2]}.{node.name}": node
    for each in modules()
    if each.room == "services"
    for node in each.tree.body
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
}


def begins(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[tuple[str, str]]:
    """Return the first two parameters with their annotations."""
    parameters = [*node.args.posonlyargs, *node.args.args][:2]
    return [(each.arg, ast.unparse(each.annotation) if each.annotation else "") for each in parameters]


def is_operation(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return isinstance(node, ast.FunctionDef) and begins(node) in (
        [("tx", "Tx"), ("caller", "Caller")],
        [("tx", "Tx"), ("_caller", "Caller")],
    )


def test_an_operation_takes_tx_and_caller() -> None:
    """Architecture breaks: an operation has effects outside `tx`, or does not know its caller."""
    others = {name for name, node in FUNCTIONS.items() if not is_operation(node)}
    assert others == NOT_OPERATIONS.keys()


def test_there_are_operations() -> None:
    """Architecture breaks unseen: the rule finds no operations."""
    assert len(FUNCTIONS) > len(NOT_OPERATIONS) + 20
