"""What decides whether a bad image is repaired: the thought, or the noise of the new image?

    python -m tools.results.thought_share
    python -m tools.results.thought_share --lora runs/train/srr/checkpoints/step-000014/ema

The untrained nano model generates images of the development prompts, always the same ones. Those
that the nano detector marks wrong are refined by the checkpoint: several thoughts about each image
are sampled, and two images from each thought. Two images that share a thought agree in what the
thought decides and in nothing else, so their covariance within an initial image is the thought's
share of the variance. For comparison the same prompts are generated anew, without and with a
thought. Trains nothing.

Shapes: I initial images, T thoughts about each, 2 images from each thought.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alphabench.reports.markdown import NOTHING

if TYPE_CHECKING:
    from PIL.Image import Image

    from alphagrpo.policies.handle import PolicyHandle
    from alphagrpo.refinement_task import RefinementTask
    from alphatrainers.trajectory import Program, Trajectory

RECIPE: Final = "nano-srr"
_TOGETHER: Final = 40
_REPLICATES: Final = 2_000
Statistic = Callable[[NDArray[np.float64]], float]


class Measured(NamedTuple):
    """A value with its 95% interval for other initial images; NaN where it is not defined."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.value):
            return NOTHING
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def repaired_share(right_IT2: NDArray[np.float64]) -> float:
    """Share of images that are right, over all initial images, thoughts and noises."""
    return float(right_IT2.mean())


def thought_share(right_IT2: NDArray[np.float64]) -> float:
    """Share of the variance within an initial image that its thoughts explain.

    The covariance of two images of one thought around the mean of each noise, over the variance;
    each with T - 1 in the denominator, which cancels. May lie below 0 by chance; NaN without any
    variance.
    """
    around_IT2 = right_IT2 - right_IT2.mean(axis=1, keepdims=True)
    variance = float((around_IT2**2).mean())
    if variance == 0.0:
        return math.nan
    return float((around_IT2[..., 0] * around_IT2[..., 1]).mean()) / variance


def best_thought(right_IT2: NDArray[np.float64]) -> float:
    """How often an image is right by the thought that did best with another noise.

    Each noise chooses for the other one; of equal thoughts, their mean counts.
    """
    values = []
    for chooser, scored in ((0, 1), (1, 0)):
        best_IT = right_IT2[..., chooser] == right_IT2[..., chooser].max(axis=1, keepdims=True)
        values.append(((best_IT * right_IT2[..., scored]).sum(1) / best_IT.sum(1)).mean())
    return float(np.mean(values))


def with_interval(right_IT2: NDArray[np.float64], statistic: Statistic) -> Measured:
    """With a bootstrap over initial images."""
    rng = np.random.default_rng(0)
    n = len(right_IT2)
    values = [statistic(right_IT2[rng.integers(0, n, n)]) for _ in range(_REPLICATES)]
    known = [value for value in values if not math.isnan(value)]
    low, high = np.quantile(known, [0.025, 0.975]) if known else (math.nan, math.nan)
    return Measured(statistic(right_IT2), float(low), float(high))


@dataclass(frozen=True, kw_only=True)
class _Bench:
    """The model, its task, and the initial images that are wrong."""

    opened: PolicyHandle
    task: RefinementTask
    prompts: Sequence[str]
    facts: Sequence[Mapping[str, Any]]
    images: Sequence[Image]

    def rollout(self, programs: Sequence[Program]) -> list[Trajectory]:
        found: list[Trajectory] = []
        for start in range(0, len(programs), _TOGETHER):
            found += self.opened.policy.rollout(programs[start : start + _TOGETHER])
        return found

    def right(self, made: Sequence[Trajectory], rows: Sequence[int]) -> NDArray[np.float64]:
        """Whether each image is right, 0 or 1."""
        from tools.nano_umm.measure import ImageScorer

        images = [one.final_images[-1] for one in made]
        correct = ImageScorer().correct(images, [self.facts[row] for row in rows])
        return np.array(correct, dtype=np.float64)

    def refine(self, row: int, *, seed: int, thought: str | None = None) -> Program:
        """A refinement of an initial image; a thought that is given is read, not sampled."""
        from alphagrpo.tasks import image_to_image_steps
        from alphatrainers.trajectory import GenerateText, InputText

        sampling = self.task.sampling
        text = self.opened.reflect_prompt.replace("{prompt}", self.prompts[row])
        source = self.opened.resize(self.images[row])
        steps = image_to_image_steps(source, text, sampling, sampling.image.spec)
        if thought is not None:
            given = InputText(text=thought)
            steps = [given if isinstance(one, GenerateText) else one for one in steps]
        return _program(row, self.prompts[row], steps, seed)

    def anew(self, row: int, *, seed: int, thinks: bool) -> Program:
        """The prompt from nothing."""
        sampling = self.task.sampling if thinks else self.task.initial
        return _from_text(row, self.prompts[row], sampling, seed)


def _program(row: int, prompt: str, steps: Sequence[Any], seed: int) -> Program:
    from alphatrainers.trajectory import Program, TrainingPrompt

    asked = TrainingPrompt(id=str(row), text=prompt)
    return Program(id=f"{row}/{seed}", group=str(row), prompt=asked, steps=tuple(steps), seed=seed)


def _from_text(row: int, prompt: str, sampling: Any, seed: int) -> Program:
    from alphagrpo.tasks import text_to_image_steps
    from alphatrainers.trajectory import TrainingPrompt

    asked = TrainingPrompt(id=str(row), text=prompt)
    return _program(row, prompt, text_to_image_steps(asked, sampling, sampling.image.spec), seed)


def open_bench(lora: str | None, *, images: int, limit: int | None) -> _Bench:
    """Generates the initial images without the adapter, then binds it."""
    from alphabench import open_benchmark
    from alphabench.checkpoints import lora as adapters
    from alphabench.weights.hub import HubAccess
    from alphagrpo.assemble import make_task
    from alphagrpo.policies.factory import open_policy
    from alphagrpo.recipe import load_recipe
    from alphagrpo.refinement_task import RefinementTask

    recipe = load_recipe(RECIPE, ["task.draw.window={kind: none}", "training.image.kind=none"])
    opened = open_policy(recipe.policy, device="cpu")
    task = make_task(recipe.task, opened, recipe.rewards)
    assert isinstance(task, RefinementTask)
    every = open_benchmark("geneval:mini").samples()
    samples = every if limit is None else every[:: max(1, len(every) // limit)]
    rows = [sample for sample in samples for _ in range(images)]
    bench = _Bench(
        opened=opened, task=task, prompts=[one.prompt for one in rows],
        facts=[one.facts for one in rows], images=[],
    )  # fmt: skip
    first = bench.rollout([bench.anew(n, seed=n, thinks=False) for n in range(len(rows))])
    wrong = [n for n, right in enumerate(bench.right(first, range(len(rows)))) if not right]
    if lora is not None:
        found = adapters.find(lora, file=None, strength=1.0, access=HubAccess())
        adapters.bind({"": opened.policy.module}, found, owner="this model")
    return _Bench(
        opened=opened, task=task, prompts=[rows[n].prompt for n in wrong],
        facts=[rows[n].facts for n in wrong],
        images=[first[n].final_images[-1] for n in wrong],
    )  # fmt: skip


def measure_thoughts(bench: _Bench, *, thoughts: int) -> list[tuple[str, str]]:
    """Names and values, for a table."""
    rows = [n for n in range(len(bench.prompts)) for _ in range(thoughts)]
    sampled = bench.rollout([bench.refine(row, seed=n) for n, row in enumerate(rows)])
    texts = [one.texts[0].text for one in sampled]
    noises = [
        bench.right(
            bench.rollout(
                [
                    bench.refine(row, seed=1_000_000 * (noise + 1) + n, thought=texts[n])
                    for n, row in enumerate(rows)
                ]
            ),
            rows,
        )
        for noise in range(2)
    ]
    right_IT2 = np.stack(noises, axis=-1).reshape(len(bench.prompts), thoughts, 2)
    every = range(len(bench.prompts))
    anew = {
        thinks: bench.right(
            bench.rollout([bench.anew(n, seed=5_000_000 + n, thinks=thinks) for n in every]), every
        ).reshape(-1, 1, 1)
        for thinks in (False, True)
    }
    found = [
        ("repaired", right_IT2, repaired_share),
        ("thoughts' share of the variance", right_IT2, thought_share),
        (f"repaired by the best of {thoughts} thoughts", right_IT2, best_thought),
        ("right when generated anew", anew[False], repaired_share),
        ("right when generated anew with a thought", anew[True], repaired_share),
    ]
    values = [(name, str(with_interval(right, what))) for name, right, what in found]
    return [("bad images", str(len(bench.prompts))), *values]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table."""
    import torch

    from alphabench.reports.markdown import markdown_table

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lora", help="of a trained checkpoint; without it the model as it is")
    parser.add_argument("--images", type=int, default=2, help="initial images for each prompt")
    parser.add_argument("--thoughts", type=int, default=4, help="for each initial image")
    parser.add_argument("--limit", type=int, help="so many prompts, of all tasks")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    bench = open_bench(chosen.lora, images=chosen.images, limit=chosen.limit)
    rows = [list(pair) for pair in measure_thoughts(bench, thoughts=chosen.thoughts)]
    print(markdown_table(["", "value"], rows, ["left", "right"]))


if __name__ == "__main__":
    main()
