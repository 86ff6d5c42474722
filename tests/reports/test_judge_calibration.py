"""Measuring a judge on scenes with known answers."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.questions import Question
from alphabench.reports.judge_calibration import (
    ALL,
    Calibration,
    KnownAnswer,
    calibrate_judge,
    calibration_markdown,
    metrics_by_kind,
)
from alphabench.scenes.scene_questions import QUESTION_KINDS
from alphabench.statistics import Bootstrap
from alphabench.types import Estimate

QUICK = Bootstrap(replicates=200)
Calibrate = Callable[..., Calibration]


@pytest.fixture
def measure(tmp_path: Path) -> Calibrate:
    def of(judge: ScriptedJudge, *, n_scenes: int = 12, seed: int = 0) -> Calibration:
        return calibrate_judge(
            judge, n_scenes=n_scenes, seed=seed, size=64, folder=tmp_path, settings=QUICK
        )

    return of


def is_true(question: Question) -> bool:
    return question.id.endswith("yes")


def truthful(question: Question) -> float:
    return 1.0 if is_true(question) else 0.0


def answer(scene: int, *, truth: bool, p_yes: float | None, kind: str = "existence") -> KnownAnswer:
    return KnownAnswer(
        scene=scene,
        kind=kind,  # type: ignore[arg-type]
        text="?",
        truth=truth,
        p_yes=p_yes,
        status="unparsed" if p_yes is None else "scored",
    )


def test_a_judge_that_knows_is_right_calibrated_and_separates(measure: Calibrate) -> None:
    found = measure(ScriptedJudge(truthful))
    assert list(found.metrics) == [ALL, *QUESTION_KINDS]
    for figures in found.metrics.values():
        assert figures.accuracy.value == 1.0
        assert figures.calibration_error.value == 0.0
        assert figures.brier.value == 0.0
        assert figures.separation.value == 1.0
        assert figures.gap.value == 1.0


def test_a_judge_that_says_yes_to_all_is_right_half_the_time(measure: Calibrate) -> None:
    figures = measure(ScriptedJudge("yes")).metrics[ALL]
    assert figures.accuracy.value == 0.5
    assert figures.separation.value == 0.5
    assert figures.gap.value == 0.0
    assert figures.calibration_error.value == 0.5


def test_a_judge_that_hedges_is_right_but_not_calibrated(measure: Calibrate) -> None:
    figures = measure(ScriptedJudge(lambda q: 0.6 if is_true(q) else 0.4)).metrics[ALL]
    assert figures.accuracy.value == 1.0
    assert figures.separation.value == 1.0
    assert figures.calibration_error.value == pytest.approx(0.4)
    assert figures.brier.value == pytest.approx(0.16)
    assert figures.gap.value == pytest.approx(0.2)


def test_a_weakness_shows_in_its_kind_of_question_alone(measure: Calibrate) -> None:
    def miscounts(question: Question) -> float:
        return 1.0 - truthful(question) if "-count-" in question.id else truthful(question)

    found = measure(ScriptedJudge(miscounts)).metrics
    assert found["count"].accuracy.value == 0.0
    assert found["count"].separation.value == 0.0
    assert found["colour"].accuracy.value == 1.0
    assert 0.5 < (found[ALL].accuracy.value or 0.0) < 1.0


def test_unscored_answers_change_no_figure_and_are_counted(measure: Calibrate) -> None:
    def stumbles(question: Question) -> ScriptedReply:
        draw = hashlib.sha256(question.content_digest.encode()).digest()[0]
        return Mishap(kind="garbage") if draw < 64 else truthful(question)

    calibration = measure(ScriptedJudge(stumbles))
    figures = calibration.metrics[ALL]
    assert figures.accuracy.value == 1.0
    assert figures.statuses["unparsed"] > 5
    assert figures.accuracy.n_scored == figures.statuses["scored"]
    assert figures.accuracy.n_expected == len(calibration.answers)
    assert f"{figures.statuses['unparsed']} unparsed" in calibration_markdown(calibration)


def test_a_judge_that_answers_nothing_has_no_figures(measure: Calibrate) -> None:
    calibration = measure(ScriptedJudge(lambda _: Mishap(kind="server_error")), n_scenes=2)
    figures = calibration.metrics[ALL]
    assert figures.accuracy.value is None
    assert figures.separation.value is None
    assert "—" in calibration_markdown(calibration)


def test_every_judge_is_asked_the_same_and_another_seed_asks_otherwise(measure: Calibrate) -> None:
    first, second = ScriptedJudge("yes"), ScriptedJudge("no")
    same = [measure(judge, n_scenes=4) for judge in (first, second)]
    assert [a.text for a in same[0].answers] == [a.text for a in same[1].answers]
    assert first.asked == second.asked
    other = measure(ScriptedJudge("yes"), n_scenes=4, seed=1)
    assert [a.text for a in other.answers] != [a.text for a in same[0].answers]


def test_a_judge_without_log_probabilities_is_requested_the_word(measure: Calibrate) -> None:
    words = ScriptedJudge(lambda q: "Yes." if is_true(q) else "No", logprobs=False)
    found = measure(words, n_scenes=3)
    assert found.metrics[ALL].accuracy.value == 1.0
    assert found.judge["question.contract"] == "yes-no/text"


def test_the_result_is_json_and_a_page(measure: Calibrate) -> None:
    found = measure(ScriptedJudge(truthful, name="<b>|judge|</b>"), n_scenes=3)
    stored = json.loads(json.dumps(found.to_json()))
    assert stored["figures"]["count"]["accuracy"]["value"] == 1.0
    assert len(stored["answers"]) == len(found.answers)
    page = calibration_markdown(found)
    assert "<b>" not in page
    assert all(f"| {kind} " in page for kind in QUESTION_KINDS if kind in found.metrics)


def test_the_interval_clusters_by_scene() -> None:
    def spread(per_scene: int) -> float:
        answers = [
            answer(scene, truth=True, p_yes=1.0 if scene % 2 else 0.0)
            for scene in range(40)
            for _ in range(per_scene)
        ]
        accuracy = metrics_by_kind(answers)[ALL].accuracy
        assert accuracy.low is not None
        assert accuracy.high is not None
        return accuracy.high - accuracy.low

    assert spread(1) == pytest.approx(spread(25))
    assert spread(1) == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 39), rel=0.15)


def test_one_scene_gives_no_interval_and_so_no_figure() -> None:
    figures = metrics_by_kind([answer(0, truth=True, p_yes=1.0), answer(0, truth=False, p_yes=0.0)])
    assert figures[ALL].accuracy.value is None


ANSWERS = st.lists(
    st.builds(
        answer,
        st.integers(0, 5),
        truth=st.booleans(),
        p_yes=st.one_of(st.none(), st.sampled_from([0.0, 0.2, 0.5, 0.5, 0.8, 1.0])),
    ),
    min_size=2,
    max_size=30,
)


@settings(deadline=None, max_examples=50)
@given(ANSWERS)
def test_separation_is_the_share_of_pairs_in_the_right_order(answers: list[KnownAnswer]) -> None:
    figures = metrics_by_kind(answers, Bootstrap(replicates=20))[ALL]
    yes = [a.p_yes for a in answers if a.truth and a.p_yes is not None]
    no = [a.p_yes for a in answers if not a.truth and a.p_yes is not None]
    if not yes or not no:
        assert figures.separation.value is None
        return
    pairs = [(a > b) + 0.5 * (a == b) for a in yes for b in no]
    if figures.separation.value is not None:
        assert figures.separation.value == pytest.approx(sum(pairs) / len(pairs))
        assert figures.gap.value == pytest.approx(sum(yes) / len(yes) - sum(no) / len(no))


@settings(deadline=None, max_examples=50)
@given(ANSWERS)
def test_the_order_of_the_answers_changes_no_figure(answers: list[KnownAnswer]) -> None:
    shuffled = sorted(answers, key=lambda a: (a.truth, a.scene, a.p_yes or 0.0))
    quick = Bootstrap(replicates=20)

    def values(of: list[KnownAnswer]) -> list[Estimate]:
        found = metrics_by_kind(of, quick)[ALL]
        return [found.accuracy, found.calibration_error, found.brier, found.separation, found.gap]

    for one, other in zip(values(answers), values(shuffled), strict=True):
        assert one.value == pytest.approx(other.value)
        assert one.low == pytest.approx(other.low)
