"""Words asked for and words found."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.ocr import (
    GNED,
    RECALL,
    RapidReader,
    TextEvaluator,
    edit_distance,
    gned,
    recall,
    words_of,
)
from alphabench.types import GeneratedImage, ImageRequest, Sample

word = st.text(alphabet="abAB", max_size=4)
words = st.lists(word, min_size=1, max_size=4)


@dataclass
class Told:
    """Reads what it was told lies at a path."""

    lines: Mapping[str, Sequence[str]]
    identity: Mapping[str, str] = field(default_factory=lambda: {"reader": "told"})

    def read(self, path: Path) -> Sequence[str]:
        return self.lines[path.name]


def stored_image(name: str, *wanted: str, path: Path | None = None) -> GeneratedImage:
    sample = Sample(id=name, prompt="p", group="text short", facts={"text": list(wanted)})
    request = ImageRequest(sample=sample, index=0, seed=0)
    return GeneratedImage(request=request, path=path or Path(name), sha256="0", seconds=0.0)


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        ("", "", 0.0),
        ("a", "", 1.0),
        ("drink", "drnk", 0.2),
        ("kitten", "sitting", 3 / 7),
        ("A", "a", 0),
    ],
)
def test_the_distance_of_two_words_is_edits_over_the_longer(
    one: str, other: str, distance: float
) -> None:
    assert edit_distance(one, other) == pytest.approx(distance)


@given(word, word, word)
def test_distances_are_symmetric_and_zero_only_for_the_same_word(a: str, b: str, c: str) -> None:
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a.lower() == b.lower())
    assert 0 <= edit_distance(a, c) <= 1


@settings(max_examples=60, deadline=None)
@given(words, words)
def test_gned_is_the_least_over_all_assignments(wanted: list[str], found: list[str]) -> None:
    few, many = sorted([wanted, found], key=len)
    least = min(
        sum(edit_distance(a, b) for a, b in zip(few, chosen, strict=True))
        for chosen in itertools.permutations(many, len(few))
    )
    expected = (least + len(many) - len(few)) / len(many)
    assert gned(wanted, found) == pytest.approx(expected)


@given(words)
def test_the_very_words_in_any_order_are_perfect(wanted: list[str]) -> None:
    found = [one.upper() for one in reversed(wanted)]
    assert gned(wanted, found) == pytest.approx(0)
    assert recall(sorted(wanted), sorted(wanted)) == 1.0


def test_nothing_found_is_the_worst_and_nothing_wanted_is_no_question() -> None:
    assert (gned(["tea"], []), recall(["tea"], [])) == (1.0, 0.0)
    for measure in (gned, recall):
        with pytest.raises(ValueError, match="no word"):
            measure([], ["tea"])


def test_a_found_word_serves_one_wanted_word() -> None:
    assert recall(["tea", "tea"], ["tea"]) == 0.5


def test_lines_are_split_at_blanks_into_small_letters() -> None:
    assert words_of(["Drink TEA", "now"]) == ["drink", "tea", "now"]


def test_each_image_gets_both_verdicts_and_a_reader_that_breaks_costs_only_its_image() -> None:
    evaluator = TextEvaluator(reader=Told({"a": ["Drink tea"]}))
    found = list(evaluator.evaluate([stored_image("a", "drink", "tea"), stored_image("b", "tea")]))
    assert [(v.image_id, v.question_id, v.value) for v in found] == [
        ("a/0", RECALL, 1.0),
        ("a/0", GNED, 0.0),
        ("b/0", RECALL, None),
        ("b/0", GNED, None),
    ]
    assert {v.status for v in found[2:]} == {"failed"}
    assert evaluator.identity == {"text.reader": "told"}


def test_a_reader_that_reads_something_else_must_not_score() -> None:
    with pytest.raises(AlphaBenchError, match=r"reads \['dunk'\]"):
        TextEvaluator(reader=Told({"words.png": ["Dunk"]})).self_test()
    TextEvaluator(reader=Told({"words.png": ["DRINK TEA"]})).self_test()


@pytest.mark.skipif(importlib.util.find_spec("rapidocr") is not None, reason="rapidocr is here")
def test_without_rapidocr_the_command_to_install_it_is_named() -> None:
    with pytest.raises(AlphaBenchError) as caught:
        _ = TextEvaluator(reader=RapidReader()).identity
    assert "pip install" in caught.value.hint


@pytest.mark.filterwarnings("default")
def test_rapidocr_reads_printed_words(tmp_path: Path) -> None:
    pytest.importorskip("rapidocr")
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (480, 160), "white")
    ImageDraw.Draw(image).text((30, 40), "DRINK TEA", "black", ImageFont.load_default(size=64))
    path = tmp_path / "words.png"
    image.save(path)
    TextEvaluator(reader=RapidReader()).self_test()
    reader = RapidReader()
    first, second = TextEvaluator(reader=reader).evaluate(
        [stored_image("w", "drink", "tea", path=path)]
    )
    assert (first.value, second.value) == (1.0, 0.0)
