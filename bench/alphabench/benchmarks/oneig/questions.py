"""OneIG-Bench's questions to a judge: yes or no for each point of a prompt, or a transcription.

Upstream's texts are read at run time from its pinned script. A black image is what upstream's
scripts write where there is none: it is not judged. In `mini`, objects stand for words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, NamedTuple

from alphabench.benchmarks.judged import needed_judge
from alphabench.benchmarks.object_words import named_words
from alphabench.benchmarks.text_accuracy import TEXT, transcription_verdict
from alphabench.evaluators.judge_evaluator import JudgeEvaluator, verdict_from
from alphabench.images import is_black
from alphabench.judges import transcription
from alphabench.judges.parsing import text_of
from alphabench.judges.yesno import OWN_TEMPLATE, ExactYes, YesNoText
from alphabench.questions import Answer, ImagePart, Judge, Question, ReplySampling
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


OWN: Final = OneIGTexts(OWN_TEMPLATE, transcription.OWN_INSTRUCTION)


def official_texts(data: UpstreamData) -> OneIGTexts:
    """Upstream's texts; AlphaBenchError where its script is not fetched."""
    return parse_texts(templates.read_script(data, "oneig-judge", SCRIPT))


def parse_texts(source: bytes) -> OneIGTexts:
    """The texts of `inference.py`; AlphaBenchError where it holds them in another form."""
    transcribe = templates.constants_of(source).get(f"{_CLASS}.__init__.self.TEXT_PROMPT")
    messages = [one for one in templates.messages_of(source) if one.where.startswith(_CLASS)]
    parts = (part for one in messages for part in one.parts if isinstance(part, Template))
    question = templates.template_about("question", parts, path=SCRIPT)
    if not transcribe:
        raise templates.changed(SCRIPT, "it has no TEXT_PROMPT")
    return OneIGTexts(question.fill({"question": "{question}"}), transcribe)


def open_oneig_judge(
    judge: Judge | None, texts: OneIGTexts, protocol: ProtocolName, *, objects: bool = False
) -> JudgeEvaluator:
    """The evaluator with upstream's texts or `OWN`; AlphaBenchError without a judge.

    `objects`: objects stand for the words of texts, and are asked about one by one.
    """
    judge = needed_judge(judge, benchmark="oneig")
    ask = _Ask(texts=texts, strict=protocol == "strict", objects=objects)
    return JudgeEvaluator(judge=judge, questions_about=ask, score=ask.score, identity=ask.identity)


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
        text = transcription.LetterTranscription(text="a", strict=self.strict)
        return {
            **self._yes_no.identity,
            "wording": f"{name}:{digest}",
            "text": "objects, asked one by one" if self.objects else text.identity["contract"],
            "reading": text.reading,
            "images": "as stored" if self.strict else "jpeg, quality 75",
        }

    @property
    def _yes_no(self) -> ExactYes | YesNoText:
        lenient = self.strict or self.texts == OWN
        return (YesNoText if lenient else ExactYes)(template=self.texts.yes_no)

    def _reader(self, facts: Mapping[str, Any]) -> transcription.LetterTranscription | None:
        """Of a transcription; None where questions are asked."""
        if self.objects or "text" not in facts:
            return None
        return transcription.LetterTranscription(text=facts["text"], strict=self.strict)

    def __call__(self, image: GeneratedImage) -> list[Question]:
        facts, shown = image.request.sample.facts, ImagePart.of(image)
        if is_black(image.path):
            return []
        if not self.strict:
            shown = replace(shown, encoding="jpeg", quality=75)
        question = partial(Question, image_id=image.id)
        sampling = ReplySampling(max_tokens=128, temperature=None)
        if reader := self._reader(facts):
            if len(facts["text"].split()) > 60:  # text_score.py, word_count
                sampling = replace(sampling, max_tokens=256)
            parts = (shown, self.texts.transcribe)
            return [question(id=TEXT, parts=parts, sampling=sampling, answer_format=reader)]
        return [
            question(
                id=str(number),
                parts=(shown, self.texts.yes_no.replace("{question}", text)),
                sampling=YesNoText().sampling if self.texts == OWN else sampling,
                answer_format=self._yes_no,
            )
            for number, text in enumerate(facts["questions"], start=1)
        ]

    def score(self, image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
        """Of a black image, verdicts without a value; of a text, one from all answers."""
        sample = image.request.sample
        if not answers:
            why = {"reason": "every pixel is black, as where there is no image", BLACK: True}
            missing = partial(Verdict, image_id=image.id, value=None, status="missing", detail=why)
            return [missing(question_id=name) for name in question_ids(sample)]
        if "text" not in sample.facts:
            pairs = zip(sample.facts["questions"], answers, strict=True)
            return [verdict_from(a, detail={"question": q, **_unread(a)}) for q, a in pairs]
        text = sample.facts["text"]
        if reader := self._reader(sample.facts):
            verdict = partial(transcription_verdict, text=text, read=reader.read)
            return [verdict(answer, counts=transcription.LetterMatch._fields) for answer in answers]

        def compare(read: str) -> dict[str, int]:
            return transcription.match_letters(read, text)._asdict()

        return named_words(image, answers, question_id=TEXT, text=text, compare=compare)


def _unread(answer: Answer) -> dict[str, bool]:
    """What the detail has besides, of a reply that `ExactYes` took for no."""
    reader = answer.question.answer_format
    if answer.values == (0.0,) and answer.reply and isinstance(reader, ExactYes):
        return {UNREAD: text_of(answer.reply, reader) != "No"}
    return {}
