"""GEdit-Bench: real users' editing instructions in eleven groups, judged by VIEScore (Liu, 2025).

Splits: `en` and `cn` are the official rows in one language each; `mini` is authored here over the
project's synthetic scenes, in both languages and nine of the eleven groups (the scenes have neither
people nor text). Questions to the judge are in `viescore`, averages in `scoring`, the official data
in `dataset`, upstream's result files in `official_files`.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alphabench import statistics
from alphabench.benchmarks.edit_sources import mini_edit_source, rendered_source
from alphabench.benchmarks.gedit import dataset
from alphabench.benchmarks.gedit.scoring import (
    GROUPS,
    SCORES,
    SETTINGS,
    macro_average,
    score_clusters,
)
from alphabench.benchmarks.gedit.viescore import (
    JUDGE_SOURCE,
    QUESTION,
    VieOptions,
    open_viescore,
)
from alphabench.benchmarks.mini_split import (
    MINI_VERSION,
    DataSource,
    mini_bytes,
)
from alphabench.benchmarks.reporting import ReportScope, build_report, scored_share
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.options import fill, split_spec
from alphabench.interfaces import Evaluator
from alphabench.questions import Judge
from alphabench.statistics import Bootstrap, Cluster, Formula, mean_of_groups
from alphabench.types import Card, Estimate, ProtocolName, Report, Sample, Verdict
from alphabench.upstream import UpstreamData

SPLITS: Final[Mapping[str, str]] = {
    "en": "GEdit-Bench, English instructions",
    "cn": "GEdit-Bench, Chinese instructions",
    "mini": "GEdit-Bench's groups over AlphaBench's synthetic scenes",
}
ROWS: Final = dict.fromkeys(dataset.LANGUAGES, dataset.N_ROWS // 2)
"""Of the official data, by language."""
EVALUATOR: Final = "judge"


def open_gedit(
    split: str = "",
    *,
    version: str | None = None,
    protocol: ProtocolName = "official",
    data: UpstreamData,
) -> GEdit:
    """GEdit-Bench's instructions and rules; opening it reads no file.

    Args:
        split: `en` (also when empty), `cn` or `mini`.
        version: None takes the one there is.
        protocol: how replies are sampled and parsed; see `viescore.open_viescore`.
        data: where the official files lie.

    Raises:
        AlphaBenchError: no such split or version.
    """
    split = split or "en"
    if split not in SPLITS:
        raise unknown_name("split of gedit", split, list(SPLITS))
    known = gedit_version(split)
    if version not in (None, known):
        raise unknown_name(f"version of gedit:{split}", str(version), [known])
    return GEdit(split=split, protocol=protocol, data=data)


def gedit_version(split: str) -> str:
    """The data set's revision, or a number of our own."""
    return MINI_VERSION if split == "mini" else dataset.REVISION[:7]


@dataclass(frozen=True, slots=True, kw_only=True)
class GEdit:
    """One split of GEdit-Bench under one protocol."""

    split: str
    protocol: ProtocolName
    data: UpstreamData

    @property
    def card(self) -> Card:
        origin = mini_edit_source("gedit") if self.split == "mini" else self._official_source()
        return Card(
            name="gedit",
            version=gedit_version(self.split),
            split=self.split,
            protocol=self.protocol,
            title=SPLITS[self.split],
            licence=origin.licence,
            source=origin.source,
            citation="arXiv:2504.17761",
            data_digest=origin.digest,
            images_per_sample=1,
            evaluators=(EVALUATOR,),
        )

    def samples(self) -> Sequence[Sample]:
        """The rows of the split; a sample's id is language, group and upstream's key.

        Source images of `mini` are rendered into the cache folder.

        Raises:
            AlphaBenchError: the official data is not fetched, was changed, or cannot be written.
        """
        if self.split == "mini":
            return _unique([self._mini_sample(row) for row in _mini_rows()])
        rows = dataset.read_gedit_rows(self.data.cache_dir)
        return _unique([_sample(row) for row in rows if row["instruction_language"] == self.split])

    def questions(self, sample: Sample) -> Sequence[str]:  # noqa: ARG002  (the same for all)
        return (QUESTION,)

    def evaluator(
        self,
        spec: str | None = None,
        *,
        judge: Judge | None = None,
        device: str = "cpu",  # noqa: ARG002  (the judge has its own)
    ) -> Evaluator:
        """The judge with VIEScore's questions: `judge`, `judge?wording=own`; see `VieOptions`."""
        name, values = split_spec(spec or EVALUATOR)
        if name != EVALUATOR:
            raise unknown_name("evaluator of gedit", name, [EVALUATOR])
        return open_viescore(
            judge,
            fill(VieOptions, values, owner=name),
            mini=self.split == "mini",
            protocol=self.protocol,
            data=self.data,
        )

    @property
    def language(self) -> str:
        """Of the instructions that the headline and the groups rest on."""
        return "en" if self.split == "mini" else self.split

    def clusters(self, samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[Cluster]:
        """Overall scores by sample, of the headline's language alone."""
        own = [s for s in samples if s.facts["instruction_language"] == self.language]
        return statistics.gather(own, verdicts, n_expected=1)

    def formula(self) -> Formula:
        """The headline from the means of the groups."""
        return mean_of_groups

    def settings(self) -> Bootstrap:
        """Scores are 0 to 10."""
        return SETTINGS

    def summarise(
        self,
        samples: Sequence[Sample],
        verdicts: Sequence[Verdict],
        *,
        evaluator: str,
        all_samples: Sequence[Sample],
    ) -> Report:
        """Group score = mean of sqrt(SC * PQ) over its images; headline = plain mean of the groups.

        Under both protocols the headline is None while a group of the split has no scored image,
        where upstream's script prints nan. Unscored images are in no mean; coverage and bounds
        account for them. Two languages are never in one metric: of `mini`, headline and groups are
        the English half, and the Chinese one has metrics of its own among the extras. Coverage is
        of both. Extras: G_SC and G_PQ, and all three over the intersection set.
        """
        images = self.clusters(samples, verdicts)
        groups = tuple(dict.fromkeys(s.group for s in all_samples))
        statuses = statistics.count_statuses(samples, verdicts, n_expected=1)
        n_scored, n_expected = statuses.get("scored", 0), sum(statuses.values())
        overall, withheld = macro_average(images, groups)
        if overall.value is None and not withheld and n_scored:
            language = {"en": "English", "cn": "Chinese"}[self.language]
            withheld = f"no sample with {language} instructions was scored"
        scope = ReportScope(
            benchmark="gedit",
            split=self.split,
            protocol=self.protocol,
            evaluator=evaluator,
            statuses=statuses,
            has_all_samples=len(samples) >= max(len(all_samples), ROWS.get(self.split, 0)),
        )
        return build_report(
            scope,
            dataclasses.replace(overall, n_scored=n_scored, n_expected=n_expected),
            statistics.group_estimates(images, SETTINGS),
            coverage=scored_share(n_scored, n_expected),
            bounds=statistics.bounds(images, mean_of_groups, SETTINGS.value_range, needed=groups),
            extras=self._extras(samples, verdicts, groups),
            withheld=withheld,
            notes=self._notes(len(all_samples)),
        )

    def _extras(
        self, samples: Sequence[Sample], verdicts: Sequence[Verdict], groups: Sequence[str]
    ) -> dict[str, Estimate]:
        found: dict[str, Estimate] = {}
        for language in dict.fromkeys(s.facts["instruction_language"] for s in samples):
            whole = [s for s in samples if s.facts["instruction_language"] == language]
            shared = [sample for sample in whole if sample.facts["Intersection_exist"]]
            own = "" if language == self.language else f", {language}"
            metrics = {
                f"{name}{of}{own}": macro_average(score_clusters(which, verdicts, name), groups)[0]
                for which, of in ((whole, ""), (shared, ", intersection"))
                for name in SCORES
                if of or own or name != QUESTION
            }
            if own:
                clusters = score_clusters(whole, verdicts, QUESTION)
                by_group = statistics.group_estimates(clusters, SETTINGS)
                metrics |= {f"{group}{own}": metric for group, metric in by_group.items()}
            found |= metrics
        return found

    def _notes(self, n_rows: int) -> tuple[str, ...]:
        if self.split == "mini":
            return ("headline and groups are of the English instructions; the Chinese are apart",)
        if n_rows < ROWS[self.split]:
            return (f"the data here has {n_rows} of the {ROWS[self.split]} rows in its language",)
        return ()

    def _official_source(self) -> DataSource:
        """Of the data in the cache; where none is, of the revision that would be fetched."""
        origin = dataset.gedit_origin(self.data.cache_dir)
        revision = f"{dataset.REPOSITORY}@{dataset.REVISION}"
        return DataSource(
            licence=dataset.LICENCE,
            source=origin.source if origin else revision,
            version=dataset.REVISION[:7],
            digest=origin.digest if origin else revision,
        )

    def _mini_sample(self, row: Mapping[str, Any]) -> Sample:
        folder = (
            self.data.cache_dir / "drawn" / f"gedit-mini-{mini_edit_source('gedit').digest[:12]}"
        )
        images = dict.fromkeys(dataset.IMAGE_COLUMNS, str(rendered_source(row, folder)))
        return _sample({**row, **images})


def _sample(row: Mapping[str, Any]) -> Sample:
    if row["task_type"] not in GROUPS:
        raise AlphaBenchError(
            f"{row['task_type']!r} is no group of GEdit-Bench", hint="fetch its data again"
        )
    shown, given = (row[name] for name in dataset.IMAGE_COLUMNS)
    facts = {key: value for key, value in row.items() if key not in dataset.IMAGE_COLUMNS}
    name = f"{row['instruction_language']}-{row['task_type']}-{row['key']}"
    return Sample(
        id=re.sub(r"[^A-Za-z0-9._+-]", "_", name)[:110],
        prompt=row["instruction"],
        group=row["task_type"],
        facts={**facts, JUDGE_SOURCE: shown},
        source_image=Path(given),
    )


def _unique(samples: Iterable[Sample]) -> list[Sample]:
    """Rows that share language, group and key are told apart by their number."""
    seen: dict[str, int] = {}
    found = []
    for sample in samples:
        number = seen[sample.id] = seen.get(sample.id, 0) + 1
        name = sample.id if number == 1 else f"{sample.id}-{number}"
        found.append(dataclasses.replace(sample, id=name))
    return found


def _mini_rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in mini_bytes("gedit").decode("utf-8").splitlines()]
