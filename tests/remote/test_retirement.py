"""Models that end are warned of and refused, by date and place, with where the date is stated."""

from __future__ import annotations

import re
from datetime import date, timedelta
from itertools import chain
from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.remote.retirement import (
    GEMINI,
    OPENAI,
    VERTEX,
    Retirement,
    retirement_of,
    warning_before,
)

HOST, GEMINI_HOST = "api.openai.com", "generativelanguage.googleapis.com"
JANUARY = date(2027, 1, 14)
PAGE = Path(__file__).parents[2] / "docs" / "judges.md"
ROWS = list(chain(OPENAI.items(), GEMINI.items(), VERTEX.items()))


def warned(model: str, today: date, *, host: str = HOST, part: str = "judge") -> str | None:
    return warning_before(model, retirement_of(model, host=host), today, host=host, part=part)


def test_a_model_is_refused_from_its_last_day_on_with_source_and_day() -> None:
    model = "gpt-4.1-2025-04-14"
    assert warned(model, JANUARY - timedelta(days=1)) is not None
    with pytest.raises(AlphaBenchError, match="2027-01-14") as refused:
        warned(model, JANUARY)
    end = OPENAI[model]
    assert end.source in refused.value.message
    assert f"read on {end.read.isoformat()}" in refused.value.message


@pytest.mark.parametrize(("days", "speaks"), [(61, False), (60, True), (1, True)])
def test_it_is_warned_of_in_its_last_sixty_days(days: int, speaks: bool) -> None:
    sentence = warned("gpt-4o", JANUARY - timedelta(days=days))
    assert (sentence is not None) is speaks
    if sentence:
        assert f"in {days} day" in sentence
        assert "2027-01-14" in sentence


@pytest.mark.parametrize(
    "model",
    ["gpt-4.1", "gpt-4o", "gpt-4o-mini", "gpt-4.1-mini", "gpt-4o-mini-2024-07-18",
     "gpt-4.1-mini-2025-04-14", "gpt-4o-2024-11-20", "ft:gpt-4o-2024-08-06:team::id",
     "GPT-4.1-2025-04-14"],
)  # fmt: skip
def test_undated_names_other_snapshots_and_fine_tuned_ones_end_too(model: str) -> None:
    end = retirement_of(model, host=HOST)
    assert end is not None
    assert end.on == JANUARY


@pytest.mark.parametrize("model", ["gemini-2.5-pro", "models/gemini-2.5-flash"])
def test_gemini_models_that_others_answer_for_are_refused_from_that_day_on(model: str) -> None:
    sentence = warned(model, date(2026, 11, 30), host=GEMINI_HOST)
    assert sentence is not None
    assert "in 1 day:" in sentence
    assert "another model answers under its name" in sentence
    with pytest.raises(AlphaBenchError, match="another model answers since"):
        warned(model, date(2026, 12, 1), host=GEMINI_HOST)


def test_the_same_name_ends_on_another_day_elsewhere_or_is_not_known_to_end() -> None:
    day = date(2026, 11, 21)
    regional = retirement_of("google/gemini-2.5-pro", host="us-central1-aiplatform.googleapis.com")
    assert regional is not None
    assert regional.on == date(2026, 10, 20)
    for host in ("localhost", "team.openai.azure.com", "notapi.openai.com.example.org"):
        assert warned("gpt-4o-2024-05-13", day, host=host) is None
    with pytest.raises(AlphaBenchError):
        warned("gpt-4o-2024-05-13", day, host=f"eu.{HOST}")


def test_models_without_a_known_end_pass() -> None:
    assert retirement_of("qwen3-vl", host=HOST) is None
    assert retirement_of("gemini-2.5-flash-lite", host=GEMINI_HOST) is None
    assert warned("qwen3-vl", date(2040, 1, 1)) is None


def test_image_models_have_their_days_as_well() -> None:
    with pytest.raises(AlphaBenchError, match="the checkpoint 'gpt-image-1'"):
        warned("gpt-image-1", date(2026, 10, 23), part="checkpoint")
    for model in ("gpt-image-1.5", "gpt-image-1-mini", "chatgpt-image-latest"):
        assert OPENAI[model].on == date(2026, 12, 1)


@pytest.mark.parametrize(("model", "end"), ROWS, ids=[f"{n}-{name}" for n, (name, _) in
                                                     enumerate(ROWS)])  # fmt: skip
def test_each_row_has_its_source_and_names_no_successor(model: str, end: Retirement) -> None:
    assert end.source.startswith("https://")
    assert date(2026, 11, 1) <= end.read <= date(2026, 12, 31)
    with pytest.raises(AlphaBenchError) as refused:
        warning_before(model, end, end.on, host=HOST, part="judge")
    said = f"{refused.value.message} {refused.value.hint}".replace(end.source, "")
    others = {name for name, _ in ROWS if name != model and name not in model} | {"gpt-6", "-3.8-"}
    assert not [name for name in others if name in said.replace(model, "")]


def test_the_page_has_the_same_rows_with_their_sources() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## Judges that end")[2]
    lines = [line for line in section.partition("\n## ")[0].splitlines() if "| 202" in line]
    stated = {
        (model, cells[2].strip())
        for cells in (line.strip("|").split("|") for line in lines)
        for model in re.findall(r"`([^`]+)`", cells[1])
    }
    assert stated == {(model, end.on.isoformat()) for model, end in ROWS}
    assert not {end.source for _, end in ROWS if f"({end.source})" not in section}
