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
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from alphabench.core.errors import AlphaBenchError
from alphabench.images import UnreadableImageError, open_rgb
from alphagrpo.prompt_facts import SOURCE
from alphatrainers.algorithms import windows
from alphatrainers.protocols import (
    JsonValue,
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
    group = _group(step_info, prompt, name)
    digest = hashlib.sha256(f"{step_info.seed} {group} {member}".encode()).digest()
    return Program(
        id=program_name(step_info, prompt, name, member),
        group=group,
        prompt=prompt,
        steps=tuple(steps),
        seed=int.from_bytes(digest[:8], "big") >> 1,
    )


def program_name(step_info: StepInfo, prompt: TrainingPrompt, name: str, member: int) -> str:
    """The id of one member's program."""
    return f"{_group(step_info, prompt, name)}/{member}"


def _group(step_info: StepInfo, prompt: TrainingPrompt, name: str) -> str:
    return f"{step_info.step}/{prompt.id}/{name}"


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


class Stateless:
    """For tasks whose every choice follows from the step."""

    def state(self) -> JsonValue:
        """Nothing."""
        return None

    def restore(self, state: JsonValue) -> None:
        """Takes nothing."""
        del state


@dataclass(frozen=True, kw_only=True)
class TextToImageTask(Stateless):
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
class EditTask(Stateless):
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
class MixedTask(Stateless):
    """One task a training step, or a group; which one follows from seed, step and prompt."""

    tasks: Mapping[str, Task]
    weights: Mapping[str, float]
    by: Literal["step", "group"] = "step"

    @property
    def splits_groups(self) -> bool:
        """Whether all of its tasks do; by group, not every process has one that must exchange."""
        alone = (TextToImageTask, EditTask)
        return all(
            isinstance(one, SplitsGroups)
            and one.splits_groups
            and (self.by == "step" or isinstance(one, alone))
            for one in self.tasks.values()
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
