"""The overview of benchmarks states the sizes of the `:mini` splits as the code has them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alphabench.benchmarks import open_benchmark
from alphabench.interfaces import Benchmark
from alphabench.registry import BENCHMARKS
from alphabench.upstream import UpstreamData
from alphagrpo.dvreward.prompt_sources import questions_of

DOCS = Path(__file__).parents[2] / "docs" / "benchmarks"
ROW = re.compile(
    r"\| `(?P<name>\w+):mini` \| (?P<prompts>\d+)[^|]*\| (?P<images>\d+) \| (?P<calls>none|\d+)"
)
STATED = {row["name"]: row for row in ROW.finditer((DOCS / "index.md").read_text(encoding="utf-8"))}


@pytest.fixture
def data(tmp_path: Path) -> UpstreamData:
    return UpstreamData(cache_dir=tmp_path)


def n_questions(benchmark: Benchmark) -> int:
    """Calls of a judge in a full run, each reply read at once."""
    samples = benchmark.samples()
    match benchmark.card.name:
        case "geneval":
            return 0
        case "gedit":
            return 2 * len(samples)
        case "rise":  # all are asked about the edit, and all but the logical ones about the look
            return sum(1 + (sample.group != "logical_reasoning") for sample in samples)
        case "cvtg" | "longtext" | "oneig":  # a text has a verdict, and a question for each word
            n_words = sum(len(sample.facts["questions"]) for sample in samples)
            return n_words * benchmark.card.images_per_sample
        case "dvreward":
            return sum(len(questions_of(sample).questions) for sample in samples)
    per_image = sum(len(benchmark.questions(sample)) for sample in samples)
    return per_image * benchmark.card.images_per_sample


@pytest.mark.parametrize("name", sorted(STATED))
def test_the_size_of_a_mini_split_is_what_the_page_says(name: str, data: UpstreamData) -> None:
    benchmark = open_benchmark(f"{name}:mini", data=data)
    stated, n_samples = STATED[name], len(benchmark.samples())
    assert int(stated["prompts"]) == n_samples
    assert int(stated["images"]) == n_samples * benchmark.card.images_per_sample
    assert int(stated["calls"].replace("none", "0")) == n_questions(benchmark)


def test_every_benchmark_has_a_page_and_a_row() -> None:
    shipped = {*BENCHMARKS, "dvreward"}  # the one that alphagrpo registers
    own_prompts = {name for name, entry in BENCHMARKS.items() if entry.takes_prompts}
    assert shipped - own_prompts == STATED.keys()
    assert {path.stem for path in DOCS.glob("*.md")} == {"index", *shipped}
