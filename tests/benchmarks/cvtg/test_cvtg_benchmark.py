"""CVTG-2K from prompts to report, with OCR results from files and judges that know the truth."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alphabench.benchmarks.cvtg.benchmark import FOLDER, Cvtg, open_cvtg
from alphabench.benchmarks.cvtg.official_files import (
    LAYOUT,
    cvtg_export_files,
    summarise_cvtg_results,
)
from alphabench.benchmarks.cvtg.questions import upstream_key
from alphabench.benchmarks.cvtg.scoring import AREAS, KINDS, asked_words
from alphabench.checkpoints.scene import open_scene
from alphabench.core.errors import AlphaBenchError
from alphabench.judges.scripted import ScriptedJudge
from alphabench.reports.gallery_entries import mean_share
from alphabench.runs.plan import requests_for
from alphabench.runs.stored_run import ImageResult
from alphabench.scenes.geneval_scenes import why_not_renderable
from alphabench.types import OUT_OF, GeneratedImage, ProtocolName, Report, Verdict
from alphabench.upstream import UpstreamData
from alphabench.upstream.layouts import FolderOptions
from tests.support.truth import replies

NOWHERE = UpstreamData(cache_dir=Path("nowhere"))
PROMPT = "A kiosk with 'Hot Tea' on its roof and 'tea' on the door"


def mini(protocol: ProtocolName = "official") -> Cvtg:
    return open_cvtg("mini", protocol=protocol, data=NOWHERE)


def unpacked(
    folder: Path, prompts: list[Any] | None = None, protocol: ProtocolName = "official"
) -> Cvtg:
    """A cache with two prompts in each part, or other rows in the first part."""
    rows = [{"index": index, "prompt": PROMPT} for index in range(2)]
    for kind in ("CVTG", "CVTG-style"):
        for area in AREAS:
            file = folder / FOLDER / kind / f"{area}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            is_first = prompts is not None and (kind, area) == ("CVTG", 2)
            file.write_text(json.dumps({"data_list": prompts if is_first else rows}))
    return open_cvtg(protocol=protocol, data=UpstreamData(cache_dir=folder))


def images_of(benchmark: Cvtg) -> list[GeneratedImage]:
    """Images that are not looked at."""
    return [
        GeneratedImage(request=request, path=Path("none.png"), sha256="0" * 64, seconds=0.0)
        for request in requests_for(benchmark.samples(), 1, seed=0)
    ]


def report_of(benchmark: Cvtg, verdicts: list[Verdict], evaluator: str = "ocr") -> Report:
    samples = benchmark.samples()
    return benchmark.summarise(samples, verdicts, evaluator=evaluator, all_samples=samples)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("the baker's sign 'Hot Buns'", ["hot", "buns"]),
        ("says 'it's here' now", ["it's", "here"]),
        ("'a' 'b''c'", ["a", "b", "c"]),
        ('says "double" and no more', []),
    ],
)
def test_strictly_an_apostrophe_is_no_quotation_mark(prompt: str, words: list[str]) -> None:
    assert asked_words(prompt, "strict") == words


def test_the_mini_split_can_be_rendered_and_asks_about_every_word() -> None:
    samples = mini().samples()
    assert [s.id for s in samples if why_not_renderable(s.facts) is not None] == []
    for sample in samples:
        facts = sample.facts
        assert len(facts["words"]) == len(facts["questions"]) == len(facts["check"])
        assert len(facts["text"]) == facts["area"]
        has_attributes = any("color" in clause for clause in facts["include"])
        assert has_attributes == (facts["benchmark_type"] == "CVTG-Style")
    assert len(samples) == len({sample.id for sample in samples}) == 24


@pytest.mark.parametrize("protocol", ["official", "strict"])
@pytest.mark.parametrize("error", ["0", "1.0"])
def test_a_judge_that_knows_the_truth_gives_the_true_score(
    error: str, protocol: ProtocolName
) -> None:
    checkpoint, benchmark = open_scene("", options={"size": "64", "error": error}), mini(protocol)
    images = images_of(benchmark)
    truths = {one.id: replies("cvtg", checkpoint, one.request) for one in images}
    judge = ScriptedJudge(lambda q: truths[q.image_id][q.id])
    report = report_of(benchmark, list(benchmark.evaluator(judge=judge).evaluate(images)), "judge")
    answers = [reply == "yes" for of in truths.values() for reply in of.values()]
    assert report.headline.value == sum(answers) / len(answers)
    ned = report.extras["NED"].value
    assert ned is not None
    assert (report.headline.value == ned == 1.0) == (error == "0")
    assert ned >= report.headline.value
    assert (report.coverage, report.partial, len(answers)) == (1.0, False, 108)


def written(folder: Path, benchmark: Cvtg, reading: Callable[[str], Any]) -> str:
    """The evaluator that reads a file of results."""
    results = {
        upstream_key(sample): reading(upstream_key(sample)) for sample in benchmark.samples()
    }
    (folder / "ocr.json").write_text(json.dumps(results))
    return f"ocr?results={folder / 'ocr.json'}&engine=reader 1"


def test_every_word_read_is_the_maximum_and_lost_words_cost_what_they_are(tmp_path: Path) -> None:
    benchmark = unpacked(tmp_path)

    def reading(key: str) -> Any:
        return [["HOT tea", "Tea"], None] if key.endswith("/0") else [["hot"]]

    evaluator = benchmark.evaluator(written(tmp_path, benchmark, reading))
    report = report_of(benchmark, list(evaluator.evaluate(images_of(benchmark))))
    assert report.headline.value == pytest.approx((3 + 1) / 6)
    assert set(report.groups) == {f"{kind}-{area}" for kind in KINDS for area in AREAS}
    assert report.extras["2 regions"].n_expected == 4
    assert report.coverage == 1.0
    assert report.partial, "16 prompts are not the 2,000"
    assert any("archive" in note for note in report.notes)
    assert any("not official: reader 1" in note for note in report.notes)
    assert "VQAScore is not measured" in report.notes
    pickle.dumps(evaluator)


def test_one_reading_serves_one_word_under_strict_alone(tmp_path: Path) -> None:
    values = {}
    for protocol in ("official", "strict"):
        benchmark = unpacked(tmp_path, protocol=protocol)
        evaluator = benchmark.evaluator(written(tmp_path, benchmark, lambda _: [["hot", "tea"]]))
        report = report_of(benchmark, list(evaluator.evaluate(images_of(benchmark))))
        values[protocol] = (report.headline.value, report.extras["NED"].value)
    assert values == {"official": (1.0, 1.0), "strict": (2 / 3, 2 / 3)}


def test_a_failure_of_ocr_is_a_state_and_official_shows_upstreams_score_beside(
    tmp_path: Path,
) -> None:
    def reading(key: str) -> Any:
        return "out of memory" if key == "CVTG/2/0" else [["hot tea tea"]]

    for protocol in ("official", "strict"):
        benchmark = unpacked(tmp_path, protocol=protocol)
        evaluator = benchmark.evaluator(written(tmp_path, benchmark, reading))
        verdicts = list(evaluator.evaluate(images_of(benchmark)))
        assert verdicts[0].status == "failed"
        assert "out of memory" in verdicts[0].detail["reason"]
        report = report_of(benchmark, verdicts)
        assert (report.headline.value, report.coverage) == (1.0, 15 / 16)
        assert report.bounds == pytest.approx((45 / 48, 1.0))
        as_wrong = report.extras.get("word accuracy, failures as wrong")
        assert (as_wrong is not None) == (protocol == "official")
        assert as_wrong is None or as_wrong.value == pytest.approx(45 / 48)


def test_images_without_a_result_are_listed_before_and_have_no_verdict(tmp_path: Path) -> None:
    benchmark = unpacked(tmp_path)
    (tmp_path / "ocr.json").write_text(json.dumps({"CVTG/2/0": [["tea"]]}))
    spec = f"ocr?results={tmp_path / 'ocr.json'}&engine=paddleocr 2.7"
    evaluator = benchmark.evaluator(spec)
    images = images_of(benchmark)
    assert len(evaluator.refusals([one.request for one in images])) == 15  # type: ignore[attr-defined]
    verdicts = list(evaluator.evaluate(images))
    assert [one.image_id for one in verdicts] == ["CVTG-2-0/0"]
    report = report_of(benchmark, verdicts)
    assert report.statuses == {"scored": 1, "missing": 15}
    assert not any("not official" in note for note in report.notes)


@pytest.mark.parametrize("is_old", [False, True])
def test_a_prompt_that_quotes_nothing_counts_in_no_sum_and_is_not_right(
    tmp_path: Path, is_old: bool
) -> None:
    benchmark = unpacked(tmp_path, [{"index": "a", "prompt": "no text at all"}])
    evaluator = benchmark.evaluator(written(tmp_path, benchmark, lambda _: [["hot", "tea"]]))
    without, *others = evaluator.evaluate(images_of(benchmark))
    assert (without.value, without.status) == (None, "missing")
    assert "quotes no word" in without.detail["reason"]
    shown = ImageResult(image_id="a", record=None, absence=None, verdicts=[without])
    assert (shown.state, mean_share(shown)) == ("unscored", None)
    if is_old:  # as verdicts of 0.2 have it
        without = replace(without, value=1.0, status="scored")
    report = report_of(benchmark, [without, *others])
    assert (report.headline.value, report.coverage) == (1.0, 1.0)
    assert (report.headline.n_scored, report.headline.n_expected) == (14, 14)
    assert report.groups["CVTG-2"].value is None
    assert report.statuses == {"scored": 14}
    assert "prompts that quote no word count in nothing: 1" in report.notes
    exported = dict(cvtg_export_files(benchmark.samples(), {}, [without, *others]))
    (text,) = exported.values()
    assert json.loads(str(text))["overall_results"]["total_images"] == 15


def test_a_plain_metric_has_its_mean_over_images_and_pairs_with_another_run(tmp_path: Path) -> None:
    benchmark = unpacked(tmp_path)
    verdicts = [
        Verdict(image_id=image.id, question_id="score", value=value, status="scored",
                detail={OUT_OF: 2.5})
        for image, value in zip(images_of(benchmark), [0.5, 1.5] * 8, strict=True)
    ]  # fmt: skip
    report = report_of(benchmark, verdicts, "clipscore")
    assert (report.headline.value, report.bounds) == (1.0, None)
    clusters = benchmark.clusters(benchmark.samples(), verdicts)
    assert sum(one.total for one in clusters) / sum(one.n_scored for one in clusters) == 1.0


@pytest.mark.parametrize(
    "rows",
    [
        [],
        "x",
        [3],
        [{"index": 0}],
        [{"index": True, "prompt": "p"}],
        [{"index": "../x", "prompt": "p"}],
        [{"index": 1, "prompt": "p"}, {"index": "1", "prompt": "q"}],
    ],
)
def test_an_archive_of_another_form_is_refused_with_the_file(tmp_path: Path, rows: Any) -> None:
    with pytest.raises(AlphaBenchError, match=r"2\.json"):
        unpacked(tmp_path, rows).samples()


def test_an_archive_that_is_not_here_is_refused_and_another_one_is_other_data(
    tmp_path: Path,
) -> None:
    with pytest.raises(AlphaBenchError) as caught:
        open_cvtg(data=UpstreamData(cache_dir=tmp_path)).samples()
    assert "cvtg:mini" in str(caught.value.hint)
    digests = {
        unpacked(tmp_path).card.data_digest,
        unpacked(tmp_path, [{"index": 0, "prompt": "p"}]).card.data_digest,
    }
    assert len(digests) == 2


def row(**changes: Any) -> dict[str, Any]:
    known = {
        "area": 2, "benchmark_type": "CVTG", "word_accuracy": 0.5, "ned": 0.5, "clipscore": 0.0,
        "vqascore": 0.0, "aesthetic_score": 0.0, "total_images": 1, "total_words": 2,
        "correct_words": 1, "ned_word_data": [1.0, 0.0],
    }  # fmt: skip
    return {**known, **changes}


def results(folder: Path, *rows: Any) -> Path:
    path = folder / "x.json"
    path.write_text(json.dumps({"area_results": list(rows)}))
    return path


@pytest.mark.parametrize(
    "rows",
    [
        (),
        ([],),
        ({},),
        (row(), row()),
        (row(area=6),),
        (row(benchmark_type="x"),),
        (row(correct_words=3),),
        (row(total_words=3),),
        (row(total_words=True),),
        (row(total_images=-1),),
        (row(ned_word_data=[1.0, "x"]),),
        (row(clipscore="x"),),
    ],
)
def test_a_result_of_another_form_is_refused(tmp_path: Path, rows: Any) -> None:
    with pytest.raises(AlphaBenchError, match="is no result of CVTG-2K"):
        summarise_cvtg_results(results(tmp_path, *rows))


def test_what_upstreams_script_could_not_measure_is_no_zero(tmp_path: Path) -> None:
    report = summarise_cvtg_results(results(tmp_path, row(), row(area=3, aesthetic_score=5.0)))
    assert (report.headline.value, report.extras["Aesthetic Score"].value) == (0.5, 2.5)
    assert set(report.extras) == {"NED", "Aesthetic Score"}
    assert "not measured: CLIPScore, VQAScore (0 in every part)" in report.notes
    none = row(total_words=0, correct_words=0, ned_word_data=[])
    report = summarise_cvtg_results(results(tmp_path, none))
    assert report.headline.value is None
    assert "PaddleOCR" in report.withheld


def test_images_are_found_by_upstreams_names(tmp_path: Path) -> None:
    for name in ("CVTG/2/0.png", "CVTG-Style/5/17.jpg", "CVTG/7/1.png", "CVTG/3/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = LAYOUT.find(tmp_path, FolderOptions())
    assert {key: sorted(of) for key, of in found.items()} == {
        "CVTG/2/0": [0],
        "CVTG-Style/5/17": [0],
    }


@pytest.mark.parametrize(
    ("split", "spec", "words"),
    [
        ("", "ocrr", "did you mean 'ocr'"),
        ("", "ocr?engine=x", "given together"),
        ("", "ocr?results=nowhere.json&engine=x", "cannot be read"),
        ("mini", "ocr", "evaluator of cvtg"),
        ("mini", "judge?x=1", "'x'"),
    ],
)
def test_names_that_there_are_not_are_refused(split: str, spec: str, words: str) -> None:
    with pytest.raises(AlphaBenchError) as caught:
        open_cvtg(split, data=NOWHERE).evaluator(spec, judge=None)
    assert words in f"{caught.value.message}; {caught.value.hint}"
    with pytest.raises(AlphaBenchError, match="asks no judge"):
        open_cvtg(data=NOWHERE).evaluator("ocr", judge=ScriptedJudge("yes"))
