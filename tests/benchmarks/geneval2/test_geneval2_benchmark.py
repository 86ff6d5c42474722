"""GenEval 2 from prompts to report, with judges that answer from truth or not at all."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from alphabench.benchmarks.geneval2.benchmark import GenEval2, open_geneval2, read_geneval2_prompts
from alphabench.benchmarks.geneval2.questions import accepted_texts, parse_templates
from alphabench.benchmarks.geneval2.scoring import ATOMICITIES, SKILLS, JudgedPrompt
from alphabench.checkpoints.scene import open_scene
from alphabench.core.errors import AlphaBenchError
from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.questions import Question, Reply
from alphabench.runs.plan import requests_for
from alphabench.scenes.geneval_scenes import why_not_renderable
from alphabench.types import GeneratedImage, ProtocolName, Report, Verdict
from alphabench.upstream import UpstreamData
from tests.support.truth import replies

NOWHERE = UpstreamData(cache_dir=Path("nowhere"))
Script = Callable[[Question], ScriptedReply]


def mini(protocol: ProtocolName = "official") -> GenEval2:
    return open_geneval2("mini", protocol=protocol, data=NOWHERE)


def drawn(folder: Path, **options: str) -> tuple[list[GeneratedImage], dict[str, dict[str, str]]]:
    """All images of the mini split as `scene:` draws them, and a judge's true replies."""
    checkpoint = open_scene("", options={"size": "64", **options})
    truths, made = {}, []
    for request in requests_for(mini().samples(), 1, seed=0):
        path = folder / f"{request.sample.id}.png"
        checkpoint.render_request(request).image.save(path)
        truths[request.id] = replies("geneval2", checkpoint, request)
        made.append(GeneratedImage(request=request, path=path, sha256=path.name, seconds=0.0))
    return made, truths


def blank(folder: Path) -> list[GeneratedImage]:
    """Images that no judge looks at."""
    path = folder / "none.png"
    return [
        GeneratedImage(request=request, path=path, sha256="0" * 64, seconds=0.0)
        for request in requests_for(mini().samples(), 1, seed=0)
    ]


def judged(
    made: Sequence[GeneratedImage], judge: ScriptedJudge, protocol: ProtocolName = "official"
) -> list[Verdict]:
    return list(mini(protocol).evaluator(judge=judge).evaluate(made))


def report_of(verdicts: Sequence[Verdict], protocol: ProtocolName = "official") -> Report:
    samples = mini().samples()
    return mini(protocol).summarise(samples, verdicts, evaluator="judge", all_samples=samples)


def test_the_mini_split_can_be_drawn_and_has_every_number_of_atoms() -> None:
    samples = mini().samples()
    assert [s.id for s in samples if why_not_renderable(s.facts) is not None] == []
    assert {s.facts["atom_count"] for s in samples} == set(ATOMICITIES)
    assert all(len(s.facts["check"]) == len(mini().questions(s)) for s in samples)
    # The synthetic world has no actions.
    assert {skill for s in samples for skill in s.facts["skills"]} == set(SKILLS) - {"verb"}
    surplus = [len(s.facts["skills"]) - s.facts["atom_count"] for s in samples]
    assert min(surplus) == 0
    assert max(surplus) > 1, "an article is checked as a count and is no atom"


@pytest.mark.parametrize("protocol", ["official", "strict"])
def test_true_scenes_judged_truly_are_perfect_and_planted_errors_cost_their_atoms(
    tmp_path: Path, protocol: ProtocolName
) -> None:
    made, truths = drawn(tmp_path)
    assert {answer for of in truths.values() for answer in of.values()} == {"yes"}
    judge = ScriptedJudge(lambda q: truths[q.image_id][q.id])
    report = report_of(judged(made, judge, protocol), protocol)
    assert report.headline.value == 1.0
    assert all(one.value == 1.0 for one in (*report.groups.values(), *report.extras.values()))
    assert (report.coverage, report.partial, report.notes) == (1.0, False, ())
    assert list(report.groups) == [*SKILLS[:4], *(f"atomicity {n}" for n in ATOMICITIES)]

    made, truths = drawn(tmp_path, error="1.0")
    report = report_of(judged(made, judge := ScriptedJudge(lambda q: truths[q.image_id][q.id])))
    wrong = [[answer == "no" for answer in of.values()] for of in truths.values()]
    assert all(map(any, wrong))
    assert judge.asked
    assert report.headline.value == 0.0, "one wrong atom makes a prompt's geometric mean 0"
    by_hand = sum(1 - sum(of) / len(of) for of in wrong) / len(wrong)
    assert report.extras["soft_tifa_am"].value == pytest.approx(by_hand)


def test_scores_are_probabilities_and_the_headline_their_geometric_mean(tmp_path: Path) -> None:
    chances = {"count": 0.25, "object": 1.0, "attribute": 0.81, "position": 0.4}
    skills = {sample.id: sample.facts["skills"] for sample in mini().samples()}
    judge = ScriptedJudge(lambda q: chances[skills[q.image_id[:4]][int(q.id)]])
    report = report_of(judged(blank(tmp_path), judge))
    for skill, chance in chances.items():
        assert report.groups[skill].value == pytest.approx(chance)
    # two red apples: how many, are there any, are they red
    assert report.groups["atomicity 3"].value == pytest.approx((0.25 * 0.81) ** (1 / 3))
    hard = [[chances[skill] > 0.5 for skill in of] for of in skills.values()]
    by_hand = sum(sum(of) / len(of) for of in hard) / len(hard)
    assert report.extras["tifa"].value == pytest.approx(by_hand)
    assert report.extras["soft_tifa_gm, strict"].value == pytest.approx(report.headline.value)


def test_an_atom_without_a_score_takes_its_prompt_out_of_the_mean_and_widens_the_bounds(
    tmp_path: Path,
) -> None:
    def script(question: Question) -> ScriptedReply:
        if question.image_id == "0000/0" and question.id == "1":
            return Mishap(kind="garbage")
        return Mishap(kind="server_error") if question.image_id == "0001/0" else 0.64

    report = report_of(judged(blank(tmp_path), ScriptedJudge(script)))
    assert report.headline.n_samples == 22
    assert report.headline.value == pytest.approx(0.64)
    assert report.statuses == {"scored": 164, "unparsed": 1, "failed": 3}
    assert (report.coverage, report.partial) == (164 / 168, True)
    low, high = report.bounds or (0.0, 0.0)
    assert low == pytest.approx(22 * 0.64 / 24)
    assert high == pytest.approx((22 * 0.64 + (0.64 * 0.64) ** (1 / 3) + 1.0) / 24)


def test_the_20_likeliest_tokens_are_another_reading_with_its_own_identity_and_a_note(
    tmp_path: Path,
) -> None:
    likely = ScriptedJudge(lambda q: 0.95 if q.id == "0" else 0.92, named_tokens=False)
    made = blank(tmp_path)
    verdicts = judged(made, likely)
    report = report_of(verdicts)
    assert {verdict.detail["reading"] for verdict in verdicts} == {"top20"}
    assert "20 likeliest" in report.notes[0]
    assert report.headline.value == pytest.approx(0.94, abs=0.02)
    identities = [
        mini().evaluator(judge=judge).identity for judge in (likely, ScriptedJudge("yes"))
    ]
    assert [identity["reading"] for identity in identities] == ["top20", "full"]

    cut = Reply(text="No", model="m", first_token=(("No", -0.05),))
    report = report_of(judged(made, ScriptedJudge(lambda _: cut, named_tokens=False)))
    assert (report.headline.value, report.coverage) == (0.0, 1.0)
    assert report.bounds == pytest.approx((0.0, 1 - 0.951229), abs=1e-3)


def test_both_protocols_are_read_from_the_same_replies(tmp_path: Path) -> None:
    asked = []
    for protocol in ("official", "strict"):
        seen: list[str] = []

        def script(question: Question, seen: list[str] = seen) -> ScriptedReply:
            seen.append(question.content_digest)
            return "yes"

        evaluator = mini(protocol).evaluator(judge=ScriptedJudge(script))
        list(evaluator.evaluate(blank(tmp_path)))
        asked.append((seen, evaluator.identity))
    assert asked[0] == asked[1]


def test_the_reply_of_a_judge_without_the_probabilities_is_no_score(tmp_path: Path) -> None:
    judge = ScriptedJudge(lambda _: Mishap(kind="no_logprobs"))
    report = report_of(judged(blank(tmp_path), judge))
    assert (report.headline.value, report.coverage) == (None, 0.0)
    with pytest.raises(AlphaBenchError, match="gives no log-probabilities"):
        mini().evaluator(judge=ScriptedJudge("yes", logprobs=False))
    with pytest.raises(AlphaBenchError) as caught:
        mini().evaluator()
    assert "transformers:Qwen/Qwen3-VL-8B-Instruct" in str(caught.value.hint)


def test_accepted_texts_are_those_of_a_number_or_of_yes() -> None:
    assert accepted_texts("Is it red?", "Yes") == ("Yes", "yes", " yes", " Yes")
    number = accepted_texts("How many apples are there?", "four")
    assert number == ("four", "Four", " four", " Four", "4", " 4")
    assert accepted_texts("How many?", "twelve")[-2:] == ("other", " other")


def test_upstreams_text_is_found_where_its_script_sends_it_with_an_image() -> None:
    script = b"""
def send_message_with_image(prompt, path, answers=None): ...
def whole(prompt, path):
    text = 'Is this "{}"?'.format(prompt)
    send_message_with_image(text.format(prompt), path)
def hard(atoms, path):
    for question, answer in atoms:
        send_message_with_image('{} In a word.'.format(question), path, answers=[answer])
"""
    wording = parse_templates(script)
    assert wording.name == "official"
    assert wording.text("How many apples?") == "How many apples? In a word."
    assert wording.identity.startswith("official:")
    for broken in (script.replace(b"'{} In", b"'In"), script + script.replace(b"In a", b"As a")):
        with pytest.raises(AlphaBenchError, match="does not contain the judge's template"):
            parse_templates(broken)


def test_official_wording_that_is_not_here_names_the_command() -> None:
    official = open_geneval2(data=NOWHERE)
    with pytest.raises(AlphaBenchError) as caught:
        official.evaluator(judge=ScriptedJudge("yes"))
    assert "alphabench fetch geneval2-judge" in str(caught.value.hint)
    own = official.evaluator("judge?wording=own", judge=ScriptedJudge("yes"))
    assert own.identity["wording"].startswith("own:")
    assert pickle.loads(pickle.dumps(own)).identity == own.identity
    for call in (
        lambda: official.evaluator("jugde"),
        lambda: open_geneval2("mimi", data=NOWHERE),
        lambda: open_geneval2(version="2", data=NOWHERE),
    ):
        with pytest.raises(AlphaBenchError):
            call()


def test_official_data_has_the_known_prompts_and_atoms(shared: Path, tmp_path: Path) -> None:
    data = UpstreamData(cache_dir=tmp_path)
    data.fetch("geneval2", source=shared / "upstream")
    samples = open_geneval2(data=data).samples()
    atoms = [atom for sample in samples for atom in sample.facts["vqa_list"]]
    skills = [skill for sample in samples for skill in sample.facts["skills"]]
    assert (len(samples), len({s.prompt for s in samples}), len(atoms)) == (800, 800, 6012)
    assert {skill: skills.count(skill) for skill in SKILLS} == {
        "object": 2025, "attribute": 1214, "count": 2025, "position": 662, "verb": 86,
    }  # fmt: skip
    counts = [(question, answer) for question, answer in atoms if question.startswith("How many")]
    assert len(counts) == 2025
    assert {answer for question, answer in atoms if (question, answer) not in counts} == {"Yes"}


@pytest.mark.parametrize(
    "row",
    [
        "no JSON", "[]", "{}",
        {"atom_count": 2}, {"atom_count": "3"}, {"skills": ["count"]}, {"skills": ["a", "b"]},
        {"vqa_list": [["q", "Yes", "x"], ["q", "Yes"]]}, {"vqa_list": [["q", 1], ["q", "Yes"]]},
        {"vqa_list": [], "skills": []}, {"prompt": 7}, {"vqa_list": 7}, {"skills": [["count"], 1]},
    ],
)  # fmt: skip
def test_a_line_that_is_no_prompt_is_named(row: Any) -> None:
    good = {
        "prompt": "p", "atom_count": 3, "vqa_list": [["q", "Yes"], ["r", "Yes"]],
        "skills": ["count", "verb"],
    }  # fmt: skip
    assert len(read_geneval2_prompts(json.dumps(good).encode(), where="x")) == 1
    line = row if isinstance(row, str) else json.dumps({**good, **row})
    with pytest.raises(AlphaBenchError, match="line 2 of 'x'"):
        read_geneval2_prompts(f"{json.dumps(good)}\n{line}\n".encode(), where="x")


def test_the_geometric_mean_has_no_floor() -> None:
    prompt = JudgedPrompt(id="0", atomicity=3, skills=("count",) * 3, scores=(0.0, 1.0, 1.0))
    from alphabench.benchmarks.geneval2.scoring import geometric_mean

    assert prompt.mean(geometric_mean) == 0.0
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
