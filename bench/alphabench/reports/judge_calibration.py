"""Measures a judge: its answers to yes/no questions about scenes with known ground truth.

For each kind of question: accuracy, calibration (expected calibration error, Brier score) and how
well P(yes) separates true from false (area under the ROC curve, gap of means). Intervals come from
a bootstrap over scenes, which resamples all questions about a scene together. Unscored answers are
left out of the metrics and counted separately. Each kind has as many questions with answer yes as
with no.

Shapes: S scenes, R replicates (r of one block), Q questions, V different values of P(yes), B bins.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alphabench.core.errors import AlphaBenchError
from alphabench.core.writing import writing
from alphabench.judges.yesno import YesNo, YesNoProbability, YesNoText, yes_no_question
from alphabench.questions import Answer, ImagePart, Judge, Question
from alphabench.reports.markdown import NOTHING, Align, inline, interval, markdown_table, number
from alphabench.runs.store import sha256_of
from alphabench.scenes.render import render
from alphabench.scenes.scene_questions import QUESTION_KINDS, QuestionKind, scene_questions
from alphabench.scenes.scene_sampling import random_scene
from alphabench.scenes.spec import WORLD_VERSION
from alphabench.statistics import DEFAULT, Bootstrap, estimate_of, resampled_counts
from alphabench.types import Estimate, Status

ALL: Final = "all"
"""The row over every kind; each question weighs the same."""
BINS: Final = 10
"""Of equal width, for the expected calibration error (Naeini et al., AAAI 2015)."""

_BLOCK: Final = 256
"""Replicates computed at once: memory stays flat."""

_METRICS: Final = {
    "accuracy": "accuracy",
    "calibration error": "calibration_error",
    "Brier": "brier",
    "separation": "separation",
    "gap": "gap",
}
"""Column of the table -> field of `JudgeMetrics`."""
_RIGHT: Final[tuple[Align, ...]] = ("right",)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAnswer:
    """One question with its true answer and the judge's answer."""

    scene: int
    kind: QuestionKind
    text: str
    truth: bool
    p_yes: float | None
    """None where unscored."""
    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeMetrics:
    """What a judge's answers to one kind of question amount to, with 95% intervals."""

    accuracy: Estimate
    """Share of answers on the right side of one half; exactly one half counts half."""
    calibration_error: Estimate
    """Mean distance of P(yes) from the share of yes among like answers, 0 to 1. Biased upwards
    where there are few questions."""
    brier: Estimate
    """Mean squared distance of P(yes) from the truth: 0 perfect, 0.25 for always one half."""
    separation: Estimate
    """Chance that a true question gets the higher P(yes) of a true and a false one: 0.5 is none."""
    gap: Estimate
    """Mean P(yes) of the true questions minus that of the false ones, -1 to 1."""
    statuses: Mapping[Status, int]
    """All questions by what became of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The measured accuracy and calibration of one judge."""

    judge: Mapping[str, str]
    """Its identity, and that of the question's answer format."""
    scenes: Mapping[str, str]
    """The rendered scenes: number, seed, size, version of the world."""
    metrics: Mapping[str, JudgeMetrics]
    """`all`, then each kind of question."""
    answers: tuple[KnownAnswer, ...]
    """Every question, in order."""

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "judge": dict(self.judge),
            "scenes": dict(self.scenes),
            "figures": {name: asdict(of) for name, of in self.metrics.items()},
            "answers": [asdict(answer) for answer in self.answers],
        }


def calibrate_judge(
    judge: Judge,
    *,
    n_scenes: int = 100,
    seed: int = 0,
    size: int = 256,
    folder: Path,
    settings: Bootstrap = DEFAULT,
) -> Calibration:
    """Query a judge about scenes with known answers.

    A judge with log-probabilities is asked for P(yes), one without for the word; the name of the
    answer format is part of the result.

    Args:
        judge: what is to be measured.
        n_scenes: with up to 18 questions each.
        seed: decides scenes and questions; every judge gets the same ones for the same seed.
        size: pixels of each side.
        folder: for the rendered images `scene-00000.png` ...; created if absent.
        settings: of the bootstrap.

    Raises:
        AlphaBenchError: what the user must fix, as the judge reports it.
    """
    if seed < 0:
        raise AlphaBenchError(
            f"the seed cannot be {seed}", hint="give a whole number of at least 0"
        )
    answer_format: YesNo = YesNoProbability() if judge.capabilities.logprobs else YesNoText()
    with writing(folder, elsewhere="name another folder with --out"):
        folder.mkdir(parents=True, exist_ok=True)
    known: list[_Known] = []

    def questions() -> Iterator[Question]:
        for scene in range(n_scenes):
            for one, question in _questions(scene, seed, size, folder, answer_format):
                known.append(one)
                yield question

    answers = [
        _known_answer(known[index], answer) for index, answer in enumerate(judge.ask(questions()))
    ]
    return Calibration(
        judge={**judge.identity, **{f"question.{k}": v for k, v in answer_format.identity.items()}},
        scenes={
            "n_scenes": str(n_scenes),
            "seed": str(seed),
            "size": str(size),
            "world": WORLD_VERSION,
        },
        metrics=metrics_by_kind(answers, settings),
        answers=tuple(answers),
    )


def metrics_by_kind(
    answers: Sequence[KnownAnswer], settings: Bootstrap = DEFAULT
) -> dict[str, JudgeMetrics]:
    """The metrics over all questions, and over each kind that occurs."""
    kinds = [kind for kind in QUESTION_KINDS if any(answer.kind == kind for answer in answers)]
    groups: dict[str, Sequence[KnownAnswer]] = {ALL: answers}
    groups.update({kind: [a for a in answers if a.kind == kind] for kind in kinds})
    return {name: _figures(of, settings) for name, of in groups.items()}


def calibration_markdown(calibration: Calibration) -> str:
    """A markdown report: the judge, the scenes, and the metrics by kind of question."""
    facts = ", ".join(f"{inline(k)} {inline(v)}" for k, v in calibration.scenes.items())
    judge = "\n".join(f"- {inline(k)}: {inline(v)}" for k, v in calibration.judge.items())
    header = ["questions about", *_METRICS, "asked", "unscored"]
    rows = [_row(name, of) for name, of in calibration.metrics.items()]
    align: list[Align] = ["left", *_RIGHT * (len(header) - 1)]
    unscored = Counter(a.status for a in calibration.answers if a.p_yes is None)
    unscored_text = ", ".join(f"{n} {status}" for status, n in sorted(unscored.items())) or "none"
    return "\n".join(
        [
            "# Calibration of a judge",
            "",
            "Questions about rendered scenes with known answers, half of them yes and half no. "
            "A judge that guesses has accuracy 0.5, separation 0.5 and gap 0.",
            "",
            judge,
            "",
            f"Scenes: {facts}. Unscored answers: {unscored_text}.",
            "",
            markdown_table(header, rows, align),
            "",
            "Each number with its 95% interval, from a bootstrap over scenes; one without width "
            "means that all scenes agreed, not certainty. Calibration error: "
            f"{BINS} bins of equal width; it is biased upwards where there are few questions.",
            "",
        ]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    scene: int
    kind: QuestionKind
    text: str
    truth: bool


def _questions(
    scene: int, seed: int, size: int, folder: Path, answer_format: YesNo
) -> Iterator[tuple[_Known, Question]]:
    rendered = random_scene(np.random.default_rng([seed, scene]))
    image, truth = render(rendered, size, size)
    path = folder / f"scene-{scene:05}.png"
    image.save(path)
    image_part = ImagePart(path=path, sha256=sha256_of(path))
    scene_seed = int(np.random.default_rng([seed, scene, 1]).integers(2**31))
    for index, one in enumerate(scene_questions(rendered, truth, seed=scene_seed)):
        known = _Known(scene=scene, kind=one.kind, text=one.text, truth=one.truth)
        question = yes_no_question(
            one.text,
            (image_part,),
            image_id=path.stem,
            question_id=f"{index:02}-{one.kind}-{'yes' if one.truth else 'no'}",
            answer_format=answer_format,
        )
        yield known, question


def _known_answer(known: _Known, answer: Answer) -> KnownAnswer:
    return KnownAnswer(
        scene=known.scene,
        kind=known.kind,
        text=known.text,
        truth=known.truth,
        p_yes=None if answer.values is None else answer.values[0],
        status=answer.status,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """Scored answers, and how often each counts in every replicate of a block."""

    p_Q: Floats
    truth_Q: NDArray[np.bool_]
    weight_RQ: Floats


def _figures(answers: Sequence[KnownAnswer], settings: Bootstrap) -> JudgeMetrics:
    scored = [answer for answer in answers if answer.p_yes is not None]
    p_Q = np.array([answer.p_yes for answer in scored], dtype=np.float64)
    truth_Q = np.array([answer.truth for answer in scored], dtype=np.bool_)
    scenes, place_Q = np.unique([answer.scene for answer in scored], return_inverse=True)
    times_RS = resampled_counts(len(scenes), settings)
    counts = {"n_samples": len(scenes), "n_scored": len(scored), "n_expected": len(answers)}

    def estimate(formula: Callable[[_Scored], Floats]) -> Estimate:
        if not scored:
            return estimate_of(np.array([math.nan]), counts, settings)
        blocks = (times_RS[start : start + _BLOCK] for start in range(0, len(times_RS), _BLOCK))
        value_R = [
            formula(_Scored(p_Q=p_Q, truth_Q=truth_Q, weight_RQ=times_rS[:, place_Q]))
            for times_rS in blocks
        ]
        return estimate_of(np.concatenate(value_R), counts, settings)

    return JudgeMetrics(
        accuracy=estimate(_accuracy),
        calibration_error=estimate(_calibration_error),
        brier=estimate(_brier),
        separation=estimate(_separation),
        gap=estimate(_gap),
        statuses=dict(Counter(answer.status for answer in answers)),
    )


def _accuracy(scored: _Scored) -> Floats:
    right_Q = np.where(scored.p_Q == 0.5, 0.5, (scored.p_Q > 0.5) == scored.truth_Q)
    return _mean(right_Q.astype(np.float64), scored.weight_RQ)


def _brier(scored: _Scored) -> Floats:
    return _mean((scored.p_Q - scored.truth_Q) ** 2, scored.weight_RQ)


def _calibration_error(scored: _Scored) -> Floats:
    """Sum over bins of |sum of (P(yes) - truth)|, over the number of answers."""
    bin_Q = np.minimum((scored.p_Q * BINS).astype(np.int64), BINS - 1)
    surplus_RQ = scored.weight_RQ * (scored.p_Q - scored.truth_Q)
    in_bin_QB = bin_Q[:, None] == np.arange(BINS)
    surplus_RB = surplus_RQ @ in_bin_QB
    error_R: Floats = np.abs(surplus_RB).sum(axis=1) / scored.weight_RQ.sum(axis=1)
    return error_R


def _separation(scored: _Scored) -> Floats:
    """Area under the ROC curve: the share of (true, false) pairs in the right order, ties half."""
    order_Q = np.argsort(scored.p_Q, kind="stable")
    starts_V = np.unique(scored.p_Q[order_Q], return_index=True)[1]
    weight_RQ, truth_Q = scored.weight_RQ[:, order_Q], scored.truth_Q[order_Q]
    yes_RV = np.add.reduceat(weight_RQ * truth_Q, starts_V, axis=1)
    no_RV = np.add.reduceat(weight_RQ * ~truth_Q, starts_V, axis=1)
    below_RV = np.cumsum(no_RV, axis=1) - no_RV
    pairs_R = yes_RV.sum(axis=1) * no_RV.sum(axis=1)
    right_R = (yes_RV * (below_RV + 0.5 * no_RV)).sum(axis=1)
    return _quotient(right_R, pairs_R)


def _gap(scored: _Scored) -> Floats:
    yes_RQ = scored.weight_RQ * scored.truth_Q
    no_RQ = scored.weight_RQ * ~scored.truth_Q
    gap_R = _mean(scored.p_Q, yes_RQ) - _mean(scored.p_Q, no_RQ)
    # What rounding leaves of an exact zero would be printed as -0.000.
    return np.where(np.abs(gap_R) < 1e-12, 0.0, gap_R)


def _mean(value_Q: Floats, weight_RQ: Floats) -> Floats:
    return _quotient(weight_RQ @ value_Q, weight_RQ.sum(axis=1))


def _quotient(above_R: Floats, below_R: Floats) -> Floats:
    """NaN where there is nothing to divide by."""
    empty_R = below_R == 0
    return np.where(empty_R, math.nan, above_R / np.where(empty_R, 1.0, below_R))


def _row(name: str, metrics: JudgeMetrics) -> list[str]:
    estimates = [getattr(metrics, field) for field in _METRICS.values()]
    cells = [f"{number(one.value)} {interval(one)}" for one in estimates]
    n_questions = sum(metrics.statuses.values())
    n_unscored = n_questions - metrics.statuses.get("scored", 0)
    return [inline(name), *cells, str(n_questions), str(n_unscored) if n_unscored else NOTHING]
