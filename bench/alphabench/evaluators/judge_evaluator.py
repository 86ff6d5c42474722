"""Scores images by asking a judge: a benchmark brings the questions and says what answers mean.

All questions of a batch go to the judge in one stream, one image's questions back to back. Knows no
benchmark and no kind of judge.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import well_formed
from alphabench.interfaces import Licensed
from alphabench.judges.parsing import HINT_WITHOUT_LOGPROBS, RULES
from alphabench.judges.thoughts import split_thought
from alphabench.questions import Answer, Capabilities, Judge, Question, ShakesHands
from alphabench.types import GeneratedImage, Verdict

LONGEST_TEXT: Final = 4000
"""Characters of a reply that a verdict keeps; the answer cache keeps all."""

_SINGLE_IMAGES: Final = Capabilities(images_per_question=1, logprobs=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeEvaluator:
    """An evaluator made of a judge and a benchmark's questions.

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
    """Given: contracts, wording, whatever of the benchmark decides a verdict. The judge's own
    identity and the version of how replies are read are added to it."""
    needs: Capabilities = _SINGLE_IMAGES
    """What the judge must be able to do."""
    batch_size: int = 64
    """Images whose questions are under way together; changes no verdict."""

    def __post_init__(self) -> None:
        can = self.judge.capabilities
        if can.images_per_question < self.needs.images_per_question:
            raise AlphaBenchError(
                f"the judge looks at {can.images_per_question} images a question, and these "
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
        """Of the judge's model, as far as it tells."""
        return self.judge.licences if isinstance(self.judge, Licensed) else {}

    def self_test(self) -> None:
        if isinstance(self.judge, ShakesHands):
            self.judge.shake_hands(self.needs)

    def evaluate(self, images: Sequence[GeneratedImage]) -> Iterator[Verdict]:
        """The verdicts that `score` returns for each image, in order.

        An image with an answer that is `missing`, since the judge was stopped, has none.

        Raises:
            AlphaBenchError: the judge says what the user must mend; what it answered before comes
                first.
        """
        waiting: deque[_Waiting] = deque()
        for answer in self.judge.ask(self._questions(images, waiting)):
            yield from self._settled(waiting)
            waiting[0].answers.append(answer)
            yield from self._settled(waiting)
        yield from self._settled(waiting)
        if waiting:
            raise RuntimeError(f"the judge left questions about {waiting[0].image.id!r} unanswered")

    def _questions(
        self, images: Sequence[GeneratedImage], waiting: deque[_Waiting]
    ) -> Iterator[Question]:
        for image in images:
            questions = self.questions_about(image)
            waiting.append(_Waiting(image, len(questions), []))
            yield from questions

    def _settled(self, waiting: deque[_Waiting]) -> Iterator[Verdict]:
        """Of the images that wait for nothing any more, from the first on."""
        while waiting and len(waiting[0].answers) == waiting[0].n_questions:
            done = waiting.popleft()
            if all(answer.status != "missing" for answer in done.answers):
                yield from self.score(done.image, done.answers)


def _identity_of(judge: Judge) -> dict[str, str]:
    """Whether a judge was checked is no part of how it judges: readers look for that key alone."""
    unprefixed = ("self_test",)
    return {
        key if key in unprefixed else f"judge.{key}": value for key, value in judge.identity.items()
    }


class _Waiting(NamedTuple):
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
    """The verdict that one answer amounts to.

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


def _kept(text: str) -> str:
    """What a verdict keeps of a text, which a judge of the user's own may have made up anyhow."""
    return well_formed(text[:LONGEST_TEXT])


def evidence(answer: Answer) -> dict[str, Any]:
    """What an answer rests on, as JSON values for a verdict's detail."""
    found: dict[str, Any] = {"reason": answer.reason} if answer.reason else {}
    if (reply := answer.reply) is not None:
        spoken = split_thought(reply.text)
        found |= {
            "reply": _kept(reply.text if spoken.answer is None else spoken.answer),
            "model": reply.model,
            "tokens": [reply.tokens_in, reply.tokens_out],
        }
        if spoken.answer is not None and (thought := reply.thought or spoken.thought):
            found["thought"] = _kept(thought)
        if reply.fingerprint:
            found["fingerprint"] = reply.fingerprint
    return found
