"""Options are typed by the dataclass that reads them; what does not fit is refused by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.core.options import fill, pairs, split_spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    steps: int = 28
    guidance: float | None = 4.5
    dtype: Literal["float32", "bfloat16"] = "float32"
    fast: bool = False
    folder: Path = Path()

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError("steps must be at least 1")


def test_a_spec_is_a_name_and_options() -> None:
    assert split_spec("scene:?error=0.2&kind=count") == (
        "scene:",
        {"error": "0.2", "kind": "count"},
    )
    assert split_spec("http://host/v1#model") == ("http://host/v1#model", {})


def test_text_becomes_what_the_field_says() -> None:
    values = pairs(["steps=4", "guidance=none", "dtype=bfloat16", "fast=yes", "folder=/x"])
    assert fill(Sampler, values, owner="sampler") == Sampler(
        steps=4, guidance=None, dtype="bfloat16", fast=True, folder=Path("/x")
    )
    assert fill(Sampler, {}, owner="sampler") == Sampler()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"stepz": "4"}, "did you mean 'steps'"),
        ({"steps": "four"}, "a whole number"),
        ({"guidance": "high"}, "a finite number"),
        ({"dtype": "bfloat"}, "did you mean 'bfloat16'"),
        ({"fast": "maybe"}, "true or false"),
        ({"steps": "0"}, "steps must be at least 1"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(values: dict[str, str], said: str) -> None:
    with pytest.raises(AlphaBenchError, match=said):
        fill(Sampler, values, owner="sampler")


@pytest.mark.parametrize("given", [["steps"], ["=4"], ["a=1", "a=2"]])
def test_an_assignment_has_one_key_and_a_value(given: list[str]) -> None:
    with pytest.raises(AlphaBenchError):
        pairs(given)
