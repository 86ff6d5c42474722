"""A planted bias: nothing at strength 0, and one rule for yes/no answers and for grades."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alphabench.core.errors import AlphaBenchError
from alphabench.judges import open_judge
from alphabench.judges.nano_judge import open_nano_judge
from alphabench.judges.yesno import YesNoProbability, YesNoText, probability_of_yes, yes_no_question
from alphabench.questions import Answer, ImagePart, Question
from alphabench.runs.store import sha256_of
from alphagrpo.holistic import holistic_questions
from tools.results.biased_judge import (
    BrightnessBias,
    open_biased_judge,
    with_grades_shifted,
)
from tools.results.image_brightness import brightness_of
from tools.results.judge_logits import GradeLogits
from tools.results.noisy_judge import LogOddsNoise, open_noisy_judge
from tools.results.shifted_judge import reply_of, with_yes_shifted

DARK, BRIGHT = (30, 10, 60), (250, 250, 240)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ImagePart]:
    folder = tmp_path_factory.mktemp("shown")
    parts = {}
    for name, colour in (("dark", DARK), ("bright", BRIGHT)):
        image = Image.new("RGB", (64, 64), colour)
        image.paste((200, 20, 20), (20, 20, 40, 40))
        image.save(path := folder / f"{name}.png")
        parts[name] = ImagePart(path=path, sha256=sha256_of(path))
    return parts


def questions(shown: dict[str, ImagePart]) -> list[Question]:
    """Two kinds, in an order that mixes them."""
    made = []
    for name, image in shown.items():
        made += holistic_questions(name, image, "a red book")
        made.append(
            yes_no_question(
                "Is there a book?",
                (image,),
                image_id=name,
                question_id="s0",
                answer_format=YesNoProbability(),
            )
        )
    return made


def by_image(answers: list[Answer]) -> dict[tuple[str, str], float]:
    assert all(answer.status == "scored" for answer in answers)
    return {(a.question.image_id, a.question.id): min(a.values or ()) for a in answers}


def test_without_strength_it_answers_as_the_nano_judge_does(shown: dict[str, ImagePart]) -> None:
    asked = questions(shown)
    biased = list(open_biased_judge(0.0).ask(asked))
    assert [one.question for one in biased] == asked
    plain = list(open_nano_judge("", options={}, device="cpu").ask(asked))
    assert by_image(biased) == pytest.approx(by_image(plain), abs=1e-6)
    grades = [one.reply.text for one in biased if one.reply and one.question.id != "s0"]
    assert grades == [one.reply.text for one in plain if one.reply and one.question.id != "s0"]


def test_a_strong_bias_decides_both_kinds_of_answer_by_brightness_alone(
    shown: dict[str, ImagePart],
) -> None:
    judge = open_judge("python:tools.results.biased_judge:open_biased_judge?strength=500")
    found = by_image(list(judge.ask(questions(shown))))
    for question, worst, best in (("s0", 0, 1), ("consistency", 0, 10), ("quality", 0, 10)):
        assert found["dark", question] == pytest.approx(worst, abs=1e-6)
        assert found["bright", question] == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("bias", [-30.0, -2.0, 0.0, 0.5, 9.0, 40.0])
def test_the_log_odds_of_yes_rise_by_the_bias(bias: float) -> None:
    first = (("no", math.log(0.7)), ("yes", math.log(0.2)), (" Yes", math.log(0.05)))
    shifted = with_yes_shifted(first, bias)
    before, after = (probability_of_yes(tokens) for tokens in (first, shifted))
    assert before is not None
    assert after is not None
    odds = math.log(before / (1.0 - before)) + bias
    assert after == pytest.approx(1.0 / (1.0 + math.exp(-odds)), abs=1e-9)
    assert math.fsum(math.exp(logp) for _, logp in shifted) <= 1.0 + 1e-9
    assert shifted[0][0] == ("no" if after < 0.5 else "yes")


def test_a_certain_yes_stays_a_number() -> None:
    shifted = with_yes_shifted((("yes", 0.0), ("no", -40.0)), 20.0)
    assert probability_of_yes(shifted) == pytest.approx(1.0)
    lowered = probability_of_yes(with_yes_shifted((("yes", 0.0), ("no", -40.0)), -60.0))
    assert lowered == pytest.approx(1.0 / (1.0 + math.exp(20.0)), rel=1e-6)


def test_best_and_worst_of_reasons_and_grades_part_by_the_bias_and_others_in_proportion() -> None:
    flat = GradeLogits(reasons=(0.0, 0.0, 0.0), grades=((0.0,) * 11,) * 3)
    shifted = with_grades_shifted(flat, 6.0)
    assert shifted.reasons == (6.0, 3.0, 0.0)
    assert shifted.grades[1] == pytest.approx(np.linspace(0.0, 6.0, 11))
    assert (shifted.grade, with_grades_shifted(flat, -6.0).grade) == (10, 0)
    assert (
        reply_of("quality", reason=0, grade=10) == '{"why": "it is well made", "grades": [10, 10]}'
    )
    likely = GradeLogits(reasons=(0.0, -9.0, -9.0), grades=((0.0,) * 10 + (-1.0,),) * 3)
    assert with_grades_shifted(likely, 6.0).grade == 9
    assert with_grades_shifted(likely, 12.0).grade == 10


def test_brightness_is_the_metric_of_training_steps_and_the_centre_has_no_bias(
    tmp_path: Path,
) -> None:
    Image.new("RGB", (4, 4), (0, 255, 0)).save(tmp_path / "green.png")
    assert brightness_of(tmp_path / "green.png") == pytest.approx(1 / 3)
    assert brightness_of(Image.new("RGB", (4, 4), "white")) == 1.0
    assert BrightnessBias(strength=20.0, centre=0.4).log_odds(0.4) == 0.0
    assert BrightnessBias(strength=20.0, centre=0.5).log_odds(0.75) == 5.0


def test_other_questions_and_impossible_strengths_are_refused(
    shown: dict[str, ImagePart],
) -> None:
    asked = yes_no_question(
        "Is it red?",
        (shown["dark"],),
        image_id="x",
        question_id="0",
        answer_format=YesNoText(),
    )
    with pytest.raises(AlphaBenchError, match="no shift is known for YesNoText"):
        list(open_biased_judge(1.0).ask([asked]))
    with pytest.raises(AlphaBenchError, match="strength is finite"):
        open_biased_judge(math.nan)


def test_noise_is_one_of_each_question_about_each_image(shown: dict[str, ImagePart]) -> None:
    asked = questions(shown)
    first = by_image(list(open_noisy_judge(8.0).ask(asked)))
    again = by_image(list(open_noisy_judge(8.0).ask(asked[::-1])))
    assert first == pytest.approx(again, abs=1e-6)
    others = by_image(list(open_noisy_judge(8.0, seed=1).ask(asked)))
    assert any(abs(others[key] - value) > 1e-3 for key, value in first.items())


def test_noise_has_its_standard_deviation_between_yes_and_no_and_between_candidates() -> None:
    shift = LogOddsNoise(noise=4.0)
    made = [
        holistic_questions(str(n), ImagePart(path=Path("x.png"), sha256=str(n)), "a book")[0]
        for n in range(4000)
    ]
    assert np.std([shift.of_yes(one) for one in made]) == pytest.approx(4.0, rel=0.05)
    pairs = np.array([shift.of_candidates(one, (1.0, 0.0), "grade") for one in made])
    assert np.std(pairs[:, 0] - pairs[:, 1]) == pytest.approx(4.0, rel=0.05)


def test_without_noise_it_answers_as_the_nano_judge_does(shown: dict[str, ImagePart]) -> None:
    asked = questions(shown)
    plain = by_image(list(open_nano_judge("", options={}, device="cpu").ask(asked)))
    assert by_image(list(open_noisy_judge(0.0).ask(asked))) == pytest.approx(plain, abs=1e-6)
    with pytest.raises(AlphaBenchError, match="noise is finite"):
        open_noisy_judge(-1.0)
