"""LongText-Bench from prompts to report, with judges that answer from truth or not at all."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from alphabench.benchmarks.longtext.benchmark import LongText, open_longtext
from alphabench.benchmarks.longtext.official_files import (
    LAYOUT,
    longtext_export_files,
    summarise_longtext_results,
)
from alphabench.benchmarks.longtext.questions import open_longtext_judge, parse_wording
from alphabench.checkpoints.scene import open_scene
from alphabench.core.errors import AlphaBenchError
from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.judges.transcription import units_of
from alphabench.questions import ImagePart, Question
from alphabench.runs.plan import requests_for
from alphabench.scenes.geneval_scenes import why_not_renderable
from alphabench.types import GeneratedImage, ProtocolName, Report, Sample, Verdict
from alphabench.upstream import UpstreamData
from alphabench.upstream.layouts import FolderOptions
from tests.support.truth import replies

NOWHERE = UpstreamData(cache_dir=Path("nowhere"))
SCRIPT = b"""
class ImageEvaluator:
    def __init__(self, device):
        model_id = "m"
        self.qwen_prompt = ("Read it, " "all of it.")
"""


def mini(protocol: ProtocolName = "official") -> LongText:
    return open_longtext("mini", protocol=protocol, data=NOWHERE)


def blank(folder: Path, samples: Sequence[Sample]) -> list[GeneratedImage]:
    """Images that no judge looks at."""
    return [
        GeneratedImage(request=request, path=folder / "none.png", sha256="0" * 64, seconds=0.0)
        for request in requests_for(samples, 4, seed=0)
    ]


def report_of(benchmark: LongText, verdicts: Sequence[Verdict]) -> Report:
    samples = mini().samples()
    return benchmark.summarise(samples, verdicts, evaluator="judge", all_samples=samples)


def transcribed_by(
    folder: Path,
    script: Callable[[Question], ScriptedReply],
    protocol: ProtocolName = "official",
) -> list[Verdict]:
    judge = ScriptedJudge(script)
    evaluator = open_longtext_judge(judge, None, "words", protocol)
    return list(evaluator.evaluate(blank(folder, mini().samples())))


def test_the_mini_split_can_be_drawn_and_asks_about_every_word() -> None:
    samples = mini().samples()
    assert [s.id for s in samples if why_not_renderable(s.facts) is not None] == []
    for sample in samples:
        words = units_of(" ".join(sample.facts["text"]), "words").total()
        facts = sample.facts
        assert words == len(facts["questions"]) == len(facts["check"]) == facts["text_length"]
    assert len(samples) == 16


@pytest.mark.parametrize("error", ["0", "1.0"])
def test_a_judge_that_knows_the_truth_gives_the_true_score(tmp_path: Path, error: str) -> None:
    checkpoint = open_scene("", options={"size": "64", "error": error})
    requests = {one.id: one for one in requests_for(mini().samples(), 4, seed=0)}
    truths = {name: replies("longtext", checkpoint, one) for name, one in requests.items()}
    judge = ScriptedJudge(lambda q: truths[q.image_id][q.id])
    images = blank(tmp_path, mini().samples())
    report = report_of(mini(), list(mini().evaluator(judge=judge).evaluate(images)))
    answers = [reply == "yes" for of in truths.values() for reply in of.values()]
    assert report.headline.value == sum(answers) / len(answers)
    assert (report.headline.value == 1.0) == (error == "0")
    assert (report.coverage, report.partial, len(answers)) == (1.0, False, 252)
    assert report.headline.n_scored == report.headline.n_expected == 64


def test_long_texts_weigh_more_and_lost_images_count_in_the_bounds_alone(tmp_path: Path) -> None:
    facts = {f"{sample.id}/{n}": sample.facts for sample in mini().samples() for n in range(4)}

    def script(question: Question) -> ScriptedReply:
        if question.image_id == "0000/0":
            return Mishap(kind="server_error")
        asked = facts[question.image_id]
        return " ".join(asked["text"]) if asked["length"] == "long" else "nothing of it"

    verdicts = transcribed_by(tmp_path, script)
    report = report_of(mini(), verdicts)
    total = {length: 4 * sum(
        s.facts["text_length"] for s in mini().samples() if s.facts["length"] == length
    ) for length in ("short", "long")}  # fmt: skip
    words = sum(total.values())
    assert report.headline.value == total["long"] / (words - 2)
    assert report.bounds == pytest.approx((total["long"] / words, (total["long"] + 2) / words))
    assert report.statuses == {"scored": 63, "failed": 1}
    assert report.coverage == 63 / 64
    assert report.extras["long texts"].value == 1.0
    assert report.extras["short texts"].value == 0.0
    weights = [float(s.facts["length"] == "long") for s in mini().samples()]
    mean = 4 * sum(weights) / 63
    assert report.extras["mean over images"].value == pytest.approx(mean)
    assert mean < total["long"] / words


def test_a_lost_answer_about_one_object_takes_the_image_out(tmp_path: Path) -> None:
    lost = ScriptedJudge(lambda q: "maybe" if (q.image_id, q.id) == ("0000/0", "1") else "yes")
    images = blank(tmp_path, mini().samples())
    verdicts = list(mini().evaluator(judge=lost).evaluate(images))
    assert [(v.image_id, v.status) for v in verdicts if v.value is None] == [("0000/0", "unparsed")]
    assert report_of(mini(), verdicts).headline.value == 1.0


def test_the_image_comes_first_and_the_checkpoints_own_settings_apply(tmp_path: Path) -> None:
    asked: list[Question] = []

    def script(question: Question) -> ScriptedReply:
        asked.append(question)
        return "x"

    wording = parse_wording(SCRIPT)
    assert wording == "Read it, all of it."
    evaluator = open_longtext_judge(ScriptedJudge(script), wording, "words", "official")
    list(evaluator.evaluate(blank(tmp_path, mini().samples()[:1])))
    assert [type(part) for part in asked[0].parts] == [ImagePart, str]
    assert asked[0].parts[1] == wording
    assert (asked[0].sampling.max_tokens, asked[0].sampling.temperature) == (1024, None)
    assert evaluator.identity["wording"].startswith("official:")
    pickle.dumps(open_longtext_judge(ScriptedJudge(""), None, "words", "strict"))


@pytest.mark.parametrize("script", [b"", SCRIPT.replace(b"self.qwen_prompt", b"self.other")])
def test_a_script_without_the_wording_is_refused(script: bytes) -> None:
    with pytest.raises(AlphaBenchError, match="does not contain the judge's template"):
        parse_wording(script)


def test_strict_takes_no_refusal_for_a_transcription(tmp_path: Path) -> None:
    def script(_: Question) -> ScriptedReply:
        return "I'm sorry, but I can't assist with that."

    official = report_of(mini(), transcribed_by(tmp_path, script))
    assert (official.headline.value, official.coverage) == (0.0, 1.0)
    strict = report_of(mini("strict"), transcribed_by(tmp_path, script, "strict"))
    assert (strict.headline.value, strict.coverage) == (None, 0.0)
    assert strict.statuses == {"refused": 64}


def test_what_is_written_is_read_again_with_its_gaps(tmp_path: Path) -> None:
    odd = "addCriterion apple \ud800 No text recognized."
    verdicts = transcribed_by(
        tmp_path, lambda q: odd if q.image_id.endswith("/3") else Mishap(kind="server_error")
    )
    samples = mini().samples()
    paths = {f"{s.id}/{n}": tmp_path / "x.png" for s in samples for n in range(4)}
    files = dict(longtext_export_files(samples, paths, verdicts))
    rows = [json.loads(line) for line in str(files.pop(Path("results.jsonl"))).splitlines()]  # type: ignore[call-overload]
    wanted = {f"{sample.id}_{number}.png" for sample in samples for number in range(1, 5)}
    assert {str(name) for name in files} == wanted
    assert [row["image"] for row in rows] == [f"{s.id}_4.png" for s in samples]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    again = summarise_longtext_results(tmp_path, samples, "mini")
    report = report_of(mini(), verdicts)
    assert again.headline.value == report.headline.value
    assert {n: g.value for n, g in again.groups.items()} == {
        n: g.value for n, g in report.groups.items()
    }
    assert again.partial


@pytest.mark.parametrize(
    "row",
    [
        [],
        {"image": "a.png"},
        {"image": "a.png", "ocr_results": 3, "ocr_gt": ["x"]},
        {"image": "a.png", "ocr_results": "x", "ocr_gt": "x"},
        {"image": "a.png", "ocr_results": "x", "match_word_count": 2, "gt_word_count": 1},
        {"image": "a.png", "ocr_results": "x", "match_word_count": True, "gt_word_count": 1},
    ],
)
def test_a_row_of_another_form_is_named(tmp_path: Path, row: Any) -> None:
    (tmp_path / "results.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(AlphaBenchError, match="line 1"):
        summarise_longtext_results(tmp_path, [], "en")


def test_images_are_found_by_upstreams_names_and_flat_folders_are_not(tmp_path: Path) -> None:
    for name in ("0003_1.png", "0003_4.png", "0007.png", "notes.txt", "x_1.png"):
        (tmp_path / name).write_bytes(b"")
    found = LAYOUT.find(tmp_path, FolderOptions())
    assert {key: sorted(of) for key, of in found.items()} == {"0003": [0, 3], "0007": [0]}
    (tmp_path / "0003_0.png").write_bytes(b"")
    assert LAYOUT.find(tmp_path, FolderOptions()) == {}


@pytest.mark.parametrize(
    ("split", "version", "words"), [("fr", None, "'fr'"), ("en", "9", "'9'"), ("mini", "2b", "2b")]
)
def test_names_that_there_are_not_are_refused(split: str, version: str, words: str) -> None:
    with pytest.raises(AlphaBenchError, match=words):
        open_longtext(split, version=version, data=NOWHERE)


def test_no_split_is_english() -> None:
    assert open_longtext(data=NOWHERE).card.split == "en"
