from __future__ import annotations

import pytest

from alphabench.checkpoints import open_checkpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.core.options import split_spec
from alphabench.remote.credentials import api_key, headers, without_secrets


@pytest.mark.parametrize(
    ("host", "environment", "key"),
    [
        ("api.openai.com", {"OPENAI_API_KEY": "o"}, "o"),
        ("images.example", {"OPENAI_API_KEY": "o"}, None),
        ("api.openai.com.example", {"OPENAI_API_KEY": "o"}, None),
        ("images.example", {"ALPHABENCH_API_KEY": "a"}, "a"),
        ("api.openai.com", {"ALPHABENCH_API_KEY": "a", "OPENAI_API_KEY": "o"}, "a"),
        ("images.example", {"ALPHABENCH_API_KEY": " \n"}, None),
        ("images.example", {"ALPHABENCH_API_KEY": " a\n"}, "a"),
        ("images.example", {}, None),
    ],
)
def test_openais_key_goes_to_openai_alone_and_ours_where_the_user_says(
    host: str, environment: dict[str, str], key: str | None
) -> None:
    assert api_key(host, environment) == key


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("api_key", "sk-1"),
        ("body.api_key", "sk-1"),
        ("body.Authorization", "Bearer sk-1"),
        ("body.key", "sk-1"),
        ("access-token", "sk-1"),
        ("body.extra_headers", '{"X-Api-Key": "sk-1"}'),
    ],
)
def test_a_secret_is_no_option_and_is_not_repeated(option: str, value: str) -> None:
    with pytest.raises(AlphaBenchError, match="looks like a secret") as caught:
        split_spec(f"https://host/v1#m?{option}={value}")
    assert "sk-1" not in str(caught.value)
    with pytest.raises(AlphaBenchError, match="looks like a secret"):
        open_checkpoint("https://host/v1#m", options={option: value})


@pytest.mark.parametrize(
    "option", ["key_without_tls", "max_tokens", "token_field", "send_seed", "body.tokenizer"]
)
def test_options_that_only_speak_of_keys_are_taken(option: str) -> None:
    assert split_spec(f"https://host/v1#m?{option}=1")[1] == {option: "1"}


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://host:8000/a/b@1", "https://host:8000/a/b@1"),
        ("https://user:sk@host/a", "https://host/a"),
        ("https://sk@host/a", "https://host/a"),
        ("https://user:s/k@host/a", "https://host/a"),
        ("https://user:s@k@host/a", "https://host/a"),
        ("https://host/a?key=sk&b=sk#c", "https://host/a?key=...&b=...#c"),
    ],
)
def test_an_address_is_shown_without_its_secrets(address: str, shown: str) -> None:
    assert without_secrets(address) == shown


def test_a_key_travels_in_the_header_that_its_host_reads() -> None:
    assert headers("host.example", None) == {}
    assert headers("host.example", "k") == {"Authorization": "Bearer k"}
    assert headers("x.openai.azure.com", "k") == {"Authorization": "Bearer k", "api-key": "k"}
