"""Dataclasses are filled strictly, and alike from text, JSON and YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.core.strict_filling import JSON, TEXT, YAML, Dialect, fill_dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    scale: float = 1.0
    kind: Literal["white", "pink"] = "white"

    def __post_init__(self) -> None:
        if self.scale < 0:
            raise ValueError("scale is not negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    steps: int
    seed: int | None = 0
    folder: Path = Path()
    noise: Noise = field(default_factory=Noise)
    sizes: tuple[int, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    extra: Any = None


TREE = {
    "steps": 4,
    "seed": None,
    "noise": {"scale": 2, "kind": "pink"},
    "sizes": [1, 2],
    "weights": {"a": 0.5},
    "extra": [1],
}


@pytest.mark.parametrize("dialect", [JSON, YAML], ids=["JSON", "YAML"])
def test_a_tree_becomes_nested_dataclasses(dialect: Dialect) -> None:
    assert fill_dataclass(Sampling, TREE, dialect, path="file") == Sampling(
        steps=4,
        seed=None,
        noise=Noise(scale=2.0, kind="pink"),
        sizes=(1, 2),
        weights={"a": 0.5},
        extra=[1],
    )


def test_a_whole_number_in_a_json_file_keeps_its_type_because_identities_record_it() -> None:
    assert type(fill_dataclass(Noise, {"scale": 2}, JSON, path="file").scale) is int
    assert type(fill_dataclass(Noise, {"scale": 2}, YAML).scale) is float


@pytest.mark.parametrize(
    ("dialect", "values", "message"),
    [
        (TEXT, {"step": "4"}, "no option of x named 'step'; did you mean 'steps'"),
        (TEXT, {"steps": "4", "seed": "y"}, "x option 'seed' cannot be 'y'; it takes a whole"),
        (TEXT, {}, "x lacks 'steps'; add `steps=...`"),
        (JSON, {"step": 4}, "no setting of x named 'step'; did you mean 'steps'"),
        (JSON, {"steps": True}, "steps in x cannot be True; it takes a whole number"),
        (JSON, {"steps": 4, "noise": {"scale": "2"}}, "scale in noise in x cannot be '2'"),
        (JSON, {}, "x lacks 'steps'; add `\"steps\": ...`"),
        (YAML, {"step": 4}, "no setting at x named 'step'; did you mean 'steps'"),
        (YAML, {"scale": 4}, "no setting at x named 'scale'; did you mean 'x.noise.scale'"),
        (YAML, {"steps": 4, "noise": {"scale": -1}}, "x.noise.scale is not negative"),
        (YAML, {"steps": 4, "noise": {"kind": "pinc"}}, "choice for x.noise.kind named 'pinc'"),
        (YAML, {"steps": 4, "sizes": [1, "a"]}, r"x.sizes\[1\] cannot be 'a'"),
        (YAML, {}, "x lacks 'steps'; add `steps: ...`"),
    ],
)
def test_a_refusal_names_the_field_as_its_source_does(
    dialect: Dialect, values: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(AlphaBenchError, match=message):
        fill_dataclass(Sampling, values, dialect, path="x")
