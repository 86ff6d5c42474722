from __future__ import annotations

import pytest

from alphabench.credentials import api_key


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
