"""Lists everything that would stop a training from starting, for `--dry-run`.

Opens every part of a recipe as the training would, but loads no weights, queries no judge and
writes nothing. Problems that show only when weights load or a judge answers are not found.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from alphabench.benchmarks import open_benchmark
from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Generator
from alphabench.judges import open_judge
from alphabench.runs.plan import Evaluation, open_evaluation, suggested_evaluator
from alphagrpo.assemble import open_held_out, training_prompts
from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.policies.factory import open_trainable
from alphagrpo.prompt_checks import refuse_sourceless, refuse_unfit
from alphagrpo.recipe import TrainingRecipe, ValidationSettings
from alphagrpo.rewards.reward_kinds import RewardSettings, open_reward
from alphatrainers.prompt_stream import PromptStream
from alphatrainers.protocols import RewardFunction
from alphatrainers.trackers import refuse_missing_trackers

T = TypeVar("T")


def obstacles(recipe: TrainingRecipe, context: AssemblyContext) -> list[str]:
    """One sentence for each, with what to do; none where the training can begin."""
    found: dict[str, str] = {}

    def attempt(section: str, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except AlphaBenchError as error:
            # Data that two sections need is missing once.
            found.setdefault(f"{error.message}; {error.hint}", section)
            return None

    generator = attempt("policy", partial(open_trainable, recipe.policy, device=context.device))
    held_out = [
        sample
        for number, one in enumerate(recipe.validation)
        for sample in attempt(f"validation[{number}]", partial(open_held_out, one, context.data))
        or ()
    ]
    prompts = attempt("prompts", partial(training_prompts, recipe, context.data, held_out))
    if prompts is not None:
        per_step, seed = recipe.training.prompts_per_step, recipe.training.seed
        attempt("prompts", partial(PromptStream, prompts, per_step=per_step, seed=seed))
        if "edit" in recipe.task.kinds:
            attempt("prompts", partial(refuse_sourceless, prompts))
    for name, settings in recipe.rewards.items():
        section = f"rewards.{name}"
        reward = attempt(section, partial(_open_whole_reward, settings, context))
        if reward is not None and prompts is not None:
            attempt(section, partial(refuse_unfit, name, reward, prompts))
    attempt("training.logging", partial(refuse_missing_trackers, recipe.training.logging))
    for number, one in enumerate(recipe.validation):
        attempt(f"validation[{number}]", partial(_open_evaluation, one, generator, context))
    return [f"{section}: {sentence}" for sentence, section in found.items()]


def _open_whole_reward(settings: RewardSettings, context: AssemblyContext) -> RewardFunction:
    """Its identity is read from weights, which must be at hand for it."""
    reward = open_reward(settings, context)
    assert reward.identity
    return reward


def _open_evaluation(
    settings: ValidationSettings, generator: Generator | None, context: AssemblyContext
) -> Evaluation:
    benchmark = open_benchmark(settings.benchmark, protocol=settings.protocol, data=context.data)
    default = benchmark.card.evaluators[0]
    if generator is not None:
        default = suggested_evaluator(generator, benchmark)
    judge = None if settings.judge is None else open_judge(settings.judge, device=context.device)
    return open_evaluation(
        benchmark, settings.evaluator or default, judge=judge, device=context.device
    )
