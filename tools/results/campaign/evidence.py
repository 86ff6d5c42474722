"""The kept numbers of a campaign: small text files from which its page is made, without a training.

    <condition>/recipe.yaml                of its first kept training, overrides included
    <condition>/seed-<n>/training.json     how it was made: versions, weights, judges, cost
    <condition>/seed-<n>/steps.csv         all numbers of each step, to five digits
    <condition>/seed-<n>/<evaluation>.json scores of all images by sample; a state where there is
                                           no score: missing, refused, unparsed, failed
    <condition>/untrained/...              the same for a checkpoint as it is
    samples/<benchmark>-<digest>.csv       sample and group of each row of scores, in their order

The only module that knows these names. Runs nothing and computes no metric.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from alphabench.core.writing import replace_file
from alphabench.statistics import Cluster
from alphatrainers.strict_yaml import build_settings
from tools.results.campaign.table import CampaignTable, EvaluationPlan, TableCell, home_of

Score = float | str
"""Of one verdict, or the state that says why there is none."""
_DIGITS: Final = 5
_FREE: Final = ("about", "training.seed", "training.logging")
"""Keys of a recipe that distinguish no condition."""


class Judged(NamedTuple):
    """What a judge gave the images of a sample before and after refinement."""

    images: int
    """That have both scores."""
    first: float
    """Sum of the scores of the images that were refined."""
    last: float
    """Sum of the scores of the refined ones."""
    worse: int
    """How many refined ones score lower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTraining:
    """A finished training."""

    recipe: Mapping[str, Any]
    about: Mapping[str, Any]
    steps: Sequence[Mapping[str, float]]
    """By step; a number that was not logged is absent."""

    @property
    def processor_seconds(self) -> float:
        """Of its steps and validations."""
        return float(self.about["processor_seconds"])


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptEvaluation:
    """The scores of one evaluation."""

    plan: EvaluationPlan
    benchmark: str
    """With its version and split, as the run recorded it."""
    data_digest: str
    evaluator: Mapping[str, str]
    versions: Mapping[str, str]
    processor_seconds: float
    samples: Sequence[tuple[str, str]]
    """Id and group."""
    scores: Sequence[Sequence[Score]]
    """One row a sample, one score a verdict."""
    initial_images: str = ""
    """Digest of the images that were given to be refined."""
    images: int | None = None
    """Images that were generated or given, discarded ones too; None where that was not kept."""
    judged: Sequence[Judged] = ()
    """By sample, where a judge scored first and last images; else empty."""
    measures: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    """Of the images, by name: a mean for each sample; None where it has no image."""

    def clusters(self) -> list[Cluster]:
        """The scores by sample; states count as expected and not scored."""
        return [_cluster(*one) for one in zip(self.samples, self.scores, strict=True)]

    def measured(self, name: str) -> list[Cluster]:
        """A measure of the images by sample; empty where it was not kept."""
        values = self.measures.get(name, ())
        rows: list[list[Score]] = [["missing" if one is None else one] for one in values]
        return [_cluster(*one) for one in zip(self.samples, rows, strict=True)] if rows else []

    def states(self) -> dict[str, int]:
        """How many verdicts have no score, by state."""
        counts: dict[str, int] = {}
        for score in (one for row in self.scores for one in row if isinstance(one, str)):
            counts[score] = counts.get(score, 0) + 1
        return counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The kept numbers of one table."""

    folder_of_tables: Path
    table: CampaignTable

    @property
    def root(self) -> Path:
        """Of the table's own numbers, its page and its figures."""
        return self.folder_of_tables / self.table.name

    def folder(self, cell: TableCell) -> Path:
        """Of a training or a checkpoint as it is."""
        seed = "untrained" if cell.seed is None else f"seed-{cell.seed}"
        return self._condition(cell) / seed

    def _condition(self, cell: TableCell) -> Path:
        return self.folder_of_tables.joinpath(*home_of(self.table, cell.condition))

    def save_training(self, cell: TableCell, training: KeptTraining) -> None:
        """Replaces what was kept of it."""
        folder = self.folder(cell)
        recipe = yaml.safe_dump(training.recipe, sort_keys=False, allow_unicode=True)
        replace_file(self._condition(cell) / "recipe.yaml", recipe)
        replace_file(folder / "steps.csv", _table_text(training.steps))
        replace_file(folder / "training.json", _json(training.about))

    def training(self, cell: TableCell) -> KeptTraining | None:
        """What was kept of it; None where nothing was."""
        folder = self.folder(cell)
        if not (folder / "training.json").is_file():
            return None
        recipe = yaml.safe_load((self._condition(cell) / "recipe.yaml").read_text("utf-8"))
        return KeptTraining(
            recipe=recipe,
            about=json.loads((folder / "training.json").read_text("utf-8")),
            steps=list(_rows((folder / "steps.csv").read_text("utf-8"))),
        )

    def save_evaluation(self, cell: TableCell, name: str, kept: KeptEvaluation) -> None:
        """Replaces what was kept of it."""
        listed = "".join(f"{sample},{group}\n" for sample, group in kept.samples)
        digest = hashlib.sha256(listed.encode()).hexdigest()[:8]
        slug = "".join(one if one.isalnum() else "-" for one in kept.plan.benchmark)
        file = f"{slug}-{digest}.csv"
        replace_file(self._condition(cell).parent / "samples" / file, f"sample,group\n{listed}")
        about = {
            "plan": asdict(kept.plan),
            "benchmark": kept.benchmark,
            "data_digest": kept.data_digest,
            "evaluator": dict(kept.evaluator),
            "versions": dict(kept.versions),
            "processor_seconds": round(kept.processor_seconds, 1),
            "samples": file,
            **({"initial_images": kept.initial_images} if kept.initial_images else {}),
            **({} if kept.images is None else {"images": kept.images}),
            **({"judged": _one_line(kept.judged)} if kept.judged else {}),
        }
        rows = ",\n".join(json.dumps([_short(one) for one in row]) for row in kept.scores)
        measures = {
            name: [None if one is None else round(one, _DIGITS) for one in values]
            for name, values in kept.measures.items()
        }
        tail = f',\n "measures": {json.dumps(measures)},\n "scores": [\n{rows}\n]}}\n'
        text = _json(about).rstrip("}\n") + tail
        replace_file(self.folder(cell) / f"{name}.json", text)

    def evaluation(self, cell: TableCell, name: str) -> KeptEvaluation | None:
        """What was kept of it; None where nothing was."""
        path = self.folder(cell) / f"{name}.json"
        if not path.is_file():
            return None
        stored = json.loads(path.read_text("utf-8"))
        file = stored.pop("samples")
        plan = build_settings(EvaluationPlan, stored.pop("plan"))
        judged = [Judged(*one) for one in json.loads(stored.pop("judged", "[]"))]
        text = (self._condition(cell).parent / "samples" / file).read_text("utf-8")
        listed = csv.reader(io.StringIO(text))
        return KeptEvaluation(
            plan=plan,
            samples=[(sample, group) for sample, group in list(listed)[1:]],
            judged=judged,
            **stored,
        )


def recipe_changes(kept: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Keys whose values in a kept recipe are not today's; a key that is new since then is none."""
    known, found = dict(_flat(kept)), dict(_flat(now))
    return [
        key
        for key, value in known.items()
        if not any(key == free or key.startswith(f"{free}.") for free in _FREE)
        and found.get(key) != value
    ]


def _flat(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, Mapping) or not tree:
        yield path, tree
        return
    for key, value in tree.items():
        yield from _flat(value, f"{path}.{key}" if path else str(key))


def _cluster(sample: tuple[str, str], scores: Sequence[Score]) -> Cluster:
    values = [one for one in scores if not isinstance(one, str)]
    return Cluster(
        sample_id=sample[0],
        group=sample[1],
        total=float(sum(sorted(values))),
        n_scored=len(values),
        n_expected=len(scores),
    )


def _table_text(steps: Sequence[Mapping[str, float]]) -> str:
    names = sorted(
        {name for step in steps for name in step}, key=lambda name: (name != "step", name)
    )
    lines = [",".join(names)]
    for step in steps:
        lines.append(",".join(_digits(step[name]) if name in step else "" for name in names))
    return "\n".join(lines) + "\n"


def _rows(text: str) -> Iterator[dict[str, float]]:
    for row in csv.DictReader(io.StringIO(text)):
        yield {name: float(value) for name, value in row.items() if value}


def _digits(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.{_DIGITS}g}"


def _one_line(judged: Sequence[Judged]) -> str:
    """As text in JSON, which would else have a line for each number."""
    rows = [[n, round(first, 3), round(last, 3), worse] for n, first, last, worse in judged]
    return json.dumps(rows, separators=(",", ":"))


def _short(score: Score) -> Score:
    if isinstance(score, str):
        return score
    return int(score) if score == int(score) else round(score, 6)


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"
