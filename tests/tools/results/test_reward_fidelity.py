"""What a reward knows, from kept log-odds: noise is seeded, and worse judges order worse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL.Image import Image

from alphabench.benchmarks import open_benchmark
from alphabench.checkpoints.scene import open_scene
from alphabench.judges.nano_judge import open_nano_judge
from alphabench.questions import ImagePart
from alphabench.reports.reward_fidelity import ALL_TASKS
from alphabench.runs.store import sha256_of
from alphabench.statistics import Bootstrap
from alphabench.types import GeneratedImage, ImageRequest
from alphagrpo.holistic import holistic_questions
from tools.results import reward_fidelity
from tools.results.judge_logits import GradeLogits, Grader, KeptAnswers, log_odds
from tools.results.judge_strengths import (
    DETECTOR,
    attainable_tau,
    group_needed,
    groups_of,
    measure_strengths,
)

QUICK = Bootstrap(replicates=100)


def graded(grade: int) -> GradeLogits:
    row = tuple(0.0 if one == grade else -3.0 for one in range(11))
    return GradeLogits(reasons=(0.0, -2.0, -4.0), grades=(row, row, row))


def answers(n_prompts: int = 8, n_images: int = 6) -> list[KeptAnswers]:
    """A judge that knows the truth well; its grades know it less."""
    rng = np.random.default_rng(3)
    made = []
    for prompt in range(n_prompts):
        for image in range(n_images):
            truth = float(image % 2 == 0)
            sees = truth if rng.random() < 0.7 else 1.0 - truth
            made.append(
                KeptAnswers(
                    prompt=f"{prompt:05}",
                    task=("position", "counting")[prompt % 2],
                    truth=truth,
                    semantic=(6.0 * truth - 3.0 + float(rng.normal()), 4.0),
                    quality=(3.0 + float(rng.normal()),),
                    consistency=graded(round(10 * sees)),
                    made=graded(10),
                )
            )
    return made


def test_more_noise_orders_fewer_pairs_right_and_needs_larger_groups() -> None:
    clean, some, much = measure_strengths(answers(6), (0.0, 2.0, 4.0), QUICK)
    assert (clean.flipped, clean.regraded) == (0.0, 0.0)
    assert 0.0 < some.flipped < much.flipped < 0.5
    values = [one.rewards["DVReward"][ALL_TASKS].pair_accuracy.value for one in (clean, some, much)]
    assert values[0] == 1.0
    assert values == sorted(values, key=lambda value: -(value or 0.0))
    needed = [group_needed(one.rewards["DVReward"][ALL_TASKS]) for one in (some, much)]
    assert needed[0] is not None
    assert needed[1] is not None
    assert 12 < needed[0] < needed[1]


def test_the_detector_is_the_upper_bound_and_the_difference_is_that_of_the_rows() -> None:
    (clean,) = measure_strengths(answers(), (0.0,), QUICK)
    assert clean.rewards[DETECTOR][ALL_TASKS].pair_accuracy.value == 1.0
    assert clean.rewards[DETECTOR][ALL_TASKS].rank_correlation.value == pytest.approx(1.0)
    rows = [clean.rewards[name][ALL_TASKS].pair_accuracy.value for name in ("DVReward", "holistic")]
    assert rows[0] is not None
    assert rows[1] is not None
    assert clean.pairs_right["DVReward - holistic"].value == pytest.approx(rows[0] - rows[1])
    assert clean.rewards["DVReward"].keys() == {ALL_TASKS, "position", "counting"}
    attainable = attainable_tau(answers(), QUICK).value
    assert attainable == pytest.approx((9 / 15) ** 0.5)


def test_the_same_answers_give_the_same_numbers() -> None:
    once, twice = (measure_strengths(answers(2), (4.0,), QUICK)[0].to_json() for _ in range(2))
    assert once == twice


def test_an_unanswered_question_leaves_the_reward_out() -> None:
    gap = answers(1)
    gap[0] = KeptAnswers.from_json({**gap[0].to_json(), "semantic": [None, 4.0]})
    (clean,) = measure_strengths(gap, (0.0,), QUICK)
    assert clean.rewards["DVReward"][ALL_TASKS].unscored == pytest.approx(1 / 6)
    assert clean.rewards["holistic"][ALL_TASKS].unscored == 0.0


def test_answers_survive_their_file_and_groups_keep_their_order() -> None:
    kept = answers(3)
    again = [KeptAnswers.from_json(json.loads(json.dumps(one.to_json()))) for one in kept]
    assert again == kept
    groups = groups_of(kept, [[float(index)] for index in range(len(kept))])
    assert [group.reward_IR[0, 0] for group in groups] == [0.0, 6.0, 12.0]


@pytest.mark.parametrize(
    ("probability", "expected"), [(0.5, 0.0), (0.0, -14.0), (1.0, 14.0), (0.9, 2.197)]
)
def test_log_odds_are_bounded(probability: float, expected: float) -> None:
    assert log_odds(probability) == expected


def test_kept_logits_give_the_grades_that_the_judge_gives(tmp_path: Path) -> None:
    sample = open_benchmark("geneval:mini").samples()[-1]
    requests = [ImageRequest(sample=sample, index=index, seed=0) for index in range(2)]
    images = []
    for request, image in zip(
        requests, open_scene("", options={"error": "0.5"}).generate(requests), strict=True
    ):
        assert isinstance(image, Image)
        image.save(path := tmp_path / f"{request.index}.png")
        images.append(
            GeneratedImage(request=request, path=path, sha256=sha256_of(path), seconds=0.0)
        )
    judge, grader = open_nano_judge("", options={}, device="cpu"), Grader()
    for index, name in enumerate(("consistency", "quality")):
        questions = [
            holistic_questions(one.id, ImagePart.of(one), sample.prompt)[index] for one in images
        ]
        grades = [answer.values for answer in judge.ask(questions)]
        assert [of.grade for of in grader.logits(images, name)] == [
            None if values is None else min(values) for values in grades
        ]


def test_the_page_is_written_from_kept_answers_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps(one.to_json()) + "\n" for one in answers(2)]
    reward_fidelity.answers_file(tmp_path).write_text("".join(lines))
    out = tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["reward_fidelity", str(tmp_path), "--out", str(out)])
    reward_fidelity.main()
    assert capsys.readouterr().out.strip() == str(out / "README.md")
    page = (out / "README.md").read_text()
    assert "## Paired differences" in page
    assert "| DVReward - holistic, mean of 3" in page
    content = json.loads((out / "results.json").read_text())
    assert content["judge"][:19] in page
    assert [one["noise"] for one in content["strengths"]] == [0.0, 2.0, 4.0, 8.0]


def test_answers_of_other_weights_of_the_judge_are_not_taken_for_those_of_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = reward_fidelity.answers_file(tmp_path)
    monkeypatch.setattr(reward_fidelity, "nano_weights", lambda: "sha256:" + "5" * 64)
    assert reward_fidelity.answers_file(tmp_path) == tmp_path / "answers-555555555555.jsonl" != mine
