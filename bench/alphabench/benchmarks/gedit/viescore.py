"""VIEScore for edited images: two questions to a judge, and scores from its replies (Ku, 2023).

SC, semantic consistency: the lower of how well the edit succeeded and how much else was left alone.
PQ, perceptual quality: the lower of naturalness and freedom from artefacts. Overall: sqrt(SC * PQ).
All are 0 to 10. As GEdit-Bench's authors use it (stepfun-ai/Step1X-Edit at 570eba6, task `tie`);
their script guesses a number for a reply that cannot be parsed, and here such a reply has no score.

The official templates are read at run time from upstream's pinned script. Knows no data set: a
sample has an instruction as its prompt, and a source image.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from alphabench.benchmarks.gedit.viescore_parser import LowestScore, has_braces
from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_bytes
from alphabench.evaluators.judge_evaluator import JudgeEvaluator, evidence
from alphabench.images import MAX_FILE_BYTES, UnreadableImageError, open_unchanged
from alphabench.judges.parsing import text_of
from alphabench.judges.retrying import RetryingJudge
from alphabench.questions import Answer, Capabilities, ImagePart, Judge, Question, ReplySampling
from alphabench.types import GeneratedImage, ProtocolName, Sample, Verdict
from alphabench.upstream import UpstreamData
from alphabench.upstream.templates import changed, constants_of, read_script

QUESTION: Final = "overall"
"""The id of the one verdict on an image; its value is the overall score, 0 to 10."""
SEMANTICS, QUALITY = "semantics", "quality"
"""The ids of the two calls, and the keys of SC and PQ in a verdict's detail."""
JUDGE_SOURCE: Final = "judge_source"
"""A fact of a sample: the source image that the judge sees, where not the editor's."""
FULL_MARKS: Final = 10.0
PIN: Final = "gedit-judge"
SCRIPT: Final = "GEdit-Bench/viescore/vie_prompts.py"
_CONTEXT: Final = "_context_no_delimit"
_SC_RULES: Final = ("_prompts_0shot_two_image_edit_rule", "_prompts_0shot_tie_rule_SC")
_PQ_RULES: Final = ("_prompts_0shot_rule_PQ",)
_PLACE: Final = "<instruction>"
_ORIENTATION: Final = 0x0112
"""The tag of EXIF that says how a photograph was held."""
_MAX_TOKENS: Final = 1400
_FORM: Final = (
    'Reply with one JSON object and nothing else: {"score": [first, second], '
    '"reasoning": "one short sentence"}'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VieOptions:
    """Options of the evaluator `judge`."""

    wording: Literal["auto", "official", "own"] = "auto"
    """auto: own for `mini`, official for upstream's data."""
    tries: int = 1
    """How often a reply that cannot be read is asked for under the official protocol."""
    guess: int | None = None
    """Replay of upstream's random guess, from this seed: a reply without braces that cannot be
    read scores a random whole number from 0 to 10. Not a measurement, and labelled so."""

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise ValueError("tries is 1 at least")


@dataclass(frozen=True, slots=True, kw_only=True)
class VieTemplates:
    """The texts of the two calls; `<instruction>` stands for the editing instruction."""

    name: Literal["official", "own"]
    semantics: str
    quality: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"{self.semantics}\0{self.quality}".encode()).hexdigest()


OWN: Final = VieTemplates(
    name="own",
    semantics=(
        "The second picture was made from the first by this editing instruction:\n"
        f"{_PLACE}\n\n"
        "Give two whole numbers from 0 to 10.\n"
        "First: how fully was the instruction carried out? 0 is not at all, 10 is completely.\n"
        "Second: how well was everything left alone that the instruction does not speak of? "
        "0 is nothing left as it was, 10 is everything.\n"
        f"{_FORM}"
    ),
    quality=(
        "Look at the picture as a picture, whatever it shows.\n\n"
        "Give two whole numbers from 0 to 10.\n"
        "First: how natural is it as a whole - light, shadows, proportions? "
        "0 is unnatural, 10 is natural.\n"
        "Second: how free is it from flaws of making - smears, broken shapes, odd edges? "
        "0 is full of them, 10 is free of them.\n"
        f"{_FORM}"
    ),
)


def official_vie_templates(data: UpstreamData) -> VieTemplates:
    """Upstream's wording, from its script.

    Raises:
        AlphaBenchError: the script was not fetched, or does not hold what is expected.
    """
    return vie_templates_of(read_script(data, PIN, SCRIPT))


def vie_templates_of(source: bytes) -> VieTemplates:
    """The wording inside a script of upstream's form, put together as its VIEScore class does.

    Raises:
        AlphaBenchError: a part of it is not there.
    """
    texts = constants_of(source)
    for name in (_CONTEXT, *_SC_RULES, *_PQ_RULES):
        if name not in texts:
            raise changed(SCRIPT, f"no text {name!r}")
    semantics = "\n".join(texts[name] for name in (_CONTEXT, *_SC_RULES))
    if _PLACE not in semantics:
        raise changed(SCRIPT, f"no {_PLACE!r} in the question about the edit")
    quality = "\n".join(texts[name] for name in (_CONTEXT, *_PQ_RULES))
    return VieTemplates(name="official", semantics=semantics, quality=quality)


def open_viescore(
    judge: Judge | None,
    options: VieOptions,
    *,
    mini: bool,
    protocol: ProtocolName,
    data: UpstreamData,
) -> JudgeEvaluator:
    """The evaluator `judge` of an editing benchmark: two calls and one verdict for each image.

    official: sampled at the judge's own temperature, as upstream sends none.
    strict: temperature 0, replies must state two scores of 0 to 10.

    Raises:
        AlphaBenchError: no judge, one that cannot compare two images, or no official template.
    """
    if judge is None:
        raise AlphaBenchError(
            "VIEScore asks a judge about every image, and none is named",
            hint="name one: --judge URL#model (or --judge nano for :mini, offline)",
        )
    strict = protocol == "strict"
    if strict and options.guess is not None:
        raise AlphaBenchError(
            "the strict protocol guesses no score", hint="leave out the option guess"
        )
    own = options.wording == "own" or (options.wording == "auto" and mini)
    words = OWN if own else official_vie_templates(data)
    answer_format = LowestScore(strict)
    sampling = ReplySampling(max_tokens=_MAX_TOKENS, temperature=0.0 if strict else None)
    tries = 1 if strict else options.tries
    guess = {} if options.guess is None else {"GUESSED": f"seed {options.guess}"}
    return JudgeEvaluator(
        judge=judge if tries == 1 else RetryingJudge(judge=judge, tries=tries),
        questions_about=VieQuestions(words, sampling, answer_format),
        score=VieVerdicts(options.guess),
        identity={
            **answer_format.identity,
            "wording": f"{words.name}:{words.digest[:16]}",
            "max_tokens": str(_MAX_TOKENS),
            "temperature": "the judge's own" if sampling.temperature is None else "0.0",
            "tries": str(tries),
            "orientation": "applied",
            **guess,
        },
        needs=Capabilities(images_per_question=2, logprobs=False),
    )


@dataclass(frozen=True, slots=True)
class VieQuestions:
    """SC with source and edit, then PQ with the edit alone; text first, images as JPEG."""

    words: VieTemplates
    sampling: ReplySampling
    answer_format: LowestScore

    def __call__(self, image: GeneratedImage) -> list[Question]:
        """The two questions about one edited image, which is shown in its source's size.

        Raises:
            AlphaBenchError: the source image cannot be read.
        """
        sample = image.request.sample
        source = source_image_part(sample)
        edited = replace(ImagePart.of(image), encoding="jpeg", size=source.size)
        shown = replace(source, encoding="jpeg", size=None)
        text = self.words.semantics.replace(_PLACE, sample.prompt)
        return [
            self._question(image, SEMANTICS, (text, shown, edited)),
            self._question(image, QUALITY, (self.words.quality, edited)),
        ]

    def _question(
        self, image: GeneratedImage, name: str, parts: tuple[str | ImagePart, ...]
    ) -> Question:
        return Question(
            image_id=image.id,
            id=name,
            parts=parts,
            sampling=self.sampling,
            answer_format=self.answer_format,
        )


def source_image_part(sample: Sample) -> ImagePart:
    """The image before the edit, as the judge sees it, with its own size.

    Raises:
        AlphaBenchError: there is none, or it cannot be read.
    """
    path = Path(sample.facts.get(JUDGE_SOURCE) or sample.source_image or "")
    try:
        content = read_bytes(path, max_bytes=MAX_FILE_BYTES)
        image = open_unchanged(content)
    except (UnreadableFileError, UnreadableImageError) as error:
        raise AlphaBenchError(
            f"the source image {str(path)!r} of {sample.id!r} cannot be read: {error}",
            hint="fetch the benchmark's data again",
        ) from error
    # Size of the stored file, before the EXIF rotation: upstream resizes first, then rotates.
    return ImagePart(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        size=image.size,
        exif_rotated=image.getexif().get(_ORIENTATION, 1) != 1,
    )


@dataclass(frozen=True, slots=True)
class VieVerdicts:
    """One verdict from the two answers; without both there is no score."""

    guess: int | None = None

    def __call__(self, image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
        detail: dict[str, Any] = {"out_of": FULL_MARKS}
        scores: dict[str, float] = {}
        for name, answer in zip((SEMANTICS, QUALITY), answers, strict=True):
            detail[f"{name}_call"] = evidence(answer)
            if answer.values is not None:
                scores[name] = answer.values[0]
                detail[f"{name}_scores"] = list(answer.values[1:])
            elif (guessed := self._guess(answer)) is not None:
                scores[name] = guessed
                detail[f"{name}_guessed"] = True
        detail |= scores
        lacking = [one for one in answers if one.question.id not in scores]
        if lacking:
            detail["reason"] = f"{lacking[0].question.id}: {lacking[0].reason or 'no score'}"
            return [_verdict(image, None, lacking[0].status, detail)]
        detail["reason"] = f"semantics {scores[SEMANTICS]:g}, quality {scores[QUALITY]:g}"
        value = math.sqrt(scores[SEMANTICS] * scores[QUALITY])
        return [_verdict(image, value, "scored", detail)]

    def _guess(self, answer: Answer) -> float | None:
        """Upstream's draw for a reply without braces, made repeatable."""
        if self.guess is None or answer.reply is None or has_braces(text_of(answer.reply)):
            return None
        question = answer.question
        rng = random.Random(f"{self.guess}/{question.image_id}/{question.id}")  # noqa: S311
        return float(rng.randint(0, 10))


def _verdict(
    image: GeneratedImage, value: float | None, status: Any, detail: dict[str, Any]
) -> Verdict:
    return Verdict(
        image_id=image.id, question_id=QUESTION, value=value, status=status, detail=detail
    )
