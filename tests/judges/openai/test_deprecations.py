"""Retired models are refused, by date and place."""

from __future__ import annotations

from datetime import date

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.judges.openai.deprecations import AZURE, OPENAI, refuse_if_retired, retirement_of

HOST, AZURE_HOST = "api.openai.com", "team.openai.azure.com"


def test_a_model_is_refused_from_its_last_day_on_with_what_to_use() -> None:
    refuse_if_retired("gpt-4o-2024-05-13", date(2026, 10, 22), host=HOST)
    with pytest.raises(AlphaBenchError, match="2026-10-23") as refused:
        refuse_if_retired("gpt-4o-2024-05-13", date(2026, 10, 23), host=HOST)
    assert OPENAI["gpt-4o-2024-05-13"].use in refused.value.hint


def test_the_same_name_ends_on_another_day_elsewhere_or_is_not_known_to_end() -> None:
    day = date(2026, 11, 21)
    refuse_if_retired("gpt-4o-2024-05-13", day, host=AZURE_HOST)
    refuse_if_retired("gpt-4o-2024-05-13", day, host="localhost")
    refuse_if_retired("gpt-4o-2024-05-13", day, host="notapi.openai.com.example.org")
    assert AZURE["gpt-4o-2024-05-13"].on > day


def test_unknown_models_pass() -> None:
    assert retirement_of("qwen3-vl", host=HOST) is None
    refuse_if_retired("qwen3-vl", date(2040, 1, 1), host=HOST)
