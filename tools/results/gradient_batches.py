"""Gradients of independent batches from the same weights, by the trainer's own parts.

Each batch is a training step that stops before the optimizer: rollout, rewards, advantages, losses,
backward pass. The advantages are taken from the same scores once for each credit, so that credits
are compared on the same thoughts and images. Knows no statistics.

Shapes: P trained values of one part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from alphabench.core.errors import AlphaBenchError
from alphabench.upstream import UpstreamData, default_cache_dir
from alphagrpo.assemble import assemble
from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.recipe import TrainingRecipe
from alphatrainers.distributed import Processes
from alphatrainers.objective import Objective
from alphatrainers.optimizer import WeightOptimizer
from alphatrainers.prompt_stream import PromptStream
from alphatrainers.protocols import ReplaySpec, ScoredTrajectory, StepInfo, WeightView
from alphatrainers.replay import Replayer
from alphatrainers.reward_scoring import RewardUse, Scorer
from alphatrainers.rollout import RolloutCollector
from alphatrainers.settings import AppliesTo
from alphatrainers.step_scores import StepAdvantages, share_scores, step_advantages, training_items
from alphatrainers.trainer_components import training_identity
from alphatrainers.trajectory import TrainingPrompt
from alphatrainers.update import Updater
from alphatrainers.weight_sets import WeightSets

Part = Literal["text", "image"]
PARTS: Final[tuple[Part, ...]] = ("text", "image")
EXPERT_OF: Final[Mapping[Part, str]] = {"text": "und", "image": "gen"}
"""Part -> the expert of the embedded model whose LoRA layers it trains."""
FORM: Final = "tags"
"""The reward of the thought's form, by its name in the recipe."""
FREE_OF_KL: Final = ("training.image.kl_weights={}", "training.text.kl_weights={}")
"""Overrides under which a gradient is that of the rewards alone."""
_SHAKEN_SEED: Final = 5


class Credit(NamedTuple):
    """Whom the reward of the form trains, and how much it counts."""

    weight: float
    applies_to: AppliesTo


CREDITS: Final[Mapping[str, Credit]] = {
    "own": Credit(0.1, "text"),
    "release": Credit(1.0, "both"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCounts:
    """What one batch was made of; text and image by credit."""

    trajectories: int
    without_form: int
    """Thoughts whose form has reward 0."""
    groups: int
    form_flat: int
    """Groups whose thoughts all have the same reward of the form."""
    flat: Mapping[str, Mapping[str, int]]
    """Credit -> part -> groups without any spread, which train nothing."""
    advantages_differ: Mapping[str, bool]
    """Part -> whether the credits' advantages differ by more than rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchGradients:
    """One batch: its counts, and for each credit and part the gradient of the loss."""

    counts: BatchCounts
    gradients: Mapping[tuple[str, Part], NDArray[np.float32]]
    """(P,) each."""


class GradientRecorder(WeightOptimizer):
    """In the optimizer's place: remembers the gradient and changes nothing."""

    taken: Mapping[str, NDArray[np.float32]] = {}
    """Expert -> (P,) of the last update, before any clip; empty where there was none."""

    def update(self) -> float:
        """See `WeightOptimizer.update`."""
        weights = self._weights
        parts: dict[str, list[torch.Tensor]] = {}
        for name, parameter in weights.trained.items():
            gradient = parameter.grad
            value = torch.zeros_like(parameter) if gradient is None else gradient
            parts.setdefault(weights.expert_of[name], []).append(value.detach().flatten())
        self.taken = {
            expert: torch.cat(values).float().numpy().copy() for expert, values in parts.items()
        }
        self.clear()
        norms = [float(np.linalg.norm(one)) for one in self.taken.values()]
        return math.hypot(*norms)


class BatchMeter:
    """A training of a recipe that never updates; each batch has other prompts and seeds."""

    def __init__(self, recipe: TrainingRecipe, folder: Path, *, shaken: float = 0.0) -> None:
        """Opens policy, judge and prompts.

        Args:
            recipe: without validations.
            folder: of the training, which writes nothing.
            shaken: standard deviation of normal noise on the second factors of the text's LoRA
                layers, which are 0 otherwise.
        """
        context = AssemblyContext(
            folder=folder,
            data=UpstreamData(cache_dir=default_cache_dir()),
            device="cpu",
            report=_silent,
        )
        self._components = assemble(recipe, context)
        self._settings = settings = recipe.training
        if FORM not in self._components.rewards:
            raise AlphaBenchError(
                f"the recipe has no reward named {FORM!r}", hint="take nano-awm or nano-rt2i"
            )
        policy, alone = self._components.policy, Processes()
        views = {*Objective(settings.image, settings.text).views, settings.rollout_view} - {"train"}
        self._weights = WeightSets(policy, settings, views=frozenset(views), processes=alone)
        if shaken:
            _shake(self._weights, shaken)
        self._recorder = GradientRecorder(
            self._weights, settings.optimiser, alone, n_updates=settings.steps
        )
        replay = ReplaySpec(
            context_gradient=settings.context_gradient, recompute=settings.recompute
        )
        self._updater = Updater(
            policy,
            self._weights,
            self._recorder,
            Replayer(policy, self._weights, replay),
            settings=settings,
            processes=alone,
        )
        self._prompts = PromptStream(
            self._components.prompts, per_step=settings.prompts_per_step, seed=settings.seed
        )

    @property
    def identity(self) -> dict[str, Any]:
        """Of policy, rewards, prompts and settings: what decides the gradients."""
        return training_identity(
            self._components, self._settings, prompts_digest=self._prompts.digest
        )

    @property
    def sizes(self) -> dict[str, int]:
        """Part -> how many values it trains."""
        sums = dict.fromkeys(PARTS, 0)
        for name, parameter in self._weights.trained.items():
            (part,) = [p for p in PARTS if EXPERT_OF[p] == self._weights.expert_of[name]]
            sums[part] += parameter.numel()
        return {str(part): size for part, size in sums.items()}

    def measure(self, number: int) -> BatchGradients:
        """The batch of training step `number`; the weights are afterwards as before."""
        scored, prompts = self._rollout(number)
        scores = share_scores(scored, prompts, Processes())
        advantages = {
            name: step_advantages(scores.rows, self._uses(credit), self._settings)
            for name, credit in CREDITS.items()
        }
        gradients: dict[tuple[str, Part], NDArray[np.float32]] = {}
        differ = _differences(advantages)
        first = next(iter(CREDITS))
        for name in CREDITS:
            if name != first and not any(differ.values()):
                gradients |= {(name, part): gradients[first, part] for part in PARTS}
                continue
            self._recorder.taken = {}
            items = training_items(scored, scores, advantages[name])
            self._updater.update(items, on_policy=True)
            if not self._recorder.taken:
                raise AlphaBenchError(
                    f"batch {number} has no group with any spread", hint="take larger groups"
                )
            for part in PARTS:
                gradients[name, part] = self._recorder.taken[EXPERT_OF[part]]
        return BatchGradients(counts=self._counts(scored, advantages, differ), gradients=gradients)

    def _rollout(self, number: int) -> tuple[list[ScoredTrajectory], list[TrainingPrompt]]:
        settings, components = self._settings, self._components
        prompts = self._prompts.at(number)
        info = StepInfo(step=number, seed=settings.seed, group_size=settings.group_size)
        patience = settings.guards.judge_patience_seconds
        with ExitStack() as stack:
            scorer = stack.enter_context(Scorer(components.rewards, patience_seconds=patience))
            collector = RolloutCollector(
                components.policy,
                scorer,
                batch=settings.rollout_batch,
                group_size=settings.group_size,
                text_batch=settings.text_batch,
            )
            stack.enter_context(self._weights.view(settings.rollout_view))
            stack.enter_context(self._weights.gathered())
            stack.enter_context(self._weights.computing())
            return components.task.collect(prompts, collector, info), prompts

    def _uses(self, credit: Credit) -> dict[str, RewardUse]:
        uses = dict(self._components.rewards)
        weight, applies_to = credit
        uses[FORM] = replace(uses[FORM], weight=weight, applies_to=applies_to)
        return uses

    def _counts(
        self,
        scored: Sequence[ScoredTrajectory],
        advantages: Mapping[str, StepAdvantages],
        differ: Mapping[str, bool],
    ) -> BatchCounts:
        forms: dict[str, list[float | None]] = {}
        for one in scored:
            prompt = one.trajectory.program.prompt.id
            forms.setdefault(prompt, []).append(one.scores[FORM].value)
        return BatchCounts(
            trajectories=len(scored),
            without_form=sum(value == 0.0 for values in forms.values() for value in values),
            groups=len(forms),
            form_flat=sum(len(set(values)) == 1 for values in forms.values()),
            flat={name: _flat_groups(of) for name, of in advantages.items()},
            advantages_differ=differ,
        )


def _shake(weights: WeightSets, size: float) -> None:
    generator = torch.Generator().manual_seed(_SHAKEN_SEED)
    with torch.no_grad():
        for name, parameter in weights.trained.items():
            if weights.expert_of[name] == EXPERT_OF["text"] and "lora_B" in name:
                parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    copies: tuple[WeightView, ...] = ("old", "ema")
    for view in copies:
        weights.move_copy(view, decay=0.0)


def _differences(advantages: Mapping[str, StepAdvantages]) -> dict[str, bool]:
    first, *others = advantages.values()
    found = {}
    for part in PARTS:
        mine = getattr(first, part).value_B
        found[str(part)] = any(
            bool((getattr(other, part).value_B - mine).abs().max() > 1e-5) for other in others
        )
    return found


def _flat_groups(advantages: StepAdvantages) -> dict[str, int]:
    return {part: int(getattr(advantages, part).n_flat_groups) for part in PARTS}


def _silent(_: str) -> None:
    pass
