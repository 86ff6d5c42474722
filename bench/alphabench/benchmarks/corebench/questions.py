"""T2I-CoReBench's questions to a judge: one call for each item of a prompt's checklist.

Upstream has two back ends, with a reader each: `qwen` (vLLM, a system message, a penalty for
repetition, replies of growing length) and `gemini`. Its texts are read at run time from its pinned
script; the project's own wording is the bare question, with how to answer it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from alphabench.benchmarks.judged import (
    WordingOptions,
    back_end,
    needed_judge,
    own_yes_no_evaluator,
)
from alphabench.evaluators.judge_evaluator import JudgeEvaluator, verdict_from
from alphabench.judges.longer_replies import LongerRepliesJudge
from alphabench.judges.yesno import yes_or_no
from alphabench.questions import Answer, ImagePart, Judge, Question, Reply, ReplySampling
from alphabench.types import GeneratedImage, ProtocolName, Sample, Verdict
from alphabench.upstream import UpstreamData, templates
from alphabench.upstream.templates import Template

Backend = Literal["qwen", "gemini"]
SCRIPT: Final = "evaluate.py"
BOUNDS: Final = (512, 2048, 8192)
"""Tokens of a reply: at first, and where it holds no answer yet (start_evaluation_qwen)."""
_THINKING: Final = re.compile(r"thinking|qwen3[._-]?5", re.IGNORECASE)
"""In the names of judges whose replies begin with a thought (evaluate.py, extract_fn)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreBenchOptions(WordingOptions):
    """Options of the evaluator `judge`."""

    backend: Literal["auto", "qwen", "gemini"] = "auto"
    """Of the official wording. auto: `gemini` for judges of that name, else `qwen`."""
    thinking: Literal["auto", "on", "off"] = "auto"
    """Whether the judge's replies begin with a thought, so that one that was cut off is no answer.
    auto: by its name, as upstream (`Thinking`, `Qwen3.5`)."""
    repetition_penalty: float = 1.05
    """Of the back end `qwen`; 1 sends none, for hosts that do not know the field."""

    def __post_init__(self) -> None:
        if not self.repetition_penalty > 0:
            raise ValueError("repetition_penalty is above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedWord:
    """One value: 1.0 for yes and 0.0 for no, as one of upstream's readers finds it, or strictly."""

    backend: Backend
    thinks: bool
    strict: bool
    wording: str

    @property
    def answer_comes_first(self) -> bool:
        """Upstream reads what it got of a reply, unless that is a thought."""
        return not (self.thinks or self.strict)

    @property
    def as_upstream(self) -> bool:
        """Whether a refusal that holds the word counts as the word."""
        return not self.strict

    @property
    def identity(self) -> Mapping[str, str]:
        return {
            "contract": "corebench/word",
            "version": "1",
            "wording": self.wording,
            "backend": self.backend,
            "thinking": "on" if self.thinks else "off",
            "reading": "strict" if self.strict else "official",
        }

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        if self.strict:
            is_yes = yes_or_no(reply.text)
            return None if is_yes is None else (float(is_yes),)
        text = reply.text.lower() if self.backend == "gemini" else reply.text
        if re.search(r"\byes\b", text):
            return (1.0,)
        return (0.0,) if re.search(r"\bno\b", text) else None


class CoreTemplates(NamedTuple):
    """Upstream's texts."""

    task: str  # told before all questions
    question: Template


def official_texts(data: UpstreamData) -> CoreTemplates:
    """Upstream's texts; AlphaBenchError where its script is not fetched."""
    return parse_texts(templates.read_script(data, "corebench-judge", SCRIPT))


def parse_texts(source: bytes) -> CoreTemplates:
    """The texts of `evaluate.py`; AlphaBenchError where it does not hold them as expected."""
    task = templates.constants_of(source).get("TEMPLATE")
    question = templates.templates_of(source).get("start_evaluation_qwen.TEXT")
    if task is None or question is None:
        raise templates.changed(SCRIPT, "it has no TEMPLATE and no TEXT")
    names = [{"Prompt", "question"} & placeholder.names for placeholder in question.placeholders]
    if names != [{"Prompt"}, {"question"}]:
        raise templates.changed(SCRIPT, "its TEXT is not of a prompt and a question")
    return CoreTemplates(task, question)


def open_corebench_judge(
    judge: Judge | None,
    options: CoreBenchOptions,
    texts: CoreTemplates | None,
    protocol: ProtocolName,
) -> JudgeEvaluator:
    """T2I-CoReBench's evaluator, with upstream's texts or ours; AlphaBenchError without a judge."""
    judge = needed_judge(judge, benchmark="corebench")
    if texts is None:
        return own_yes_no_evaluator(judge, _score, _checked)
    backend: Backend = back_end(options.backend, judge, gemini="gemini", others="qwen")
    name = judge.identity.get("model", "")
    thinks = (
        bool(_THINKING.search(name)) if options.thinking == "auto" else options.thinking == "on"
    )
    digest = templates.digest([Template((texts.task,)), texts.question])[:16]
    answer_format = CheckedWord(
        backend=backend,
        thinks=thinks and backend == "qwen",
        strict=protocol == "strict",
        wording=f"official:{digest}",
    )
    penalty = options.repetition_penalty
    is_penalised = backend == "qwen" and penalty != 1.0
    sampling = ReplySampling(
        max_tokens=BOUNDS[0] if backend == "qwen" else BOUNDS[-1],
        temperature=0.0,
        extra={"repetition_penalty": penalty} if is_penalised else {},
    )
    bounds = BOUNDS[1:] if backend == "qwen" else ()
    asked = LongerRepliesJudge(judge=judge, bounds=bounds, thinks=answer_format.thinks)
    settings = {"max_tokens": ", ".join(map(str, (sampling.max_tokens, *bounds)))}
    settings |= {"repetition_penalty": str(penalty)} if is_penalised else {}
    return JudgeEvaluator(
        judge=asked,
        questions_about=_Questions(texts, sampling, answer_format),
        score=_score,
        identity={**answer_format.identity, **settings},
    )


@dataclass(frozen=True, slots=True)
class _Questions:
    texts: CoreTemplates
    sampling: ReplySampling
    answer_format: CheckedWord

    def __call__(self, image: GeneratedImage) -> list[Question]:
        sample, asked = image.request.sample, []
        for index, question in enumerate(_checked(sample)):
            system, text = self._texts(sample.facts["Prompt"], question)
            asked.append(
                Question(
                    image_id=image.id,
                    id=str(index),
                    system=system,
                    parts=(ImagePart.of(image), text),
                    sampling=self.sampling,
                    answer_format=self.answer_format,
                )
            )
        return asked

    def _texts(self, prompt: str, question: str) -> tuple[str | None, str]:
        """System text and what follows the image."""
        text = self.texts.question.fill({"Prompt": prompt, "question": question})
        if self.answer_format.backend == "gemini":
            return None, f"{self.texts.task}\n{text}"
        return self.texts.task, text


def _checked(sample: Sample) -> list[str]:
    return [item["question"] for item in sample.facts["Checklist"]]


def _score(image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
    pairs = zip(_checked(image.request.sample), answers, strict=True)
    return [verdict_from(answer, detail={"question": question}) for question, answer in pairs]
