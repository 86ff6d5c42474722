"""Files of OCR results, and words that were read against words that should be there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.ocr_results import OcrOptions, OcrResults, open_ocr_results
from alphabench.evaluators.word_accuracy import match_words
from alphabench.types import GeneratedImage, ImageRequest, Sample

word = st.text(alphabet="ab", min_size=1, max_size=4)
words = st.lists(word, max_size=5)


def opened(folder: Path, tree: Any) -> OcrResults:
    (folder / "ocr.json").write_text(json.dumps(tree))
    options = OcrOptions(results=folder / "ocr.json", engine="an engine 1.0")
    return open_ocr_results(options, key=lambda sample: sample.id)


def image_of(name: str) -> GeneratedImage:
    request = ImageRequest(sample=Sample(id=name, prompt="p", group="g"), index=0, seed=0)
    return GeneratedImage(request=request, path=Path("x.png"), sha256="0", seconds=0.0)


@pytest.mark.parametrize(
    ("pages", "lines"),
    [
        ([], ()),
        ([None], ()),
        ([["Hot tea", "now"], None, ["x"]], ("Hot tea", "now", "x")),
        ([[[[[0, 0], [1, 0], [1, 1], [0, 1]], ["Hot tea", 0.98]]]], ("Hot tea",)),
    ],
)
def test_lines_are_read_as_text_or_as_paddleocr_returns_them(
    tmp_path: Path, pages: Any, lines: Sequence[str]
) -> None:
    results = opened(tmp_path, {"a": pages})
    assert results.lines(image_of("a")) == lines
    assert (results.has(image_of("a").request.sample), results.engine) == (True, "an engine 1.0")
    assert not results.has(image_of("b").request.sample)
    results.self_test()


def test_the_identity_names_the_engine_and_changes_with_the_file(tmp_path: Path) -> None:
    one, other = (opened(tmp_path, {"a": [[text]]}).identity for text in "xy")
    assert one["text.reader"] == "an engine 1.0"
    assert one != other


@pytest.mark.parametrize("pages", [3, None, {}, ["x"], [3], [[3]], [[["x"]]], [[[0, [1, 2]]]]])
def test_an_entry_of_another_form_is_named(tmp_path: Path, pages: Any) -> None:
    with pytest.raises(AlphaBenchError, match="'the key'"):
        opened(tmp_path, {"the key": pages})


def test_no_object_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="no JSON object"):
        opened(tmp_path, [])


@settings(max_examples=40)
@given(words, words)
def test_scores_of_words_are_shares_and_strict_finds_no_more_equal_ones(
    asked: list[str], read: list[str]
) -> None:
    official, strict = match_words(asked, read, "official"), match_words(asked, read, "strict")
    for match in (official, strict):
        assert len(match.similarities) == len(asked)
        assert all(0.0 <= value <= 1.0 for value in match.similarities)
        assert sum(value == 1.0 for value in match.similarities) <= len(asked)
    assert strict.correct <= official.correct <= len(asked)


@settings(max_examples=40)
@given(words)
def test_the_very_words_in_any_order_and_in_capitals_are_perfect(asked: list[str]) -> None:
    read = [" ".join(reversed(asked)).upper()]
    for protocol in ("official", "strict"):
        match = match_words(asked, read, protocol)
        assert match.correct == len(asked)
        assert list(match.similarities) == [1.0] * len(asked)
