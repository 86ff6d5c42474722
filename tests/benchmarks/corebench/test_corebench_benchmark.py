"""T2I-CoReBench from prompts to report, with judges that answer from truth or not at all."""

from __future__ import annotations

import dataclasses
import pickle
import random
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.benchmarks.corebench.benchmark import CoreBench, open_corebench
from alphabench.benchmarks.corebench.questions import (
    CheckedWord,
    CoreBenchOptions,
    CoreTemplates,
    open_corebench_judge,
    parse_texts,
)
from alphabench.benchmarks.corebench.scoring import DIMENSIONS
from alphabench.checkpoints.scene import open_scene
from alphabench.core.errors import AlphaBenchError
from alphabench.judges.parsing import read_reply
from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.questions import ImagePart, Question, Reply
from alphabench.runs.plan import requests_for
from alphabench.scenes.geneval_scenes import why_not_renderable
from alphabench.types import GeneratedImage, ProtocolName, Report, Verdict
from alphabench.upstream import UpstreamData
from alphabench.upstream.templates import own_template
from tests.support.truth import replies

NOWHERE = UpstreamData(cache_dir=Path("nowhere"))
TEXTS = CoreTemplates("Look well.", own_template("{Prompt} - {question}", "Prompt", "question"))


def mini(protocol: ProtocolName = "official") -> CoreBench:
    return open_corebench("mini", protocol=protocol, data=NOWHERE)


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


def test_the_mini_split_can_be_drawn_and_has_two_prompts_a_dimension() -> None:
    samples = mini().samples()
    assert [s.id for s in samples if why_not_renderable(s.facts) is not None] == []
    assert all(len(s.facts["check"]) == len(mini().questions(s)) for s in samples)
    wanted = [name for name in DIMENSIONS if name != "C-TR"]
    assert {group: [s.group for s in samples].count(group) for group in wanted} == dict.fromkeys(
        wanted, 2
    )
    assert len(samples) == 22


@pytest.mark.parametrize("error", ["0", "1.0"])
def test_a_judge_that_knows_the_truth_gives_the_true_score(tmp_path: Path, error: str) -> None:
    checkpoint = open_scene("", options={"size": "64", "error": error})
    requests = {one.id: one for one in requests_for(mini().samples(), 4, seed=0)}
    truths = {name: replies("corebench", checkpoint, one) for name, one in requests.items()}
    judge = ScriptedJudge(lambda q: truths[q.image_id][q.id])
    report = report_of(judged(blank(tmp_path), judge))
    shares: dict[str, list[float]] = {}
    for name, of in truths.items():
        share = sum(answer == "yes" for answer in of.values()) / len(of)
        shares.setdefault(requests[name].sample.group, []).append(share)
    means = {group: sum(of) / len(of) for group, of in shares.items()}
    assert report.headline.value == pytest.approx(sum(means.values()) / 11)
    assert {name: one.value for name, one in report.groups.items()} == pytest.approx(means)
    assert report.extras["composition"].value == pytest.approx(
        sum(mean for name, mean in means.items() if name[0] == "C") / 3
    )
    assert (report.headline.value == 1.0) == (error == "0")
    assert (report.coverage, report.partial) == (1.0, False)
    assert report.headline.n_expected == 392


def test_what_is_not_answered_is_left_out_of_its_image_and_widens_the_bounds(
    tmp_path: Path,
) -> None:
    def script(question: Question) -> ScriptedReply:
        if question.image_id == "C-MI-001/0":
            return "maybe"
        if question.image_id == "C-MI-001/1":
            return "yes" if question.id == "0" else Mishap(kind="server_error")
        return "no"

    report = report_of(judged(blank(tmp_path), ScriptedJudge(script)))
    group = report.groups["C-MI"]
    assert group.value == pytest.approx(1 / 7)
    assert (group.n_scored, group.n_expected) == (7, 8)
    assert report.statuses == {"scored": 377, "unparsed": 8, "failed": 7}
    low, high = report.bounds or (0.0, 0.0)
    assert low == pytest.approx(1 / 8 / 8 / 11)
    assert high == pytest.approx(2 / 8 / 11)
    assert report.coverage == 377 / 392


def test_a_dimension_without_a_score_leaves_no_mean_of_dimensions(tmp_path: Path) -> None:
    judge = ScriptedJudge(lambda q: "maybe" if q.image_id.startswith("R-CR") else "yes")
    report = report_of(judged(blank(tmp_path), judge))
    assert report.headline.value is None
    assert report.extras["reasoning"].value is None
    assert report.extras["composition"].value == 1.0
    assert report.withheld == "1 of 11 dimensions have no scored verdict"


def first_question(model: str, **options: Any) -> Question:
    seen: list[Question] = []

    def script(question: Question) -> ScriptedReply:
        seen.append(question)
        return "yes"

    judge = ScriptedJudge(script, name=model)
    image = blank(Path())[0]
    evaluator = open_corebench_judge(judge, CoreBenchOptions(**options), TEXTS, "official")
    list(evaluator.evaluate([image]))
    assert {one.sampling.temperature for one in seen} == {0.0}
    return seen[0]


def test_each_back_end_is_asked_as_upstream_asks_it() -> None:
    qwen = first_question("Qwen/Qwen3-VL-32B-Instruct")
    shown, text = qwen.parts
    assert isinstance(shown, ImagePart)
    assert (qwen.system, qwen.sampling.max_tokens) == ("Look well.", 512)
    assert qwen.sampling.extra == {"repetition_penalty": 1.05}
    assert str(text).startswith("on one table top")
    gemini = first_question("models/gemini-2.5-flash")
    assert (gemini.system, gemini.sampling.extra) == (None, {})
    assert str(gemini.parts[1]).startswith("Look well.\non one table top")
    assert first_question("any", repetition_penalty=1.0).sampling.extra == {}
    assert first_question("any", backend="gemini").system is None


@pytest.mark.parametrize(
    ("model", "thinks"),
    [
        ("Qwen/Qwen3.5-9B", "on"), ("qwen3_5_27b", "on"), ("Qwen/Qwen3-VL-8B-Thinking", "on"),
        ("Qwen/Qwen3-VL-8B-Instruct", "off"), ("gemini-2.5-flash-thinking", "off"),
    ],
)  # fmt: skip
def test_a_judge_thinks_by_its_name_as_in_upstreams_script(model: str, thinks: str) -> None:
    judge = ScriptedJudge("yes", name=model)
    identity = open_corebench_judge(judge, CoreBenchOptions(), TEXTS, "official").identity
    assert identity["thinking"] == thinks
    is_gemini = model.startswith("gemini")
    assert identity["max_tokens"] == ("8192" if is_gemini else "512, 2048, 8192")
    assert identity.get("repetition_penalty") == (None if is_gemini else "1.05")
    assert identity["reading"] == "official"


CASES = [
    # text, qwen, gemini, strict
    ("yes", 1.0, 1.0, 1.0),
    ("no", 0.0, 0.0, 0.0),
    ('"no"', 0.0, 0.0, 0.0),
    ("Yes", None, 1.0, 1.0),
    ("YES.", None, 1.0, 1.0),
    ("No.", None, 0.0, 0.0),
    ("no, yes", 1.0, 1.0, None),
    ("not yes", 1.0, 1.0, None),
    ("eyes noble", None, None, None),
    ("I can't see it, so no", 0.0, 0.0, None),
    ("", None, None, None),
]


@pytest.mark.parametrize(("text", "qwen", "gemini", "strict"), CASES)
def test_replies_are_read_by_the_rules_of_their_back_end(
    text: str, qwen: float | None, gemini: float | None, strict: float | None
) -> None:
    for backend, is_strict, wanted in (
        ("qwen", False, qwen), ("gemini", False, gemini), ("qwen", True, strict),
    ):  # fmt: skip
        answer_format = CheckedWord(backend=backend, thinks=False, strict=is_strict, wording="x")  # type: ignore[arg-type]
        question = Question(
            image_id="0/0",
            id="0",
            parts=("?",),
            sampling=first_question("any").sampling,
            answer_format=answer_format,
        )
        values = read_reply(question, Reply(text=text, model="m")).values
        assert values == (None if wanted is None else (wanted,)), (text, backend, is_strict)


@given(st.text(max_size=40), st.sampled_from(["stop", "length", None]), st.booleans())
def test_any_text_gives_yes_no_or_nothing(text: str, finish: str | None, thinks: bool) -> None:
    for strict in (False, True):
        answer_format = CheckedWord(backend="qwen", thinks=thinks, strict=strict, wording="x")
        values = answer_format.parse(Reply(text=text, model="m", finish_reason=finish))
        assert values in (None, (0.0,), (1.0,))
        if values and not strict:
            assert ("yes" if values[0] else "no") in text


SCRIPT = b'''
TEMPLATE = """
Look at it.
"""
def start_evaluation_qwen(args):
    TEXT = f'Prompt: "{METADATA["Prompt"]}" Question: "{QUESTION["question"]}"'
'''


def test_upstreams_texts_are_read_from_its_script() -> None:
    texts = parse_texts(SCRIPT)
    assert texts.task == "\nLook at it.\n"
    assert texts.question.fill({"Prompt": "a", "question": "b?"}) == 'Prompt: "a" Question: "b?"'
    for broken in (
        SCRIPT.replace(b"TEMPLATE", b"TASK"),
        SCRIPT.replace(b"start_evaluation_qwen", b"other"),
        SCRIPT.replace(b'QUESTION["question"]', b"METADATA"),
    ):
        with pytest.raises(AlphaBenchError, match="does not contain the judge's template"):
            parse_texts(broken)


def test_names_options_and_missing_data_are_refused_with_what_to_do(tmp_path: Path) -> None:
    official = open_corebench(data=NOWHERE)
    with pytest.raises(AlphaBenchError) as caught:
        official.samples()
    assert "alphabench fetch corebench" in str(caught.value.hint)
    with pytest.raises(AlphaBenchError) as caught:
        official.evaluator(judge=ScriptedJudge("yes"))
    assert "alphabench fetch corebench-judge" in str(caught.value.hint)
    own = official.evaluator("judge?wording=own", judge=ScriptedJudge("yes"))
    assert pickle.loads(pickle.dumps(own)).identity == own.identity
    for call in (
        lambda: official.evaluator("jugde"),
        lambda: official.evaluator("judge?repetition_penalty=0", judge=ScriptedJudge("yes")),
        lambda: official.evaluator("judge?wording=own"),
        lambda: open_corebench("mimi", data=NOWHERE),
        lambda: open_corebench(version="2", data=NOWHERE),
    ):
        with pytest.raises(AlphaBenchError):
            call()


def test_ten_thousand_odd_replies_give_yes_no_or_a_status() -> None:
    chance = random.Random(11)
    pieces = (
        "yes", "Yes", "NO", "no", "no,", "not", " ", "\n", "</think>", "<think>", "\n\n", "maybe",
        "I can't help with that.", '"', "eyes", "\x00", "\ufffd", "yes.no", "ÿes", "ｙｅｓ", "",
    )  # fmt: skip
    formats = [
        CheckedWord(backend="qwen", thinks=False, strict=False, wording="x"),
        CheckedWord(backend="qwen", thinks=True, strict=False, wording="x"),
        CheckedWord(backend="gemini", thinks=False, strict=False, wording="x"),
        CheckedWord(backend="qwen", thinks=False, strict=True, wording="x"),
    ]
    question = first_question("any")
    counts = {"scored": 0, "unparsed": 0, "refused": 0}
    for _ in range(10_000):
        text = "".join(chance.choice(pieces) for _ in range(chance.randrange(6)))
        finish = chance.choice(("stop", "length", "content_filter", None))
        answer_format = chance.choice(formats)
        answer = read_reply(
            dataclasses.replace(question, answer_format=answer_format),
            Reply(text=text, model="m", finish_reason=finish),
        )
        counts[answer.status] += 1
        if answer.values is not None:
            assert answer.values in ((0.0,), (1.0,))
            plain = unicodedata.normalize("NFKC", text).casefold()
            assert ("yes" if answer.values[0] else "no") in plain
            assert finish != "content_filter"
    assert min(counts.values()) > 500
