"""OneIG-Bench's questions to a judge: yes or no for each point of a prompt, or a transcription.

Upstream's texts are read at run time from its pinned script. A black image is what upstream's
scripts write where there is none: it is not judged. In `mini`, objects stand for words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, NamedTuple

from alphabench.benchmarks.judged import needed_judge
from alphabench.benchmarks.longtext.questions import OWN as OWN_INSTRUCTION
from alphabench.benchmarks.object_words import READ, named_words
from alphabench.benchmarks.oneig.scoring import TEXT
from alphabench.core.files import well_formed
from alphabench.evaluators.judge_evaluator import JudgeEvaluator, verdict_from
from alphabench.images import UnreadableImageError, open_rgb
from alphabench.judges.parsing import is_cut, text_of
from alphabench.judges.transcription import LetterMatch, LetterTranscription, match_letters
from alphabench.judges.yesno import OWN_TEMPLATE, YesNoText
from alphabench.questions import Answer, ImagePart, Judge, Question, Reply, ReplySampling
from alphabench.types import GeneratedImage, ProtocolName, Sample, Verdict
from alphabench.upstream import UpstreamData, templates
from alphabench.upstream.templates import Template

SCRIPT: Final = "scripts/utils/inference.py"
BLACK: Final = "black"
"""In the detail of a verdict about a black image."""
UNREAD: Final = "counts_as_no"
"""In a verdict's detail: whether a reply that is neither Yes nor No was read as no."""
_CLASS: Final = "Qwen2_5VLBatchInferencer"


class OneIGTexts(NamedTuple):
    """What a judge is asked."""

    yes_no: str
    """`{question}` stands for the question."""
    transcribe: str


OWN: Final = OneIGTexts(OWN_TEMPLATE, OWN_INSTRUCTION)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactYes:
    """One value: 1.0 for the reply `Yes`, letter by letter, and 0.0 for any other, as upstream."""

    answer_comes_first: ClassVar[bool] = True
    as_upstream: ClassVar[bool] = True
    template: str

    @property
    def identity(self) -> Mapping[str, str]:
        wording = YesNoText(template=self.template).identity["wording"]
        return {"contract": "oneig/exact-yes", "version": "1", "wording": wording}

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        if is_cut(reply.finish_reason) and not reply.text.strip():
            return None
        return (float(reply.text == "Yes"),)


def official_texts(data: UpstreamData) -> OneIGTexts:
    """Upstream's texts; AlphaBenchError where its script is not fetched."""
    return parse_texts(templates.read_script(data, "oneig-judge", SCRIPT))


def parse_texts(source: bytes) -> OneIGTexts:
    """The texts of `inference.py`; AlphaBenchError where it holds them in another form."""
    transcribe = templates.constants_of(source).get(f"{_CLASS}.__init__.self.TEXT_PROMPT")
    messages = [one for one in templates.messages_of(source) if one.where.startswith(_CLASS)]
    parts = [part for one in messages for part in one.parts if isinstance(part, Template)]
    asked = [
        part for part in parts if [one.expression for one in part.placeholders] == ["question"]
    ]
    if not transcribe or len(asked) != 1:
        raise templates.changed(SCRIPT, "it has no TEXT_PROMPT, or no question in a message")
    return OneIGTexts(asked[0].fill({"question": "{question}"}), transcribe)


def open_oneig_judge(
    judge: Judge | None, texts: OneIGTexts, protocol: ProtocolName, *, objects: bool = False
) -> JudgeEvaluator:
    """The evaluator with upstream's texts or `OWN`; AlphaBenchError without a judge.

    `objects`: objects stand for the words of texts, and are asked about one by one.
    """
    judge = needed_judge(judge, benchmark="oneig")
    ask = _Ask(texts=texts, strict=protocol == "strict", objects=objects)
    return JudgeEvaluator(judge=judge, questions_about=ask, score=ask.score, identity=ask.identity)


def text_to_write(facts: Mapping[str, Any], *, strict: bool) -> str:
    """The text that should be in an image.

    Upstream takes the lists of its table as Python writes them, so that an escaped line break
    becomes the letter n; strict makes it a blank.
    """
    text: str = facts["text"]
    return text.replace("\\n", " ") if strict else text


def question_ids(sample: Sample) -> list[str]:
    """Upstream's numbers of the questions, from 1; of a prompt with a text, one name."""
    if "text" in sample.facts:
        return [TEXT]
    return [str(number) for number in range(1, len(sample.facts["questions"]) + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    texts: OneIGTexts
    strict: bool
    objects: bool

    @property
    def identity(self) -> Mapping[str, str]:
        name = "own" if self.texts == OWN else "official"
        digest = templates.digest(Template((text,)) for text in self.texts)[:16]
        text = LetterTranscription(text="a", strict=self.strict)
        return {
            **self._yes_no.identity,
            "wording": f"{name}:{digest}",
            "text": "objects, asked one by one" if self.objects else text.identity["contract"],
            "reading": text.reading,
            "images": "as stored" if self.strict else "jpeg, quality 75",
        }

    @property
    def _yes_no(self) -> ExactYes | YesNoText:
        template = self.texts.yes_no
        lenient = self.strict or self.texts == OWN
        return YesNoText(template=template) if lenient else ExactYes(template=template)

    def __call__(self, image: GeneratedImage) -> list[Question]:
        facts, shown = image.request.sample.facts, ImagePart.of(image)
        if _is_black(image):
            return []
        if not self.strict:
            shown = replace(shown, encoding="jpeg", quality=75)
        if "text" in facts and not self.objects:
            is_long = len(facts["text"].split()) > 60  # text_score.py, word_count
            text = text_to_write(facts, strict=self.strict)
            return [
                Question(
                    image_id=image.id,
                    id=TEXT,
                    parts=(shown, self.texts.transcribe),
                    sampling=ReplySampling(max_tokens=256 if is_long else 128, temperature=None),
                    answer_format=LetterTranscription(text=text, strict=self.strict),
                )
            ]
        official = ReplySampling(max_tokens=128, temperature=None)
        return [
            Question(
                image_id=image.id,
                id=str(number),
                parts=(shown, self.texts.yes_no.replace("{question}", question)),
                sampling=YesNoText().sampling if self.texts == OWN else official,
                answer_format=self._yes_no,
            )
            for number, question in enumerate(facts["questions"], start=1)
        ]

    def score(self, image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
        """Of a black image, verdicts without a value; of a text, one from all answers."""
        name, sample = image.id, image.request.sample
        if not answers:
            why = {"reason": "every pixel is black, as where there is no image", BLACK: True}
            return [
                Verdict(image_id=name, question_id=asked, value=None, status="missing", detail=why)
                for asked in question_ids(sample)
            ]
        if "text" not in sample.facts:
            pairs = zip(sample.facts["questions"], answers, strict=True)
            return [verdict_from(answer, detail=_asked(text, answer)) for text, answer in pairs]
        text = text_to_write(sample.facts, strict=self.strict)
        if self.objects:
            (verdict,) = named_words(image, answers, question_id=TEXT, text=text)
            if verdict.value is not None:
                match = match_letters(verdict.detail[READ], text)
                verdict = replace(verdict, detail={**verdict.detail, **match._asdict()})
            return [verdict]
        (answer,) = answers
        detail: dict[str, Any] = {"text": text}
        if answer.values is not None and answer.reply is not None:
            answer_format = LetterTranscription(text=text, strict=self.strict)
            read = answer_format.transcribed(text_of(answer.reply, answer_format))
            match = LetterMatch(*map(int, answer.values[1:]))
            detail |= {READ: well_formed(read), **match._asdict()}
        return [verdict_from(answer, detail=detail)]


def _asked(question: str, answer: Answer) -> dict[str, Any]:
    detail: dict[str, Any] = {"question": question}
    answer_format = answer.question.answer_format
    if answer.values == (0.0,) and answer.reply and isinstance(answer_format, ExactYes):
        detail[UNREAD] = text_of(answer.reply, answer_format) != "No"
    return detail


def _is_black(image: GeneratedImage) -> bool:
    try:
        return open_rgb(image.path).getbbox() is None
    except UnreadableImageError:  # the judge says so of each question
        return False
