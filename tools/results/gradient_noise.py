"""Signal-to-noise of the gradient under two credits for the form of a thought; trains nothing.

    python -m tools.results.gradient_noise WORK --out docs/results/evidence/gradient_noise
    python -m tools.results.gradient_noise WORK --out FOLDER --write-page    from kept numbers

In four states of the embedded model, all of them the untrained weights or a disturbance of them,
it makes 40 batches as nano-awm does, but of 4 prompts, and keeps the gradient of each under both
credits in WORK: 1 GB, and 25 minutes of one core. A run that was stopped goes on. `numbers.json`
in the folder of the page keeps the products of these gradients, from which all else follows.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from alphabench.core.errors import AlphaBenchError
from alphabench.core.writing import replace_file
from alphagrpo.recipe import load_recipe
from tools.results.gradient_batches import CREDITS, FREE_OF_KL, PARTS, BatchGradients, BatchMeter
from tools.results.gradient_noise_page import NUMBERS, PAGE, noise_page
from tools.results.gradient_products import (
    StateNumbers,
    products_of,
    state_to_json,
    states_from,
    total_counts,
)

RECIPE: Final = "nano-awm"
PROMPTS: Final = 4
BATCHES: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredState:
    """Weights and sampling under which batches are made."""

    name: str
    temperature: float = 1.0
    """Of thoughts."""
    shaken: float = 0.0
    """See `BatchMeter`."""

    @property
    def overrides(self) -> list[str]:
        """Of the recipe."""
        return [
            *FREE_OF_KL,
            *("validation=[]", "panel=0", "training.logging.tensorboard=false"),
            f"training.prompts_per_step={PROMPTS}",
            f"task.thought.temperature={self.temperature:g}",
        ]


STATES: Final = (
    MeasuredState(name="as shipped"),
    MeasuredState(name="thoughts at temperature 1.5", temperature=1.5),
    MeasuredState(name="thoughts at temperature 2", temperature=2.0),
    MeasuredState(name="shaken text weights", shaken=0.11),
)
"""Chosen by the share of thoughts without the right form alone, before any gradient was compared:
none, few, a quarter, a tenth."""


def main(words: Sequence[str] | None = None) -> None:
    """Measures what is not kept yet, then writes numbers and page."""
    parser = argparse.ArgumentParser(prog="python -m tools.results.gradient_noise")
    parser.add_argument("work", type=Path, help="folder that keeps gradients")
    parser.add_argument("--out", type=Path, required=True, help="folder of numbers and page")
    parser.add_argument("--batches", type=int, default=BATCHES, help="of each state")
    parser.add_argument("--write-page", action="store_true", help="from the kept numbers alone")
    chosen = parser.parse_args(words)
    numbers = chosen.out / NUMBERS
    if not chosen.write_page:
        torch.set_num_threads(1)
        found = [measure_state(one, chosen.work, chosen.batches) for one in STATES]
        content = {"recipe": RECIPE, "prompts": PROMPTS, "states": list(map(state_to_json, found))}
        replace_file(numbers, json.dumps(content, separators=(",", ":")) + "\n")
    replace_file(chosen.out / PAGE, noise_page(states_from(json.loads(numbers.read_text("utf-8")))))
    print(chosen.out / PAGE)


def measure_state(state: MeasuredState, work: Path, batches: int) -> StateNumbers:
    """The numbers of a state; makes the batches that its folder lacks.

    Raises:
        AlphaBenchError: the folder has batches of other weights or settings.
    """
    recipe = load_recipe(RECIPE, state.overrides)
    meter = BatchMeter(recipe, work, shaken=state.shaken)
    folder = work / state.name.replace(" ", "-")
    identity = {"state": asdict(state), "training": meter.identity}
    _claim(folder, identity)
    counts, gradients = [], []
    for number in range(batches):
        file = folder / f"batch-{number:03}.npz"
        if not file.exists():
            _save(file, meter.measure(number))
            print(f"{state.name}: batch {number + 1} of {batches}", flush=True)
        with np.load(file) as kept:
            counts.append(json.loads(str(kept["counts"])))
            gradients.append({name: kept[name] for name in kept.files if name != "counts"})
    return StateNumbers(
        name=state.name,
        temperature=state.temperature,
        shaken=state.shaken,
        group_size=recipe.training.group_size,
        sizes=meter.sizes,
        identity={key: meter.identity[key] for key in ("policy", "rewards", "prompts")},
        batches=batches,
        counts=total_counts(counts),
        products={
            part: products_of(
                *(np.stack([_of(one, credit, part) for one in gradients]) for credit in CREDITS)
            )
            for part in PARTS
        },
    )


def _claim(folder: Path, identity: dict[str, Any]) -> None:
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    known = folder / "made-by.txt"
    if known.exists() and known.read_text("utf-8") != digest:
        raise AlphaBenchError(
            f"{str(folder)!r} has batches of other weights or settings",
            hint="name another folder, or remove this one",
        )
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(known, digest)


def _save(file: Path, batch: BatchGradients) -> None:
    """Gradients of credits whose advantages are the same are kept once."""
    same = not any(batch.counts.advantages_differ.values())
    arrays: dict[str, Any] = {
        f"{credit}/{part}": value
        for (credit, part), value in batch.gradients.items()
        if credit == "own" or not same
    }
    unfinished = file.with_suffix(".partial.npz")
    arrays["counts"] = json.dumps(asdict(batch.counts))
    np.savez(unfinished, **arrays)
    unfinished.replace(file)


def _of(kept: dict[str, NDArray[Any]], credit: str, part: str) -> NDArray[np.float64]:
    value = kept.get(f"{credit}/{part}", kept[f"own/{part}"])
    return value.astype(np.float64)


if __name__ == "__main__":
    main()
