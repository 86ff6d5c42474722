"""Scores images with a judge: a benchmark supplies the questions and scores the answers.

All questions of a batch go to the judge in one stream, one image's questions back to back. Knows no
benchmark and no kind of judge.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import well_formed
from alphabench.interfaces import Licensed
from alphabench.judges.parsing import HINT_WITHOUT_LOGPROBS, RULES
from alphabench.judges.thoughts import split_thought
from alphabench.questions import Answer, Capabilities, Judge, Question, ShakesHands
from alphabench.types import GeneratedImage, Status, Verdict

LONGEST_TEXT: Final = 4000
"""Characters of a reply that a verdict stores; the answer cache stores all."""

_OF_A_REPLY: Final = ("reply", "thought", "tokens", "fingerprint")
_SINGLE_IMAGES: Final = Capabilities(images_per_question=1, logprobs=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeEvaluator:
    """An evaluator that consists of a judge and a benchmark's questions.

    Can be pickled as long as its parts can: module-level functions or dataclasses with `__call__`.

    Raises:
        AlphaBenchError: the judge cannot do what the questions need.
    """

    judge: Judge
    questions_about: Callable[[GeneratedImage], Sequence[Question]]
    """The questions about one image; may be none."""
    score: Callable[[GeneratedImage, Sequence[Answer]], list[Verdict]]
    """The verdicts on one image, from the answers to its questions in order."""
    identity: Mapping[str, str] = field(default_factory=dict)
    """Given: answer formats, templates, all of the benchmark that decides a verdict. The judge's
    identity and the version of the parsing rules are added to it."""
    needs: Capabilities = _SINGLE_IMAGES
    """What the judge must be able to do."""
    batch_size: int = 64
    """Images whose questions are under way together; changes no verdict."""

    def __post_init__(self) -> None:
        can = self.judge.capabilities
        if can.images_per_question < self.needs.images_per_question:
            raise AlphaBenchError(
                f"the judge takes {can.images_per_question} images per question, but these "
                f"questions show {self.needs.images_per_question}",
                hint="choose a judge that takes more, or raise its images_per_question",
            )
        if self.needs.logprobs and not can.logprobs:
            raise AlphaBenchError(
                "the judge gives no log-probabilities, and these questions are read from them",
                hint=HINT_WITHOUT_LOGPROBS,
            )
        object.__setattr__(
            self, "identity", {**_identity_of(self.judge), "replies": RULES, **self.identity}
        )

    @property
    def licences(self) -> Mapping[str, str]:
        """Of the judge's model, if known."""
        return self.judge.licences if isinstance(self.judge, Licensed) else {}

    def self_test(self) -> None:
        if isinstance(self.judge, ShakesHands):
            self.judge.shake_hands(self.needs)

    def evaluate(self, images: Sequence[GeneratedImage]) -> Iterator[Verdict]:
        """The verdicts that `score` returns for each image, in order.

        An image with an answer that is `missing`, since the judge was stopped, has none.

        Raises:
            AlphaBenchError: the judge stopped; verdicts from its answers before come first.
        """
        return self.evaluate_stream(images)

    def evaluate_stream(self, images: Iterable[GeneratedImage]) -> Iterator[Verdict]:
        """The same; images are read as the judge takes questions."""
        pending: deque[_PendingImage] = deque()
        for answer in self.judge.ask(self._questions(images, pending)):
            yield from self._completed(pending)
            pending[0].answers.append(answer)
            yield from self._completed(pending)
        yield from self._completed(pending)
        if pending:
            raise RuntimeError(f"the judge left questions about {pending[0].image.id!r} unanswered")

    def _questions(
        self, images: Iterable[GeneratedImage], pending: deque[_PendingImage]
    ) -> Iterator[Question]:
        for image in images:
            questions = self.questions_about(image)
            pending.append(_PendingImage(image, len(questions), []))
            yield from questions

    def _completed(self, pending: deque[_PendingImage]) -> Iterator[Verdict]:
        """Of the images at the front whose questions are all answered."""
        while pending and len(pending[0].answers) == pending[0].n_questions:
            done = pending.popleft()
            if all(answer.status != "missing" for answer in done.answers):
                yield from self.score(done.image, done.answers)


def _identity_of(judge: Judge) -> dict[str, str]:
    """`self_test` gets no prefix: readers of results look for that key."""
    unprefixed = ("self_test",)
    return {
        key if key in unprefixed else f"judge.{key}": value for key, value in judge.identity.items()
    }


class _PendingImage(NamedTuple):
    image: GeneratedImage
    n_questions: int
    answers: list[Answer]


def verdict_from(
    answer: Answer,
    *,
    question_id: str | None = None,
    value: float | None = None,
    detail: Mapping[str, Any] | None = None,
) -> Verdict:
    """The verdict from one answer.

    Args:
        answer: scored, or why not; its status becomes the verdict's.
        question_id: of the verdict; None takes the question's.
        value: of a scored answer; None takes the first of its values.
        detail: what the benchmark adds.
    """
    if answer.values is None:
        value = None
    elif value is None:
        value = answer.values[0]
    return Verdict(
        image_id=answer.question.image_id,
        question_id=question_id or answer.question.id,
        value=value,
        status=answer.status,
        detail={**evidence(answer), **(detail or {})},
    )


def verdicts_from(answer: Answer, details: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    """The verdicts on several items from one answer: question `0`, `1` ..., a value for each.

    Only the first holds the reply, so that nothing is stored or counted twice.
    """
    verdicts = []
    for index, detail in enumerate(details):
        value = None if answer.values is None else answer.values[index]
        verdict = verdict_from(answer, question_id=str(index), value=value, detail=detail)
        if index:
            kept = {key: of for key, of in verdict.detail.items() if key not in _OF_A_REPLY}
            verdict = replace(verdict, detail=kept)
        verdicts.append(verdict)
    return verdicts


def joint_verdict(
    answers: Sequence[Answer],
    *,
    question_id: str,
    value: float | None,
    detail: Mapping[str, Any],
) -> Verdict:
    """The one verdict from all answers about an image, with the evidence of each as `NAME_call`.

    Args:
        answers: one or more; the first that is not scored decides status and reason.
        question_id: of the verdict.
        value: where all are scored; None where they do not fit together, which is unparsed.
        detail: what the benchmark adds where all are scored, with a reason.
    """
    calls = {f"{answer.question.id}_call": evidence(answer) for answer in answers}
    status: Status = "unparsed" if value is None else "scored"
    for answer in answers:
        if answer.values is None:
            reason = f"{answer.question.id}: {answer.reason or 'no score'}"
            value, status, detail = None, answer.status, {"reason": reason}
            break
    return Verdict(
        image_id=answers[0].question.image_id,
        question_id=question_id,
        value=value,
        status=status,
        detail={**calls, **detail},
    )


def _stored_text(text: str) -> str:
    """The part of a text that a verdict stores, as valid UTF-8 whatever a custom judge returned."""
    return well_formed(text[:LONGEST_TEXT])


def evidence(answer: Answer) -> dict[str, Any]:
    """The reply behind an answer, as JSON values for a verdict's detail."""
    detail: dict[str, Any] = {"reason": answer.reason} if answer.reason else {}
    if (reply := answer.reply) is not None:
        tags = getattr(answer.question.answer_format, "answer_tags", ())
        split = split_thought(reply.text, answer_tags=tags)
        detail |= {
            "reply": _stored_text(reply.text if split.answer is None else split.answer),
            "model": reply.model,
            "tokens": [reply.tokens_in, reply.tokens_out],
        }
        if split.answer is not None and (thought := reply.thought or split.thought):
            detail["thought"] = _stored_text(thought)
        if reply.fingerprint:
            detail["fingerprint"] = reply.fingerprint
    return detail
