"""Where the code reveals a secret: a short, reviewed list (R9)."""

import ast
from collections import Counter

import pytest

from tests.house.source import modules

OPENED = {
    # module, function: the number of calls, and the reason
    ("services/issuance.py", "new_secret", "reveal"): (1, "its digest is stored"),
    ("core/signing.py", "sign", "reveal"): (1, "the private half of a signing key signs"),
    ("storage/signing_keys.py", "insert", "reveal"): (1, "it is sealed, and stored so"),
    ("api/credential_forms.py", "created_json", "reveal"): (1, "the one answer that carries it"),
    ("core/key_file.py", "document", "reveal"): (1, "the same, of a key file"),
    ("oauth/device.py", "_begin", "reveal"): (1, "the one answer that carries it"),
    ("api/sessions.py", "_begin", "reveal"): (1, "the one answer that carries it, in body and cookie"),
    ("oauth/person_grants.py", "_first_tokens", "reveal"): (
        1,
        "the answer that carries a refresh token",
    ),
    ("oauth/person_grants.py", "refresh_token", "reveal"): (1, "its successor, or to compare with it"),
    ("services/sessions.py", "find_by_refresh_token", "reveal"): (1, "to compare with what was presented"),
    ("console/authorize.py", "_allow", "reveal"): (1, "a code, in the redirect that carries it"),
    ("api/tenant_forms.py", "invited_json", "reveal"): (1, "the one answer that carries it"),
    ("http/links.py", "invitation_link", "reveal"): (1, "the same, as a link"),
    ("http/links.py", "reset_link", "reveal"): (1, "the one answer that carries it"),
    ("console/signing_in.py", "sign_in", "reveal"): (1, "the one answer that carries it, as a cookie"),
    ("cli/token_source.py", "assertion", "reveal"): (1, "the private half of a key file signs"),
    ("cli/local.py", "_show_beginning", "reveal"): (1, "`init` shows the operator key once"),
    ("setting_values.py", "read_database_url", "get_secret_value"): (1, "its form is checked"),
    ("setting_values.py", "read_master_key", "get_secret_value"): (1, "its form is checked"),
    ("data_directory.py", "master_keys", "get_secret_value"): (1, "keys are derived from it"),
    ("node/installation.py", "connect", "get_secret_value"): (1, "the database is opened with it"),
}


def opened() -> Counter[tuple[str, str, str]]:
    """Return every use of a revealing function, with the outermost function around it."""
    found: Counter[tuple[str, str, str]] = Counter()
    for each in modules():
        for top in each.tree.body:
            members = top.body if isinstance(top, ast.ClassDef) else [top]
            for member in members:
                for node in ast.walk(member):
                    if isinstance(node, ast.Attribute) and node.attr in {"reveal", "get_secret_value"}:
                        found[each.path, getattr(member, "name", "(module)"), node.attr] += 1
    return found


@pytest.mark.promise("P7")
def test_secrets_are_opened_in_reviewed_places_only() -> None:
    """P7 breaks: code reveals a secret at a place that nobody has reviewed."""
    assert opened() == {place: count for place, (count, _why) in OPENED.items()}


@pytest.mark.promise("P7")
def test_a_secrets_text_is_its_own() -> None:
    """P7 breaks: code reads the attribute behind `reveal`."""
    readers = {
        each.path
        for each in modules()
        for node in ast.walk(each.tree)
        if isinstance(node, ast.Attribute) and node.attr in {"_text", "_secret_value"}
    }
    assert readers == {"core/secret.py"}
