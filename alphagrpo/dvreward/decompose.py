"""Writes the questions of prompts with a language model, once and offline.

The model is any judge, queried without images. For each prompt: a list of semantic questions, a
review of each that also chooses its tag, then a list of quality questions. A question that fails is
repaired by itself, a few times, and then dropped with the reason on record; the others stay. A
prompt for which a call fails gets no questions, and the next run tries again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import well_formed
from alphabench.judges.parsing import text_of
from alphabench.questions import Answer, AnswerFormat, Judge, Question, ReplySampling
from alphabench.types import Status
from alphagrpo.dvreward.decomposer_templates import (
    SYSTEM,
    WORDING,
    ListOfQuestions,
    RepairedQuestion,
    ReviewOfQuestion,
    quality_request,
    repair_request,
    review_request,
    semantic_request,
)
from alphagrpo.dvreward.prompt_texts import NumberedPrompt
from alphagrpo.dvreward.question_files import (
    TAGS,
    Aspect,
    DroppedQuestion,
    DVQuestion,
    QuestionSet,
    appending_question_sets,
    fault_of,
    question_key,
    read_question_sets,
)

_RETRY_TEMPERATURE: Final = 0.7
"""Temperature of a call repeated because its reply could not be parsed: 0 would repeat it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecompositionOptions:
    """How the questions are written."""

    attempts: int = 3
    """Most calls for one list until it can be parsed, and most repairs of one question."""
    together: int = 16
    """Prompts processed at once; after each such batch the file is on disk."""
    max_tokens: int = 4096
    """Of one reply; thinking models need more."""

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.together < 1 or self.max_tokens < 1:
            raise ValueError("attempts, together and max_tokens are 1 at least")


DEFAULT: Final = DecompositionOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedDecomposition:
    """A prompt that has no questions, and why."""

    prompt: NumberedPrompt
    status: Status
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecompositionResult:
    """Result of `decompose_file`."""

    n_written: int
    n_before: int
    """Prompts whose questions were in the file already."""
    not_done: tuple[FailedDecomposition, ...]


def decompose_prompts(
    prompts: Sequence[NumberedPrompt], llm: Judge, options: DecompositionOptions = DEFAULT
) -> list[QuestionSet | FailedDecomposition]:
    """The questions of each prompt, or why there are none, in order.

    Raises:
        AlphaBenchError: the model refuses the request for a reason that the user must fix.
    """
    drafts = [_Draft(prompt) for prompt in prompts]
    for aspect in TAGS:
        asks = [_list_call(draft, aspect, options) for draft in _active(drafts)]
        for draft, answer in zip(_active(drafts), _ask(llm, asks, options), strict=True):
            _take_list(draft, aspect, answer)
        _vet(_active(drafts), aspect, llm, options)
        for draft in _active(drafts):
            if aspect == "semantic" and not draft.accepted[aspect]:
                draft.give_up("unparsed", "no semantic question passed the review")
    made_by = decomposer_identity(llm)
    return [draft.outcome(made_by) for draft in drafts]


def decompose_file(
    prompts: Sequence[NumberedPrompt],
    out: Path,
    llm: Judge,
    options: DecompositionOptions = DEFAULT,
    *,
    done: Callable[[int], None] = lambda _: None,
) -> DecompositionResult:
    """Appends the questions of the prompts that `out` does not hold yet; resumable.

    Args:
        prompts: all that are wanted.
        out: a question file, made if absent.
        llm: any judge; it receives no image.
        done: called with the number of prompts of each batch that is finished.

    Raises:
        AlphaBenchError: the file was written by another model or template, or is in use.
    """
    with appending_question_sets(out) as append:
        before = read_question_sets(out)
        _check_author(before, decomposer_identity(llm), out)
        known = {(one.original_index, one.prompt) for one in before}
        missing = [prompt for prompt in prompts if (prompt.index, prompt.text) not in known]
        not_done: list[FailedDecomposition] = []
        for batch in _batches(missing, options.together):
            outcomes = decompose_prompts(batch, llm, options)
            sets = [one for one in outcomes if isinstance(one, QuestionSet)]
            append(sets)
            not_done += [one for one in outcomes if isinstance(one, FailedDecomposition)]
            done(len(batch))
    return DecompositionResult(
        n_written=len(missing) - len(not_done),
        n_before=len(prompts) - len(missing),
        not_done=tuple(not_done),
    )


def decomposer_identity(llm: Judge) -> dict[str, str]:
    """The model and templates that write the questions."""
    return {
        **{f"llm.{key}": value for key, value in llm.identity.items() if key != "self_test"},
        "wording": WORDING,
    }


@dataclass(slots=True)
class _Draft:
    """A prompt whose questions are being written."""

    prompt: NumberedPrompt
    pending: list[_Pending] = field(default_factory=list)
    accepted: dict[Aspect, dict[int, DVQuestion]] = field(
        default_factory=lambda: {aspect: {} for aspect in TAGS}
    )
    """By position in the list that the model wrote."""
    dropped: list[DroppedQuestion] = field(default_factory=list)
    failure: FailedDecomposition | None = None

    @property
    def id(self) -> str:
        return f"prompt-{hashlib.sha256(well_formed(self.prompt.text).encode()).hexdigest()[:16]}"

    def in_order(self, aspect: Aspect) -> tuple[DVQuestion, ...]:
        return tuple(question for _, question in sorted(self.accepted[aspect].items()))

    def drop(self, pending: _Pending, reason: str) -> None:
        question = pending.question
        self.dropped.append(
            DroppedQuestion(aspect=question.aspect, text=question.text, reason=reason)
        )

    def give_up(self, status: Status, reason: str) -> None:
        self.failure = FailedDecomposition(prompt=self.prompt, status=status, reason=reason)

    def outcome(self, made_by: Mapping[str, str]) -> QuestionSet | FailedDecomposition:
        return self.failure or QuestionSet(
            prompt=self.prompt.text,
            semantic=self.in_order("semantic"),
            quality=self.in_order("quality"),
            original_index=self.prompt.index,
            made_by=made_by,
            dropped=tuple(self.dropped),
        )


@dataclass(slots=True)
class _Pending:
    """A question that is neither accepted nor dropped."""

    place: int
    question: DVQuestion
    fault: str | None = None


def _active(drafts: Iterable[_Draft]) -> list[_Draft]:
    return [draft for draft in drafts if draft.failure is None]


def _take_list(draft: _Draft, aspect: Aspect, answer: Answer) -> None:
    if answer.reply is None or answer.status != "scored":
        draft.give_up(answer.status, f"list of {aspect} questions: {answer.reason}")
        return
    questions = ListOfQuestions(aspect).questions(text_of(answer.reply))
    assert questions is not None, "a scored answer was readable"
    draft.pending = [_Pending(place, question) for place, question in enumerate(questions)]


def _vet(
    drafts: Sequence[_Draft], aspect: Aspect, llm: Judge, options: DecompositionOptions
) -> None:
    """Decides every pending question: accepted, repaired and then accepted, or dropped."""
    for attempt in range(options.attempts + 1):
        _find_faults(drafts, aspect)
        if aspect == "semantic":
            _review(drafts, llm, options)
        for draft in _active(drafts):
            sound = {p.place: p.question for p in draft.pending if p.fault is None}
            draft.accepted[aspect].update(sound)
            draft.pending = [p for p in draft.pending if p.fault is not None]
        if attempt < options.attempts:
            _repair(drafts, aspect, llm, options)
    for draft in _active(drafts):
        for pending in draft.pending:
            draft.drop(pending, pending.fault or "it was never decided")
        draft.pending = []


def _find_faults(drafts: Sequence[_Draft], aspect: Aspect) -> None:
    """Finds faults of form; drops a question that repeats another one."""
    for draft in _active(drafts):
        known = {
            question_key(q.text) for q in (*draft.in_order("semantic"), *draft.in_order("quality"))
        }
        fresh: list[_Pending] = []
        for pending in draft.pending:
            key = question_key(pending.question.text)
            if key in known:
                draft.drop(pending, "another question asks the same")
                continue
            known.add(key)
            # The review chooses the tag of a semantic question, so having none yet is no fault.
            tag = pending.question.tag or (TAGS[aspect][0] if aspect == "semantic" else None)
            pending.fault = fault_of(replace(pending.question, tag=tag))
            fresh.append(pending)
        draft.pending = fresh


def _review(drafts: Sequence[_Draft], llm: Judge, options: DecompositionOptions) -> None:
    answer_format = ReviewOfQuestion("semantic")
    cases = [(d, p) for d in _active(drafts) for p in d.pending if p.fault is None]
    asks = [
        _call(
            d,
            answer_format,
            f"review-{p.place}",
            review_request(d.prompt.text, p.question),
            options,
        )
        for d, p in cases
    ]
    for (draft, pending), answer in zip(cases, _ask(llm, asks, options), strict=True):
        review = answer_format.review(text_of(answer.reply)) if answer.reply else None
        if answer.status != "scored" or review is None:
            draft.give_up(answer.status, f"review of {pending.question.text!r}: {answer.reason}")
            continue
        pending.question = replace(pending.question, tag=review.tag or pending.question.tag)
        pending.fault = fault_of(pending.question) if review.keep else review.why


def _repair(
    drafts: Sequence[_Draft], aspect: Aspect, llm: Judge, options: DecompositionOptions
) -> None:
    answer_format = RepairedQuestion(aspect)
    cases = [(draft, pending) for draft in _active(drafts) for pending in draft.pending]
    asks = [
        _call(d, answer_format, f"mend-{p.place}", _repair_text(d, p), options) for d, p in cases
    ]
    for (draft, pending), answer in zip(cases, _ask(llm, asks, options), strict=True):
        if answer.values is None or answer.reply is None:
            draft.give_up(answer.status, f"repair of {pending.question.text!r}: {answer.reason}")
            continue
        repaired = answer_format.question(text_of(answer.reply))
        if repaired is None:
            draft.drop(pending, f"{pending.fault}; given up")
            draft.pending.remove(pending)
        else:
            pending.question = repaired


def _repair_text(draft: _Draft, pending: _Pending) -> str:
    return repair_request(draft.prompt.text, pending.question, pending.fault or "")


def _list_call(draft: _Draft, aspect: Aspect, options: DecompositionOptions) -> Question:
    prompt = draft.prompt.text
    text = (
        semantic_request(prompt)
        if aspect == "semantic"
        else quality_request(prompt, draft.in_order("semantic"))
    )
    return _call(draft, ListOfQuestions(aspect), f"list-{aspect}", text, options)


def _call(
    draft: _Draft, answer_format: AnswerFormat, name: str, text: str, options: DecompositionOptions
) -> Question:
    return Question(
        image_id=draft.id,
        id=name,
        parts=(text,),
        sampling=ReplySampling(max_tokens=options.max_tokens, temperature=0.0),
        answer_format=answer_format,
        system=SYSTEM,
    )


def _ask(llm: Judge, asks: Sequence[Question], options: DecompositionOptions) -> list[Answer]:
    """One answer for each; a call with an unreadable reply is repeated at a higher temperature."""
    answers = list(llm.ask(asks))
    for attempt in range(1, options.attempts):
        again = [place for place, answer in enumerate(answers) if answer.status == "unparsed"]
        if not again:
            break
        repeats = [_repeated(asks[place], attempt) for place in again]
        for place, answer in zip(again, llm.ask(repeats), strict=True):
            answers[place] = answer
    return answers


def _repeated(question: Question, attempt: int) -> Question:
    sampling = replace(question.sampling, temperature=_RETRY_TEMPERATURE)
    return replace(question, repeat=attempt, sampling=sampling)


def _batches(prompts: Sequence[NumberedPrompt], size: int) -> Iterator[Sequence[NumberedPrompt]]:
    for start in range(0, len(prompts), size):
        yield prompts[start : start + size]


def _check_author(before: Sequence[QuestionSet], made_by: Mapping[str, str], out: Path) -> None:
    for one in before:
        if dict(one.made_by) != dict(made_by):
            differing = sorted(
                key for key in {*one.made_by, *made_by} if one.made_by.get(key) != made_by.get(key)
            )
            raise AlphaBenchError(
                f"{str(out)!r} holds questions by another model or template "
                f"({', '.join(differing)} differ)",
                hint="write to another file with --out",
            )
