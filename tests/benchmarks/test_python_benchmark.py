"""`python:module:factory` as a benchmark: the user's own object, checked before it is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from alphabench.benchmarks import open_benchmark
from alphabench.core.errors import AlphaBenchError

STRICT = """
from tests.support.fakes import Reds

def reds(protocol: str = "official"):
    return Reds(protocol=protocol)

def plain_reds():
    return Reds()

def without_card():
    made = Reds()
    return type("Bare", (), {name: getattr(made, name) for name in METHODS})()

def nothing():
    return object()

METHODS = ("samples", "questions", "evaluator", "summarise")
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "benchmark_of_mine.py").write_text(STRICT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


def test_the_benchmark_is_what_the_factory_returns() -> None:
    benchmark = open_benchmark("python:benchmark_of_mine:reds")
    assert benchmark.card.id == "reds@1"


def test_a_protocol_other_than_the_official_one_is_handed_to_the_factory() -> None:
    benchmark = open_benchmark("python:benchmark_of_mine:reds", protocol="strict")
    assert benchmark.card.protocol == "strict"


def test_a_factory_that_knows_no_protocol_is_refused_the_strict_one() -> None:
    with pytest.raises(AlphaBenchError, match="protocol"):
        open_benchmark("python:benchmark_of_mine:plain_reds", protocol="strict")


@pytest.mark.parametrize(
    ("factory", "message"),
    [("nothing", "no method samples"), ("without_card", "its card is not")],
)
def test_an_object_that_is_no_benchmark_is_refused_with_what_it_lacks(
    factory: str, message: str
) -> None:
    with pytest.raises(AlphaBenchError, match=message) as caught:
        open_benchmark(f"python:benchmark_of_mine:{factory}")
    assert "docs/extending/benchmark.md" in caught.value.hint
