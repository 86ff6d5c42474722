"""RISEBench from items to report, with judges that answer from truth or not at all."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alphabench.benchmarks.rise.benchmark import (
    ARCHIVE,
    AS_UPSTREAM,
    RiseBench,
    open_rise,
    rise_facts,
)
from alphabench.benchmarks.rise.official_files import OFFICIAL
from alphabench.benchmarks.rise.questions import official_calls
from alphabench.benchmarks.rise.scoring import CATEGORIES, LOGICAL
from alphabench.checkpoints.scene import open_scene
from alphabench.core.errors import AlphaBenchError
from alphabench.judges.data_uris import data_uri
from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.questions import ImagePart, Question, ReplySampling
from alphabench.runs.plan import requests_for
from alphabench.types import GeneratedImage, ImageRequest, ProtocolName, Report, Verdict
from alphabench.upstream import UpstreamData, pin_of
from tests.support.judged_world import noise
from tests.support.truth import edited_right

Edited = tuple[list[GeneratedImage], dict[str, tuple[bool, bool]]]
DATA = "data/data_total.json"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> UpstreamData:
    return UpstreamData(cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def edited(data: UpstreamData, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    return images(mini(data), tmp_path_factory.mktemp("edited"))


def mini(data: UpstreamData, protocol: ProtocolName = "official") -> RiseBench:
    return open_rise("mini", protocol=protocol, data=data)


def images(benchmark: RiseBench, folder: Path, **options: str) -> Edited:
    """Every image as `scene:` renders it; was the edit done, and was all else left alone."""
    checkpoint = open_scene("", options={"size": "64", **options})
    requests = requests_for(benchmark.samples(), 1, seed=0)
    made = []
    for request in requests:
        path = folder / f"{request.sample.id}.png"
        checkpoint.render_request(request).image.save(path)
        made.append(GeneratedImage(request=request, path=path, sha256=path.name, seconds=0.0))
    return made, edited_right(checkpoint, requests)


def judged(
    benchmark: RiseBench, made: Sequence[GeneratedImage], judge: ScriptedJudge
) -> list[Verdict]:
    return list(benchmark.evaluator(judge=judge).evaluate(made))


def report_of(benchmark: RiseBench, verdicts: Sequence[Verdict]) -> Report:
    samples = benchmark.samples()
    return benchmark.summarise(samples, verdicts, evaluator="judge", all_samples=samples)


@pytest.mark.parametrize(
    ("options", "accuracy", "score"),
    [({}, 1.0, 5.0), ({"kind": "unedited"}, 0.0, 1.0), ({"kind": "overedited"}, 0.0, None)],
)
def test_a_judge_that_knows_the_truth_gives_the_true_score(
    data: UpstreamData,
    tmp_path: Path,
    options: dict[str, str],
    accuracy: float,
    score: float | None,
) -> None:
    benchmark = mini(data)
    made, truth = images(benchmark, tmp_path, **({"error": "1", **options} if options else {}))

    def say(question: Question) -> ScriptedReply:
        marks = [10 * int(right) for right in truth[question.image_id]]
        return f'{{"score": {marks if question.id == "reasoning" else [10, 10]}}}'

    report = report_of(benchmark, judged(benchmark, made, ScriptedJudge(say)))
    assert report.headline.value == accuracy
    assert list(report.groups) == list(CATEGORIES)
    assert {metric.value for metric in report.groups.values()} == {accuracy}
    assert (report.coverage, report.partial) == (1.0, False)
    if score == 5.0:
        assert {metric.value for name, metric in report.extras.items() if metric.n_scored} == {5.0}
    if options.get("kind") == "overedited":
        assert report.extras["reasoning"].value == 5.0
        assert report.extras["consistency"].value == 1.0


def test_logical_items_are_not_asked_about_their_look(data: UpstreamData, edited: Edited) -> None:
    evaluator: Any = mini(data).evaluator(judge=ScriptedJudge("x"))
    for image in edited[0]:
        asked = [question.id for question in evaluator.questions_about(image)]
        logical = image.request.sample.group == LOGICAL
        assert asked == ["reasoning", "plausibility"][: 1 if logical else 2]
        text = evaluator.questions_about(image)[0].parts[0]
        assert image.request.sample.facts["reference"] in text
        assert image.request.sample.prompt not in text


def test_what_cannot_be_read_is_no_number_and_upstreams_figure_stands_beside(
    data: UpstreamData, edited: Edited
) -> None:
    benchmark = mini(data)
    table: dict[Any, ScriptedReply] = {"reasoning": "[10, 10]", "plausibility": "[10, 10]"}
    table["1/0", "plausibility"] = Mishap(kind="garbage")
    table["2/0", "reasoning"] = Mishap(kind="filtered")
    verdicts = judged(benchmark, edited[0], ScriptedJudge(table))
    assert [v.status for v in verdicts[:3]] == ["unparsed", "refused", "scored"]
    report = report_of(benchmark, verdicts)
    assert report.headline.value == 1.0
    assert report.coverage == 22 / 24
    assert report.extras[AS_UPSTREAM].value == pytest.approx(22 / 24)
    assert report.bounds is not None
    assert report.bounds == pytest.approx((22 / 24, 1.0))
    whole = report_of(benchmark, [v for v in verdicts if v.status == "scored"])
    assert AS_UPSTREAM not in whole.extras, "what has no image is not wrong, but missing"


@pytest.mark.parametrize(("protocol", "value"), [("official", 1.0), ("strict", None)])
def test_a_category_without_a_score_leaves_no_headline_under_strict_alone(
    data: UpstreamData, edited: Edited, protocol: ProtocolName, value: float | None
) -> None:
    benchmark = mini(data, protocol)
    kept = [image for image in edited[0] if image.request.sample.group != LOGICAL]
    report = report_of(benchmark, judged(benchmark, kept, ScriptedJudge("[10, 10]")))
    assert report.headline.value == value
    assert bool(report.withheld) == (value is None)


# --------------------------------------------------------------------------- official data


@pytest.fixture(scope="module")
def official(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> UpstreamData:
    """The official items that lie here, and noise in the place of the authors' images."""
    found = UpstreamData(cache_dir=tmp_path_factory.mktemp("official"))
    found.fetch("rise", source=str(shared / "upstream"))
    for row in json.loads(found.read("rise", DATA)):
        for key in ("image", "reference_img"):
            if key in row and not (path := found.cache_dir / ARCHIVE / row[key]).exists():
                noise(path, side=4)
    return found


def test_the_smaller_version_is_four_times_sixteen_items(official: UpstreamData) -> None:
    samples = open_rise("64", data=official).samples()
    assert [sum(s.group == c for s in samples) for c in CATEGORIES] == [16, 16, 16, 16]
    assert samples[0].id == "temporal_reasoning_1"
    assert len({s.id for s in samples}) == 64
    by_text = [s for s in samples if s.facts.get("reference_txt")]
    assert len(by_text) == 4


@pytest.mark.parametrize(
    ("category", "facts", "calls"),
    [
        ("temporal_reasoning", {}, ["consist 1", "reasoning 0", "generation 0"]),
        ("causal_reasoning", {"reasoning_img": "x"},
         ["consist 1", "reasoning_w_input 1", "generation 0"]),
        ("causal_reasoning", {"free": True}, ["reasoning 0", "generation 0"]),
        ("spatial_reasoning", {}, ["spatial_cons 1", "spatial_ref 0", "spatial_qual 0"]),
        ("spatial_reasoning", {"reasoning_img": "x"},
         ["spatial_cons 1", "spatial_ref_w_input 1", "spatial_qual 0"]),
        ("spatial_reasoning", {"reference_img": "r", "reasoning_img": "x"},
         ["spatial_cons 1", "spatial_ref_img 1", "spatial_qual 0"]),
        ("logical_reasoning", {"reference_txt": "t"}, ["logical_cons_ans 1", "logical_txt 0"]),
        ("logical_reasoning", {"reference_img": "r"}, ["logical_cons 1", "logical_img 1"]),
        ("logical_reasoning", {"reference_img": "r", "blind_as_upstream": True},
         ["logical_cons 1", "logical_img_wo_q 1"]),
    ],
)  # fmt: skip
def test_what_is_asked_follows_upstreams_script(
    category: str, facts: dict[str, Any], calls: list[str]
) -> None:
    assert [f"{text} {int(first)}" for _, text, first in official_calls(facts, category)] == calls
    if "blind_as_upstream" in facts:
        asked = official_calls(facts, category, strict=True)
        assert asked[1] == ("reasoning", "logical_img", True)


def test_the_official_questions_show_jpegs_of_at_most_768_pixels(
    official: UpstreamData, tmp_path: Path
) -> None:
    from alphabench.benchmarks.rise.questions import _Ask

    texts = {f"prompt_{name}": f"{name} of {{instruct}}: {{reference}}" for name in (
        "consist", "reasoning", "generation", "logical_cons", "logical_img")}  # fmt: skip
    Image.effect_noise((1600, 400), 60).convert("RGB").save(tmp_path / "edit.png")
    samples = {s.id: s for s in open_rise("64", data=official).samples()}
    for name, asked in (
        ("temporal_reasoning_1", ["consistency", "reasoning", "plausibility"]),
        ("logical_reasoning_1", ["consistency", "reasoning"]),
    ):
        sample = samples[name]
        request = ImageRequest(sample=sample, index=0, seed=0)
        made = GeneratedImage(request=request, path=tmp_path / "edit.png", sha256="0", seconds=0.0)
        questions = _Ask(texts, ReplySampling(max_tokens=9), False)(made)
        assert [question.id for question in questions] == asked
        assert all(q.sampling.temperature == 0.0 for q in questions)
        assert sample.prompt in str(questions[0].parts[0])
        _, first, edit = questions[0].parts
        assert isinstance(first, ImagePart)
        assert isinstance(edit, ImagePart)
        shown = sample.source_image if name.startswith("t") else official.cache_dir / ARCHIVE / (
            sample.facts["reference_img"])  # fmt: skip
        assert (first.path, first.within, edit.within) == (shown, 768, 768)
        assert len(questions[-1].parts) == (3 if name.startswith("l") else 2)


def test_an_image_within_bounds_is_sent_as_pillow_makes_thumbnails(tmp_path: Path) -> None:
    import base64
    import hashlib
    import io

    for size in ((1600, 400), (50, 40)):
        path = tmp_path / f"{size[0]}.png"
        image = Image.effect_noise(size, 60).convert("RGBA")
        image.putalpha(7)
        image.save(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        plain = ImagePart(path=path, sha256=digest, encoding="jpeg")
        part = ImagePart(path=path, sha256=digest, encoding="jpeg", within=768)
        sent = base64.b64decode(data_uri(part).partition("base64,")[2])
        wanted = image.convert("RGB")
        wanted.thumbnail((768, 768))
        buffer = io.BytesIO()
        wanted.save(buffer, format="JPEG")
        assert sent == buffer.getvalue()
        assert part != plain


def test_columns_count_as_upstream_counts_them_under_official_alone() -> None:
    rows: list[dict[str, Any]] = [
        {"index": "a", "consistency_free": True},
        {"index": "b"},
        {"index": "c", "consistency_free": False, "reasoning_wo_ins": float("nan")},
        {"index": "d", "consistency_free": None, "reasoning_wo_ins": "x"},
    ]
    found = {row["index"]: row for row in rise_facts(rows)}
    assert [found[i]["free"] for i in "abcd"] == [True, False, True, False]
    assert [found[i]["free_as_upstream"] for i in "abcd"] == [True, True, False, False]
    assert all(found[i]["blind_as_upstream"] for i in "abcd")
    assert [found[i]["blind"] for i in "abcd"] == [False, False, False, True]
    assert not any(row["free_as_upstream"] for row in rise_facts([{"index": "b"}]))


def test_the_full_benchmark_is_read_from_the_authors_archive(
    data: UpstreamData, tmp_path: Path
) -> None:
    with pytest.raises(AlphaBenchError, match="cannot be read"):
        open_rise(data=data).samples()
    here = UpstreamData(cache_dir=tmp_path)
    row = {"index": "causal_reasoning_1", "category": "causal_reasoning", "instruction": "i",
           "image": "causal_reasoning_images/1.png", "reference": "r", "consistency_free": True,
           "subtask": "State Transition"}  # fmt: skip
    archive = tmp_path / ARCHIVE
    archive.mkdir(parents=True)
    (archive / "datav2_total_w_subtask.json").write_text(json.dumps([row]))
    with pytest.raises(AlphaBenchError, match="is not in"):
        open_rise(data=here).samples()
    noise(archive / row["image"])  # type: ignore[operator]
    benchmark = open_rise(data=here)
    (sample,) = benchmark.samples()
    assert (sample.group, sample.facts["free"]) == ("causal_reasoning", True)
    detail = {"reasoning": 5.0, "plausibility": 5.0}
    verdict = Verdict(
        image_id=f"{sample.id}/0", question_id="complete", value=1.0, status="scored", detail=detail
    )
    report = report_of(benchmark, [verdict])
    assert (report.headline.value, report.partial) == (1.0, True)
    assert report.extras["accuracy Causal-State Transition"].value == 1.0
    assert "not verified" in report.notes[0]


def test_a_run_is_exported_and_read_back_from_upstreams_pickle(
    official: UpstreamData, tmp_path: Path
) -> None:
    benchmark = open_rise("64", data=official)
    samples = benchmark.samples()
    replies = {"consistency": "Final Score: 5", "reasoning": "Final Score: 4"}
    verdicts = []
    for number, sample in enumerate(samples):
        binary = "Final Score: 1" if number % 2 else "Final Score: 0"
        said = {name: binary if sample.group == LOGICAL else text for name, text in replies.items()}
        logical = 5.0 if number % 2 else 1.0
        scores = {"consistency": 5.0, "reasoning": 4.0, "plausibility": 5.0}
        if sample.group == LOGICAL:
            scores = {"consistency": logical, "reasoning": logical}
        else:
            said["plausibility"] = "**Final Score: 5**"
        calls = {f"{name}_call": {"reply": text} for name, text in said.items()}
        value = float(all(score == 5 for score in scores.values()))
        verdicts.append(
            Verdict(
                image_id=f"{sample.id}/0",
                question_id="complete",
                value=value,
                status="scored",
                detail={**calls, **scores},
            )
        )
    failed = Verdict(
        image_id=verdicts[0].image_id, question_id="complete", value=None, status="failed"
    )
    for path, content in OFFICIAL.files(samples, {}, [failed, *verdicts[1:]]):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(
            content if isinstance(content, bytes) else str(content).encode()
        )
    run = report_of(benchmark, [failed, *verdicts[1:]])
    read = OFFICIAL.summarise(tmp_path / "alphabench", official)
    assert read.headline.value == pytest.approx(run.extras[AS_UPSTREAM].value)
    assert read.extras["score"].value == pytest.approx(run.extras["score"].value)
    assert read.statuses == {"scored": 63, "unparsed": 1}
    assert OFFICIAL.text(read).splitlines()[0] == "-,Score-Origin,Score-Percentage,Accuracy"


class Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("harm",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps({"a": Harm()}), "no plain pickle: it names builtins.print"),
        (pickle.dumps(["a"]), "no table of judgements"),
        (b"", "no plain pickle"),
        (b"\x80\x04.", "no plain pickle"),
        (pickle.dumps({}), "has no judgement of 1 items, 'x_1' first"),
        (pickle.dumps({"x_1": None}), "lacks a reply"),
        (pickle.dumps({"x_1": {"judge1": "5", "judge2": 4}}), "lacks a reply"),
        (pickle.dumps({"x_1": {"judge1": None, "judge2": "Final Score: 4"}}), "lacks a reply"),
        (pickle.dumps({"x_1": dict.fromkeys(("judge1", "judge2", "judge3"), "Final Score: 4 5")}),
         "states 6 scores"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_table_of_judgements_is_one_sentence(
    tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "m.pkl").write_bytes(content)
    row = {"index": "x_1", "category": "causal_reasoning"}
    (tmp_path / "data_total.json").write_text(json.dumps([row]))
    with pytest.raises(AlphaBenchError, match=words):
        OFFICIAL.summarise(tmp_path, UpstreamData(cache_dir=tmp_path))


def test_official_data_that_is_not_here_names_the_command(
    data: UpstreamData, official: UpstreamData
) -> None:
    with pytest.raises(AlphaBenchError, match="not on this machine") as caught:
        open_rise("64", data=data).samples()
    assert "alphabench fetch rise" in str(caught.value.hint)
    with pytest.raises(AlphaBenchError, match="not on this machine"):
        open_rise("64", data=official).evaluator(judge=ScriptedJudge("x"))
    assert len(pin_of("rise-images").files) == 76


def test_mistakes_are_one_sentence_each(data: UpstreamData) -> None:
    with pytest.raises(AlphaBenchError, match="none is named"):
        mini(data).evaluator()
    with pytest.raises(AlphaBenchError, match="'full'"):
        open_rise("full", data=data)
    with pytest.raises(AlphaBenchError, match="takes 1 images per question"):
        mini(data).evaluator(judge=ScriptedJudge("x", images_per_question=1))


def test_the_evaluator_can_be_sent_to_another_process(data: UpstreamData) -> None:
    evaluator = mini(data).evaluator(judge=ScriptedJudge("[8, 8]"))
    assert pickle.loads(pickle.dumps(evaluator)).identity == evaluator.identity
