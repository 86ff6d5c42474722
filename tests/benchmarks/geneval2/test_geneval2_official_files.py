"""GenEval 2's published files, written and read back."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.benchmarks.geneval2.benchmark import open_geneval2
from alphabench.benchmarks.geneval2.official_files import (
    LAYOUT,
    geneval2_export_files,
    score_lists_text,
    summarise_score_lists,
)
from alphabench.core.errors import AlphaBenchError
from alphabench.types import Verdict
from alphabench.upstream import UpstreamData
from alphabench.upstream.layouts import FolderOptions
from tests.support.judged_world import noise

SAMPLES = open_geneval2("mini", data=UpstreamData(cache_dir=Path("nowhere"))).samples()
LENGTHS = [len(sample.facts["skills"]) for sample in SAMPLES]


def verdicts(seed: int = 0) -> list[Verdict]:
    chance = random.Random(seed)
    return [
        Verdict(
            image_id=f"{sample.id}/0",
            question_id=str(index),
            value=chance.random(),
            status="scored",
        )
        for sample in SAMPLES
        for index in range(len(sample.facts["skills"]))
    ]


def written(folder: Path, content: Any) -> Path:
    path = folder / "score_lists.json"
    path.write_text(json.dumps(content))
    return path


def test_what_is_exported_has_the_same_report_when_it_is_read_again(tmp_path: Path) -> None:
    given_verdicts = verdicts()
    images = {f"{sample.id}/0": tmp_path / "a.png" for sample in SAMPLES}
    files = dict(geneval2_export_files(SAMPLES, images, given_verdicts))
    assert {str(path) for path in files} == {
        "image_paths.json", "score_lists.json", *(f"{sample.id}.png" for sample in SAMPLES),
    }  # fmt: skip
    paths = json.loads(str({str(path): text for path, text in files.items()}["image_paths.json"]))
    assert paths[SAMPLES[3].prompt] == "0003.png"
    for path, content in files.items():
        if isinstance(content, str):
            (tmp_path / path).write_text(content)
    report = summarise_score_lists(tmp_path, SAMPLES)
    benchmark = open_geneval2("mini", data=UpstreamData(cache_dir=Path("nowhere")))
    own = benchmark.summarise(SAMPLES, given_verdicts, evaluator="judge", all_samples=SAMPLES)
    assert report.headline == own.headline
    assert report.groups == own.groups
    assert report.extras["soft_tifa_am"] == own.extras["soft_tifa_am"]


def test_an_atom_that_was_not_judged_stays_open_in_the_lists(tmp_path: Path) -> None:
    files = dict(geneval2_export_files(SAMPLES, {}, verdicts()[1:]))
    lists = json.loads(str({str(path): text for path, text in files.items()}["score_lists.json"]))
    assert lists[0][0] is None
    report = summarise_score_lists(written(tmp_path, lists), SAMPLES)
    assert (report.headline.n_samples, report.partial) == (len(SAMPLES) - 1, True)
    assert report.statuses == {"scored": sum(LENGTHS) - 1, "unparsed": 1}


def test_the_method_is_told_by_the_scores(tmp_path: Path) -> None:
    hard = [[1] * n for n in LENGTHS]
    assert "(tifa)" in summarise_score_lists(written(tmp_path, hard), SAMPLES).evaluator
    whole = summarise_score_lists(written(tmp_path, [[0.25]] * len(SAMPLES)), SAMPLES)
    assert "(vqascore)" in whole.evaluator
    assert score_lists_text(whole) == "Score: 25.0"
    soft = summarise_score_lists(written(tmp_path, [[1.0] * n for n in LENGTHS]), SAMPLES)
    assert "(soft_tifa_gm)" in soft.evaluator
    assert "nothing is scored for verb" in score_lists_text(soft)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "no list of lists"),
        ([[0.5], "x"], "no list of lists"),
        ([[True]], "no list of lists"),
        ([[-0.5]], "no list of lists"),
        ([[]], "no list of lists"),
        ([[0.5, 0.5]], "scores of 1 prompts instead of 24"),
        ([[0.5, 0.5]] * 24, "2 scores of prompt 0000, which has 3 atoms"),
    ],
)
def test_lists_that_do_not_fit_are_refused(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.raises(AlphaBenchError, match=words):
        summarise_score_lists(written(tmp_path, content), SAMPLES)
    with pytest.raises(AlphaBenchError, match="cannot be read"):
        summarise_score_lists(tmp_path / "none.json", SAMPLES)


@given(st.recursive(st.none() | st.floats() | st.text(max_size=2), st.lists, max_leaves=9))
def test_any_json_is_read_or_refused_in_one_sentence(tmp_path_factory: Any, content: Any) -> None:
    path = written(tmp_path_factory.mktemp("lists"), content)
    try:
        report = summarise_score_lists(path, SAMPLES[:2])
    except AlphaBenchError:
        return
    assert report.headline.value is None or report.headline.value >= 0.0


def test_images_are_found_by_the_map_of_prompts(tmp_path: Path) -> None:
    noise(tmp_path / "made" / "one.png")
    (tmp_path / "made" / "two.png").mkdir()
    prompts = [sample.prompt for sample in SAMPLES[:3]]
    places = ["made/one.png", "made/two.png", "made/three.png"]
    (tmp_path / "image_paths.json").write_text(json.dumps(dict(zip(prompts, places, strict=True))))
    listing = LAYOUT.find(tmp_path, FolderOptions())
    assert listing == {prompts[0]: {0: tmp_path / "made" / "one.png"}}
    assert LAYOUT.key(SAMPLES[0]) == prompts[0]
    for other in ("[]", '{"a": 1}', "x"):
        (tmp_path / "image_paths.json").write_text(other)
        assert LAYOUT.find(tmp_path, FolderOptions()) == {}
