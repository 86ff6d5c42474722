"""TIIF-Bench's questions to a judge, and verdicts from its replies.

wording=official: all questions about an image in one call, in one of upstream's three templates,
which are read from upstream's script and are not copied here. wording=own: each question alone, in
the project's template; another measurement, and labelled as such.

Upstream chooses a template at random for every call and repeats a call without limit until the
reply can be parsed. Here the sample's id decides the template, and a reply that cannot be parsed is
requested a few times more. Knows no run and no average.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from alphabench.benchmarks.tiif.scoring import is_right, read_lines
from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.judge_evaluator import JudgeEvaluator, evidence
from alphabench.judges.refusals import refuses
from alphabench.judges.retrying import RetryingJudge
from alphabench.judges.yesno import YesNo, YesNoProbability, YesNoText, yes_no_question
from alphabench.questions import (
    Answer,
    Capabilities,
    ImagePart,
    Judge,
    Question,
    Reply,
    ReplySampling,
)
from alphabench.types import GeneratedImage, ProtocolName, Verdict
from alphabench.upstream import UpstreamData
from alphabench.upstream.templates import changed, constants_of, messages_of, read_script

SCRIPT: Final = "eval/eval_with_vlm.py"
PIN: Final = "tiif-judge"
_TEMPLATES: Final = ("raw_prompt", "raw_prompt_1", "raw_prompt_2")
_PLACE: Final = "##YNQuestions##"
ANSWERS: Final = "answers"
"""The id of the one call about an image under the official wording."""
_MAX_TOKENS: Final = 4096
"""Upstream sets no limit; this one holds a sentence for each of an image's questions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TiifJudgeOptions:
    """Options of the evaluator `judge`."""

    wording: Literal["auto", "official", "own"] = "auto"
    """auto: own for `mini`, official for upstream's data."""
    reading: Literal["text", "probability"] = "text"
    """Of the own wording: by the word, or by which of P(yes) and P(no) is higher."""
    tries: int = 3
    """How often a reply that cannot be read is asked for under the official protocol."""

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise ValueError("tries is 1 at least")


@dataclass(frozen=True, slots=True, kw_only=True)
class TiifTemplates:
    """What upstream's script says to the judge."""

    system: str
    templates: tuple[str, ...]
    """Each with a place for the questions, one a line."""

    @property
    def digest(self) -> str:
        return hashlib.sha256("\0".join([self.system, *self.templates]).encode()).hexdigest()


def official_tiif_templates(data: UpstreamData) -> TiifTemplates:
    """Read from the pinned script.

    Raises:
        AlphaBenchError: it was not fetched, or is not the script that was expected.
    """
    return tiif_templates_of(read_script(data, PIN, SCRIPT))


def tiif_templates_of(source: bytes) -> TiifTemplates:
    """The wording inside a script of upstream's form.

    Raises:
        AlphaBenchError: a part of it is not there.
    """
    strings = constants_of(source)
    for name in _TEMPLATES:
        if strings.get(name, "").count(_PLACE) != 1:
            raise changed(SCRIPT, f"no {name!r} with one {_PLACE!r}")
    systems = {
        "".join(str(piece) for part in message.parts for piece in getattr(part, "pieces", ()))
        for message in messages_of(source)
        if message.role == "system"
    }
    if len(systems) != 1:
        raise changed(SCRIPT, f"{len(systems)} system messages instead of one")
    return TiifTemplates(system=systems.pop(), templates=tuple(strings[n] for n in _TEMPLATES))


@dataclass(frozen=True, slots=True, kw_only=True)
class LinesFormat:
    """As many values as questions, 1.0 for yes and 0.0 for no, from a reply of one line each.

    official: by upstream's reader, which passes over a refusal that is not such a line. strict: no
    line may name both words. Under either, `No, I can't help with that` is no answer.
    """

    n_questions: int
    wording: str
    """Digest of the official wording."""
    strict: bool

    @property
    def as_upstream(self) -> bool:
        """Whether upstream's reader may find answers after a refusal."""
        return not self.strict

    @property
    def identity(self) -> Mapping[str, str]:
        return {
            "contract": "tiif/lines",
            "version": "1",
            "wording": f"official:{self.wording[:16]}",
            "n_questions": str(self.n_questions),
            "strict": str(self.strict),
        }

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        lines = [line.strip() for line in reply.text.split("\n")]
        if any(refuses(line) for line in lines if line.casefold().startswith(("yes", "no"))):
            return None
        answers = read_lines(reply.text, n_questions=self.n_questions, strict=self.strict)
        return None if answers is None else tuple(map(float, answers))


@dataclass(frozen=True, slots=True, kw_only=True)
class TogetherQuestions:
    """All questions about an image in one call."""

    wording: TiifTemplates
    protocol: ProtocolName

    def __call__(self, image: GeneratedImage) -> list[Question]:
        sample = image.request.sample
        questions = sample.facts["questions"]
        strict = self.protocol == "strict"
        template = self.wording.templates[0 if strict else template_of(sample.id)]
        text = template.replace(_PLACE, "\n".join(question.strip() for question in questions))
        return [
            Question(
                image_id=image.id,
                id=ANSWERS,
                parts=(text, jpeg_part(image)),
                sampling=ReplySampling(max_tokens=_MAX_TOKENS, temperature=0.0 if strict else 1.0),
                answer_format=LinesFormat(
                    n_questions=len(questions), wording=self.wording.digest, strict=strict
                ),
                system=self.wording.system,
            )
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeparateQuestions:
    """Each question in a call of its own."""

    answer_format: YesNo

    def __call__(self, image: GeneratedImage) -> list[Question]:
        shown = jpeg_part(image)
        return [
            yes_no_question(
                question,
                [shown],
                image_id=image.id,
                question_id=str(i),
                answer_format=self.answer_format,
            )
            for i, question in enumerate(image.request.sample.facts["questions"])
        ]


def template_of(sample_id: str) -> int:
    """Which of upstream's wordings is used for a sample under the official protocol."""
    return int.from_bytes(hashlib.sha256(sample_id.encode()).digest()[:8], "big") % len(_TEMPLATES)


def tiif_verdicts(image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
    """One verdict for each question, 1 where the answer is the expected one.

    A reply to all questions at once that could not be read leaves all of them unscored.
    """
    facts = image.request.sample.facts
    together = len(answers) == 1 and answers[0].question.id == ANSWERS
    found = []
    for i, (question, expected) in enumerate(
        zip(facts["questions"], facts["answers"], strict=True)
    ):
        answer = answers[0] if together else answers[i]
        found.append(_verdict(image, answer, i if together else 0, (str(i), question, expected)))
    return found


def _verdict(
    image: GeneratedImage, answer: Answer, place: int, about: tuple[str, str, str]
) -> Verdict:
    question_id, question, expected = about
    detail: dict[str, Any] = {"question": question, "expected": expected, **evidence(answer)}
    value = None
    if answer.values is not None:
        p_yes = answer.values[place]
        said = "yes" if p_yes > 0.5 else "no"
        value = float(is_right(said, expected))
        detail |= {"answer": said} | ({"p_yes": p_yes} if p_yes not in (0.0, 1.0) else {})
    return Verdict(
        image_id=image.id,
        question_id=question_id,
        value=value,
        status=answer.status,
        detail=detail,
    )


def jpeg_part(image: GeneratedImage) -> ImagePart:
    """The stored image, as upstream sends it: whole, as PNG."""
    return ImagePart.of(image)


def open_tiif_judge(
    judge: Judge | None,
    options: TiifJudgeOptions,
    *,
    split: str,
    protocol: ProtocolName,
    data: UpstreamData,
) -> JudgeEvaluator:
    """The evaluator `judge` of TIIF-Bench.

    Raises:
        AlphaBenchError: no judge, one that cannot do what is needed, or no official wording.
    """
    if judge is None:
        raise AlphaBenchError(
            "tiif puts its questions to a judge, and none is named",
            hint="name one: --judge URL#model (or --judge nano for :mini, offline)",
        )
    official = options.wording == "official" or (options.wording == "auto" and split != "mini")
    if not official:
        probability = options.reading == "probability"
        answer_format = YesNoProbability() if probability else YesNoText()
        return JudgeEvaluator(
            judge=judge,
            questions_about=SeparateQuestions(answer_format=answer_format),
            score=tiif_verdicts,
            identity=answer_format.identity,
            needs=Capabilities(images_per_question=1, logprobs=probability),
        )
    wording = official_tiif_templates(data)
    strict = protocol == "strict"
    return JudgeEvaluator(
        judge=judge if strict else RetryingJudge(judge=judge, tries=options.tries),
        questions_about=TogetherQuestions(wording=wording, protocol=protocol),
        score=tiif_verdicts,
        identity={
            "wording": f"official:{wording.digest[:16]}",
            "contract": "tiif/lines",
            "tries": "1" if strict else str(options.tries),
        },
    )
