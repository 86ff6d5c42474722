"""How much of a score comes from the noise that a recipe trains its images with.

    python -m tools.results.noise_gap nano-rt2i
    python -m tools.results.noise_gap nano-rt2i --adapter runs/train/nano-rt2i/best

The policy gradient needs stochastic steps, validation uses plain ones. Here the same weights
generate images for the prompts of the recipe's first validation in four ways: with the recipe's
noise and without, with thoughts as it samples them and with (almost) the likeliest tokens. Each
image is scored by that validation's evaluator and by the recipe's rewards.
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
        context = AssemblyContext(
            folder=Path(folder),
            data=UpstreamData(cache_dir=default_cache_dir()),
            device="cpu",
            report=print,
        )
        handle = open_policy(recipe.policy, device=context.device)
        if arguments.adapter is not None:
            put_adapter(handle, recipe, arguments.adapter)
        prompts, uses = prompts_of(recipe, context), rewards_of(recipe, context)
        print(f"| noise | thoughts at | {' | '.join(uses)} |\n|---|---:|{'---:|' * len(uses)}")
        for noise in (True, False):
            for temperature in (recipe.task.thought.temperature, LIKELIEST):
                task = task_with(recipe.task, noise=noise, temperature=temperature)
                scored = sample_and_score(
                    recipe, task, handle, prompts, uses, count=arguments.count
                )
                cells = [mean_with_interval(scored, name) for name in uses]
                noise_name = "as trained" if noise else "none"
                print(f"| {noise_name} | {temperature:g} | {' | '.join(cells)} |", flush=True)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.results.noise_gap", description=__doc__)
    parser.add_argument("recipe", help="by name, or its file")
    parser.add_argument("assignments", nargs="*", metavar="key=value", help="changes to it")
    parser.add_argument("--adapter", type=Path, help="folder of an adapter that it trained")
    parser.add_argument("--count", type=int, default=4, help="images a prompt")
    return parser.parse_args()


def put_adapter(handle: PolicyHandle, recipe: TrainingRecipe, folder: Path) -> None:
    """Gives the policy the trained values of an adapter of this recipe."""
    module, experts = handle.policy.module, handle.policy.experts
    trainable = lora_adapters.select_trainable(module, experts, lora=recipe.training.lora, seed=0)
    values = lora_adapters.imported(load_file(folder / "adapter_model.safetensors"))
    with torch.no_grad():
        for name, one in trainable.items():
            one.parameter.copy_(values[name])


def prompts_of(recipe: TrainingRecipe, context: AssemblyContext) -> list[TrainingPrompt]:
    """Those of the first validation, with the questions that a reward may ask."""
    first = recipe.validation[0]
    benchmark = open_benchmark(first.benchmark, data=context.data)
    chosen = {one.id for one in choose_samples(benchmark.samples(), first.limit, seed=first.seed)}
    prompts = load_prompts(first.benchmark, lambda _: benchmark, held_out=())
    return with_questions([prompt for prompt in prompts if prompt.id in chosen], {})


def rewards_of(recipe: TrainingRecipe, context: AssemblyContext) -> dict[str, RewardUse]:
    """The first validation's evaluator and all rewards that score images."""
    first = recipe.validation[0]
    held_out = RewardSettings(
        kind="evaluator", benchmark=first.benchmark, evaluator=first.evaluator, judge=first.judge
    )
    of_images = {name: one for name, one in recipe.rewards.items() if one.credits != "text"}
    settings = {HELD_OUT: held_out, **of_images}
    return {name: RewardUse(reward=open_reward(one, context)) for name, one in settings.items()}


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
    handle: PolicyHandle,
    prompts: Sequence[TrainingPrompt],
    uses: Mapping[str, RewardUse],
    *,
    count: int,
) -> list[ScoredTrajectory]:
    """`count` images a prompt, scored by every evaluator and reward."""
    batch = recipe.training.rollout_batch
    with Scorer(uses, patience_seconds=60.0) as scorer:
        collector = RolloutCollector(handle.policy, scorer, batch=batch, group_size=count)
        step_info = StepInfo(step=0, seed=recipe.training.seed, group_size=count)
        made = assemble.make_task(task, handle, recipe.rewards)
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
            total=math.fsum(scores),
            n_scored=len(scores),
            n_expected=len(scores),
        )
        for prompt, scores in values.items()
    ]
    if not clusters:
        return f"none of {len(scored)} scored"
    estimate = statistics.estimate(clusters, statistics.mean_of_groups)
    missing = len(scored) - sum(map(len, values.values()))
    note = f", {missing} not scored" if missing else ""
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]{note}"


if __name__ == "__main__":
    main()
