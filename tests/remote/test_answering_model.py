"""Only the requested model may answer, and it stays the same within a run."""

from __future__ import annotations

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.judges.openai.judge import open_openai
from alphabench.remote.answering_model import AnsweringModel


@pytest.mark.parametrize(
    ("reported", "is_accepted"),
    [("qwen3-vl", True), ("Qwen3-VL", True), ("qwen3-vl-2026-01-31", True), ("", True),
     ("qwen3-vl-mini", False), ("qwen3", False), ("gpt-4o", False)],
)  # fmt: skip
def test_only_the_model_or_a_dated_form_of_it_may_answer(reported: str, is_accepted: bool) -> None:
    model = AnsweringModel(expected="qwen3-vl")
    if is_accepted:
        model.check(reported)
    else:
        with pytest.raises(AlphaBenchError, match="answered") as refused:
            model.check(reported)
        assert f"served_as={reported}" in refused.value.hint


def test_the_option_served_as_names_the_expected_model() -> None:
    spec = "http://localhost:8000/v1#qwen3-vl"
    open_openai(spec, options={"served_as": "gpt-4o"}, device="cpu").answering.check("gpt-4o")


def test_a_model_that_changes_within_a_run_stops_it() -> None:
    model = AnsweringModel(expected="qwen3-vl")
    model.check("qwen3-vl-2026-01-31")
    with pytest.raises(AlphaBenchError, match="changed"):
        model.check("qwen3-vl-2026-02-01")


def test_names_without_a_date_and_other_cases_are_no_change() -> None:
    model = AnsweringModel(expected="gpt-4.1")
    for reported in ("gpt-4.1", "gpt-4.1-2025-04-14", "GPT-4.1", "gpt-4.1-2025-04-14", ""):
        model.check(reported)


def test_geminis_prefix_is_no_other_name() -> None:
    AnsweringModel(expected="gemini-2.5-pro").check("models/gemini-2.5-pro")
    with pytest.raises(AlphaBenchError, match="answered"):
        AnsweringModel(expected="gemini-2.5-flash").check("models/gemini-2.5-flash-lite")
