"""GEdit-Bench from rows to report, with judges that answer from truth or not at all."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alphabench.benchmarks.gedit.benchmark import GEdit, open_gedit
from alphabench.benchmarks.gedit.scoring import GROUPS
from alphabench.checkpoints.scene import open_scene
from alphabench.core.errors import AlphaBenchError
from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.questions import Question
from alphabench.reports.comparison import basis_of
from alphabench.runs.plan import requests_for
from alphabench.types import GeneratedImage, ProtocolName, Report, Verdict
from alphabench.upstream import UpstreamData
from tests.support.truth import edited_right

Edited = tuple[list[GeneratedImage], dict[str, tuple[bool, bool]]]
RENDERED = [group for group in GROUPS if group not in ("ps_human", "text_change")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> UpstreamData:
    return UpstreamData(cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def edited(data: UpstreamData, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    """Every image with its edit done, rendered once; see `images`."""
    return images(mini(data), tmp_path_factory.mktemp("edited"))


def mini(data: UpstreamData, protocol: ProtocolName = "official") -> GEdit:
    return open_gedit("mini", protocol=protocol, data=data)


def images(benchmark: GEdit, folder: Path, **options: str) -> Edited:
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
        marks = [10 * int(right) for right in truth[question.image_id]]
        return f'{{"score": {marks if question.id == "semantics" else [10, 10]}}}'

    return ScriptedJudge(say)


def judged(benchmark: GEdit, made: Sequence[GeneratedImage], judge: ScriptedJudge) -> list[Verdict]:
    return list(benchmark.evaluator(judge=judge).evaluate(made))


def report_of(benchmark: GEdit, verdicts: Sequence[Verdict]) -> Report:
    samples = benchmark.samples()
    return benchmark.summarise(samples, verdicts, evaluator="judge", all_samples=samples)


def test_the_mini_split_has_nine_groups_in_two_languages_over_the_same_images(
    data: UpstreamData,
) -> None:
    samples = mini(data).samples()
    languages = {"en": [], "cn": []}  # type: dict[str, list[Any]]
    for sample in samples:
        languages[sample.facts["instruction_language"]].append(sample)
    assert [len(of) for of in languages.values()] == [27, 27]
    for english, chinese in zip(*languages.values(), strict=True):
        assert english.group == chinese.group
        assert english.source_image == chinese.source_image
        assert english.prompt.isascii()
        assert not chinese.prompt.isascii()
    assert list(dict.fromkeys(sample.group for sample in samples)) == RENDERED


def test_source_images_are_rendered_once_and_alike(data: UpstreamData, tmp_path: Path) -> None:
    first = {s.id: s.source_image for s in mini(data).samples()}
    again = mini(UpstreamData(cache_dir=tmp_path)).samples()
    assert len(set(first.values())) == 27
    for sample in again:
        theirs, ours = first[sample.id], sample.source_image
        assert theirs is not None
        assert ours is not None
        assert ours.read_bytes() == theirs.read_bytes()
        with Image.open(ours) as image:
            assert (image.size, image.mode) == ((128, 128), "RGB")


@pytest.mark.parametrize("options", [{}, {"error": "1", "kind": "unedited"}, {"error": "0.5"}])
def test_a_judge_that_knows_the_truth_gives_the_true_score(
    data: UpstreamData, tmp_path: Path, options: dict[str, str]
) -> None:
    benchmark = mini(data)
    made, truth = images(benchmark, tmp_path, **options)
    report = report_of(benchmark, judged(benchmark, made, knowing(truth)))
    english = [i for i in made if i.id.startswith("en-")]
    by_group = {
        group: [10.0 * all(truth[i.id]) for i in english if i.request.sample.group == group]
        for group in RENDERED
    }
    means = [sum(of) / len(of) for of in by_group.values()]
    assert report.headline.value == pytest.approx(sum(means) / len(means))
    if not options:
        assert report.headline.value == 10.0
        assert set(report.groups) == set(RENDERED)
        figures = ("semantics", "quality", "overall")
        own = [f"{name}{of}" for of in ("", ", intersection") for name in figures]
        chinese = [f"{name}, cn" for name in (*own, *RENDERED)]
        assert {name: figure.value for name, figure in report.extras.items()} == dict.fromkeys(
            [*[name for name in own if name != "overall"], *chinese], 10.0
        )
    elif options["error"] == "1":
        assert report.headline.value == 0.0
    else:
        assert 3.0 < (report.headline.value or 0.0) < 7.0
    assert (report.coverage, report.partial) == (1.0, False)


def test_an_images_score_is_the_root_of_both_lowest_scores(
    data: UpstreamData, edited: Edited
) -> None:
    made, _ = edited
    judge = ScriptedJudge({"semantics": '{"score": [9, 4]}', "quality": '{"score": [10, 6]}'})
    (verdict,) = judged(mini(data), made[:1], judge)
    assert verdict.value == pytest.approx(math.sqrt(24))
    assert (verdict.detail["semantics"], verdict.detail["quality"]) == (4.0, 6.0)
    assert verdict.detail["semantics_scores"] == [9.0, 4.0]


def test_the_two_languages_are_never_in_one_figure(data: UpstreamData, edited: Edited) -> None:
    benchmark = mini(data)
    made, _ = edited
    judge = ScriptedJudge(lambda q: "[8, 8]" if q.image_id.startswith("en-") else "[2, 2]")
    verdicts = judged(benchmark, made, judge)
    report = report_of(benchmark, verdicts)
    assert report.headline.value == 8.0
    assert {figure.value for figure in report.groups.values()} == {8.0}
    chinese = {v.value for name, v in report.extras.items() if name.endswith(", cn")}
    assert chinese == {2.0}
    assert {v.value for name, v in report.extras.items() if not name.endswith(", cn")} == {8.0}
    assert (report.headline.n_scored, report.coverage) == (54, 1.0)
    assert basis_of(benchmark).settings.value_range == (0.0, 10.0)
    compared = benchmark.clusters(benchmark.samples(), verdicts)
    assert {cluster.total for cluster in compared} == {8.0}


def test_a_result_without_the_headlines_language_says_why_it_has_no_headline(
    data: UpstreamData, edited: Edited
) -> None:
    benchmark = mini(data)
    chinese = [image for image in edited[0] if image.id.startswith("cn-")][:2]
    verdicts = judged(benchmark, chinese, ScriptedJudge("[8, 8]"))
    samples = [image.request.sample for image in chinese]
    report = benchmark.summarise(
        samples, verdicts, evaluator="judge", all_samples=benchmark.samples()
    )
    assert report.headline.value is None
    assert report.withheld == "no sample with English instructions was scored"


def test_groups_weigh_alike_however_many_images_they_have(
    data: UpstreamData, edited: Edited
) -> None:
    benchmark = mini(data)
    made, _ = edited
    tones = [i.id for i in made if i.request.sample.group == "tone_transfer"]
    drop = set(tones) - {next(name for name in tones if name.startswith("en-"))}
    kept = [image for image in made if image.id not in drop]
    judge = ScriptedJudge(
        lambda q: "[2, 2]" if q.image_id.split("-")[1].startswith("tone") else "[8, 8]"
    )
    report = report_of(benchmark, judged(benchmark, kept, judge))
    assert report.headline.value == pytest.approx((8 * 8 + 2) / 9)
    assert report.statuses == {"scored": 49, "missing": 5}


@pytest.mark.parametrize("protocol", ["official", "strict"])
def test_a_group_without_any_score_leaves_no_headline(
    data: UpstreamData, edited: Edited, protocol: ProtocolName
) -> None:
    benchmark = mini(data, protocol)
    made, _ = edited
    kept = [image for image in made if image.request.sample.group != "color_alter"]
    report = report_of(benchmark, judged(benchmark, kept, ScriptedJudge("[8, 8]")))
    assert report.headline.value is None
    assert report.groups["style_change"].value == 8.0
    assert report.groups["color_alter"].value is None


def test_one_unread_call_leaves_the_image_without_a_score_and_keeps_the_other(
    data: UpstreamData, edited: Edited
) -> None:
    benchmark = mini(data)
    made, _ = edited
    english = [one for one in made if one.id.startswith("en-")]
    made = [*english[::3], *[one for one in made if one not in english[::3]]]
    ids = [image.id for image in made]
    table: dict[Any, ScriptedReply] = {"semantics": "[8, 8]", "quality": "[8, 8]"}
    table[(ids[0], "quality")] = Mishap(kind="garbage")
    table[(ids[1], "semantics")] = Mishap(kind="filtered")
    table[(ids[2], "semantics")] = Mishap(kind="server_error")
    verdicts = judged(benchmark, made, ScriptedJudge(table))
    assert [verdict.status for verdict in verdicts[:4]] == [
        "unparsed", "refused", "failed", "scored",
    ]  # fmt: skip
    assert verdicts[0].detail["semantics"] == 8.0
    assert "quality" not in verdicts[0].detail
    assert verdicts[0].detail["reason"].startswith("quality: ")
    report = report_of(benchmark, verdicts)
    assert report.headline.value == 8.0
    assert report.coverage == 51 / 54
    assert report.bounds is not None
    assert report.bounds[0] < 8.0 < report.bounds[1]


def test_the_upstream_guess_is_a_labelled_replay_and_never_the_default(
    data: UpstreamData, edited: Edited
) -> None:
    benchmark = mini(data)
    made, _ = edited
    table: dict[Any, ScriptedReply] = {"semantics": "I'm sorry.", "quality": '{"score": broken]}'}
    plain = benchmark.evaluator(judge=ScriptedJudge(table))
    assert {v.status for v in plain.evaluate(made)} <= {"refused", "unparsed"}
    table["quality"] = "[9, 9]"
    runs = [
        list(benchmark.evaluator(f"judge?guess={seed}", judge=ScriptedJudge(table)).evaluate(made))
        for seed in (3, 3, 4)
    ]
    assert [v.value for v in runs[0]] == [v.value for v in runs[1]] != [v.value for v in runs[2]]
    guesses = {verdict.detail["semantics"] for verdict in runs[0]}
    assert guesses <= set(range(11))
    assert len(guesses) > 5
    assert all(verdict.detail["semantics_guessed"] for verdict in runs[0])
    labelled = benchmark.evaluator("judge?guess=3", judge=ScriptedJudge(table)).identity
    assert labelled["GUESSED"] == "seed 3"
    assert "GUESSED" not in plain.identity
    with pytest.raises(AlphaBenchError, match="guesses no score"):
        mini(data, "strict").evaluator("judge?guess=3", judge=ScriptedJudge(table))


def test_official_data_that_is_not_here_names_the_command(data: UpstreamData) -> None:
    for split in ("en", "cn"):
        with pytest.raises(AlphaBenchError, match="not on this machine") as caught:
            open_gedit(split, data=data).samples()
        assert "alphabench fetch gedit" in str(caught.value.hint)
    assert open_gedit(data=data).card.split == "en"
    assert open_gedit("cn", data=data).card.data_digest.startswith("stepfun-ai/GEdit-Bench@58159f3")


def test_mistakes_are_one_sentence_each(data: UpstreamData) -> None:
    with pytest.raises(AlphaBenchError, match="none is named"):
        mini(data).evaluator()
    with pytest.raises(AlphaBenchError, match="'zh'"):
        open_gedit("zh", data=data)
    with pytest.raises(AlphaBenchError, match="takes 1 images per question"):
        mini(data).evaluator(judge=ScriptedJudge("x", images_per_question=1))
    with pytest.raises(AlphaBenchError, match="not on this machine"):
        mini(data).evaluator("judge?wording=official", judge=ScriptedJudge("x"))


def test_the_evaluator_can_be_sent_to_another_process(data: UpstreamData) -> None:
    evaluator = mini(data).evaluator(judge=ScriptedJudge("[8, 8]"))
    assert pickle.loads(pickle.dumps(evaluator)).identity == evaluator.identity
