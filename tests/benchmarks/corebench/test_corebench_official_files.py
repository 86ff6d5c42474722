"""T2I-CoReBench's published files, written and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.benchmarks.corebench.benchmark import open_corebench
from alphabench.benchmarks.corebench.official_files import (
    LAYOUT,
    corebench_export_files,
    corebench_results_text,
    summarise_corebench_results,
)
from alphabench.core.errors import AlphaBenchError
from alphabench.types import Verdict
from alphabench.upstream import UpstreamData
from alphabench.upstream.layouts import FolderOptions
from tests.support.judged_world import noise

BENCHMARK = open_corebench("mini", data=UpstreamData(cache_dir=Path("nowhere")))
SAMPLES = BENCHMARK.samples()
NAMES = [f"{sample.id}/{index}" for sample in SAMPLES for index in range(4)]


def verdicts() -> list[Verdict]:
    found = []
    for place, sample in enumerate(SAMPLES):
        for index in range(4):
            for number in range(len(sample.facts["Checklist"])):
                value = float((place + index * number) % 3 > 0)
                unread = (place, index) == (0, 0) or (place, index, number) == (1, 1, 1)
                found.append(
                    Verdict(
                        image_id=f"{sample.id}/{index}",
                        question_id=str(number),
                        value=None if unread else value,
                        status="unparsed" if unread else "scored",
                    )
                )
    return found


def exported(folder: Path) -> Path:
    images = dict.fromkeys(NAMES, folder / "a.png")
    for path, content in corebench_export_files(SAMPLES, images, verdicts()):
        if isinstance(content, str):
            (folder / path).write_text(content)
        else:
            assert path.parent.name == "-".join(path.name.split("-")[:2])
    return folder


def test_what_is_exported_has_the_same_scores_when_it_is_read_again(tmp_path: Path) -> None:
    report = summarise_corebench_results(exported(tmp_path))
    own = BENCHMARK.summarise(SAMPLES, verdicts(), evaluator="judge", all_samples=SAMPLES)
    assert report.groups == own.groups
    assert report.statuses == own.statuses
    assert (report.partial, report.headline.value) == (True, None)  # the mini split lacks C-TR
    stored = json.loads((tmp_path / "C-MI-AlphaBench.json").read_text())
    assert next(iter(stored)) == "C-MI-001-0"
    assert stored["C-MI-001-0"]["image_score"] == ""
    assert stored["mean_score"] == pytest.approx(report.groups["C-MI"].value)
    assert set(stored["C-MI-002-1"]) == {
        "Main Class", "Sub Class", "Prompt", "Checklist", "Remark", "image_score",
    }  # fmt: skip
    text = corebench_results_text(report)
    assert f"C-MI mean_score: {report.groups['C-MI'].value}" in text
    assert "reasoning: " in text
    assert "mean of 12" not in text


def test_an_image_that_is_not_there_is_in_no_file(tmp_path: Path) -> None:
    images = dict.fromkeys(NAMES[1:], tmp_path / "a.png")
    files = {str(path): of for path, of in corebench_export_files(SAMPLES, images, verdicts())}
    assert "C-MI-001-0" not in json.loads(str(files["C-MI-AlphaBench.json"]))


def test_a_folder_with_results_of_two_judges_is_refused(tmp_path: Path) -> None:
    exported(tmp_path)
    (tmp_path / "C-MI-Qwen3_5_9B.json").write_text("{}")
    with pytest.raises(AlphaBenchError, match="results of 2 judges: AlphaBench, Qwen3_5_9B"):
        summarise_corebench_results(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(AlphaBenchError, match="results of 0 judges"):
        summarise_corebench_results(tmp_path / "empty")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["Checklist", "score", "C-MI-1-0"]), inner, max_size=2)
    ),
    max_leaves=8,
)


@given(JSON)
def test_any_json_is_read_or_refused_in_one_sentence(tmp_path_factory: Any, content: Any) -> None:
    path = tmp_path_factory.mktemp("results") / "C-MI-x.json"
    path.write_text(json.dumps(content))
    try:
        report = summarise_corebench_results(path)
    except AlphaBenchError:
        return
    assert all(group.value in (None, 0.0, 1.0) for group in report.groups.values())


def test_images_are_found_by_dimension_prompt_and_number(tmp_path: Path) -> None:
    noise(tmp_path / "C-MI" / "C-MI-001-2.png")
    noise(tmp_path / "C-MI" / "other.png")
    (tmp_path / "C-MI" / "C-MI-001-3.png").mkdir()
    assert LAYOUT.find(tmp_path, FolderOptions()) == {
        "C-MI-001": {2: tmp_path / "C-MI" / "C-MI-001-2.png"}
    }
    assert LAYOUT.key(SAMPLES[0]) == "C-MI-001"
