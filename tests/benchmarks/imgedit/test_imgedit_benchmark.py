"""ImgEdit-Bench from edits to report, with judges that answer from truth or not at all."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alphabench.benchmarks.imgedit.benchmark import ARCHIVE, ImgEdit, open_imgedit
from alphabench.benchmarks.imgedit.questions import OWN, official_imgedit_templates
from alphabench.benchmarks.imgedit.scoring import OVER_EDITS, TYPES
from alphabench.checkpoints.scene import open_scene
from alphabench.core.errors import AlphaBenchError
from alphabench.judges.data_uris import data_uri
from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.questions import ImagePart, Question
from alphabench.runs.plan import requests_for
from alphabench.types import GeneratedImage, ImageRequest, ProtocolName, Report, Sample, Verdict
from alphabench.upstream import UpstreamData, pin_of
from tests.support.judged_world import noise
from tests.support.truth import edited_right

Edited = tuple[list[GeneratedImage], dict[str, tuple[bool, bool]]]
RENDERED = [kind for kind in TYPES if kind not in ("extract", "compose")]
OFFICIAL_REPLY = "Brief reasoning: fine.\nA: {}\nB: {}\nC: {}"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> UpstreamData:
    return UpstreamData(cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def edited(data: UpstreamData, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    """Every image with its edit done, rendered once; see `images`."""
    return images(mini(data), tmp_path_factory.mktemp("edited"))


def mini(data: UpstreamData, protocol: ProtocolName = "official") -> ImgEdit:
    return open_imgedit("mini", protocol=protocol, data=data)


def images(benchmark: ImgEdit, folder: Path, **options: str) -> Edited:
    """Every image as `scene:` renders it; was the edit done, and was all else left alone."""
    checkpoint = open_scene("", options={"size": "64", **options})
    requests = requests_for(benchmark.samples(), 1, seed=0)
    made = []
    for request in requests:
        path = folder / f"{request.sample.id}.png"
        checkpoint.render_request(request).image.save(path)
        made.append(GeneratedImage(request=request, path=path, sha256=path.name, seconds=0.0))
    return made, edited_right(checkpoint, requests)


def knowing(truth: dict[str, tuple[bool, bool]]) -> ScriptedJudge:
    def say(question: Question) -> ScriptedReply:
        return f'{{"score": {[10 * int(right) for right in truth[question.image_id]]}}}'

    return ScriptedJudge(say)


def judged(
    benchmark: ImgEdit, made: Sequence[GeneratedImage], judge: ScriptedJudge
) -> list[Verdict]:
    return list(benchmark.evaluator(judge=judge).evaluate(made))


def report_of(benchmark: ImgEdit, verdicts: Sequence[Verdict]) -> Report:
    samples = benchmark.samples()
    return benchmark.summarise(samples, verdicts, evaluator="judge", all_samples=samples)


def test_the_mini_split_has_four_edits_of_seven_types(data: UpstreamData) -> None:
    samples = mini(data).samples()
    assert [s.id for s in samples] == [str(number) for number in range(1, 29)]
    assert sorted({s.group for s in samples}) == sorted(RENDERED)
    assert {sum(s.group == kind for s in samples) for kind in RENDERED} == {4}
    for sample in samples:
        assert sample.source_image is not None
        with Image.open(sample.source_image) as image:
            assert (image.size, image.mode) == ((128, 128), "RGB")


@pytest.mark.parametrize(
    "options", [{}, {"error": "1", "kind": "unedited"}, {"error": "1", "kind": "overedited"}]
)
def test_a_judge_that_knows_the_truth_gives_the_true_score(
    data: UpstreamData, tmp_path: Path, options: dict[str, str]
) -> None:
    benchmark = mini(data)
    made, truth = images(benchmark, tmp_path, **options)
    report = report_of(benchmark, judged(benchmark, made, knowing(truth)))
    wanted = {None: 5.0, "unedited": 1.0, "overedited": 3.0}[options.get("kind")]
    assert report.headline.value == wanted
    assert {name: metric.value for name, metric in report.groups.items()} == dict.fromkeys(
        RENDERED, wanted
    )
    assert report.extras[OVER_EDITS].value == wanted
    assert (report.coverage, report.partial) == (1.0, False)


@pytest.mark.parametrize(
    ("protocol", "value"), [("official", 3.87), ("strict", 3.8666666666666667)]
)
def test_an_edits_score_is_the_mean_of_both_marks_the_second_never_above_the_first(
    data: UpstreamData, edited: Edited, protocol: ProtocolName, value: float
) -> None:
    judge = ScriptedJudge('{"score": [9, 5.333333333333333]}')
    (verdict,) = judged(mini(data, protocol), edited[0][:1], judge)
    assert verdict.value == pytest.approx(value, abs=1e-12)
    (lower,) = judged(mini(data, protocol), edited[0][:1], ScriptedJudge('{"score": [5, 10]}'))
    assert lower.value == 3.0
    assert lower.detail["scores"] == [3.0, 3.0]


def test_types_weigh_alike_in_the_headline_and_edits_alike_beside_it(
    data: UpstreamData, edited: Edited
) -> None:
    benchmark = mini(data)
    made, _ = edited
    adds = {image.id for image in made if image.request.sample.group == "add"}
    kept = [image for image in made if image.id not in set(sorted(adds)[:3])]
    judge = ScriptedJudge(lambda q: "[0, 0]" if q.image_id in adds else "[10, 10]")
    report = report_of(benchmark, judged(benchmark, kept, judge))
    assert report.headline.value == pytest.approx((6 * 5 + 1) / 7)
    assert report.extras[OVER_EDITS].value == pytest.approx((24 * 5 + 1) / 25)
    assert report.statuses == {"scored": 25, "missing": 3}


@pytest.mark.parametrize(("protocol", "rounded"), [("official", True), ("strict", False)])
def test_types_are_rounded_before_they_are_averaged_under_official_alone(
    data: UpstreamData, edited: Edited, protocol: ProtocolName, rounded: bool
) -> None:
    benchmark = mini(data, protocol)
    made, _ = edited
    first = {i.id for i in made if int(i.request.sample.id) % 4 == 1}
    judge = ScriptedJudge(lambda q: "[3.1, 3.1]" if q.image_id in first else "[10, 10]")
    report = report_of(benchmark, judged(benchmark, made, judge))
    exact = (2.24 + 3 * 5) / 4
    assert report.groups["add"].value == pytest.approx(round(exact, 2) if rounded else exact)
    assert report.headline.value == pytest.approx(round(exact, 2) if rounded else exact)


@pytest.mark.parametrize("protocol", ["official", "strict"])
def test_a_type_without_any_score_leaves_no_headline(
    data: UpstreamData, edited: Edited, protocol: ProtocolName
) -> None:
    benchmark = mini(data, protocol)
    kept = [image for image in edited[0] if image.request.sample.group != "style"]
    report = report_of(benchmark, judged(benchmark, kept, ScriptedJudge("[8, 8]")))
    assert report.headline.value is None
    assert "1 of 7 types of edits have no scored verdict" in report.withheld
    assert report.groups["style"].value is None
    assert report.groups["add"].value == 4.2


def test_what_cannot_be_scored_is_no_number_and_shows_in_the_bounds(
    data: UpstreamData, edited: Edited
) -> None:
    benchmark = mini(data)
    table: dict[Any, ScriptedReply] = {"score": "[10, 10]"}
    for name, kind in (("1/0", "garbage"), ("2/0", "filtered"), ("3/0", "server_error")):
        table[(name, "score")] = Mishap(kind=kind)  # type: ignore[arg-type]
    verdicts = judged(benchmark, edited[0], ScriptedJudge(table))
    assert [v.status for v in verdicts[:4]] == ["unparsed", "refused", "failed", "scored"]
    report = report_of(benchmark, verdicts)
    assert report.headline.value == 5.0
    assert report.coverage == 25 / 28
    assert report.bounds is not None
    assert report.bounds[0] == pytest.approx((6 * 5 + (5 + 3) / 4) / 7)
    assert report.bounds[1] == 5.0


# --------------------------------------------------------------------------- official data


@pytest.fixture(scope="module")
def official(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> UpstreamData:
    """The official files that lie here, and noise in the place of the authors' images."""
    found = UpstreamData(cache_dir=tmp_path_factory.mktemp("official"))
    for pin in ("imgedit", "imgedit-judge", "imgedit-uge"):
        found.fetch(pin, source=str(shared / "upstream"))
    for split, folder in (("", "singleturn"), ("-uge", "hard")):
        path = pin_of(f"imgedit{split}").files[0].path
        for row in json.loads(found.read(f"imgedit{split}", path)).values():
            image = found.cache_dir / ARCHIVE / folder / row["id"]
            if not image.exists():
                noise(image, side=4)
    return found


def test_the_official_edits_are_those_of_the_table(official: UpstreamData) -> None:
    samples = open_imgedit(data=official).samples()
    counts = {kind: sum(s.group == kind for s in samples) for kind in TYPES}
    assert counts == {
        "extract": 117, "style": 100, "add": 95, "adjust": 94, "background": 94,
        "replace": 92, "remove": 86, "action": 36, "compose": 23,
    }  # fmt: skip
    assert len({s.id for s in samples}) == 737
    assert len({s.source_image for s in samples}) == 171
    assert len(open_imgedit("uge", data=official).samples()) == 47


def test_the_official_question_is_the_types_text_then_source_and_edit_as_they_are(
    official: UpstreamData, tmp_path: Path
) -> None:
    texts = official_imgedit_templates(official, uge=False).texts
    for kind in ("style", "extract"):
        sample = next(s for s in open_imgedit(data=official).samples() if s.group == kind)
        noise(tmp_path / "edit.png", side=6)
        request = ImageRequest(sample=sample, index=0, seed=0)
        made = GeneratedImage(request=request, path=tmp_path / "edit.png", sha256="0", seconds=0.0)
        for protocol, temperature in (("official", None), ("strict", 0.0)):
            benchmark = open_imgedit(protocol=protocol, data=official)  # type: ignore[arg-type]
            evaluator: Any = benchmark.evaluator(judge=ScriptedJudge("x"))
            (question,) = evaluator.questions_about(made)
            text, source, edit = question.parts
            assert text == texts[kind].replace("<edit_prompt>", sample.prompt)
            assert sample.prompt in text
            assert (source.path, edit.path) == (sample.source_image, made.path)
            assert isinstance(source, ImagePart)
            assert (source.encoding, source.size, source.exif_rotated) == ("png", None, False)
            assert data_uri(source).startswith("data:image/")
            assert question.sampling.temperature == temperature
            assert evaluator.identity["wording"].startswith("official:")


def test_the_official_reader_is_upstreams_and_the_strict_one_wants_three_scores(
    official: UpstreamData, tmp_path: Path
) -> None:
    sample = open_imgedit(data=official).samples()[0]
    noise(tmp_path / "edit.png", side=6)
    request = ImageRequest(sample=sample, index=0, seed=0)
    made = [GeneratedImage(request=request, path=tmp_path / "edit.png", sha256="0", seconds=0.0)]
    values: dict[str, list[float | None]] = {"official": [], "strict": []}
    for protocol, found in values.items():
        benchmark = open_imgedit(protocol=protocol, data=official)  # type: ignore[arg-type]
        for reply in (OFFICIAL_REPLY.format(4, 4, 3), OFFICIAL_REPLY.format(4, 4, 9), "A: 4"):
            (verdict,) = judged(benchmark, made, ScriptedJudge(reply))
            found.append(verdict.value)
    assert values == {"official": [3.67, 5.67, 4.0], "strict": [11 / 3, None, None]}


def test_a_suite_with_two_images_only_in_the_archive_says_what_is_lacking(
    official: UpstreamData, tmp_path: Path
) -> None:
    benchmark = open_imgedit("uge", data=official)
    verdicts = [
        Verdict(image_id=f"{s.id}/0", question_id="score", value=4.0, status="scored")
        for s in benchmark.samples()
    ]
    report = report_of(benchmark, verdicts)
    assert (report.headline.value, set(report.groups), report.extras) == (4.0, {"uge"}, {})
    assert not report.partial
    assert report.notes == ("source images are from the authors' archive, which is not verified",)
    some = benchmark.samples()[:45]
    fewer = benchmark.summarise(some, verdicts[:45], evaluator="judge", all_samples=some)
    assert fewer.partial
    assert "source images are here for 45 of 47 edits" in fewer.notes


def test_official_data_that_is_not_here_names_the_command(
    data: UpstreamData, official: UpstreamData
) -> None:
    for name in ("", "uge"):
        with pytest.raises(AlphaBenchError, match="not on this machine") as caught:
            open_imgedit(name, data=data).samples()
        assert "alphabench fetch imgedit" in str(caught.value.hint)
    with pytest.raises(AlphaBenchError, match="not on this machine") as caught:
        open_imgedit("uge", data=official).evaluator(judge=ScriptedJudge("x"))
    assert "alphabench fetch imgedit-uge-judge" in str(caught.value.hint)


def test_mistakes_are_one_sentence_each(data: UpstreamData) -> None:
    with pytest.raises(AlphaBenchError, match="none is named"):
        mini(data).evaluator()
    with pytest.raises(AlphaBenchError, match="'hard'"):
        open_imgedit("hard", data=data)
    with pytest.raises(AlphaBenchError, match="'2'"):
        open_imgedit("mini", version="2", data=data)
    with pytest.raises(AlphaBenchError, match="takes 1 images per question"):
        mini(data).evaluator(judge=ScriptedJudge("x", images_per_question=1))
    with pytest.raises(AlphaBenchError, match="not on this machine"):
        mini(data).evaluator("judge?wording=official", judge=ScriptedJudge("x"))


def test_the_evaluator_can_be_sent_to_another_process(data: UpstreamData) -> None:
    evaluator = mini(data).evaluator(judge=ScriptedJudge("[8, 8]"))
    assert pickle.loads(pickle.dumps(evaluator)).identity == evaluator.identity
    assert set(OWN.texts) >= set(TYPES)


def test_a_sample_of_another_benchmark_has_no_image_in_this_layout() -> None:
    from alphabench.benchmarks.imgedit.official_files import LAYOUT

    assert LAYOUT.key(Sample(id="7", prompt="p", group="add", facts={"edit_type": "add"})) == "7"
    with pytest.raises(KeyError):
        LAYOUT.key(Sample(id="7", prompt="p", group="g"))
