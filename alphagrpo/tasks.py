"""The programs of a training step: what is generated for each prompt, in one stage or two.

    t2i     prompt -> image
    rt2i    prompt -> thought -> image
    edit    source image, instruction -> (thought ->) image
    srr     self-reflective refinement: initial images are generated and judged; one of them,
            with a reflection instruction -> thought -> refined image, for a group of refinements
            of that image; their rewards are rectified (`rectification`)
    mixed   one of these for each training step or for each group, chosen at random by weight

After arXiv 2605.12495 and its released code. Every choice follows from run seed, step and prompt.
Knows no policy, judge or loss.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from alphabench.core.errors import AlphaBenchError
from alphabench.images import UnreadableImageError, open_rgb
from alphagrpo.prompt_facts import SOURCE
from alphagrpo.rectification import Rectification, rectify
from alphatrainers.algorithms import windows
from alphatrainers.protocols import (
    JsonValue,
    Score,
    ScoredTrajectory,
    SplitsGroups,
    StepInfo,
    Task,
    TrajectoryCollector,
)
from alphatrainers.trajectory import (
    TASK,
    GenerateImage,
    GenerateImageTokens,
    GenerateText,
    InputImage,
    InputText,
    Program,
    ProgramStep,
    TrainingPrompt,
)

if TYPE_CHECKING:
    from PIL.Image import Image

ImageStep = GenerateImage | GenerateImageTokens
"""A step of a program that generates an image."""
Resize = Callable[["Image"], "Image"]
"""Resizes a source image to the size in which a policy reads it and generates its edit."""

Schedule = Callable[[int, int, int], tuple[float, ...]]
"""Denoising steps, width and height in pixels -> noise levels, one more than steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which denoising steps of an image are stochastic and trained."""

    kind: Literal["none", "static", "random", "progressive"] = "random"
    """none: for nft and awm, which need no stored steps."""
    size: int = 5
    low: int = 0
    """static: first step. random: least first step."""
    high: int = 15
    """random: one past the last step that may be trained."""
    iterations: int = 25
    """progressive: training steps before it moves."""
    stride: int = 1

    @property
    def described(self) -> str:
        """The keys that place it, as a recipe writes them."""
        if self.kind == "progressive":
            return f"{{kind: progressive, size: {self.size}}}"
        high = f", high: {self.high}" if self.kind == "random" else ""
        return f"{{kind: {self.kind}, size: {self.size}, low: {self.low}{high}}}"

    def at(self, step: int, *, n_steps: int, seed: int) -> range:
        """The window of one training step, the same for all its trajectories."""
        if self.kind == "none":
            return range(0)
        if self.kind == "static":
            return windows.static_window(n_steps, start=self.low, size=self.size)
        if self.kind == "progressive":
            return windows.progressive_window(
                step,
                n_steps=n_steps,
                size=self.size,
                iterations=self.iterations,
                stride=self.stride,
            )
        return windows.random_window(
            n_steps, size=self.size, low=self.low, high=self.high, seed=seed, rollout=step
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSampling:
    """How images are sampled in every training step; the window moves with the step."""

    spec: ImageStep
    """With an empty window; tokens have none."""
    window: Window
    schedule: Schedule | None = None
    """Of a policy whose noise levels depend on the size; None leaves those of `spec`."""

    def at(self, step_info: StepInfo) -> ImageStep:
        """With the window of this training step."""
        if isinstance(self.spec, GenerateImageTokens):
            return self.spec
        n_steps = len(self.spec.sigmas) - 1
        return replace(
            self.spec, window=self.window.at(step_info.step, n_steps=n_steps, seed=step_info.seed)
        )

    def sized(self, spec: ImageStep, width: int, height: int) -> ImageStep:
        """The step `spec` for an image of another size; pixels."""
        if isinstance(spec, GenerateImageTokens):
            return replace(spec, width=width, height=height)
        sigmas = spec.sigmas
        if self.schedule is not None:
            sigmas = self.schedule(len(sigmas) - 1, width, height)
        return replace(spec, width=width, height=height, sigmas=sigmas)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingSpec:
    """Sampling settings of a single-stage task."""

    image: ImageSampling
    thought: GenerateText | None
    """None generates without a thought."""
    think_prompt: str
    """System prompt; read first where there is a thought."""


def make_program(
    name: str,
    prompt: TrainingPrompt,
    steps: Sequence[ProgramStep],
    *,
    step_info: StepInfo,
    member: int,
) -> Program:
    """The program of one member of a group; `name` distinguishes the stages of a training step."""
    group = f"{step_info.step}/{prompt.id}/{name}"
    digest = hashlib.sha256(f"{step_info.seed} {group} {member}".encode()).digest()
    return Program(
        id=f"{group}/{member}",
        group=group,
        prompt=prompt,
        steps=tuple(steps),
        seed=int.from_bytes(digest[:8], "big") >> 1,
    )


def text_to_image_steps(
    prompt: TrainingPrompt, sampling: SamplingSpec, spec: ImageStep
) -> list[ProgramStep]:
    """System prompt, prompt, thought, image; without a thought: prompt, image."""
    if sampling.thought is None:
        return [InputText(text=prompt.text), spec]
    system = InputText(text=sampling.think_prompt, role="system")
    return [system, InputText(text=prompt.text), sampling.thought, spec]


def image_to_image_steps(
    source: Image, instruction: str, sampling: SamplingSpec, spec: ImageStep
) -> list[ProgramStep]:
    """The source image, then the instruction; the source decides the size."""
    steps: list[ProgramStep] = []
    if sampling.thought is not None:
        steps.append(InputText(text=sampling.think_prompt, role="system"))
    steps += [InputImage(image=source), InputText(text=instruction)]
    if sampling.thought is not None:
        steps.append(sampling.thought)
    return [*steps, sampling.image.sized(spec, source.width, source.height)]


class _Stateless:
    """For tasks whose every choice follows from the step."""

    def state(self) -> JsonValue:
        """Nothing."""
        return None

    def restore(self, state: JsonValue) -> None:
        """Takes nothing."""
        del state


@dataclass(frozen=True, kw_only=True)
class TextToImageTask(_Stateless):
    """t2i, or rt2i with a thought."""

    sampling: SamplingSpec

    @property
    def splits_groups(self) -> bool:
        """Members do not depend on one another."""
        return True

    def collect(
        self, prompts: Sequence[TrainingPrompt], collector: TrajectoryCollector, step_info: StepInfo
    ) -> list[ScoredTrajectory]:
        """See `alphatrainers.protocols.Task`."""
        spec = self.sampling.image.at(step_info)
        return collector.collect(
            [
                make_program(
                    "draw",
                    prompt,
                    text_to_image_steps(prompt, self.sampling, spec),
                    step_info=step_info,
                    member=n,
                )
                for prompt in prompts
                for n in step_info.members_of(prompt)
            ]
        )


@dataclass(frozen=True, kw_only=True)
class EditTask(_Stateless):
    """edit: edits of the images that the prompts name."""

    sampling: SamplingSpec
    resize: Resize

    @property
    def splits_groups(self) -> bool:
        """Members do not depend on one another."""
        return True

    def collect(
        self, prompts: Sequence[TrainingPrompt], collector: TrajectoryCollector, step_info: StepInfo
    ) -> list[ScoredTrajectory]:
        """See `alphatrainers.protocols.Task`."""
        spec = self.sampling.image.at(step_info)
        programs = []
        for prompt in prompts:
            steps = image_to_image_steps(
                self.resize(source_image_of(prompt)), prompt.text, self.sampling, spec
            )
            programs += [
                make_program("edit", prompt, steps, step_info=step_info, member=n)
                for n in step_info.members_of(prompt)
            ]
        return collector.collect(programs)


def source_image_of(prompt: TrainingPrompt) -> Image:
    """The image that a prompt wants edited.

    Raises:
        AlphaBenchError: it names none, or one that cannot be opened.
    """
    path = prompt.facts.get(SOURCE)
    if path is None:
        raise AlphaBenchError(
            f"the prompt {prompt.text!r} has no {SOURCE!r}", hint="train on an editing source"
        )
    try:
        return open_rgb(Path(str(path)))
    except UnreadableImageError as error:
        raise AlphaBenchError(
            f"the source image {str(path)!r} cannot be read: {error}",
            hint="correct the prompt file",
        ) from error


@dataclass(frozen=True, kw_only=True)
class RefinementSpec:
    """How initial images are chosen, and refinements rewarded."""

    initial_images: int
    """How many are generated for each prompt; one of them is refined."""
    choose: Literal["worst", "sampled"]
    """worst: the lowest reward. sampled: by softmax of 1 - reward."""
    rectify: Rectification
    train_initial: bool
    """Initial images are sampled stochastically and trained as well."""
    reflect_prompt: str
    """Instruction of a refinement, with `{prompt}` in it."""


@dataclass(frozen=True, kw_only=True)
class RefinementTask(_Stateless):
    """srr: all members of a group refine the same initial image."""

    initial: SamplingSpec
    sampling: SamplingSpec
    refinement: RefinementSpec
    resize: Resize
    image_weights: Mapping[str, float]
    """Weights of the rewards of images. Their weighted sum chooses the initial image and decides
    whether a refinement improved."""

    def collect(
        self, prompts: Sequence[TrainingPrompt], collector: TrajectoryCollector, step_info: StepInfo
    ) -> list[ScoredTrajectory]:
        """See `alphatrainers.protocols.Task`.

        A prompt none of whose initial images could be scored has no refinements in this step; the
        engine stops a training in which too many could not.
        """
        image = self.initial.image
        first = (
            image.at(step_info)
            if self.refinement.train_initial
            else replace(image.spec, trained=False)
        )
        initial = collector.collect(
            [
                make_program(
                    "initial",
                    prompt,
                    text_to_image_steps(prompt, self.initial, first),
                    step_info=step_info,
                    member=n,
                )
                for prompt in prompts
                for n in range(self.refinement.initial_images)
            ]
        )
        chosen: dict[str, ScoredTrajectory] = {}
        for prompt in prompts:
            own = [one for one in initial if one.trajectory.program.prompt.id == prompt.id]
            picked = self._pick(own, step_info, prompt)
            if picked is not None:
                chosen[prompt.id] = picked
        refined = collector.collect(self._programs(prompts, chosen, step_info))
        trained = initial if self.refinement.train_initial else []
        return [*trained, *self.rectified(refined, chosen)]

    def rectified(
        self, refined: Sequence[ScoredTrajectory], chosen: Mapping[str, ScoredTrajectory]
    ) -> list[ScoredTrajectory]:
        """Refinements with rectified scores, decided by the weighted sum of the image rewards."""
        starts = [chosen[one.trajectory.program.prompt.id] for one in refined]
        groups = [one.trajectory.program.group for one in refined]
        earned = rectify(refined, starts, groups, mode=self.refinement.rectify, total=self._total)
        return [
            replace(one, scores={**one.scores, **self._earned(one, start, by)})
            for one, start, by in zip(refined, starts, earned, strict=True)
        ]

    def _earned(
        self, one: ScoredTrajectory, start: ScoredTrajectory, by: ScoredTrajectory | None
    ) -> dict[str, Score]:
        """The scores of `by` in the place of the refinement's own; none without it."""
        found = {}
        for name in self.image_weights:
            own, first = one.scores[name], start.scores[name]
            value = None if by is None else by.scores[name].value
            if value is None:
                reason = (
                    own.reason
                    or self._missing_reason(one)
                    or f"initially {self._missing_reason(start)}"
                )
                found[name] = Score(value=None, reason=reason, cost_usd=own.cost_usd)
                continue
            before = {"unrectified": own.value, "initial": first.value}
            known = {key: number for key, number in before.items() if number is not None}
            found[name] = replace(own, value=value, parts={**own.parts, **known})
        return found

    def _missing_reason(self, scored: ScoredTrajectory) -> str:
        values = {name: scored.scores[name] for name in self.image_weights}
        return "; ".join(f"{name!r}: {s.reason}" for name, s in values.items() if s.value is None)

    def _programs(
        self,
        prompts: Sequence[TrainingPrompt],
        chosen: Mapping[str, ScoredTrajectory],
        step_info: StepInfo,
    ) -> list[Program]:
        spec = self.sampling.image.at(step_info)
        found = []
        for prompt in prompts:
            if prompt.id not in chosen:
                continue
            source = self.resize(chosen[prompt.id].trajectory.final_images[-1])
            instruction = self.refinement.reflect_prompt.replace("{prompt}", prompt.text)
            steps = image_to_image_steps(source, instruction, self.sampling, spec)
            found += [
                make_program("refine", prompt, steps, step_info=step_info, member=n)
                for n in range(step_info.group_size)
            ]
        return found

    def _pick(
        self, scored: Sequence[ScoredTrajectory], step_info: StepInfo, prompt: TrainingPrompt
    ) -> ScoredTrajectory | None:
        known = [(total, one) for one in scored if (total := self._total(one)) is not None]
        if not known:
            return None
        if self.refinement.choose == "worst":
            return min(known, key=lambda pair: pair[0])[1]
        weights = [math.exp(1.0 - total) for total, _ in known]
        chance = random.Random(f"initial {step_info.seed} {step_info.step} {prompt.id}")  # noqa: S311
        return chance.choices([one for _, one in known], weights)[0]

    def _total(self, scored: ScoredTrajectory) -> float | None:
        total = 0.0
        for name, weight in self.image_weights.items():
            value = scored.scores[name].value
            if value is None:
                return None
            total += weight * value
        return total


@dataclass(frozen=True, kw_only=True)
class MixedTask(_Stateless):
    """One task a training step, or a group; which one follows from seed, step and prompt."""

    tasks: Mapping[str, Task]
    weights: Mapping[str, float]
    by: Literal["step", "group"] = "step"

    @property
    def splits_groups(self) -> bool:
        """Whether all of its tasks do."""
        return all(
            isinstance(one, SplitsGroups) and one.splits_groups for one in self.tasks.values()
        )

    def collect(
        self, prompts: Sequence[TrainingPrompt], collector: TrajectoryCollector, step_info: StepInfo
    ) -> list[ScoredTrajectory]:
        """See `alphatrainers.protocols.Task`."""
        own: dict[str, list[TrainingPrompt]] = {}
        for prompt in prompts:
            own.setdefault(self.chosen(step_info, prompt), []).append(prompt)
        return [
            one
            for name in sorted(own)
            for one in self.tasks[name].collect(own[name], _Labelled(name, collector), step_info)
        ]

    def chosen(self, step_info: StepInfo, prompt: TrainingPrompt | None = None) -> str:
        """The name of the task of this step, or of a prompt's group in it."""
        names = sorted(self.tasks)
        key = f"task {step_info.seed} {step_info.step}"
        if self.by == "group" and prompt is not None:
            key = f"{key} {prompt.id}"
        chance = random.Random(key)  # noqa: S311  no secret
        return chance.choices(names, [self.weights[name] for name in names])[0]


@dataclass(frozen=True, slots=True)
class _Labelled:
    """Collects programs that carry the name of their task, for metrics by task."""

    task: str
    collector: TrajectoryCollector

    def collect(
        self, programs: Sequence[Program], *, scored: bool = True
    ) -> list[ScoredTrajectory]:
        """See `alphatrainers.protocols.TrajectoryCollector`."""
        named = [replace(one, facts={**one.facts, TASK: self.task}) for one in programs]
        return self.collector.collect(named, scored=scored)
