"""Self-reflective refinement: generate, describe what is wrong, and generate again.

    always   every image is refined; the last one counts. A judge that is named scores the images
             and decides nothing
    self     images that fail a check by the model itself or by a judge are refined; a refinement
             counts only if it scores higher. The benchmark's evaluator takes no part
    resample as self, but images that fail are generated anew from the prompt alone: the best of
             N by the same check, stopped at the first good one. The control for self, with the
             same number of images in the first round
    oracle   images that the benchmark's evaluator marks wrong are refined. Users of a model do not
             have that evaluator: an upper bound, and labelled so wherever it appears

Initial images may be those of an earlier run (`initial_images`). Released code refines by the
oracle (arXiv 2605.12495, `eval/gen`). Knows no benchmark's rules; the
evaluator that decides is passed in.
"""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from alphabench.checkpoints.unified_checkpoint import UnifiedCheckpoint
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.images import open_rgb, to_rgb
from alphabench.interfaces import Evaluator, Generator
from alphabench.judges.parsing import read_reply
from alphabench.models.unified_model import (
    AnswerTask,
    GenerationResult,
    ImageRefiner,
    RefinableModel,
    RefineTask,
    UnifiedModel,
)
from alphabench.questions import (
    Answer,
    Capabilities,
    ImagePart,
    Judge,
    Question,
    Reply,
    judge_on_device,
)
from alphabench.runs.initial_images import InitialImages
from alphabench.runs.plan import CheckpointFactory
from alphabench.runs.self_test import require_self_test
from alphabench.runs.store import sha256_of
from alphabench.types import (
    FULL_MARKS,
    NOTES,
    OUT_OF,
    GeneratedImage,
    ImageRequest,
    NotGenerated,
    Verdict,
)

if TYPE_CHECKING:
    from PIL.Image import Image

Mode = Literal["always", "self", "resample", "oracle"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
CHECKED_MODES: Final[tuple[Mode, ...]] = ("self", "resample")
"""The better of two images counts, by a check of the checkpoint or of a judge."""
GOOD_ENOUGH: Final = 0.9
"""self, resample: an image whose score is at least this stays as it is."""
_LABELS: Final[Mapping[Mode, str]] = {
    "always": "refined always",
    "self": "refined by its own lights",
    "resample": "resampled by its own lights",
    "oracle": "ORACLE-refined (upper bound)",
}
"""Part of a run's identity: a judge in the check of `self` is identified apart from it."""
RefinementEvaluator = Callable[..., Evaluator]
"""Opens the evaluator that decides, with `device=` and `model=`; picklable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """Settings of the refinement."""

    mode: Mode
    rounds: int = 1
    judge: str | None = None
    """The name of the judge in the check; None: the model itself. With `always` it decides nothing:
    its scores are noted."""
    initial: InitialImages | None = None
    """The images that are refined; None: the checkpoint generates them."""

    @property
    def label(self) -> str:
        """The beginning of the checkpoint's name, so that it is visible in every table.

        It names what decided: an image that a judge let pass is not the model's own choice.
        """
        label = _LABELS[self.mode]
        if self.judge is not None and self.mode in CHECKED_MODES:
            label = f"{label.partition(' ')[0]} by the judge {self.judge}"
        given = "" if self.initial is None else f", {self.initial.label}"
        return f"{label}, {self.rounds} round{'s' if self.rounds > 1 else ''}{given}"


def read_refinement(text: str) -> Refinement:
    """`"self:2"` -> two rounds of self-refinement.

    Raises:
        AlphaBenchError: an unknown mode, or rounds that are no number above 0.
    """
    mode, colon, rounds = text.partition(":")
    for known in MODES:
        if mode == known:
            if colon and not (rounds.isdecimal() and int(rounds) > 0):
                raise AlphaBenchError(
                    f"--refine {text!r} has {rounds!r} rounds", hint=f"write {mode}:2 for two"
                )
            return Refinement(mode=known, rounds=int(rounds) if colon else 1)
    raise unknown_name("way to refine", mode, MODES)


def refined_checkpoint(
    checkpoint: CheckpointFactory, how: Refinement, open_evaluator: RefinementEvaluator | None
) -> CheckpointFactory:
    """The checkpoint, followed by refinement of its images.

    Args:
        checkpoint: of a model that edits, thinks and answers.
        how: the settings.
        open_evaluator: the evaluator that decides, or with `always` only scores; None for none.
    """
    return CheckpointFactory(
        name=f"{how.label}: {checkpoint.name}",
        open=partial(_open, checkpoint.open, how, open_evaluator),
    )


def _open(
    open_base: Callable[..., Generator],
    how: Refinement,
    open_evaluator: RefinementEvaluator | None,
    *,
    device: str,
) -> RefiningCheckpoint:
    base = open_base(device=device)
    if not isinstance(base, UnifiedCheckpoint) or not isinstance(base.handle, RefinableModel):
        raise AlphaBenchError(
            f"a {base.identity.get('kind', 'foreign')} checkpoint cannot refine its images",
            hint="leave out --refine, or use nano, a BAGEL or a Janus checkpoint",
        )
    return RefiningCheckpoint(base=base, how=how, open_evaluator=open_evaluator)


@dataclass(slots=True, kw_only=True, eq=False)
class RefiningCheckpoint:
    """A `Generator` that refines its images; see the module."""

    base: UnifiedCheckpoint
    how: Refinement
    open_evaluator: RefinementEvaluator | None
    _loaded_evaluator: Evaluator | None = field(default=None, repr=False)
    _is_tested: bool = field(default=False, repr=False)
    """The evaluator has passed its self-test."""

    @property
    def identity(self) -> Mapping[str, str]:
        identity = {
            **self.base.identity,
            "refine": f"{self.how.mode}:{self.how.rounds}",
            "refine.label": _LABELS[self.how.mode],
        }
        if self.how.mode != "resample":
            identity |= self._refinable.refinement_identity()
        if self.how.initial is not None:
            identity |= self.how.initial.identity
        if self.how.mode in CHECKED_MODES:
            identity["refine.enough"] = repr(GOOD_ENOUGH)
        if self.open_evaluator is not None:
            evaluator = self._evaluator().identity
            identity |= {f"refine.examiner.{key}": value for key, value in evaluator.items()}
        return identity

    @property
    def batch_size(self) -> int:
        return self.base.batch_size

    @property
    def licences(self) -> Mapping[str, str]:
        return self.base.licences

    @property
    def suggested_evaluator(self) -> str:
        return self.base.suggested_evaluator

    def for_benchmark(self, benchmark: str) -> RefiningCheckpoint:
        """Initial images are sampled with the settings published for `benchmark`."""
        return dataclasses.replace(
            self, base=self.base.for_benchmark(benchmark), _loaded_evaluator=None
        )

    def refusals(self, requests: Sequence[ImageRequest]) -> Mapping[str, str]:
        """See `Selective`.

        Raises:
            AlphaBenchError: an initial image that was to be given is not there.
        """
        if self.how.initial is not None:
            self.how.initial.check(requests)
        return self.base.refusals(requests)

    def generate(self, requests: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
        """See `Generator`; an image that cannot be refined is returned unchanged."""
        given = self.how.initial
        made = self.base.generate(requests) if given is None else given.open(requests)
        states = [
            None if isinstance(one, NotGenerated) else _State(request=request, image=one)
            for request, one in zip(requests, made, strict=True)
        ]
        known = [state for state in states if state is not None]
        self._score(known)
        for number in range(1, self.how.rounds + 1):
            failing = [state for state in known if self._fails(state)]
            if not failing:
                break
            self._refine(failing, number)
        return [
            one if state is None else state.noted() for one, state in zip(made, states, strict=True)
        ]

    @property
    def _refinable(self) -> RefinableModel:
        opened = self.base.handle
        assert isinstance(opened, RefinableModel), "checked when it was opened"
        return opened

    def _fails(self, state: _State) -> bool:
        if self.how.mode == "always":
            return True
        return state.score is not None and state.score < (
            GOOD_ENOUGH if self.how.mode in CHECKED_MODES else FULL_MARKS
        )

    def _refine(self, states: Sequence[_State], number: int) -> None:
        make = self._resampled if self.how.mode == "resample" else self._refined
        for state, result in zip(states, make(states, number), strict=True):
            state.next = result if isinstance(result, GenerationResult) else None
        tried = [state for state in states if state.next is not None]
        candidates = [
            _State(request=state.request, image=state.next.image)
            for state in tried
            if state.next is not None
        ]
        self._score(candidates)
        for state, candidate in zip(tried, candidates, strict=True):
            state.take(candidate, best_of=self.how.mode in CHECKED_MODES)

    def _refined(
        self, states: Sequence[_State], number: int
    ) -> Sequence[GenerationResult | NotGenerated]:
        refiner: ImageRefiner = self._refinable.refiner(self.base.model())
        return refiner.refine(
            [
                RefineTask(
                    prompt=state.request.sample.prompt,
                    image=state.image,
                    seed=_seed(state.request.seed, number),
                )
                for state in states
            ]
        )

    def _resampled(
        self, states: Sequence[_State], number: int
    ) -> list[GenerationResult | NotGenerated]:
        requests = [
            dataclasses.replace(state.request, seed=_seed(state.request.seed, number))
            for state in states
        ]
        return [
            one
            if isinstance(one, NotGenerated)
            else GenerationResult(image=one, thought=one.info.get(NOTES, {}).get("thought"))
            for one in self.base.generate(requests)
        ]

    def _evaluator(self) -> Evaluator:
        assert self.open_evaluator is not None
        if self._loaded_evaluator is None:
            model = _LateModel(self.base)
            self._loaded_evaluator = self.open_evaluator(device=self.base.device, model=model)
        return self._loaded_evaluator

    def _score(self, states: Sequence[_State]) -> None:
        """Score images; an unscored one is neither better nor worse."""
        if self.open_evaluator is None or not states:
            return
        evaluator = self._evaluator()
        if not self._is_tested:
            require_self_test(evaluator)
            self._is_tested = True
        with tempfile.TemporaryDirectory(prefix="refining-") as folder:
            images = [_stored(state, index, Path(folder)) for index, state in enumerate(states)]
            verdicts: dict[str, list[Verdict]] = {image.id: [] for image in images}
            for verdict in evaluator.evaluate(images):
                verdicts[verdict.image_id].append(verdict)
        for state, image in zip(states, images, strict=True):
            state.score = _share(verdicts[image.id])


@dataclass(slots=True, kw_only=True)
class _State:
    """One image during refinement."""

    request: ImageRequest
    image: Image
    score: float | None = None
    next: GenerationResult | None = None
    history: list[dict[str, Any]] = field(default_factory=list)

    def take(self, candidate: _State, *, best_of: bool) -> None:
        """Accept the candidate; with `best_of`, only if it scores higher."""
        assert self.next is not None
        better = (
            candidate.score is not None and self.score is not None and candidate.score > self.score
        )
        accepted = better or not best_of
        self.history.append(
            {
                "thought": self.next.thought,
                "before": self.score,
                "after": candidate.score,
                "kept": accepted,
            }
        )
        if accepted:
            self.image.info.pop(NOTES, None)
            self.image, self.score = candidate.image, candidate.score
        self.next = None

    def noted(self) -> Image:
        """The image with its history of refinements in its notes."""
        if self.history:
            notes = self.image.info.get(NOTES, {})
            self.image.info[NOTES] = {**notes, "refinement": self.history}
        return self.image


@dataclass(slots=True)
class _LateModel:
    """A model whose weights load at its first question."""

    base: UnifiedCheckpoint

    def answer(self, tasks: Sequence[AnswerTask]) -> Sequence[Any]:
        return self.base.model().answer(tasks)


@dataclass(frozen=True, slots=True)
class CheckpointJudge:
    """A unified model as a judge: it answers questions about images, its own among them."""

    model: UnifiedModel | _LateModel
    together: int = 32
    """Batch size, in questions."""

    @property
    def identity(self) -> Mapping[str, str]:
        return {"kind": "own", "model": "the checkpoint itself"}

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(images_per_question=8, logprobs=False)

    def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """See `Judge`; a system prompt is put before the question, and decoding is greedy."""
        batch: list[Question] = []
        for question in questions:
            batch.append(question)
            if len(batch) == self.together:
                yield from self._answered(batch)
                batch = []
        yield from self._answered(batch)

    def _answered(self, batch: Sequence[Question]) -> Iterator[Answer]:
        answers = self.model.answer([_ask_task(question) for question in batch])
        for question, answer in zip(batch, answers, strict=True):
            reply = Reply(text=answer.text, model="own", finish_reason="stop")
            yield read_reply(question, reply)


def _ask_task(question: Question) -> AnswerTask:
    images = [open_rgb(part.path) for part in question.parts if isinstance(part, ImagePart)]
    texts = [part for part in question.parts if isinstance(part, str)]
    return AnswerTask(text=" ".join(texts), images=tuple(images))


def judge_title(judge: Judge) -> str:
    """What tables call a judge: its model, or its kind where the model is named by a digest."""
    kind, model = (judge.identity.get(key, "") for key in ("kind", "model"))
    return Path(model).name if model and "sha256:" not in model else kind or "without a name"


def judge_evaluator_factory(
    judge: Judge | None, make: Callable[[Judge], Evaluator], *, moves_judge: bool = False
) -> RefinementEvaluator:
    """For `self`: an evaluator over a judge, or over the model itself if there is none.

    Args:
        judge: None is the model itself.
        make: the evaluator from its judge.
        moves_judge: see `plan.open_evaluation`.
    """
    return partial(_open_judge_evaluator, judge, make, moves_judge)


def _open_judge_evaluator(
    judge: Judge | None,
    make: Callable[[Judge], Evaluator],
    moves_judge: bool,
    *,
    device: str,
    model: _LateModel,
) -> Evaluator:
    if judge is None and not model.base.handle.abilities.answers:
        raise AlphaBenchError(
            f"{model.base.handle.name!r} answers no questions about images, so it cannot score "
            "its own",
            hint="name a judge with --refine-judge, or refine every image with --refine always",
        )
    if judge is None:
        return make(CheckpointJudge(model))
    return make(judge_on_device(judge, device) if moves_judge else judge)


def benchmark_evaluator_factory(open_evaluator: Callable[..., Evaluator]) -> RefinementEvaluator:
    """For `oracle`: the benchmark's evaluator, called with `device=`."""
    return partial(_open_benchmark_evaluator, open_evaluator)


def _open_benchmark_evaluator(
    open_evaluator: Callable[..., Evaluator], *, device: str, model: _LateModel
) -> Evaluator:
    del model
    return open_evaluator(device=device)


def _stored(state: _State, index: int, folder: Path) -> GeneratedImage:
    path = folder / f"{index}.png"
    to_rgb(state.image).save(path)
    # Two images may be of one sample: the index makes their names unique.
    request = dataclasses.replace(state.request, index=index)
    return GeneratedImage(request=request, path=path, sha256=sha256_of(path), seconds=0.0)


def _share(verdicts: Sequence[Verdict]) -> float | None:
    """Mean share of full marks; None where a question has no answer."""
    shares = [
        verdict.value / verdict.detail.get(OUT_OF, FULL_MARKS)
        for verdict in verdicts
        if verdict.value is not None
    ]
    return sum(shares) / len(shares) if verdicts and len(shares) == len(verdicts) else None


def _seed(seed: int, number: int) -> int:
    digest = hashlib.sha256(f"{seed} refinement {number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
