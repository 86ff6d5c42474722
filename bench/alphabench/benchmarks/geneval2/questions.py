"""GenEval 2's questions to a judge: one about each atom, scored by its first token (Soft-TIFA).

Officially an atom's score is the sum, over the accepted texts, of the probability of each text's
first token, so that a token that several texts begin with counts several times; strictly, each
token counts once, and a bare blank never. Upstream's template is read at run time from its script.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

from alphabench.benchmarks.judged import needed_judge
from alphabench.evaluators.judge_evaluator import JudgeEvaluator, verdict_from
from alphabench.judges.first_tokens import FirstTokenReading, FirstTokenSet, reading_of
from alphabench.judges.yesno import OWN_TEMPLATE
from alphabench.questions import Answer, Capabilities, ImagePart, Judge, Question
from alphabench.types import GeneratedImage, ProtocolName, Verdict
from alphabench.upstream import UpstreamData, templates
from alphabench.upstream.templates import Template, own_template

SCRIPT: Final = "evaluation.py"
_JUDGE: Final = "transformers:Qwen/Qwen3-VL-8B-Instruct"
_YES: Final = ("Yes", "yes", " yes", " Yes")
_COUNT: Final = "How many"
"""What every question about a number begins with, and no other."""
_NUMBERS: Final = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_OWN_NUMBER: Final = "{question}\nAnswer with one word: the number."


def accepted_texts(question: str, answer: str) -> tuple[str, ...]:
    """The texts whose first tokens count, as upstream lists them (evaluation.py, soft_tifa)."""
    if not question.startswith(_COUNT):
        return _YES
    digits = str(_NUMBERS.index(answer) + 1) if answer in _NUMBERS else "other"
    words = (answer, answer.capitalize())
    return (*words, *(f" {word}" for word in words), digits, f" {digits}")


class AtomTemplates(NamedTuple):
    """The texts around a question."""

    name: Literal["official", "own"]
    number: Template
    others: Template

    @property
    def identity(self) -> str:
        return f"{self.name}:{templates.digest([self.number, self.others])[:16]}"

    def text(self, question: str) -> str:
        """What the judge is asked after the image."""
        template = self.number if question.startswith(_COUNT) else self.others
        return template.fill({"question": question})


OWN: Final = AtomTemplates(
    "own", *(own_template(text, "question") for text in (_OWN_NUMBER, OWN_TEMPLATE))
)


def parse_templates(source: bytes) -> AtomTemplates:
    """The one text around a question that upstream's script sends with an image."""
    found = templates.first_arguments_of(source, "send_message_with_image")
    template = templates.template_about("question", found, path=SCRIPT)
    return AtomTemplates("official", template, template)


def official_templates(data: UpstreamData) -> AtomTemplates:
    """Upstream's wording, from its script; AlphaBenchError where that is not fetched."""
    return parse_templates(templates.read_script(data, "geneval2-judge", SCRIPT))


def open_geneval2_judge(
    judge: Judge | None, wording: AtomTemplates, protocol: ProtocolName
) -> JudgeEvaluator:
    """GenEval 2's evaluator; AlphaBenchError without a judge that gives log-probabilities."""
    judge = needed_judge(judge, benchmark="geneval2", example=_JUDGE)
    answer_format = FirstTokenSet(wording=wording.identity, reading=reading_of(judge))
    return JudgeEvaluator(
        judge=judge,
        questions_about=_Ask(wording, answer_format),
        score=_Score(protocol, answer_format.reading),
        identity=answer_format.identity,
        needs=Capabilities(images_per_question=1, logprobs=True),
    )


@dataclass(frozen=True, slots=True)
class _Ask:
    wording: AtomTemplates
    answer_format: FirstTokenSet

    def __call__(self, image: GeneratedImage) -> list[Question]:
        atoms = enumerate(image.request.sample.facts["vqa_list"])
        return [self._question(image, str(index), *atom) for index, atom in atoms]

    def _question(self, image: GeneratedImage, name: str, text: str, right: str) -> Question:
        answer_format = replace(self.answer_format, accepted=accepted_texts(text, right))
        return Question(
            image_id=image.id,
            id=name,
            parts=(ImagePart.of(image), self.wording.text(text)),
            sampling=answer_format.sampling,
            answer_format=answer_format,
        )


@dataclass(frozen=True, slots=True)
class _Score:
    protocol: ProtocolName
    reading: FirstTokenReading

    def __call__(self, image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
        atoms = zip(image.request.sample.facts["vqa_list"], answers, strict=True)
        return [self._verdict(question, right, answer) for (question, right), answer in atoms]

    def _verdict(self, question: str, right: str, answer: Answer) -> Verdict:
        detail: dict[str, Any] = {"question": question, "expected": right}
        if answer.values is None:
            return verdict_from(answer, detail=detail)
        names = ("official", "strict", "tifa", "most")
        detail |= {**dict(zip(names, answer.values, strict=True)), "reading": self.reading}
        return verdict_from(answer, value=detail[self.protocol], detail=detail)
