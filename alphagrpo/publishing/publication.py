"""Makes an exported folder fit to be published: model card, plot, recipe and scores; uploads it.

Knows no model: the weights are in the folder already.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alphabench.core.writing import replace_file
from alphabench.remote.hub_upload import HubTarget, push_folder
from alphagrpo.publishing.base_model import describe_base
from alphagrpo.publishing.eval_results import write_eval_results
from alphagrpo.publishing.model_card import (
    CURVES_PLOT,
    RECIPE_COPY,
    ExportedWeights,
    model_card,
)
from alphagrpo.publishing.public_recipe import public_recipe
from alphagrpo.publishing.trained_weights import TrainedWeights, read_training_record
from alphatrainers.reporting.plots import training_figure

CARD: Final = "README.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """Exported weights, for their card."""

    weights: TrainedWeights
    base: str | None
    """As `--ckpt` takes it."""
    adapter: bool
    """The adapter alone was written; otherwise complete weights."""
    unchanged: bool
    """As before the first training step."""
    datasets: Mapping[str, str]
    """Benchmark -> its dataset on the hub, as the user named it."""


def publish(described: Publication, out: Path, hub: HubTarget | None) -> list[str]:
    """Writes what belongs to weights in `out`, and uploads the folder if it is to go to the hub.

    Returns:
        What was left out of the card and why, and where the folder was uploaded to.

    Raises:
        AlphaBenchError: a recipe cannot be read, or the hub does not take the folder, which is
            complete then.
    """
    record = read_training_record(described.weights)
    base = described.base
    exported = ExportedWeights(
        name=hub.repo.partition("/")[2] if hub else out.resolve().name,
        place=hub.repo if hub else out.resolve().name,
        on_hub=hub is not None,
        adapter=described.adapter,
        unchanged=described.unchanged,
        base=None if base is None else describe_base(base, fetch=hub is not None),
        record=record,
    )
    if record.curves and described.weights.training is not None:
        replace_file(out / CURVES_PLOT, training_figure(described.weights.training))
    if record.recipe:
        replace_file(out / RECIPE_COPY, public_recipe(record.recipe))
    left_out = write_eval_results(out, record.scores, described.datasets)
    replace_file(out / CARD, model_card(exported))
    sentences = [*record.notes, *left_out]
    if hub is not None:
        version = importlib.metadata.version("alphabench")
        message = f"Upload weights exported by AlphaBench {version}"
        sentences.append(f"pushed to {push_folder(out, hub, message=message)}")
    return sentences
