"""A small table and kept numbers for it, as tests need them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from alphabench import open_benchmark
from alphabench.upstream import UpstreamData
from alphatrainers.strict_yaml import to_plain
from tools.results.campaign.evidence import Evidence, KeptEvaluation, KeptTraining, Score
from tools.results.campaign.plan import Campaign, recipe_digest
from tools.results.campaign.table import TableCell, evaluations_of, load_table, recipe_of

SAMPLES = open_benchmark("geneval:mini").samples()[::10]
"""One of each task."""


def table_file(folder: Path, **changes: object) -> Path:
    """A table of a base and two conditions with two seeds."""
    tree: dict[str, Any] = {
        "title": "Toys",
        "question": "Is one better than the other?",
        "seeds": [0, 1],
        "overrides": ["validation=[]", "training.steps=2"],
        "conditions": {
            "base": {"recipe": "nano-awm", "trained": False},
            "one": {"recipe": "nano-awm"},
            "other": {
                "recipe": "nano-awm",
                "overrides": ["training.steps=3", "rewards.dvreward.kind=holistic"],
            },
        },
        "evaluations": {"test": {"benchmark": "geneval:mini"}},
        "comparisons": [["one", "other"], ["one", "base"]],
        **changes,
    }
    path = folder / "toys.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def campaign_of(folder: Path, **changes: object) -> Campaign:
    """The table with its folders in `folder`."""
    table = load_table(table_file(folder, **changes))
    return Campaign(
        table=table,
        work=folder / "work",
        evidence=Evidence(folder_of_tables=folder / "evidence", table=table),
        data=UpstreamData(cache_dir=folder / "data"),
    )


def keep_training(campaign: Campaign, cell: TableCell, *, rewards: Sequence[float]) -> None:
    """Numbers of a training with these rewards."""
    recipe = to_plain(recipe_of(campaign.table, cell))
    steps = [
        {"step": float(number + 1), "images": 96.0 * (number + 1), "reward/mean": reward}
        for number, reward in enumerate(rewards)
    ]
    about = {"recipe_digest": recipe_digest(recipe), "processor_seconds": 90.0}
    kept = KeptTraining(recipe=recipe, about=about, steps=steps)
    campaign.evidence.save_training(cell, kept)


def keep_scores(
    campaign: Campaign,
    cell: TableCell,
    scores: Sequence[Sequence[Score]],
    name: str = "test",
    **more: Any,
) -> None:
    """Scores of an evaluation, a row for each of `SAMPLES`."""
    kept = KeptEvaluation(
        plan=evaluations_of(campaign.table, cell)[name],
        benchmark="geneval@1:mini",
        data_digest="0" * 64,
        evaluator={"detector": "tiny"},
        versions={"torch": "2"},
        processor_seconds=30.0,
        samples=[(sample.id, sample.group) for sample in SAMPLES],
        scores=scores,
        **more,
    )
    campaign.evidence.save_evaluation(cell, name, kept)
