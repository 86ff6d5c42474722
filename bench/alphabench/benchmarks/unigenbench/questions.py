"""UniGenBench++'s question to a judge: one call for each image, about all of its test points.

Upstream has two back ends: `gemini`, which gets the text first, and `vllm`, which gets the image
first. Its texts are read at run time from its pinned script. The project's own wording asks for the
same list; in `mini`, whose test points are questions, it asks each of them for a yes or no.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

from alphabench.benchmarks import judged
from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.judge_evaluator import JudgeEvaluator, verdict_from, verdicts_from
from alphabench.judges.retrying import RetryingJudge
from alphabench.judges.score_tags import ScoreTags, readable_analysis
from alphabench.questions import Answer, ImagePart, Judge, Question, ReplySampling
from alphabench.types import GeneratedImage, ProtocolName, Verdict
from alphabench.upstream import UpstreamData, templates
from alphabench.upstream.script_tables import tables_of

Backend = Literal["gemini", "vllm"]
Language = Literal["en", "zh"]
SCRIPT: Final = "eval/src/eval_common.py"
MAX_TOKENS: Final = 4096
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
class UniGenBenchOptions(judged.WordingOptions):
    """Options of the evaluator `judge`."""

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

    template: templates.Template
    explanations: Mapping[str, str]
    """By sub-dimension."""
    explanation_header: str
    description_header: str

    @property
    def digest(self) -> str:
        """sha256 over all of them."""
        texts = [text for pair in self.explanations.items() for text in pair]
        texts += [self.explanation_header, self.description_header]
        return templates.digest([self.template, *(templates.Template((text,)) for text in texts)])

    def question(self, facts: Mapping[str, Any]) -> str:
        """As `build_system_prompt` of upstream's script joins them; AlphaBenchError if it cannot.

        Args:
            facts: of a sample, with `prompt`, `points` and `descriptions`.
        """
        points, described = facts["points"], facts["descriptions"]
        if unknown := [point for point in points if point not in self.explanations]:
            raise AlphaBenchError(
                f"upstream's script explains no test point {unknown[0]!r}",
                hint="choose the evaluator option wording=own",
            )
        explained = [self.explanations[point] for point in points]
        return self.template.fill(
            {
                "prompt": facts["prompt"],
                "testpoint": repr(list(points)),
                "explanation": _quoted(self.explanation_header, points, explained),
                "test_explanation": _quoted(self.description_header, points, described),
            }
        )


def _quoted(header: str, points: Sequence[str], texts: Sequence[str]) -> str:
    lines = [f"\n{point}: {text}" for point, text in zip(points, texts, strict=True)]
    return f"{header}:\u300c{''.join(lines)}\n\u300d"


def own_question(facts: Mapping[str, Any]) -> str:
    """The project's own text about the same facts."""
    pairs = zip(facts["points"], facts["descriptions"], strict=True)
    lines = [f"- {point}: {text}" for point, text in pairs]
    return _OWN.fill({"prompt": facts["prompt"], "test_explanation": "\n".join(lines)})


def official_texts(data: UpstreamData, language: Language) -> PointTexts:
    """Upstream's texts; AlphaBenchError where its script is not fetched."""
    return parse_texts(templates.read_script(data, "unigenbench-judge", SCRIPT), language)


def parse_texts(source: bytes, language: Language) -> PointTexts:
    """The texts of `eval_common.py`; AlphaBenchError where it holds them in another form."""
    name, tables = f"SYSTEM_PROMPT_{language.upper()}_TEMPLATE", tables_of(source)
    explanations = tables.get(f"EXPLANATION_DICT_{language.upper()}", {})
    settings = tables.get("LANG_CONFIGS", {}).get(language)
    if not explanations or not isinstance(settings, dict):
        raise templates.changed(SCRIPT, f"it has no tables for {language!r}")
    template = templates.own_template(templates.constants_of(source).get(name, ""), *_NAMES)
    if {name for one in template.placeholders for name in one.names} != set(_NAMES):
        raise templates.changed(SCRIPT, f"it has no {name} of {', '.join(_NAMES)}")
    headers = [settings.get(key) for key in ("checkpoint_header", "checkpoint_desc_header")]
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
    """UniGenBench++'s evaluator; AlphaBenchError without a judge.

    Args:
        judge: the judge.
        options: of the evaluator.
        texts: upstream's; None takes our own.
        protocol: how replies are sampled and read.
        one_by_one: with our own texts, ask each test point's question by itself.
    """
    judge = judged.needed_judge(judge, benchmark="unigenbench")
    if texts is None and one_by_one:
        return judged.own_yes_no_evaluator(judge, _score_singles)
    strict = protocol == "strict"
    backend: Backend = judged.back_end(options.backend, judge, gemini="gemini", others="vllm")
    wording = f"official:{texts.digest[:16]}" if texts else f"own:{templates.digest([_OWN])[:16]}"
    tries = 1 if strict else options.tries
    return JudgeEvaluator(
        judge=judge if tries == 1 else RetryingJudge(judge=judge, tries=tries),
        questions_about=_Question(texts=texts, backend=backend, strict=strict),
        score=_score,
        identity={
            **ScoreTags(strict=strict, n_items=1).identity,
            "wording": wording,
            "backend": backend,
            "max_tokens": str(MAX_TOKENS),
            "temperature": "0.0" if strict else "unsaid",
            "tries": str(tries),
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """The one question about an image."""

    texts: PointTexts | None
    backend: Backend
    strict: bool

    def __call__(self, image: GeneratedImage) -> list[Question]:
        facts, shown = image.request.sample.facts, ImagePart.of(image)
        text = own_question(facts) if self.texts is None else self.texts.question(facts)
        if self.backend == "vllm":
            shown = replace(shown, encoding="jpeg", quality=95)
        return [
            Question(
                image_id=image.id,
                id="points",
                parts=(text, shown) if self.backend == "gemini" else (shown, text),
                sampling=ReplySampling(
                    max_tokens=MAX_TOKENS, temperature=0.0 if self.strict else None
                ),
                answer_format=ScoreTags(strict=self.strict, n_items=len(facts["points"])),
            )
        ]


def _score_singles(image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
    points = image.request.sample.facts["points"]
    return [verdict_from(a, detail={"point": p}) for p, a in zip(points, answers, strict=True)]


def _score(image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
    (answer,), points = answers, image.request.sample.facts["points"]
    reply = "" if answer.reply is None else answer.reply.text
    analysis = readable_analysis(reply, len(points)) or [""] * len(points)
    pairs = zip(points, analysis, strict=True)
    return verdicts_from(answer, [{"point": point, "analysis": text} for point, text in pairs])
