"""RISEBench's questions to a judge about an edit, and the verdict from its replies.

The official templates are constants of upstream's utils.py at 5f22651 (PhoenixZ810/RISEBench), read
at run time; which one is asked, and with which images, follows gpt_eval.py. The project's own
questions are VIEScore's two, which the judge `nano` knows (`edit_marks`): another measurement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from alphabench.benchmarks import edit_marks
from alphabench.benchmarks.judged import JudgedBenchmark, needed_judge
from alphabench.benchmarks.rise import scoring
from alphabench.benchmarks.rise.scoring import CONSISTENCY, LOGICAL, PLAUSIBILITY, REASONING
from alphabench.evaluators.judge_evaluator import JudgeEvaluator, joint_verdict
from alphabench.judges.final_score import FinalScore
from alphabench.questions import Answer, ImagePart, Judge, Question, ReplySampling
from alphabench.types import GeneratedImage, Verdict
from alphabench.upstream.templates import constants_of, read_script

COMPLETE: Final = "complete"
"""The id of the one verdict on an image: 1 where every score that applies is full."""
FIRST_IMAGE: Final = "first_image"
"""A fact of a sample: the image that upstream shows before the edited one."""
SCRIPT: Final = "utils.py"
_SIDE: Final = 768
_OWN: Final = edit_marks.OwnEditQuestions(
    marks=edit_marks.EditMarks(lowest=scoring.LOWEST, highest=scoring.FULL_MARKS),
    names=scoring.DIMENSIONS,
    only_edit=LOGICAL,
)


def official_calls(
    facts: Mapping[str, Any], category: str, *, strict: bool = False
) -> list[tuple[str, str, bool]]:
    """What upstream asks about an item, in its order.

    Each is the dimension, upstream's constant, and whether the first image is shown before the
    edited one: the source, or the reference where `first_image` says so.
    """
    with_text, with_image = (facts.get(f"reference_{kind}") is not None for kind in ("txt", "img"))
    needs_image = facts.get("reasoning_img") is not None
    input_too = "_w_input" if needs_image else ""
    if category == LOGICAL and with_text:
        consistency, reasoning = "logical_cons_ans", ("logical_txt", False)
    elif category == LOGICAL:
        blind = "_wo_q" if facts.get("blind" if strict else "blind_as_upstream") else ""
        consistency, reasoning = "logical_cons", (f"logical_img{blind}", True)
    elif category == scoring.SPATIAL and with_image:
        consistency, reasoning = "spatial_cons", ("spatial_ref_img", True)
    elif category == scoring.SPATIAL:
        consistency, reasoning = "spatial_cons", (f"spatial_ref{input_too}", needs_image)
    else:
        consistency, reasoning = "consist", (f"reasoning{input_too}", needs_image)
    calls = [(CONSISTENCY, consistency, True), (REASONING, *reasoning)]
    if category == LOGICAL:
        return calls
    look = "spatial_qual" if category == scoring.SPATIAL else "generation"
    calls.append((PLAUSIBILITY, look, False))
    return calls[1:] if facts.get("free") else calls


def first_image(row: Mapping[str, Any]) -> str:
    """The file that upstream shows first about an item: its image, or its reference image."""
    by_text = row["category"] == LOGICAL and row.get("reference_txt") is not None
    replaced = row["category"] in (scoring.SPATIAL, LOGICAL) and not by_text
    return str((replaced and row.get("reference_img")) or row["image"])


def open_rise_judge(
    benchmark: JudgedBenchmark, judge: Judge | None, *, own: bool
) -> JudgeEvaluator:
    """Up to three calls and one verdict for each image; temperature 0.

    AlphaBenchError: no judge, one that cannot compare two images, or no official template.
    """
    ask = _OWN if own else _Ask.of(benchmark)
    return JudgeEvaluator(
        judge=needed_judge(judge, benchmark="rise"),
        questions_about=ask,
        score=_score,
        identity=ask.identity,
        needs=edit_marks.BEFORE_AND_AFTER,
    )


@dataclass(frozen=True, slots=True)
class _Ask:
    """Upstream's calls: text first, then images as JPEG of at most 768 pixels a side."""

    texts: Mapping[str, str]
    sampling: ReplySampling
    strict: bool

    @classmethod
    def of(cls, benchmark: JudgedBenchmark) -> _Ask:
        texts = constants_of(read_script(benchmark.data, "rise-judge", SCRIPT))
        asked = {name: text for name, text in texts.items() if name.startswith("prompt_")}
        return cls(asked, ReplySampling(max_tokens=4096), benchmark.protocol == "strict")

    @property
    def identity(self) -> Mapping[str, str]:
        reader = FinalScore(strict=self.strict)
        return edit_marks.edit_identity(reader, "official", self.texts, self.sampling)

    def __call__(self, image: GeneratedImage) -> list[Question]:
        sample, facts = image.request.sample, image.request.sample.facts
        logical = sample.group == LOGICAL
        first = replace(sample, source_image=Path(facts[FIRST_IMAGE]))
        shown = replace(edit_marks.stored_source(first), encoding="jpeg", within=_SIDE)
        edited = replace(ImagePart.of(image), encoding="jpeg", within=_SIDE)
        reference = facts.get("reference_txt" if logical else "reference") or ""
        lowest, highest = (0, 1) if logical else (1, 5)
        reader = FinalScore(strict=self.strict, lowest=lowest, highest=highest)
        questions = []
        for name, template, with_first in official_calls(facts, sample.group, strict=self.strict):
            text = self.texts[f"prompt_{template}"].replace("{instruct}", sample.prompt)
            text = text.replace("{reference}", reference)
            parts = (text, shown, edited) if with_first else (text, edited)
            questions.append(
                Question(
                    image_id=image.id,
                    id=name,
                    parts=parts,
                    sampling=self.sampling,
                    answer_format=reader,
                )
            )
        return questions


def _score(image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
    is_official = isinstance(answers[0].question.answer_format, FinalScore)
    values = {one.question.id: one.values for one in answers if one.values is not None}
    scores_of = combined_scores if is_official else _OWN.scores
    scores = scores_of(values) if len(values) == len(answers) else None
    value, reason = None, "the replies hold another number of scores than the item has"
    if scores is not None:
        value = scoring.RiseItem(image.request.sample.facts, scores).complete
        reason = ", ".join(f"{name} {score:g}" for name, score in scores.items())
    detail = {**(scores or {}), "reason": reason}
    return [joint_verdict(answers, question_id=COMPLETE, value=value, detail=detail)]


def combined_scores(values: Mapping[str, Sequence[float]]) -> dict[str, float] | None:
    """An item's scores as upstream combines the numbers of its replies, one after the other.

    Three are consistency, reasoning and plausibility; two are a logical item's, where 0 becomes 1
    and more becomes 5. Upstream's script stops at any other count, which is None here.
    """
    order = (CONSISTENCY, REASONING, PLAUSIBILITY)
    numbers: list[float | None] = [] if CONSISTENCY in values else [None]
    for name in order:
        numbers += values.get(name, ())
    if len(numbers) == 2:
        numbers = [4 * min(number or 0.0, 1.0) + 1 for number in numbers]
    elif len(numbers) != 3:
        return None
    return {name: n for name, n in zip(order, numbers, strict=False) if n is not None}
