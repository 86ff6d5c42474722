"""Counts a training step of the embedded model, as it is and with one thing done otherwise.

Each row is one step of nano-rt2i's shape (thoughts, then images; LoRA; a KL of images to the
reference), of the same prompts, seeds and weights, with a reward that asks no judge. A row differs
from the first in one thing, which the code can still do, or did before. Counts do not depend on
the machine:

    operations a token   what PyTorch dispatches while thoughts are decoded, by tokens of all
                         thoughts (`bagel_operations` counts the same for one pass)
    decoder passes       calls of the decoder in rollout and update
    texts scored         in replays, under all weights; without the first step's check
    waits                how often the host waits for its device (`host_syncs`)
    GFLOP                of the step (`alphabench.tracing`)
    peak MiB             of the update: tensors alive that the step made, without an allocator
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from alphabench.tracing.ledger import PhaseCounts
from alphabench.tracing.shapes_only import shapes_only
from alphabench.upstream import UpstreamData
from alphagrpo.assemble import assemble
from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.policies.unified_policy import UMMPolicy
from alphagrpo.recipe import TrainingRecipe, load_recipe
from alphatrainers.protocols import ReplayAnswer, ReplaySpec, VelocityQuery
from alphatrainers.trainer import Trainer
from alphatrainers.trajectory import GenerateText, SampledText, Trajectory
from tools.perf.bagel_operations import counted
from tools.perf.host_syncs import recorded_step

MIB: Final = 2**20
RECIPE: Final = "nano-rt2i"
ONE_STEP: Final[Mapping[str, str]] = {
    "rewards": "{b: {kind: python, factory: 'tests.support.bright_reward:mean_brightness'}}",
    "prompts": "{source: 'small:?count=4&tasks=two_object,colors'}",
    "task.draw.points": "4",
    "task.draw.window": "{kind: random, size: 2, low: 0, high: 2}",
    "task.thought.max_tokens": "16",
    "validation": "[]",
    "panel": "0",
    "training.steps": "1",
    "training.prompts_per_step": "1",
    "training.group_size": "8",
    "training.rollout_batch": "1",
    "training.text_batch": "8",
    "training.replay_batch": "8",
    "training.old_log_probs": "sampled",
    "training.image.kl_weights": "{reference: 1e-4}",
    "training.logging": "{tensorboard: false, kl_every: null}",
}
ALTERNATIVES: Final[Mapping[str, Mapping[str, str]]] = {
    "as it is": {},
    # So little weight that no gradient changes; the reference used to score texts without any.
    "texts scored under the reference, too": {"training.text.kl_weights": "{reference: 1e-30}"},
    "one thought at a time": {"training.text_batch": "null"},
    "activations recomputed": {"training.recompute": "true"},
}


def shaped_recipe(name: str) -> TrainingRecipe:
    """The recipe of one row."""
    changes = {**ONE_STEP, **ALTERNATIVES[name]}
    return load_recipe(RECIPE, [f"{key}={value}" for key, value in changes.items()])


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCounts:
    """One row."""

    tokens: int
    """Of all thoughts of the step."""
    token_operations: float
    passes: int
    texts_scored: float
    waits: int
    gflop: float
    update_mib: float


class _CountedPolicy(UMMPolicy):
    """Counts what thinking dispatches, and the calls of the decoder; tells when updates begin."""

    def __init__(self, policy: UMMPolicy, update_begins: Callable[[], None]) -> None:
        super().__init__(policy.umm, identity=policy.identity)
        self.operations, self.tokens, self.passes = 0.0, 0, 0
        self._update_begins = update_begins

    def replay(
        self,
        trajectories: Sequence[Trajectory],
        *,
        texts: Sequence[int],
        queries: Sequence[VelocityQuery],
        how: ReplaySpec,
    ) -> Iterator[ReplayAnswer]:
        self._update_begins()
        return super().replay(trajectories, texts=texts, queries=queries, how=how)

    @contextmanager
    def passes_counted(self) -> Iterator[None]:
        """Inside, calls of the decoder count."""

        def count(*_: object) -> None:
            self.passes += 1

        decoder = self.umm.loaded.model.language_model.model
        hook = decoder.register_forward_pre_hook(count)
        try:
            yield
        finally:
            hook.remove()

    def _sample_texts(
        self, contexts: Any, spec: GenerateText, generators: Any
    ) -> list[SampledText]:
        made: list[SampledText] = []

        def think() -> None:
            made.extend(UMMPolicy._sample_texts(self, contexts, spec, generators))

        self.operations += counted(think).all
        self.tokens += sum(len(text.ids) for text in made)
        return made


def step_counts(name: str) -> StepCounts:
    """One row of the table."""
    recipe = shaped_recipe(name)
    # Before any backward pass on the CPU, after which autograd would know no other device.
    waits = recorded_step(recipe).waits()
    with tempfile.TemporaryDirectory(prefix="step-counts-") as made:
        folder = Path(made)
        policy, phases = _counted_step(recipe, folder)
        values = json.loads((folder / "metrics.jsonl").read_text())["values"]
    return StepCounts(
        tokens=policy.tokens,
        token_operations=policy.operations / policy.tokens,
        passes=policy.passes,
        texts_scored=sum(
            value
            for key, value in values.items()
            if re.fullmatch(r"forward_passes/(?!probe/)\w+/texts", key)
        ),
        waits=waits,
        gflop=sum(one.flops for one in phases.values()) / 1e9,
        update_mib=phases["update"].peak_bytes / MIB,
    )


def _counted_step(
    recipe: TrainingRecipe, folder: Path
) -> tuple[_CountedPolicy, dict[str, PhaseCounts]]:
    """The policy and what rollout and update did."""
    context = AssemblyContext(
        folder=folder, data=UpstreamData(cache_dir=folder / "data"), device="cpu", report=_silent
    )
    components = assemble(recipe, context)
    assert isinstance(components.policy, UMMPolicy)
    found: dict[str, PhaseCounts] = {}
    with shapes_only(values=True) as ledger, ExitStack() as phase:

        def update_begins() -> None:
            if not found:
                phase.close()
                phase.enter_context(ledger.phase(found, "update"))

        policy = _CountedPolicy(components.policy, update_begins)
        trainer = Trainer(replace(components, policy=policy), recipe.training, folder)
        phase.enter_context(ledger.phase(found, "rollout"))
        with policy.passes_counted():
            trainer.train()
    return policy, found


def _silent(message: str) -> None:
    del message


def counts_table(rows: Mapping[str, StepCounts]) -> str:
    """One line each."""
    head: Sequence[str] = (
        "a training step", "operations a token", "decoder passes", "texts scored", "waits",
        "GFLOP", "peak MiB",
    )  # fmt: skip
    lines: list[Sequence[str]] = [head]
    for name, row in rows.items():
        lines.append(
            (
                name,
                f"{row.token_operations:.0f}",
                f"{row.passes}",
                f"{row.texts_scored:.0f}",
                f"{row.waits}",
                f"{row.gflop:.1f}",
                f"{row.update_mib:.1f}",
            )
        )
    return "\n".join(f"{one[0]:<40}" + "".join(f"{c:>20}" for c in one[1:]) for one in lines)
