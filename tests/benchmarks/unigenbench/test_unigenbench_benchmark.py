"""UniGenBench++ from prompts to report, with judges that answer from truth or not at all."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from alphabench.benchmarks.unigenbench.benchmark import UniGenBench, open_unigenbench
from alphabench.benchmarks.unigenbench.questions import (
    PointTexts,
    UniGenBenchOptions,
    open_unigenbench_judge,
    parse_texts,
)
from alphabench.checkpoints.scene import open_scene
from alphabench.core.errors import AlphaBenchError
from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.questions import ImagePart, Question
from alphabench.runs.plan import requests_for
from alphabench.scenes.geneval_scenes import why_not_renderable
from alphabench.types import GeneratedImage, ProtocolName, Report, Verdict
from alphabench.upstream import UpstreamData
from tests.support.truth import replies

NOWHERE = UpstreamData(cache_dir=Path("nowhere"))
SCRIPT = '''
EXPLANATION_DICT_EN = {"Grammar - Negation": "not so", "Attribute - Color": "which"}
SYSTEM_PROMPT_EN_TEMPLATE = """Of {prompt} see {testpoint}.
{explanation}
{test_explanation} End {prompt}."""
LANG_CONFIGS = {
    "en": {
        "explanation_dict": EXPLANATION_DICT_EN,
        "checkpoint_header": "Kinds",
        "checkpoint_desc_header": "Here",
    },
}
'''
FACTS = {
    "prompt": "a {red} cat",
    "theme": "Art",
    "points": ["Grammar - Negation", "Attribute - Color"],
    "descriptions": ["no dog", "red"],
}


def mini(protocol: ProtocolName = "official") -> UniGenBench:
    return open_unigenbench("mini", protocol=protocol, data=NOWHERE)


def blank(folder: Path) -> list[GeneratedImage]:
    """Images that no judge looks at."""
    return [
        GeneratedImage(request=request, path=folder / "none.png", sha256="0" * 64, seconds=0.0)
        for request in requests_for(mini().samples(), 4, seed=0)
    ]


def judged(made: Sequence[GeneratedImage], judge: ScriptedJudge) -> list[Verdict]:
    return list(mini().evaluator(judge=judge).evaluate(made))


def report_of(verdicts: Sequence[Verdict]) -> Report:
    samples = mini().samples()
    return mini().summarise(samples, verdicts, evaluator="judge", all_samples=samples)


def texts() -> PointTexts:
    return parse_texts(SCRIPT.encode(), "en")


def test_the_mini_split_can_be_drawn_and_has_six_dimensions() -> None:
    samples = mini().samples()
    assert [s.id for s in samples if why_not_renderable(s.facts) is not None] == []
    assert all(len(s.facts["check"]) == len(mini().questions(s)) for s in samples)
    points = [point for s in samples for point in s.facts["points"]]
    assert len(points) == 48
    assert {point.partition(" -")[0] for point in points} == {
        "Attribute", "Relationship", "Entity Layout", "Grammar", "Compound", "Logical Reasoning",
    }  # fmt: skip


@pytest.mark.parametrize("error", ["0", "1.0"])
def test_a_judge_that_knows_the_truth_gives_the_true_score(tmp_path: Path, error: str) -> None:
    checkpoint = open_scene("", options={"size": "64", "error": error})
    requests = {one.id: one for one in requests_for(mini().samples(), 4, seed=0)}
    truths = {name: replies("unigenbench", checkpoint, one) for name, one in requests.items()}
    report = report_of(judged(blank(tmp_path), ScriptedJudge(lambda q: truths[q.image_id][q.id])))
    shares: dict[str, list[float]] = {}
    for name, of in truths.items():
        for point, answer in zip(requests[name].sample.facts["points"], of.values(), strict=True):
            for group in {point, point.partition("-")[0].strip()}:
                shares.setdefault(group, []).append(float(answer == "yes"))
    means = {group: sum(of) / len(of) for group, of in shares.items()}
    assert {name: one.value for name, one in report.groups.items()} == pytest.approx(means)
    primary = [mean for name, mean in means.items() if " - " not in name]
    assert report.headline.value == pytest.approx(sum(primary) / 6)
    every = [answer == "yes" for of in truths.values() for answer in of.values()]
    assert report.extras["pooled"].value == pytest.approx(sum(every) / len(every))
    assert (report.headline.value == 1.0) == (error == "0")
    assert (report.coverage, report.partial, report.notes) == (1.0, False, ())
    assert report.headline.n_expected == 192
    assert report.headline.n_samples == report.extras["pooled"].n_samples == 24


def test_what_is_not_answered_is_left_out_and_widens_the_bounds(tmp_path: Path) -> None:
    def script(question: Question) -> ScriptedReply:
        if question.image_id == "7/0":
            return "maybe"
        return Mishap(kind="server_error") if question.image_id == "7/1" else "no"

    report = report_of(judged(blank(tmp_path), ScriptedJudge(script)))
    assert report.statuses == {"scored": 190, "unparsed": 1, "failed": 1}
    assert report.headline.value == 0.0
    low, high = report.bounds or (1.0, 0.0)
    logical = report.groups["Logical Reasoning"]
    assert low == 0.0
    assert high == pytest.approx(2 / logical.n_expected / 6)


def test_a_dimension_without_a_verdict_leaves_no_mean_of_dimensions(tmp_path: Path) -> None:
    logical = {s.id for s in mini().samples() if "Logical Reasoning" in s.facts["points"]}
    judge = ScriptedJudge(lambda q: "maybe" if q.image_id.partition("/")[0] in logical else "yes")
    report = report_of(judged(blank(tmp_path), judge))
    assert report.headline.value is None
    assert report.withheld == "1 of 6 dimensions have no scored verdict"


def asked(
    reply: ScriptedReply,
    *,
    model: str = "m",
    protocol: ProtocolName = "official",
    own: bool = False,
    **options: Any,
) -> tuple[list[Question], list[Verdict]]:
    """Questions and verdicts about one image, with the texts of a script made up here."""
    seen: list[Question] = []

    def script(question: Question) -> ScriptedReply:
        seen.append(question)
        return reply

    made = blank(Path())[0]
    sample = made.request.sample
    changed = type(sample)(id="0", prompt=FACTS["prompt"], group="Art", facts=FACTS)  # type: ignore[arg-type]
    request = type(made.request)(sample=changed, index=0, seed=0)
    image = GeneratedImage(request=request, path=made.path, sha256="0" * 64, seconds=0.0)
    evaluator = open_unigenbench_judge(
        ScriptedJudge(script, name=model),
        UniGenBenchOptions(**options),
        None if own else texts(),
        protocol,
        one_by_one=False,
    )
    assert pickle.loads(pickle.dumps(evaluator.questions_about)) == evaluator.questions_about
    return seen, list(evaluator.evaluate([image]))


GOOD = "<analysis>['x', 'y']</analysis><score>[1, 0]</score>"


def test_each_back_end_is_asked_as_upstream_asks_it() -> None:
    (vllm,), _ = asked(GOOD)
    shown, text = vllm.parts
    assert isinstance(shown, ImagePart)
    assert (shown.encoding, shown.quality) == ("jpeg", 95)
    assert text == (
        "Of a {red} cat see ['Grammar - Negation', 'Attribute - Color'].\n"
        "Kinds:\u300c\nGrammar - Negation: not so\nAttribute - Color: which\n\u300d\n"
        "Here:\u300c\nGrammar - Negation: no dog\nAttribute - Color: red\n\u300d End a {red} cat."
    )
    assert (vllm.sampling.max_tokens, vllm.sampling.temperature) == (4096, None)
    (gemini,), _ = asked(GOOD, model="google/gemini-2.5-pro")
    assert gemini.parts[0] == text
    assert gemini.parts[1] == ImagePart(path=shown.path, sha256=shown.sha256)
    assert asked(GOOD, backend="gemini")[0][0].parts == gemini.parts
    (strict,), _ = asked(GOOD, protocol="strict")
    assert strict.sampling.temperature == 0.0
    (own,), _ = asked(GOOD, own=True)
    assert "- Attribute - Color: red" in str(own.parts[1])


def test_one_reply_gives_a_verdict_for_each_test_point_and_is_stored_once() -> None:
    _, verdicts = asked(GOOD)
    assert [(one.question_id, one.value) for one in verdicts] == [("0", 1.0), ("1", 0.0)]
    assert [one.detail["point"] for one in verdicts] == FACTS["points"]
    assert [one.detail["analysis"] for one in verdicts] == ["x", "y"]
    assert ["reply" in one.detail for one in verdicts] == [True, False]
    assert ["tokens" in one.detail for one in verdicts] == [True, False]


def test_a_reply_that_cannot_be_read_is_asked_for_again_under_official_alone() -> None:
    seen, verdicts = asked("<score>[1, 0]</score>")
    assert [one.repeat for one in seen] == list(range(11))
    assert [(one.value, one.status) for one in verdicts] == [(None, "unparsed")] * 2
    assert len(asked("no", tries=2)[0]) == 2
    seen, verdicts = asked("<score>[1, 0]</score>", protocol="strict")
    assert len(seen) == 1
    assert [one.value for one in verdicts] == [1.0, 0.0]


def test_upstreams_texts_are_read_from_its_script() -> None:
    assert texts().explanations == {"Grammar - Negation": "not so", "Attribute - Color": "which"}
    for broken in (
        SCRIPT.replace("SYSTEM_PROMPT_EN_TEMPLATE", "OTHER"),
        SCRIPT.replace("EXPLANATION_DICT_EN =", "OTHER ="),
        SCRIPT.replace("{testpoint}", "{points}"),
        SCRIPT.replace('"checkpoint_header"', '"header"'),
        SCRIPT.replace('"which"', "3"),
    ):
        with pytest.raises(AlphaBenchError, match="does not contain the judge's template"):
            parse_texts(broken.encode(), "en")
    with pytest.raises(AlphaBenchError, match="does not contain"):
        parse_texts(SCRIPT.encode(), "zh")


def test_names_options_and_missing_data_are_refused_with_what_to_do() -> None:
    official = open_unigenbench(data=NOWHERE)
    assert official.card.split == "en"
    with pytest.raises(AlphaBenchError) as caught:
        official.samples()
    assert "alphabench fetch unigenbench" in str(caught.value.hint)
    with pytest.raises(AlphaBenchError) as caught:
        official.evaluator(judge=ScriptedJudge("yes"))
    assert "alphabench fetch unigenbench-judge" in str(caught.value.hint)
    own = official.evaluator("judge?wording=own", judge=ScriptedJudge("yes"))
    assert own.identity["contract"] == "score/tags"
    for call in (
        lambda: official.evaluator("jugde"),
        lambda: official.evaluator("judge?tries=0", judge=ScriptedJudge("yes")),
        lambda: official.evaluator("judge?wording=own"),
        lambda: open_unigenbench("long", data=NOWHERE),
        lambda: open_unigenbench("zh", version="2", data=NOWHERE),
    ):
        with pytest.raises(AlphaBenchError):
            call()


def test_a_test_point_that_upstream_does_not_explain_is_named() -> None:
    short = PointTexts(texts().template, {}, "Kinds", "Here")
    evaluator = open_unigenbench_judge(
        ScriptedJudge("yes"), UniGenBenchOptions(), short, "official", one_by_one=False
    )
    with pytest.raises(AlphaBenchError, match="explains no test point"):
        evaluator.questions_about(blank(Path())[0])
