"""Counts how often the host waits for its device, on a stand-in for one.

    python -m tools.perf.host_syncs              a minute: the table, before and now
    python -m tools.perf.host_syncs --lines 20   and the lines of the code that wait most

Everything runs on the device of `tests/support/stand_in_device.py`, whose tensors the CPU computes:
what is counted is the code, not the machine. A *wait* is a value that the host needs from the
device (`item`, `tolist`, `nonzero`, a copy to the host). An *upload* is a blocking copy to the
device; CUDA lets the host wait for that too, unless the memory is pinned.

The training step is the recipe nano-awm with 2 prompts and 4 images each, and a checkpoint of it.
Its judge is a model of transformers in the same process: what that library waits for while it
answers stands in a row of its own; the sum has it too. The other rows generate or edit four images
with the embedded model, at its own settings.
`BEFORE` was measured by the same script and the same stand-in on commit 2534f9c.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from PIL import Image

from alphabench.checkpoints import open_checkpoint
from alphabench.checkpoints.unified_checkpoint import UnifiedCheckpoint
from alphabench.models.bagel.bagel_inference import UnifiedBagel
from alphabench.models.unified_model import AnswerTask, GenerationTask
from alphabench.upstream import UpstreamData
from alphagrpo.assemble import assemble
from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.recipe import TrainingRecipe, load_recipe
from alphatrainers.trainer import Trainer
from tests.support.host_traffic import HostEvent, HostTraffic, recorded
from tests.support.stand_in_device import in_use

RECIPE: Final = "nano-awm"
ONE_STEP: Final = (
    "prompts={source: 'small:?count=8&tasks=two_object,colors'}",
    "validation=[]",
    "panel=0",
    "training.steps=1",
    "training.prompts_per_step=2",
    "training.group_size=4",
    "training.logging.tensorboard=false",
)
IMAGES: Final = 4
"""Of the rows that train nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitCount:
    """Of one row."""

    waits: int = 0
    uploads: int = 0


BEFORE: Final[Mapping[str, WaitCount]] = {
    "reward: inside transformers": WaitCount(waits=356, uploads=19),
    "reward": WaitCount(waits=2),
    "checkpoint": WaitCount(waits=981),
    "metrics and losses": WaitCount(waits=192),
    "rollout": WaitCount(waits=112, uploads=123),
    "replay and update": WaitCount(waits=73, uploads=154),
    "one training step": WaitCount(waits=1716, uploads=296),
    "generate 4 images": WaitCount(waits=36, uploads=25),
    "think, then generate 4": WaitCount(waits=139, uploads=168),
    "edit 4 images": WaitCount(waits=42, uploads=57),
    "answer 4 questions": WaitCount(waits=12, uploads=28),
}


PHASES: Final[Mapping[str, Callable[[HostEvent], bool]]] = {
    "reward: inside transformers": lambda event: any(
        "/transformers/" in line.file for line in event.stack
    ),
    "reward": lambda event: event.thread.startswith("reward "),
    "checkpoint": lambda event: event.within("save", "checkpointing.py"),
    "validation": lambda event: event.within("measure", "validator.py"),
    "metrics and losses": lambda event: (
        event.within("_sum", "objective.py") or event.within("fetched_shares", "objective.py")
    ),
    "torch's optimizer": lambda event: event.by_optimiser,
    "rollout": lambda event: event.within("collect", "rollout.py"),
    "replay and update": lambda event: (
        event.within("update", "update.py") or event.place.function == "backward"
    ),
    "other": lambda _: True,
}
"""The parts of a training step, and which events are theirs: the first that claims one has it."""


def phase_of(event: HostEvent) -> str:
    """The part of a training step that asked."""
    return next(phase for phase, claims in PHASES.items() if claims(event))


def training_step(*changes: str) -> HostTraffic:
    """What one step of the recipe asks of the device; opening the models is left out."""
    return recorded_step(load_recipe(RECIPE, (*ONE_STEP, *changes)))


def recorded_step(recipe: TrainingRecipe) -> HostTraffic:
    """What a training of any recipe asks of the device; opening the models is left out."""
    with tempfile.TemporaryDirectory(prefix="host-syncs-") as made, in_use() as device:
        folder = Path(made)
        context = AssemblyContext(
            folder=folder,
            data=UpstreamData(cache_dir=folder / "data"),
            device=str(device),
            report=_silent,
        )
        trainer = Trainer(assemble(recipe, context), recipe.training, folder)
        with recorded() as traffic:
            trainer.train()
    return traffic


def model_calls() -> dict[str, HostTraffic]:
    """What generating, thinking, editing and answering ask of the device."""
    source = Image.new("RGB", (64, 64), "grey")
    prompts = [f"a photo of {n} apples" for n in ("two", "three", "four", "five")]
    plain = [GenerationTask(prompt=text, seed=n) for n, text in enumerate(prompts)]
    edits = [GenerationTask(prompt=text, seed=n, source=source) for n, text in enumerate(prompts)]
    asked = [AnswerTask(text="Is it grey?", images=(source,), seed=n) for n in range(IMAGES)]
    with in_use() as device:
        model = opened_nano(str(device))
        calls: dict[str, Callable[[], object]] = {
            "generate 4 images": lambda: model.generate(plain, think=False),
            "think, then generate 4": lambda: model.generate(plain, think=True),
            "edit 4 images": lambda: model.generate(edits, think=False),
            "answer 4 questions": lambda: model.answer(asked),
        }
        return {name: _recorded(call) for name, call in calls.items()}


def _recorded(call: Callable[[], object]) -> HostTraffic:
    with recorded() as traffic:
        call()
    return traffic


def opened_nano(device: str, **options: object) -> UnifiedBagel:
    """The embedded model on a device."""
    texts = {name: str(value) for name, value in options.items()}
    checkpoint = open_checkpoint("nano", options=texts, device=device)
    assert isinstance(checkpoint, UnifiedCheckpoint)
    model = checkpoint.model()
    assert isinstance(model, UnifiedBagel)
    return model


def _silent(message: str) -> None:
    del message


def counted_waits(step: HostTraffic, calls: Mapping[str, HostTraffic]) -> dict[str, WaitCount]:
    """All rows of the table."""
    found = {phase_of(event) for event in step.events}
    phases = [phase for phase in PHASES if phase in found]
    rows = {phase: _count(step, partial(_belongs, phase)) for phase in phases}
    rows["one training step"] = _count(step, lambda _: True)
    return rows | {name: _count(traffic, lambda _: True) for name, traffic in calls.items()}


def _belongs(phase: str, event: HostEvent) -> bool:
    return phase_of(event) == phase


def _count(traffic: HostTraffic, keep: Callable[[HostEvent], bool]) -> WaitCount:
    return WaitCount(waits=traffic.waits(keep), uploads=traffic.uploads(keep))


def waits_table(rows: Mapping[str, WaitCount]) -> str:
    """The rows, beside those of the commit before."""
    lines = [
        f"{'':<30}{'waits':>16}{'uploads':>18}",
        f"{'':<30}{'before':>10}{'now':>6}" + f"{'before':>12}{'now':>6}",
    ]
    for name in [*rows, *(name for name in BEFORE if name not in rows)]:
        now, before = rows.get(name, WaitCount()), BEFORE.get(name, WaitCount())
        lines.append(
            f"{name:<30}{before.waits:>10}{now.waits:>6}{before.uploads:>12}{now.uploads:>6}"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=0, help="print so many lines of the code")
    options = parser.parse_args()
    step, calls = training_step(), model_calls()
    sys.stdout.write(waits_table(counted_waits(step, calls)) + "\n")
    for name, traffic in {"one training step": step, **calls}.items():
        for waits in (True, False):
            for place, number in traffic.by_place(waits=waits)[: options.lines]:
                kind = "waits" if waits else "uploads"
                sys.stdout.write(f"{name}: {number:>5} {kind} at {place}\n")


if __name__ == "__main__":
    main()
