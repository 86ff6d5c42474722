"""Self-reflective refinement as a task: initial images, one of them chosen, a group of refinements.

Where a group is split over processes, so are the initial images of its prompt: processes exchange
their scores, choose alike, and send the chosen image to all that refine it. After arXiv 2605.12495
and its released code; every choice follows from run seed, step and prompt. Knows no policy, judge
or loss.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from alphagrpo.rectification import Rectification, rectify
from alphagrpo.tasks import (
    Resize,
    SamplingSpec,
    Stateless,
    image_to_image_steps,
    make_program,
    program_name,
    text_to_image_steps,
)
from alphatrainers.protocols import Score, ScoredTrajectory, StepInfo, TrajectoryCollector
from alphatrainers.trajectory import Program, TrainingPrompt

if TYPE_CHECKING:
    from PIL.Image import Image

Scores = Mapping[str, Score]
"""By reward."""


class ChosenImage(NamedTuple):
    """The initial image that the refinements of a prompt start from."""

    image: Image
    scores: Scores


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
class RefinementTask(Stateless):
    """srr: all members of a group refine the same initial image."""

    initial: SamplingSpec
    sampling: SamplingSpec
    refinement: RefinementSpec
    resize: Resize
    image_weights: Mapping[str, float]
    """Weights of the rewards of images. Their weighted sum chooses the initial image and decides
    whether a refinement improved."""

    @property
    def splits_groups(self) -> bool:
        """Whether nothing but the initial image joins the members of a group."""
        return self.refinement.rectify != "group_min" and not self.refinement.train_initial

    def collect(
        self, prompts: Sequence[TrainingPrompt], collector: TrajectoryCollector, step_info: StepInfo
    ) -> list[ScoredTrajectory]:
        """See `alphatrainers.protocols.Task`.

        A prompt none of whose initial images could be scored has no refinements in this step; the
        engine stops a training in which too many could not.
        """
        programs = self._initial_programs(prompts, step_info)
        initial: list[ScoredTrajectory] = []

        def score() -> list[tuple[str, Scores]]:
            initial.extend(collector.collect(programs))
            return [(one.trajectory.program.id, one.scores) for one in initial]

        scores = dict(pair for part in step_info.exchange(score) for pair in part)
        picked = {one.id: self._pick(scores, step_info, one) for one in prompts}
        own = {one.trajectory.program.id: one.trajectory.final_images[-1] for one in initial}
        wanted = {name for name in picked.values() if name is not None}
        parts = step_info.exchange(lambda: {name: own[name] for name in wanted & own.keys()})
        images = {name: image for part in parts for name, image in part.items()}
        chosen = {
            prompt: ChosenImage(images[name], scores[name])
            for prompt, name in picked.items()
            if name is not None
        }
        refined = collector.collect(self._programs(prompts, chosen, step_info))
        trained = initial if self.refinement.train_initial else []
        return [*trained, *self.rectified(refined, chosen)]

    def rectified(
        self, refined: Sequence[ScoredTrajectory], chosen: Mapping[str, ChosenImage]
    ) -> list[ScoredTrajectory]:
        """Refinements with rectified scores, decided by the weighted sum of the image rewards."""
        starts = [chosen[one.trajectory.program.prompt.id].scores for one in refined]
        groups = [one.trajectory.program.group for one in refined]
        own = [one.scores for one in refined]
        earned = rectify(own, starts, groups, mode=self.refinement.rectify, total=self._total)
        return [
            replace(one, scores={**one.scores, **self._earned(one.scores, start, by)})
            for one, start, by in zip(refined, starts, earned, strict=True)
        ]

    def _earned(self, refined: Scores, start: Scores, by: Scores | None) -> dict[str, Score]:
        """The scores of `by` in the place of the refinement's own; none without it."""
        found = {}
        for name in self.image_weights:
            own, first = refined[name], start[name]
            value = None if by is None else by[name].value
            if value is None:
                reason = (
                    own.reason
                    or self._missing_reason(refined)
                    or f"initially {self._missing_reason(start)}"
                )
                found[name] = Score(value=None, reason=reason, cost_usd=own.cost_usd)
                continue
            before = {"unrectified": own.value, "initial": first.value}
            known = {key: number for key, number in before.items() if number is not None}
            found[name] = replace(own, value=value, parts={**own.parts, **known})
        return found

    def _missing_reason(self, scores: Scores) -> str:
        values = {name: scores[name] for name in self.image_weights}
        return "; ".join(f"{name!r}: {s.reason}" for name, s in values.items() if s.value is None)

    def _initial_programs(
        self, prompts: Sequence[TrainingPrompt], step_info: StepInfo
    ) -> list[Program]:
        """Those of this process: each is made where one member of the group is, always the same."""
        image, count = self.initial.image, self.refinement.initial_images
        trained = self.refinement.train_initial
        spec = image.at(step_info) if trained else replace(image.spec, trained=False)
        return [
            make_program(
                "initial",
                prompt,
                text_to_image_steps(prompt, self.initial, spec),
                step_info=step_info,
                member=n,
            )
            for prompt in prompts
            for n in range(count)
            if n * step_info.group_size // count in step_info.members_of(prompt)
        ]

    def _programs(
        self,
        prompts: Sequence[TrainingPrompt],
        chosen: Mapping[str, ChosenImage],
        step_info: StepInfo,
    ) -> list[Program]:
        spec = self.sampling.image.at(step_info)
        found = []
        for prompt in prompts:
            if prompt.id not in chosen:
                continue
            source = self.resize(chosen[prompt.id].image)
            instruction = self.refinement.reflect_prompt.replace("{prompt}", prompt.text)
            steps = image_to_image_steps(source, instruction, self.sampling, spec)
            found += [
                make_program("refine", prompt, steps, step_info=step_info, member=n)
                for n in step_info.members_of(prompt)
            ]
        return found

    def _pick(
        self, scores: Mapping[str, Scores], step_info: StepInfo, prompt: TrainingPrompt
    ) -> str | None:
        """The program of the chosen image; None where no image of the prompt was scored."""
        names = [
            program_name(step_info, prompt, "initial", n)
            for n in range(self.refinement.initial_images)
        ]
        known = [
            (total, name) for name in names if (total := self._total(scores[name])) is not None
        ]
        if not known:
            return None
        if self.refinement.choose == "worst":
            return min(known, key=lambda pair: pair[0])[1]
        weights = [math.exp(1.0 - total) for total, _ in known]
        chance = random.Random(f"initial {step_info.seed} {step_info.step} {prompt.id}")  # noqa: S311
        return chance.choices([name for _, name in known], weights)[0]

    def _total(self, scores: Scores) -> float | None:
        total = 0.0
        for name, weight in self.image_weights.items():
            value = scores[name].value
            if value is None:
                return None
            total += weight * value
        return total
