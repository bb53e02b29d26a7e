"""Closed lists that are written once: where a form or a setting follows a list, it has all of it."""

from datetime import timedelta

from ostiary.api.tenant_forms import CeilingsBody, PoliciesBody
from ostiary.config import Settings
from ostiary.core.permission import POLICIES
from ostiary.oauth.grants import GRANTS
from tests.house.source import ROOT

WITHOUT_CEILING = {"deletion_delay"}
"""A longer deletion delay does no harm, so no operator needs to bound it."""
WITHOUT_SETTING = {"max_service_accounts"}
"""Only set for one organization; an installation has no default for it."""


def test_the_forms_take_every_policy() -> None:
    """Closed lists break: a limit exists that nobody can set, or a form takes one that nothing obeys."""
    assert set(PoliciesBody.model_fields) == {*POLICIES, "ceilings"}
    assert set(CeilingsBody.model_fields) == set(POLICIES) - WITHOUT_CEILING


def test_every_policy_has_a_default_setting() -> None:
    """Closed lists break: an operator cannot choose the default of a limit."""
    expected = {f"default_{name.removeprefix('default_')}" for name in set(POLICIES) - WITHOUT_SETTING}
    found = {
        name for name, each in Settings.model_fields.items() if (each.description or "").startswith("Policy:")
    }
    assert {name.removeprefix("default_") for name in found} == {
        name.removeprefix("default_") for name in expected
    }


def test_every_grant_is_documented() -> None:
    """Closed lists break: a grant is offered in the metadata and explained nowhere."""
    text = "".join(
        (ROOT / "docs" / name).read_text("utf-8") for name in ("tokens.md", "applications.md", "api.md")
    )
    assert [grant for grant in GRANTS if grant not in text] == []


def test_every_default_is_passed_on() -> None:
    """Closed lists break: an operator changes the default of a limit, and nothing follows it."""
    settings = Settings.model_validate({})
    for name, each in Settings.model_fields.items():
        if (each.description or "").startswith("Policy:"):
            value = getattr(settings, name)
            other = timedelta(days=3) if isinstance(value, timedelta) or name.endswith("lifetime") else 7
            assert settings.model_copy(update={name: other}).policy != settings.policy, name
