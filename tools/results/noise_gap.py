"""How much of a score comes from the noise that a recipe trains its pictures with.

    python -m tools.results.noise_gap nano-rt2i
    python -m tools.results.noise_gap nano-rt2i --adapter runs/train/nano-rt2i/best

The policy gradient needs stochastic steps, validations draw plain ones. Here the same weights draw
the prompts of the recipe's first validation in four ways: with the recipe's noise and without, with
thoughts as it samples them and with (almost) the likeliest words. Each picture is scored by that
validation's evaluator and by the recipe's rewards.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file

from alphabench import statistics
from alphabench.benchmarks import open_benchmark
from alphabench.runs.plan import choose_samples
from alphabench.upstream import UpstreamData, default_cache_dir
from alphagrpo import assemble
from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.policies.factory import open_policy
from alphagrpo.policies.handle import PolicyHandle
from alphagrpo.prompts import load_prompts, with_questions
from alphagrpo.recipe import TaskSettings, TrainingRecipe, load_recipe
from alphagrpo.rewards.reward_kinds import RewardSettings, open_reward
from alphatrainers import lora_adapters
from alphatrainers.protocols import ScoredTrajectory, StepInfo
from alphatrainers.reward_scoring import RewardUse, Scorer
from alphatrainers.rollout import RolloutCollector
from alphatrainers.trajectory import TrainingPrompt

LIKELIEST = 0.02
"""A temperature at which thoughts are the likeliest ones; 0 has no log-probabilities."""
HELD_OUT = "held out"


def main() -> None:
    """Print one table."""
    arguments = parse_arguments()
    recipe = load_recipe(arguments.recipe, arguments.assignments)
    with TemporaryDirectory() as folder:
        place = AssemblyContext(
            folder=Path(folder),
            data=UpstreamData(cache_dir=default_cache_dir()),
            device="cpu",
            report=print,
        )
        opened = open_policy(recipe.policy, device=place.device)
        if arguments.adapter is not None:
            put_adapter(opened, recipe, arguments.adapter)
        prompts, uses = prompts_of(recipe, place), rewards_of(recipe, place)
        print(f"| noise | thoughts at | {' | '.join(uses)} |\n|---|---:|{'---:|' * len(uses)}")
        for noise in (True, False):
            for temperature in (recipe.task.thought.temperature, LIKELIEST):
                task = task_with(recipe.task, noise=noise, temperature=temperature)
                scored = sample_and_score(
                    recipe, task, opened, prompts, uses, count=arguments.count
                )
                cells = [mean_with_interval(scored, name) for name in uses]
                words = "as trained" if noise else "none"
                print(f"| {words} | {temperature:g} | {' | '.join(cells)} |", flush=True)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.results.noise_gap", description=__doc__)
    parser.add_argument("recipe", help="by name, or its file")
    parser.add_argument("assignments", nargs="*", metavar="key=value", help="changes to it")
    parser.add_argument("--adapter", type=Path, help="folder of an adapter that it trained")
    parser.add_argument("--count", type=int, default=4, help="pictures a prompt")
    return parser.parse_args()


def put_adapter(opened: PolicyHandle, recipe: TrainingRecipe, folder: Path) -> None:
    """Gives the policy the trained values of an adapter of this recipe."""
    module, experts = opened.policy.module, opened.policy.experts
    bound = lora_adapters.select_trainable(module, experts, lora=recipe.training.lora, seed=0)
    values = lora_adapters.imported(load_file(folder / "adapter_model.safetensors"))
    with torch.no_grad():
        for name, one in bound.items():
            one.parameter.copy_(values[name])


def prompts_of(recipe: TrainingRecipe, place: AssemblyContext) -> list[TrainingPrompt]:
    """Those of the first validation, with the questions that a reward may ask."""
    first = recipe.validation[0]
    benchmark = open_benchmark(first.benchmark, data=place.data)
    asked = {one.id for one in choose_samples(benchmark.samples(), first.limit, seed=first.seed)}
    found = load_prompts(first.benchmark, lambda _: benchmark, held_out=())
    return with_questions([prompt for prompt in found if prompt.id in asked], {})


def rewards_of(recipe: TrainingRecipe, place: AssemblyContext) -> dict[str, RewardUse]:
    """The first validation's evaluator and all rewards that look at pictures."""
    first = recipe.validation[0]
    held_out = RewardSettings(
        kind="evaluator", benchmark=first.benchmark, evaluator=first.evaluator, judge=first.judge
    )
    of_pictures = {name: one for name, one in recipe.rewards.items() if one.credits != "text"}
    settings = {HELD_OUT: held_out, **of_pictures}
    return {name: RewardUse(reward=open_reward(one, place)) for name, one in settings.items()}


def task_with(task: TaskSettings, *, noise: bool, temperature: float) -> TaskSettings:
    """The task with or without its window, and with thoughts at this temperature."""
    window = task.draw.window if noise else replace(task.draw.window, kind="none")
    return replace(
        task,
        draw=replace(task.draw, window=window),
        thought=replace(task.thought, temperature=temperature),
    )


def sample_and_score(
    recipe: TrainingRecipe,
    task: TaskSettings,
    opened: PolicyHandle,
    prompts: Sequence[TrainingPrompt],
    uses: Mapping[str, RewardUse],
    *,
    count: int,
) -> list[ScoredTrajectory]:
    """`count` pictures a prompt, scored by everybody."""
    batch = recipe.training.rollout_batch
    with Scorer(uses, patience_seconds=60.0) as scorer:
        collector = RolloutCollector(opened.policy, scorer, batch=batch, group_size=count)
        step_info = StepInfo(step=0, seed=recipe.training.seed, group_size=count)
        made = assemble.make_task(task, opened, recipe.rewards)
        return made.collect(prompts, collector, step_info)


def mean_with_interval(scored: Sequence[ScoredTrajectory], name: str) -> str:
    """The mean over prompts with its interval; what was not scored is counted."""
    values: dict[str, list[float]] = defaultdict(list)
    for one in scored:
        value = one.scores[name].value
        if value is not None:
            values[one.trajectory.program.prompt.id].append(value)
    clusters = [
        statistics.Cluster(
            sample_id=prompt,
            group="all",
            total=math.fsum(own),
            n_scored=len(own),
            n_expected=len(own),
        )
        for prompt, own in values.items()
    ]
    if not clusters:
        return f"none of {len(scored)} scored"
    found = statistics.estimate(clusters, statistics.mean_of_groups)
    missing = len(scored) - sum(map(len, values.values()))
    note = f", {missing} not scored" if missing else ""
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]{note}"


if __name__ == "__main__":
    main()
