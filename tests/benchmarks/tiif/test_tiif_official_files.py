"""TIIF's published file formats, written and read back."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from alphabench.benchmarks.tiif.benchmark import Tiif, open_tiif
from alphabench.benchmarks.tiif.official_files import (
    OFFICIAL,
    accuracies,
    read_tiif_results,
    summarise_tiif_results,
    tiif_image_path,
    tiif_results_table,
)
from alphabench.core.errors import AlphaBenchError
from alphabench.types import Sample, Verdict, image_id
from alphabench.upstream import UpstreamData


def mini() -> Tiif:
    found = open_tiif("mini", data=UpstreamData(cache_dir=Path("nowhere")))
    assert isinstance(found, Tiif)
    return found


def verdicts_of(samples: list[Sample], *, unscored: frozenset[str] = frozenset()) -> list[Verdict]:
    """Every third answer is wrong; all answers about the images in `unscored` are lacking."""
    found = []
    for number, sample in enumerate(samples):
        for i, expected in enumerate(sample.facts["answers"]):
            right = (number + i) % 3 != 0
            lacking = sample.id in unscored
            found.append(
                Verdict(
                    image_id=image_id(sample.id, 0),
                    question_id=str(i),
                    value=None if lacking else float(right),
                    status="unparsed" if lacking else "scored",
                    detail={
                        "answer": expected if right else {"yes": "no", "no": "yes"}[expected],
                        "reply": "words",
                    },
                )
            )
    return found


def written(folder: Path, samples: list[Sample], verdicts: list[Verdict]) -> Path:
    for name, content in OFFICIAL.files(samples, {}, verdicts):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert isinstance(content, str)
        path.write_text(content)
    return folder / "eval_results"


def answers(folder: Path, attribute: str = "style", **fields: Any) -> Path:
    path = folder / "model" / attribute / "short" / "0.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"gt_answers": ["yes"], "model_pred": ["Yes "], **fields}))
    return path


def test_an_image_lies_where_upstream_looks_for_it() -> None:
    sample = mini().samples()[1]
    path = tiif_image_path(sample, "m")
    assert path == PurePosixPath("shape+color/m/long_description/0.png")


def test_a_run_that_is_written_out_is_summarised_to_the_same_figures(tmp_path: Path) -> None:
    benchmark = mini()
    samples = list(benchmark.samples())
    verdicts = verdicts_of(samples)
    published = summarise_tiif_results(written(tmp_path, samples, verdicts))
    ours = benchmark.summarise(samples, verdicts, evaluator="judge", all_samples=samples)
    assert published.headline == ours.headline
    assert published.groups == ours.groups
    assert published.partial, "the mini split has not all 39 attributes"
    assert published.evaluator == "alphabench"


def test_answers_that_are_not_complete_are_not_written(tmp_path: Path) -> None:
    samples = list(mini().samples())
    verdicts = verdicts_of(samples, unscored=frozenset([samples[0].id]))
    names = {str(name) for name, _ in OFFICIAL.files(samples, {}, verdicts)}
    assert "eval_results/alphabench/shape+color/short/0.json" not in names
    assert "eval_results/alphabench/shape+color/long/0.json" in names


def test_the_images_of_a_run_are_laid_out_for_upstream(tmp_path: Path) -> None:
    samples = list(mini().samples())
    images = {image_id(samples[0].id, 0): tmp_path / "a.png"}
    ((name, content),) = OFFICIAL.files(samples, images, [])
    assert str(name) == "images/shape+color/alphabench/short_description/0.png"
    assert content == tmp_path / "a.png"


def test_a_file_of_answers_has_upstreams_keys(tmp_path: Path) -> None:
    samples = list(mini().samples())
    folder = written(tmp_path, samples, verdicts_of(samples))
    fields = json.loads((folder / "alphabench/style/long/1.json").read_text())
    assert list(fields) == [
        "attribute", "desc", "jsonl_file", "line_idx", "questions", "gt_answers", "model_pred",
        "model_output",
    ]  # fmt: skip
    assert fields["desc"] == "long_description"
    assert fields["jsonl_file"] == "style_eval_prompts.jsonl"


def test_what_one_side_has_more_is_passed_over_by_official_and_counted_by_strict(
    tmp_path: Path,
) -> None:
    answers(tmp_path, gt_answers=["yes", "no", "yes"], model_pred=["yes", "yes"])
    official = summarise_tiif_results(tmp_path)
    strict = summarise_tiif_results(tmp_path, protocol="strict")
    assert official.groups["Style Control short"].value == 0.5
    assert official.statuses == {"scored": 2}
    assert strict.statuses == {"scored": 2, "unparsed": 1}
    assert strict.coverage == pytest.approx(2 / 3)


@pytest.mark.parametrize("content", ["{", "[]", '{"gt_answers": ["yes"]}', "[" * 90_000])
def test_an_unreadable_file_is_no_answer_and_is_counted_as_failed(
    tmp_path: Path, content: str
) -> None:
    answers(tmp_path)
    bad = tmp_path / "model" / "style" / "short" / "1.json"
    bad.write_text(content)
    report = summarise_tiif_results(tmp_path)
    assert report.statuses == {"scored": 1, "failed": 1}
    assert report.groups["Style Control short"].value == 1.0
    assert read_tiif_results(tmp_path).unreadable == ("style/short/1.json",)
    assert accuracies(read_tiif_results(tmp_path)) == {"style short": (1, 1)}
    assert "1 files cannot be read" in report.notes[0]


@pytest.mark.parametrize(
    ("expected", "said", "official", "strict"),
    [
        (["yes", "yes", "yes"], ["yes", None, "yes"], (1, 2, 2), (2, 2, 3)),
        (["yes", 1, "no"], ["yes", "no", "no"], (1, 2, 2), (2, 2, 3)),
        ([1], ["no"], (0, 1, 1), (0, 0, 1)),
    ],
)
def test_an_answer_that_is_no_text_is_the_last_that_official_counts(
    tmp_path: Path,
    expected: list[Any],
    said: list[Any],
    official: tuple[int, int, int],
    strict: tuple[int, int, int],
) -> None:
    answers(tmp_path, gt_answers=expected, model_pred=said)
    answers(tmp_path, "text")
    for protocol, (right, scored, asked) in (("official", official), ("strict", strict)):
        report = summarise_tiif_results(tmp_path, protocol=protocol)  # type: ignore[arg-type]
        figure = report.groups["Style Control short"]
        assert (figure.n_scored, figure.n_expected) == (scored, asked)
        if protocol == "official":
            assert figure.value == pytest.approx(right / scored)
            assert "counts as wrong" in report.notes[0]


def test_a_byte_order_mark_and_what_macos_leaves_are_passed_over(tmp_path: Path) -> None:
    path = answers(tmp_path)
    path.write_text("\ufeff" + path.read_text())
    (path.parent / "._0.json").write_bytes(b"\x00\x05\x16\x07")
    report = summarise_tiif_results(tmp_path)
    assert (report.statuses, report.notes) == ({"scored": 1}, ())


def test_a_folder_above_one_model_is_that_models_and_several_must_be_named(tmp_path: Path) -> None:
    answers(tmp_path)
    assert summarise_tiif_results(tmp_path) == summarise_tiif_results(tmp_path / "model")
    (tmp_path / "model").rename(tmp_path / "one")
    answers(tmp_path)
    with pytest.raises(AlphaBenchError, match="2 models") as caught:
        summarise_tiif_results(tmp_path)
    assert str(tmp_path / "one") in caught.value.hint


def test_what_is_no_tree_of_answers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="no judged answers"):
        summarise_tiif_results(tmp_path)
    with pytest.raises(AlphaBenchError, match="no folder"):
        summarise_tiif_results(tmp_path / "none")
    (tmp_path / "m" / "style").mkdir(parents=True)
    with pytest.raises(AlphaBenchError, match="no judged answers"):
        summarise_tiif_results(tmp_path)


def test_the_text_shows_figures_without_an_answer_as_upstream_does(tmp_path: Path) -> None:
    answers(tmp_path)
    report = summarise_tiif_results(tmp_path)
    text = OFFICIAL.text(report)
    assert (
        "==== Advanced_Style Control - Style Control ====\n       short  long\nmodel    1.0   NaN"
        in text
    )
    assert text == tiif_results_table({"model": report})
