"""ImgEdit-Bench's question to a judge about an edit, and the verdict from its reply.

The official templates, one for each type of edit, are read at run time from upstream's pinned files
(PKU-YuanGroup/ImgEdit at 547185d: prompts.json, and UGE_bench.py for the UGE suite). The project's
own template is another measurement, see `edit_marks`; evaluators report which one was used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from alphabench.benchmarks.edit_marks import (
    BEFORE_AND_AFTER,
    OWN_EDIT_PLACE,
    OWN_EDIT_TEMPLATE,
    EditMarks,
    edit_identity,
    stored_source,
)
from alphabench.benchmarks.imgedit.scoring import FULL_MARKS, LOWEST, TYPES, UGE
from alphabench.benchmarks.judged import JudgedBenchmark, WordingOptions, needed_judge
from alphabench.evaluators.judge_evaluator import JudgeEvaluator, verdict_from
from alphabench.judges.score_lines import ScoreLines
from alphabench.questions import (
    Answer,
    AnswerFormat,
    ImagePart,
    Judge,
    Question,
    ReplySampling,
)
from alphabench.types import OUT_OF, GeneratedImage, ProtocolName, Verdict
from alphabench.upstream import UpstreamData
from alphabench.upstream.templates import constants_of, read_script

QUESTION: Final = "score"
"""The id of the one question about an edit, and of its verdict, 1 to 5."""
PROMPTS: Final = "Benchmark/Basic/prompts.json"
UGE_SCRIPT: Final = "Benchmark/UGE/UGE_bench.py"
_PLACE: Final = "<edit_prompt>"
_MAX_TOKENS: Final = 1024
"""Upstream sends no bound; a reply has four short lines."""


@dataclass(frozen=True, slots=True)
class ImgEditTemplates:
    """Type of edit -> the question about it, in which `place` stands for the instruction."""

    name: Literal["official", "own"]
    texts: Mapping[str, str]
    place: str


OWN: Final = ImgEditTemplates(
    "own", dict.fromkeys((*TYPES, UGE), OWN_EDIT_TEMPLATE), OWN_EDIT_PLACE
)


def official_imgedit_templates(data: UpstreamData, *, uge: bool) -> ImgEditTemplates:
    """Upstream's wording; the pins decide what its files hold.

    Raises:
        AlphaBenchError: it was not fetched, or was changed.
    """
    if uge:
        texts = {UGE: constants_of(read_script(data, "imgedit-uge-judge", UGE_SCRIPT))["prompt"]}
    else:
        texts = json.loads(data.read("imgedit-judge", PROMPTS))
    return ImgEditTemplates("official", texts, _PLACE)


def open_imgedit_judge(
    benchmark: JudgedBenchmark, judge: Judge | None, options: WordingOptions
) -> JudgeEvaluator:
    """The evaluator `judge`: one call and one verdict for each edit.

    official: the judge's own temperature, as upstream sends none. strict: temperature 0.

    Raises:
        AlphaBenchError: no judge, one that cannot compare two images, or no official template.
    """
    split, strict = benchmark.split, benchmark.protocol == "strict"
    own = options.is_own(split)
    words = OWN if own else official_imgedit_templates(benchmark.data, uge=split == UGE)
    answer_format: AnswerFormat = (
        EditMarks(lowest=LOWEST, highest=FULL_MARKS)
        if own
        else ScoreLines(strict=strict, n_scores=1 if split == UGE else 3)
    )
    sampling = ReplySampling(max_tokens=_MAX_TOKENS, temperature=0.0 if strict else None)
    return JudgeEvaluator(
        judge=needed_judge(judge, benchmark="imgedit"),
        questions_about=_Ask(words, sampling, answer_format),
        score=_Score(benchmark.protocol),
        identity=edit_identity(answer_format, words.name, words.texts, sampling),
        needs=BEFORE_AND_AFTER,
    )


@dataclass(frozen=True, slots=True)
class _Ask:
    """Text first, then source and edited image, both as they are stored."""

    words: ImgEditTemplates
    sampling: ReplySampling
    answer_format: AnswerFormat

    def __call__(self, image: GeneratedImage) -> list[Question]:
        sample = image.request.sample
        text = self.words.texts[sample.group].replace(self.words.place, sample.prompt)
        return [
            Question(
                image_id=image.id,
                id=QUESTION,
                parts=(text, stored_source(sample), ImagePart.of(image)),
                sampling=self.sampling,
                answer_format=self.answer_format,
            )
        ]


@dataclass(frozen=True, slots=True)
class _Score:
    """An edit's score is rounded to 2 decimals under official, as upstream stores it."""

    protocol: ProtocolName

    def __call__(self, _: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
        (answer,) = answers
        if answer.values is None:
            return [verdict_from(answer, detail={OUT_OF: FULL_MARKS})]
        mean, *scores = answer.values
        value = round(mean, 2) if self.protocol == "official" else mean
        stated = ", ".join(f"{score:g}" for score in scores)
        detail = {OUT_OF: FULL_MARKS, "scores": scores, "reason": f"scores {stated}"}
        return [verdict_from(answer, value=value, detail=detail)]
