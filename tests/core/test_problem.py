"""Problems: a closed list of codes; public parts and private reason are separate."""

import re

import pytest

from ostiary.core.problem import CODES, FieldError, Problem, invalid, invalid_fields, not_found

STATUSES = {
    # Clients and proxies rely on these. A released code keeps its status.
    "invalid-request": 400,
    "invalid-json": 400,
    "invalid-cursor": 400,
    "unsupported-media-type": 415,
    "request-timeout": 408,
    "content-too-large": 413,
    "uri-too-long": 414,
    "header-fields-too-large": 431,
    "validation-failed": 422,
    "invalid-credential": 401,
    "insufficient-permissions": 403,
    "scope-exceeds-grantor": 403,
    "not-found": 404,
    "method-not-allowed": 405,
    "name-taken": 409,
    "limit-reached": 409,
    "account-disabled": 409,
    "wrong-state": 409,
    "too-early": 409,
    "internal": 500,
    "unavailable": 503,
    "audit-unavailable": 503,
    "storage-full": 507,
}


@pytest.mark.parametrize("code, status", STATUSES.items(), ids=STATUSES)
def test_a_code_keeps_its_status(code: str, status: int) -> None:
    """CLI breaks: a refusal gets another status than documented."""
    problem = Problem(code, "No.")
    assert problem.status == status
    assert problem.title == CODES[code][1]


def test_every_code_has_its_form() -> None:
    """CLI breaks: a code cannot be part of a URL, or its title is malformed."""
    for code, (status, title) in CODES.items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
        assert 400 <= status <= 599
        assert re.fullmatch(r"[A-Z][A-Za-z]*( [A-Z][A-Za-z]*)*", title)
    assert CODES["invalid-credential"][1] == "Invalid API Key"
    assert CODES["insufficient-permissions"][1] == "Insufficient Permissions"


@pytest.mark.parametrize("code", ["", "not_found", "Not-Found", "teapot"])
def test_the_list_is_closed(code: str) -> None:
    """CLI breaks: a response has an undocumented code."""
    with pytest.raises(ValueError, match="list of problem codes"):
        Problem(code, "No.")


def test_an_id_of_any_kind_of_wrong_gets_one_answer() -> None:
    """P19 breaks: another tenant's id can be distinguished from one that does not exist."""
    unknown, foreign = not_found("credential"), not_found("credential", "another organization's")
    assert (unknown.code, unknown.detail, unknown.errors, unknown.members) == (
        foreign.code, foreign.detail, foreign.errors, foreign.members,
    )  # fmt: skip
    assert foreign.reason == "another organization's"
    assert "another" not in foreign.detail


def test_all_wrong_fields_are_told_at_once() -> None:
    """B8 breaks: a person fixes one field only to be told of the next."""
    errors = tuple(FieldError(f"/field{number}", "invalid", "is wrong") for number in range(5))
    problem = invalid_fields(errors)
    assert (problem.status, problem.errors) == (422, errors)
    assert problem.detail == "/field0 is wrong; /field1 is wrong; /field2 is wrong"
    assert invalid("", "invalid", "is wrong").detail == "(body) is wrong"
