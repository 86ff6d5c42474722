"""A judged benchmark of your own, outside the package: yes/no questions about each image.

    cd examples
    alphabench run python:judged_benchmark:Fruit --ckpt scene: --judge nano

A line of `judged_benchmark.jsonl` is a sample: a prompt, and questions to which a correct image
gets the answer yes. `include` is for `--ckpt scene:` alone; real checkpoints do not need it.
"""

# ruff: noqa: ARG001, ARG002 - arguments that this benchmark does not need
from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from alphabench.benchmarks.reporting import ReportScope, grouped_report
from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.judge_evaluator import JudgeEvaluator, verdict_from
from alphabench.interfaces import Evaluator
from alphabench.judges.yesno import YesNoText, yes_no_question
from alphabench.questions import Answer, ImagePart, Judge, Question
from alphabench.statistics import count_statuses, gather
from alphabench.types import Card, GeneratedImage, Report, Sample, Verdict

DATA = Path(__file__).with_suffix(".jsonl")
YES_OR_NO = YesNoText()


def questions_about(image: GeneratedImage) -> list[Question]:
    """One call of the judge for each question of the image's sample."""
    shown = [ImagePart(path=image.path, sha256=image.sha256)]
    return [
        yes_no_question(text, shown, image_id=image.id, question_id=str(i), answer_format=YES_OR_NO)
        for i, text in enumerate(image.request.sample.facts["questions"])
    ]


def verdicts_on(image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
    """1 for yes, 0 for no; an answer that cannot be read keeps its status and has no value."""
    return [verdict_from(answer) for answer in answers]


class Fruit:
    """What to generate, what to ask about it, and what the answers amount to."""

    card = Card(
        name="fruit",
        version="1",
        split="",
        protocol="official",
        title="Fruit and furniture, an example",
        licence="Apache-2.0",
        source="examples/judged_benchmark.jsonl",
        citation="none",
        data_digest=hashlib.sha256(DATA.read_bytes()).hexdigest(),
        images_per_sample=2,
        evaluators=("judge",),
    )

    def samples(self) -> list[Sample]:
        rows = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]
        return [
            Sample(id=row["id"], prompt=row["prompt"], group=row["group"], facts=row)
            for row in rows
        ]

    def questions(self, sample: Sample) -> list[str]:
        return [str(i) for i in range(len(sample.facts["questions"]))]

    def evaluator(
        self, spec: str | None = None, *, judge: Judge | None = None, device: str = "cpu"
    ) -> Evaluator:
        if judge is None:
            raise AlphaBenchError("fruit is scored by a judge", hint="name one: --judge nano")
        return JudgeEvaluator(
            judge=judge,
            questions_about=questions_about,
            score=verdicts_on,
            identity=YES_OR_NO.identity,
        )

    def summarise(
        self,
        samples: Sequence[Sample],
        verdicts: Sequence[Verdict],
        *,
        evaluator: str,
        all_samples: Sequence[Sample],
    ) -> Report:
        def n_expected(sample: Sample) -> int:
            return self.card.images_per_sample * len(self.questions(sample))

        scope = ReportScope(
            benchmark=self.card.name,
            split=self.card.split,
            protocol=self.card.protocol,
            evaluator=evaluator,
            statuses=count_statuses(samples, verdicts, n_expected=n_expected),
            has_all_samples=len(samples) == len(all_samples),
        )
        return grouped_report(scope, gather(samples, verdicts, n_expected=n_expected))
