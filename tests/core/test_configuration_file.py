"""The TOML configuration that comes with a client secret."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.configuration_file import Context, configuration, toml_string

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def test_the_file_has_the_members_that_its_client_reads() -> None:
    """Files break: the client of the TOML configuration does not find a field that it needs."""
    text = configuration(
        Context("ci-bot", "ostiary-sa-1", "acme", "*", "http://127.0.0.1:8080", "http://localhost:8080"),
        "secret_1",
    )
    assert text == (
        'defaultContext = "ci-bot"\n\n[contexts.ci-bot]\nclientId = "ostiary-sa-1"\nclientSecret = "secret_1"\n'
        'organization = "acme"\nproject = "*"\nurl = "http://127.0.0.1:8080"\n'
        'oktaOrgURL = "http://localhost:8080"\noktaAuthServer = "ostiary"\n'
    )


@given(TEXT)
def test_any_text_is_read_as_it_was(text: str) -> None:
    """Files break: a text with a quote, a line break or another special character changes the file's
    meaning."""
    assert tomllib.loads(f"x = {toml_string(text)}") == {"x": text}
    written = configuration(Context(text, text, text, text, text, text), text)
    found = tomllib.loads(written)
    assert found["defaultContext"] == text
    assert found["contexts"][text]["clientSecret"] == text
