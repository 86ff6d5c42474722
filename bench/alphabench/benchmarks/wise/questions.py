"""WISE's question to a judge about an image, and the verdict from its reply.

The official templates are read at run time from upstream's pinned scripts; the project's own
template is here. It is short and another measurement: evaluators report which one was used. Knows
no score but an image's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from alphabench.benchmarks.wise.scoring import METRICS, WiseEdition
from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.judge_evaluator import JudgeEvaluator, verdict_from
from alphabench.judges.retrying import RetryingJudge
from alphabench.questions import (
    Answer,
    AnswerFormat,
    ImagePart,
    Judge,
    Part,
    Question,
    ReplySampling,
)
from alphabench.types import GeneratedImage, ProtocolName, Verdict
from alphabench.upstream import UpstreamData, templates
from alphabench.upstream.templates import ImageSlot, Template

WiseTemplateName = Literal["official", "own"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WiseOptions:
    """Options of the evaluator `judge`."""

    wording: Literal["auto", "official", "own"] = "auto"
    """auto: own for `mini`, official for upstream's data."""
    thinking: Literal["auto", "off", "unsaid"] = "auto"
    """off: tell vLLM that a reasoning judge shall not think; hosts that do not know the field may
    refuse it. auto: off with the official wording of `verified`, whose script does so."""
    tries: int = 3
    """How often a reply that cannot be read is asked for under the official protocol."""

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise ValueError("tries is 1 at least")


class _Script(NamedTuple):
    pin: str
    path: str


_SCRIPTS: Final[Mapping[str, _Script]] = {
    "verified": _Script("wise-judge", "vllm_eval.py"),
    "legacy": _Script("wise-legacy-judge", "WISE_legacy/gpt_eval.py"),
}
_MAX_TOKENS: Final = {"verified": 500, "legacy": 2000}
_NO_THINKING: Final = {"chat_template_kwargs": {"enable_thinking": False}}

_OWN: Final[Mapping[str, Callable[[str, str], str]]] = {
    "verified": lambda prompt, explanation: (
        "A picture was made from a riddle. Does it show the riddle's answer, clearly enough to be "
        f"recognised without doubt?\n\nRiddle: {prompt}\nAnswer: {explanation}\n\n"
        "Reply with one line: `Score: 1` if it does, `Score: 0` if it does not or you doubt it."
    ),
    "legacy": lambda prompt, explanation: (
        f"A picture was made from a riddle.\n\nRiddle: {prompt}\nAnswer: {explanation}\n\n"
        "Rate the picture three times, each with 0 (poor), 1 (in part) or 2 (fully):\n"
        "Consistency - does it show the answer, in every detail asked for?\n"
        "Realism - could what it shows exist, without broken shapes?\n"
        "Aesthetic Quality - is it well composed and pleasant to look at?\n\n"
        "Reply with three lines and nothing else:\n"
        "Consistency: <digit>\nRealism: <digit>\nAesthetic Quality: <digit>"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WiseTemplate:
    """How one edition asks: its template with slots for prompt, explanation and image."""

    name: WiseTemplateName
    system: str | None
    parts: tuple[Template | ImageSlot, ...]

    @property
    def digest(self) -> str:
        """sha256 over the templates."""
        return templates.digest(
            [
                Template((self.system or "",)),
                *(
                    part if isinstance(part, Template) else Template(("<image>",))
                    for part in self.parts
                ),
            ]
        )

    def message(self, prompt: str, explanation: str, image: ImagePart) -> tuple[Part, ...]:
        """The user message about one image."""
        values = {"Prompt": prompt, "Explanation": explanation}
        return tuple(
            part.fill(values) if isinstance(part, Template) else image for part in self.parts
        )


def own_wise_template(edition: WiseEdition) -> WiseTemplate:
    """Our own wording."""
    placeholders = [
        templates.Placeholder(name, frozenset({name})) for name in ("Prompt", "Explanation")
    ]
    marks = ("\0prompt\0", "\0explanation\0")
    before, _, rest = _OWN[edition.name](*marks).partition(marks[0])
    between, _, after = rest.partition(marks[1])
    text = Template((before, placeholders[0], between, placeholders[1], after))
    return WiseTemplate(name="own", system=None, parts=(ImageSlot("picture"), text))


def official_wise_template(edition: WiseEdition, data: UpstreamData) -> WiseTemplate:
    """Upstream's wording, from its script.

    Raises:
        AlphaBenchError: the script was not fetched, or does not hold what is expected.
    """
    script = _SCRIPTS[edition.name]
    return parse_wise_template(
        templates.read_script(data, script.pin, script.path), path=script.path
    )


def parse_wise_template(source: bytes, *, path: str) -> WiseTemplate:
    """The one user message with a prompt, an explanation and an image, and its system sentence.

    Raises:
        AlphaBenchError: there is no such message, or several.
    """
    messages = templates.messages_of(source)
    asking = [m for m in messages if m.role == "user" and _asks(m.parts)]
    if len(asking) != 1:
        raise templates.changed(path, f"{len(asking)} messages ask about a prompt and an image")
    systems = [m for m in messages if m.role == "system" and m.where == asking[0].where]
    system = None
    if systems:
        texts = [part.literal for part in systems[0].parts if isinstance(part, Template)]
        if len(systems) > 1 or len(texts) != 1 or texts[0] is None:
            raise templates.changed(path, "its system message is not one plain text")
        system = texts[0]
    return WiseTemplate(name="official", system=system, parts=asking[0].parts)


def _asks(parts: Sequence[Template | ImageSlot]) -> bool:
    words = {
        word
        for p in parts
        if isinstance(p, Template)
        for placeholder in p.placeholders
        for word in placeholder.names
    }
    n_pictures = sum(isinstance(part, ImageSlot) for part in parts)
    return {"Prompt", "Explanation"} <= words and n_pictures == 1


def open_wise_judge(
    judge: Judge | None,
    options: WiseOptions,
    edition: WiseEdition,
    *,
    mini: bool,
    protocol: ProtocolName,
    data: UpstreamData,
) -> JudgeEvaluator:
    """WISE's evaluator: one question about each image.

    Raises:
        AlphaBenchError: no judge, or no official wording.
    """
    if judge is None:
        raise AlphaBenchError(
            "wise asks a judge about every image, and none is named",
            hint="name one: --judge URL#model (or --judge nano for :mini, offline)",
        )
    own = options.wording == "own" or (options.wording == "auto" and mini)
    words = own_wise_template(edition) if own else official_wise_template(edition, data)
    by_script = not own and edition.name == "verified"
    silent = options.thinking == "off" or (options.thinking == "auto" and by_script)
    tries = 1 if protocol == "strict" else options.tries
    sampling = ReplySampling(
        max_tokens=_MAX_TOKENS[edition.name], temperature=0.0, extra=_NO_THINKING if silent else {}
    )
    answer_format = edition.answer_format(protocol)
    return JudgeEvaluator(
        judge=judge if tries == 1 else RetryingJudge(judge=judge, tries=tries),
        questions_about=_Ask(words, sampling, answer_format, edition.question),
        score=_Settle(edition),
        identity={
            **answer_format.identity,
            "edition": edition.name,
            "wording": f"{words.name}:{words.digest[:16]}",
            "max_tokens": str(sampling.max_tokens),
            "temperature": str(sampling.temperature),
            "thinking": "off" if silent else "unsaid",
            "tries": str(tries),
        },
    )


@dataclass(frozen=True, slots=True)
class _Ask:
    words: WiseTemplate
    sampling: ReplySampling
    answer_format: AnswerFormat
    question_id: str

    def __call__(self, image: GeneratedImage) -> list[Question]:
        facts = image.request.sample.facts
        shown = ImagePart.of(image)
        return [
            Question(
                image_id=image.id,
                id=self.question_id,
                system=self.words.system,
                system_as_parts=self.words.system is not None,
                parts=self.words.message(facts["Prompt"], facts["Explanation"], shown),
                sampling=self.sampling,
                answer_format=self.answer_format,
            )
        ]


@dataclass(frozen=True, slots=True)
class _Settle:
    edition: WiseEdition

    def __call__(self, _: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
        (answer,) = answers
        if answer.values is None:
            return [verdict_from(answer)]
        detail: dict[str, float | str] = {}
        if self.edition.name == "legacy":
            detail = dict(zip(METRICS, answer.values, strict=True))
            found = ", ".join(f"{n.replace('_', ' ')} {v:g}" for n, v in detail.items())
            detail["reason"] = "" if min(answer.values) >= 2 else found
        elif answer.values[0] < 1:
            detail["reason"] = "does not show the riddle's answer"
        return [verdict_from(answer, value=self.edition.score(answer.values), detail=detail)]
