"""UniGenBench++'s question to a judge: one call for each image, about all of its test points.

Upstream has two back ends: `gemini`, which gets the text first, and `vllm`, which gets the image
first. Its texts are read at run time from its pinned script. The project's own wording asks for the
same list; in `mini`, whose test points are questions, it asks each of them for a yes or no.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

from alphabench.benchmarks.judged import needed_judge
from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.judge_evaluator import JudgeEvaluator, verdict_from, verdicts_from
from alphabench.judges.retrying import RetryingJudge
from alphabench.judges.score_tags import ScoreTags, readable_analysis
from alphabench.judges.yesno import YesNoText, yes_no_question
from alphabench.questions import Answer, ImagePart, Judge, Question, ReplySampling
from alphabench.types import GeneratedImage, ProtocolName, Verdict
from alphabench.upstream import UpstreamData, templates
from alphabench.upstream.script_tables import tables_of
from alphabench.upstream.templates import Template

Backend = Literal["gemini", "vllm"]
Language = Literal["en", "zh"]
SCRIPT: Final = "eval/src/eval_common.py"
MAX_TOKENS: Final = 4096
QUESTION: Final = "points"
"""Id of the one question about an image."""
_NAMES: Final = ("prompt", "testpoint", "explanation", "test_explanation")
_OWN: Final = templates.own_template(
    "An image was made from this prompt:\n{prompt}\n\nCheck it against these requirements, one by "
    "one:\n{test_explanation}\n\nReply in two lines, with as many entries as there are "
    "requirements and in their order, each in the form of a Python list:\n"
    '<analysis>["what is to be seen of the first", ...]</analysis>\n'
    "<score>[1 where the image meets the requirement and 0 where it does not, ...]</score>",
    "prompt",
    "test_explanation",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UniGenBenchOptions:
    """Options of the evaluator `judge`."""

    wording: Literal["auto", "official", "own"] = "auto"
    """auto: own for `mini`, official for upstream's data."""
    backend: Literal["auto", "gemini", "vllm"] = "auto"
    """Whether the text or the image comes first. auto: `gemini` for judges of that name, else
    `vllm`."""
    tries: int = 11
    """How often a reply that cannot be read is asked for under the official protocol."""

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise ValueError("tries is 1 at least")


class PointTexts(NamedTuple):
    """Upstream's texts of one language."""

    template: Template
    explanations: Mapping[str, str]
    """By sub-dimension."""
    explanation_header: str
    description_header: str


def official_texts(data: UpstreamData, language: Language) -> PointTexts:
    """Upstream's texts; AlphaBenchError where its script is not fetched."""
    return parse_texts(templates.read_script(data, "unigenbench-judge", SCRIPT), language)


def parse_texts(source: bytes, language: Language) -> PointTexts:
    """The texts of `eval_common.py`; AlphaBenchError where it holds them in another form."""
    name, tables = f"SYSTEM_PROMPT_{language.upper()}_TEMPLATE", tables_of(source)
    text = templates.constants_of(source).get(name)
    explanations = tables.get(f"EXPLANATION_DICT_{language.upper()}")
    settings = tables.get("LANG_CONFIGS", {}).get(language)
    if text is None or not explanations or not isinstance(settings, dict):
        raise templates.changed(SCRIPT, f"it has no {name}, or no table beside it")
    template = templates.own_template(text, *_NAMES)
    headers = [settings.get(key) for key in ("checkpoint_header", "checkpoint_desc_header")]
    if {name for one in template.placeholders for name in one.names} != set(_NAMES):
        raise templates.changed(SCRIPT, f"its {name} is not of {', '.join(_NAMES)}")
    if not all(isinstance(one, str) for one in (*headers, *explanations.values())):
        raise templates.changed(SCRIPT, "its tables do not hold texts")
    return PointTexts(template, explanations, *map(str, headers))


def open_unigenbench_judge(
    judge: Judge | None,
    options: UniGenBenchOptions,
    texts: PointTexts | None,
    protocol: ProtocolName,
    *,
    one_by_one: bool,
) -> JudgeEvaluator:
    """UniGenBench++'s evaluator.

    Args:
        judge: the judge.
        options: of the evaluator.
        texts: upstream's; None takes our own.
        protocol: how replies are sampled and read.
        one_by_one: with our own texts, ask each test point's question by itself.

    Raises:
        AlphaBenchError: no judge.
    """
    judge = needed_judge(judge, benchmark="unigenbench")
    if texts is None and one_by_one:
        own = YesNoText()
        asked = _SingleQuestions(own)
        return JudgeEvaluator(
            judge=judge, questions_about=asked, score=_score_singles, identity=own.identity
        )
    is_gemini = "gemini" in judge.identity.get("model", "").casefold()
    by_name: Backend = "gemini" if is_gemini else "vllm"
    strict = protocol == "strict"
    ask = _Question(
        texts=texts,
        backend=by_name if options.backend == "auto" else options.backend,
        strict=strict,
    )
    tries = 1 if strict else options.tries
    return JudgeEvaluator(
        judge=judge if tries == 1 else RetryingJudge(judge=judge, tries=tries),
        questions_about=ask,
        score=_score,
        identity={**ScoreTags(strict=strict, n_items=1).identity, **ask.identity}
        | {"tries": str(tries)},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """The one question about an image."""

    texts: PointTexts | None
    backend: Backend
    strict: bool

    @property
    def identity(self) -> Mapping[str, str]:
        texts = [_OWN]
        if self.texts is not None:
            known = [text for pair in self.texts.explanations.items() for text in pair]
            known += self.texts[2:]
            texts = [self.texts.template, *(Template((text,)) for text in known)]
        name = "own" if self.texts is None else "official"
        return {
            "wording": f"{name}:{templates.digest(texts)[:16]}",
            "backend": self.backend,
            "max_tokens": str(MAX_TOKENS),
            "temperature": "0.0" if self.strict else "unsaid",
        }

    def __call__(self, image: GeneratedImage) -> list[Question]:
        facts = image.request.sample.facts
        text, shown = self._text(facts), ImagePart.of(image)
        if self.backend == "vllm":
            shown = replace(shown, encoding="jpeg", quality=95)
        return [
            Question(
                image_id=image.id,
                id=QUESTION,
                parts=(text, shown) if self.backend == "gemini" else (shown, text),
                sampling=ReplySampling(
                    max_tokens=MAX_TOKENS, temperature=0.0 if self.strict else None
                ),
                answer_format=ScoreTags(strict=self.strict, n_items=len(facts["points"])),
            )
        ]

    def _text(self, facts: Mapping[str, Any]) -> str:
        """As `build_system_prompt` of upstream's script joins it."""
        points, described = facts["points"], facts["descriptions"]
        if self.texts is None:
            lines = [f"- {point}: {text}" for point, text in zip(points, described, strict=True)]
            values = {"prompt": facts["prompt"], "test_explanation": "\n".join(lines)}
            return _OWN.fill(values)
        unknown = [point for point in points if point not in self.texts.explanations]
        if unknown:
            raise AlphaBenchError(
                f"upstream's script explains no test point {unknown[0]!r}",
                hint="choose the evaluator option wording=own",
            )
        explained = [f"\n{point}: {self.texts.explanations[point]}" for point in points]
        described = [f"\n{point}: {text}" for point, text in zip(points, described, strict=True)]
        return self.texts.template.fill(
            {
                "prompt": facts["prompt"],
                "testpoint": repr(list(points)),
                "explanation": _quoted(self.texts.explanation_header, explained),
                "test_explanation": _quoted(self.texts.description_header, described),
            }
        )


def _quoted(header: str, lines: Sequence[str]) -> str:
    return f"{header}:\u300c{''.join(lines)}\n\u300d"


@dataclass(frozen=True, slots=True)
class _SingleQuestions:
    """A yes/no question for each test point."""

    answer_format: YesNoText

    def __call__(self, image: GeneratedImage) -> list[Question]:
        return [
            yes_no_question(
                text,
                [ImagePart.of(image)],
                image_id=image.id,
                question_id=str(index),
                answer_format=self.answer_format,
            )
            for index, text in enumerate(image.request.sample.facts["questions"])
        ]


def _score_singles(image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
    points = image.request.sample.facts["points"]
    pairs = zip(points, answers, strict=True)
    return [verdict_from(answer, detail={"point": point}) for point, answer in pairs]


def _score(image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
    (answer,), points = answers, image.request.sample.facts["points"]
    reply = "" if answer.reply is None else answer.reply.text
    analysis = readable_analysis(reply, len(points)) or [""] * len(points)
    pairs = zip(points, analysis, strict=True)
    return verdicts_from(answer, [{"point": point, "analysis": text} for point, text in pairs])
