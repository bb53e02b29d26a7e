"""google-auth: it reads a key file from a path, as programs outside Google Cloud do."""

import json
from pathlib import Path
from typing import Any

import pytest
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import Request
from google.oauth2.service_account import Credentials

from tests.clients.conftest import Robo

pytestmark = pytest.mark.full


def credentials(path: Path, file: dict[str, Any]) -> Any:
    path.write_text(json.dumps(file))
    return Credentials.from_service_account_file(str(path)).with_scopes(["read:agents"])  # type: ignore[no-untyped-call]


def test_it_gets_a_token_from_a_key_file(robo: Robo, tmp_path: Path) -> None:
    """Files break: google-auth gets no token from its key file, or gets one with other scopes."""
    found = credentials(tmp_path / "robo.json", robo.credential(kind="key_file", compat="google"))
    found.refresh(Request())
    assert found.valid
    assert robo.capable(found.token) == ["read:agents"]


def test_a_key_file_that_was_not_made_for_it_is_refused(robo: Robo, tmp_path: Path) -> None:
    """Files break: an assertion without `jti`, for another audience, is accepted from any key file."""
    found = credentials(tmp_path / "robo.json", robo.key_file)
    with pytest.raises(RefreshError) as refused:
        found.refresh(Request())
    assert "invalid_grant" in str(refused.value)
    assert not found.token
