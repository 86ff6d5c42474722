"""WISE from prompts to report, with judges that answer from truth or not at all."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from alphabench.benchmarks.wise.benchmark import Wise, open_wise
from alphabench.benchmarks.wise.questions import own_wise_template, parse_wise_template
from alphabench.benchmarks.wise.scoring import CATEGORIES, EDITIONS
from alphabench.checkpoints.scene import open_scene
from alphabench.core.errors import AlphaBenchError
from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.questions import ImagePart, Question
from alphabench.runs.plan import requests_for
from alphabench.scenes.geneval_scenes import why_not_renderable
from alphabench.types import GeneratedImage, ProtocolName, Report, Sample, Verdict
from alphabench.upstream import UpstreamData
from tests.support.truth import obeyed

NOWHERE = UpstreamData(cache_dir=Path("nowhere"))
RIGHT = {"verified": "Score: 1", "legacy": "Consistency: 2\nRealism: 2\nAesthetic Quality: 2"}
WRONG = {"verified": "Score: 0", "legacy": "Consistency: 0\nRealism: 2\nAesthetic Quality: 2"}
both = pytest.mark.parametrize("version", list(EDITIONS))


def mini(version: str = "verified", protocol: ProtocolName = "official") -> Wise:
    return open_wise("mini", version=version, protocol=protocol, data=NOWHERE)


def images(
    benchmark: Wise, folder: Path, **options: str
) -> tuple[list[GeneratedImage], dict[str, bool]]:
    """Every image of the benchmark as `scene:` draws it, and which of them are right."""
    checkpoint = open_scene("", options={"size": "64", **options})
    requests = requests_for(benchmark.samples(), 1, seed=0)
    made = []
    for request in requests:
        path = folder / f"{request.sample.id}.png"
        checkpoint.render_request(request).image.save(path)
        made.append(GeneratedImage(request=request, path=path, sha256=path.name, seconds=0.0))
    return made, obeyed(checkpoint, requests)


def judged(benchmark: Wise, made: Sequence[GeneratedImage], judge: ScriptedJudge) -> list[Verdict]:
    return list(benchmark.evaluator(judge=judge).evaluate(made))


def report_of(
    benchmark: Wise, verdicts: Sequence[Verdict], samples: Sequence[Sample] | None = None
) -> Report:
    every = benchmark.samples()
    return benchmark.summarise(
        every if samples is None else samples, verdicts, evaluator="judge", all_samples=every
    )


def test_the_two_editions_have_their_own_prompts_and_never_share_an_identity(
    shared: Path, tmp_path: Path
) -> None:
    data = UpstreamData(cache_dir=tmp_path)
    for pin in ("wise", "wise-legacy"):
        data.fetch(pin, source=shared / "upstream")
    verified, legacy = open_wise(data=data), open_wise(version="legacy", data=data)
    prompts = [{s.id: s.prompt for s in one.samples()} for one in (verified, legacy)]
    assert [len(of) for of in prompts] == [1000, 1000]
    assert len(set(prompts[0].values()) & set(prompts[1].values())) == 513
    assert sum(prompts[0][i] == prompts[1][i] for i in prompts[0]) == 332
    assert verified.card.id == "wise@verified"
    assert legacy.card.id == "wise@legacy"
    assert verified.card.data_digest != legacy.card.data_digest
    assert verified.questions(verified.samples()[0]) != legacy.questions(legacy.samples()[0])
    sizes = {g: sum(s.group == g for s in legacy.samples()) for g in CATEGORIES}
    assert list(sizes.values()) == [400, 167, 133, 100, 100, 100]


def test_official_data_that_is_not_here_names_the_command() -> None:
    with pytest.raises(AlphaBenchError) as caught:
        open_wise(version="legacy", data=NOWHERE).samples()
    assert "alphabench fetch wise-legacy" in str(caught.value.hint)
    assert "wise:mini" in str(caught.value.hint)


def test_the_mini_split_has_drawable_riddles_that_do_not_name_their_answer() -> None:
    samples = mini().samples()
    assert {group: sum(s.group == group for s in samples) for group in CATEGORIES} == dict.fromkeys(
        CATEGORIES, 6
    )
    for sample in samples:
        assert why_not_renderable(sample.facts) is None
        answers = list(sample.facts["include"])
        if len(answers) == 1 and not sample.facts["exclude"] and "color" not in answers[0]:
            assert answers[0]["class"] not in sample.prompt.casefold(), sample.prompt
        colours = [clause["color"] for clause in answers if "color" in clause]
        assert not any(f" {colour}" in sample.prompt for colour in colours if colour != "red")


@both
@pytest.mark.parametrize("error", ["0", "0.5"])
def test_a_judge_that_knows_the_truth_gives_the_true_score(
    version: str, error: str, tmp_path: Path
) -> None:
    benchmark = mini(version)
    made, truth = images(benchmark, tmp_path, error=error)
    judge = ScriptedJudge(lambda q: (RIGHT if truth[q.image_id] else WRONG)[version])
    report = report_of(benchmark, judged(benchmark, made, judge))
    share = sum(truth.values()) / len(truth)
    worst = 0.0 if version == "verified" else 0.3
    assert report.headline.value is not None
    by_hand = sum(
        EDITIONS[version].weights[group]
        * sum(1.0 if truth[i.id] else worst for i in made if i.request.sample.group == group)
        / 6
        for group in CATEGORIES
    )
    assert report.headline.value == pytest.approx(by_hand)
    assert (report.headline.value == pytest.approx(1.0)) == (error == "0") == (share == 1)
    assert (report.coverage, report.partial) == (1.0, False)
    assert set(report.extras) == (
        {"consistency", "realism", "aesthetic_quality"} if version == "legacy" else set()
    )


def test_what_a_judge_does_not_say_is_counted_and_never_a_number(tmp_path: Path) -> None:
    benchmark = mini()
    made, _ = images(benchmark, tmp_path)
    mishaps: list[ScriptedReply] = [
        Mishap(kind="garbage"), Mishap(kind="refusal"), Mishap(kind="server_error"), "Score: 2",
    ]  # fmt: skip
    table: dict[Any, ScriptedReply] = {image.id: "Score: 1" for image in made}
    table.update(zip([image.id for image in made], mishaps, strict=False))
    judge = ScriptedJudge(lambda q: table[q.image_id])
    verdicts = judged(benchmark, made, judge)
    report = report_of(benchmark, verdicts)
    assert report.statuses == {"scored": 32, "unparsed": 2, "refused": 1, "failed": 1}
    assert report.headline.value == 1.0
    assert report.coverage == 32 / 36
    assert report.bounds is not None
    assert report.bounds == pytest.approx((1 - 0.4 * 4 / 6, 1.0))
    garbled = [v for v in verdicts if v.status == "unparsed"]
    assert all(verdict.value is None and verdict.detail["reply"] for verdict in garbled)


def test_officially_an_unreadable_reply_is_asked_for_three_times_and_strictly_once(
    tmp_path: Path,
) -> None:
    asked: list[Question] = []

    def stubborn(question: Question) -> ScriptedReply:
        asked.append(question)
        return "Score: 1" if question.repeat == 2 else "hm"

    made, _ = images(mini(), tmp_path)
    (verdict,) = judged(mini(), made[:1], ScriptedJudge(stubborn))
    assert (verdict.value, len(asked)) == (1.0, 3)
    asked.clear()
    (verdict,) = judged(mini(protocol="strict"), made[:1], ScriptedJudge(stubborn))
    assert (verdict.status, len(asked)) == ("unparsed", 1)


@both
@pytest.mark.parametrize("protocol", ["official", "strict"])
def test_there_is_no_headline_while_a_category_has_no_score(
    version: str, protocol: ProtocolName, tmp_path: Path
) -> None:
    benchmark = mini(version, protocol)
    made, _ = images(benchmark, tmp_path)
    kept = [image for image in made if image.request.sample.group != "time"]
    verdicts = judged(benchmark, kept, ScriptedJudge(RIGHT[version]))
    report = report_of(benchmark, verdicts)
    assert report.headline.value is None
    assert report.withheld == "1 of 6 categories have no scored verdict"
    assert report.statuses["missing"] == 6
    assert report.partial
    some = [image.request.sample for image in kept]
    withheld = report_of(benchmark, verdicts, some)
    assert withheld.withheld == "1 of 6 categories have no sample"
    assert (withheld.coverage, withheld.bounds) == (1.0, None)


@both
def test_a_question_shows_the_picture_riddle_and_answer_in_our_own_words(
    version: str, tmp_path: Path
) -> None:
    questions: list[Question] = []

    def listen(question: Question) -> ScriptedReply:
        questions.append(question)
        return RIGHT[version]

    made, _ = images(mini(version), tmp_path)
    judged(mini(version), made[:1], ScriptedJudge(listen))
    picture, text = questions[0].parts
    sample = made[0].request.sample
    assert isinstance(picture, ImagePart)
    assert picture.encoding == "png"
    assert isinstance(text, str)
    assert sample.prompt in text
    assert sample.facts["Explanation"] in text
    assert questions[0].sampling.temperature == 0.0
    assert questions[0].sampling.max_tokens == {"verified": 500, "legacy": 2000}[version]


SCRIPT = """
def build(item, encoded):
    return [
        {"role": "system", "content": [{"type": "text", "text": "Invented for a test."}]},
        {"role": "user", "content": [
            {"type": "text", "text": f'''Riddle: "{item['Prompt']}". {{x}}
Meaning: "{item['Explanation']}".'''},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}},
        ]},
    ]
"""


def test_official_wording_is_read_from_a_script_of_upstreams_form() -> None:
    words = parse_wise_template(SCRIPT.encode(), path="judge.py")
    picture = ImagePart(path=Path("x.png"), sha256="0")
    assert words.system == "Invented for a test."
    assert words.message("What?", "That.", picture) == (
        'Riddle: "What?". {x}\nMeaning: "That.".',
        picture,
    )
    assert words.digest != own_wise_template(EDITIONS["verified"]).digest
    assert (
        words.digest
        != parse_wise_template(SCRIPT.replace("Riddle", "Puzzle").encode(), path="").digest
    )


@pytest.mark.parametrize(
    "source",
    [
        "x = 1",
        SCRIPT + SCRIPT,
        SCRIPT.replace("['Prompt']", "['prompt']"),
        SCRIPT.replace("image_", "a"),
    ],
)
def test_a_script_of_another_form_is_refused_and_not_guessed(source: str) -> None:
    with pytest.raises(AlphaBenchError, match="does not contain the judge's template"):
        parse_wise_template(source.encode(), path="judge.py")


def test_the_identity_tells_edition_wording_reading_and_judge() -> None:
    def identity(version: str, protocol: ProtocolName, spec: str) -> dict[str, str]:
        judge = ScriptedJudge("x")
        return dict(mini(version, protocol).evaluator(spec, judge=judge).identity)

    base = identity("verified", "official", "judge")
    assert base["wording"].startswith("own:")
    assert base["judge.model"] == "scripted"
    others = [
        identity("legacy", "official", "judge"),
        identity("verified", "strict", "judge"),
        identity("verified", "official", "judge?thinking=off"),
        identity("verified", "official", "judge?tries=1"),
    ]
    assert all(other != base for other in others)


def test_the_evaluator_can_be_sent_to_another_process() -> None:
    evaluator = mini().evaluator(judge=ScriptedJudge("Score: 1"))
    assert pickle.loads(pickle.dumps(evaluator)).identity == evaluator.identity


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("viescore", "no evaluator of wise named 'viescore'"),
        ("judge?wording=theirs", "no value of judge option 'wording' named 'theirs'"),
        ("judge?wording=official", "not on this machine"),
        ("judge?tries=0", "tries is 1 at least"),
    ],
)
def test_a_mistaken_evaluator_is_one_sentence(spec: str, words: str) -> None:
    with pytest.raises(AlphaBenchError, match=words):
        mini().evaluator(spec, judge=ScriptedJudge("x"))


def test_without_a_judge_the_way_to_name_one_is_told() -> None:
    with pytest.raises(AlphaBenchError) as caught:
        mini().evaluator()
    assert "--judge" in str(caught.value.hint)


def test_an_unknown_edition_or_split_names_the_nearest() -> None:
    with pytest.raises(AlphaBenchError, match="verifed"):
        open_wise(version="verifed", data=NOWHERE)
    with pytest.raises(AlphaBenchError, match="did you mean 'mini'"):
        open_wise("mimi", data=NOWHERE)


def test_a_part_of_the_prompts_makes_the_report_partial(tmp_path: Path) -> None:
    benchmark = mini()
    made, _ = images(benchmark, tmp_path)
    verdicts = judged(benchmark, made[:6], ScriptedJudge("Score: 1"))
    few = [image.request.sample for image in made[:6]]
    report = report_of(benchmark, verdicts, few)
    assert report.partial
    assert report.coverage == 1.0
    assert dataclasses.replace(report, partial=False) != report
