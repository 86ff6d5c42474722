"""DVReward as a benchmark: prompts with their questions, from a file or over synthetic scenes.

`dvreward:FILE` takes a question file (`alphabench dvreward decompose` writes one, and released ones
are read). A copy cached by content hash is scored, so that a run can be scored again after the file
was moved or changed. `dvreward:mini` asks about GenEval's mini prompts what a perfect
decomposer would. Its evaluators are `dvreward` and, as the baseline, `holistic`.

official: the release's rules; questions that its validator refused are asked, and an aspect without
questions counts as 1. strict: such questions are not asked, and such an aspect is left out. In
both, an image is scored only if its questions are answered; the release has 0 for a failed call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alphabench import statistics
from alphabench.benchmarks.reporting import ReportScope, build_report, scored_share
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.interfaces import Evaluator
from alphabench.questions import Judge
from alphabench.registry import BenchmarkEntry
from alphabench.statistics import Cluster
from alphabench.types import Card, Estimate, ProtocolName, Report, Sample, Verdict
from alphabench.upstream import UpstreamData
from alphagrpo.dvreward import prompt_sources
from alphagrpo.dvreward.evaluators import EVALUATORS, open_evaluator
from alphagrpo.dvreward.verification import REWARD

IMAGES_PER_PROMPT: Final = 1
VERSION: Final = "1"
DVREWARD: Final = BenchmarkEntry(
    factory="alphagrpo.dvreward.dvreward_benchmark:open_dvreward",
    listed=("dvreward", "dvreward:mini"),
    measures="Whether images match prompts of your own, and are well made. A judge answers yes/no "
    "questions about each image, which a language model wrote for its prompt.",
    prompts={"dvreward:mini": 60},
    judge_calls={"dvreward": "one for each question", "dvreward:mini": "250"},
)
"""The entry point of this benchmark."""
NO_DATA: Final = "none"
"""Digest of a list before a file is named."""


def open_dvreward(
    split: str = "",
    *,
    version: str | None = None,
    protocol: ProtocolName = "official",
    data: UpstreamData,
) -> DVReward:
    """Prompts with questions, under one protocol.

    Args:
        split: `mini`; a path of a question file; or the name of a cached copy.
        version: None takes the one there is.
        data: its folder holds the cached question files.

    Raises:
        AlphaBenchError: no such version or file, or a file that holds no questions.
    """
    if version not in (None, VERSION):
        raise unknown_name("version of dvreward", str(version), [VERSION])
    folder = _folder(data)
    if split not in ("", "mini") and not prompt_sources.is_saved(split, folder):
        split = prompt_sources.save_question_file(Path(split), folder)
    return DVReward(split=split, protocol=protocol, data=data)


@dataclass(frozen=True, slots=True, kw_only=True)
class DVReward:
    """One list of prompts with their questions, under one protocol."""

    split: str
    protocol: ProtocolName
    data: UpstreamData

    @property
    def card(self) -> Card:
        mini = self.split == "mini"
        return Card(
            name="dvreward",
            version=VERSION,
            split=self.split,
            protocol=self.protocol,
            title=_title(self.split),
            licence="Apache-2.0" if mini else "that of the question file",
            source="alphabench" if mini else "a file of the user",
            citation="arXiv:2605.12495",
            data_digest=self._source.digest if self.split else NO_DATA,
            images_per_sample=IMAGES_PER_PROMPT,
            evaluators=EVALUATORS,
        )

    def samples(self) -> Sequence[Sample]:
        """One for each line; its facts are the line without the prompt.

        Raises:
            AlphaBenchError: no question file was named.
        """
        if not self.split:
            raise AlphaBenchError(
                "dvreward needs prompts with their questions",
                hint="name a question file with --prompts FILE, or take dvreward:mini",
            )
        return [prompt_sources.to_sample(i, one) for i, one in enumerate(self._source.sets)]

    def questions(self, sample: Sample) -> Sequence[str]:  # noqa: ARG002  (the same for all)
        return (REWARD,)

    def evaluator(
        self, spec: str | None = None, *, judge: Judge | None = None, device: str = "cpu"
    ) -> Evaluator:
        """`dvreward?aggregate=mean&semantic_weight=0.8&answer=text`, or `holistic`.

        Options are the fields of `AggregationOptions` and `VerificationOptions`.
        """
        del device
        if judge is None:
            raise AlphaBenchError(
                "dvreward is scored by a judge, and none was named",
                hint="--judge http://host:8000/v1#model",
            )
        return open_evaluator(spec or EVALUATORS[0], judge, protocol=self.protocol)

    def summarise(
        self,
        samples: Sequence[Sample],
        verdicts: Sequence[Verdict],
        *,
        evaluator: str,
        all_samples: Sequence[Sample],
    ) -> Report:
        """Headline = the mean over all scored images.

        Extras are the means of the two aspects, and P(yes) by tag over all answered questions.
        """
        images = statistics.gather(samples, verdicts, n_expected=IMAGES_PER_PROMPT)
        statuses = statistics.count_statuses(samples, verdicts, n_expected=IMAGES_PER_PROMPT)
        n_expected = sum(cluster.n_expected for cluster in images)
        formula = statistics.pooled(images)
        scope = ReportScope(
            benchmark="dvreward",
            split=self.split,
            protocol=self.protocol,
            evaluator=evaluator,
            statuses=statuses,
            has_all_samples=len(samples) >= len(all_samples),
        )
        return build_report(
            scope,
            statistics.estimate(images, formula),
            statistics.group_estimates(images),
            coverage=scored_share(statuses.get("scored", 0), n_expected),
            bounds=_bounds(images),
            extras=_by_question(samples, verdicts) if evaluator == "dvreward" else {},
        )

    @property
    def _source(self) -> prompt_sources.QuestionList:
        if self.split == "mini":
            return prompt_sources.mini(self.data)
        return prompt_sources.load_saved(self.split, _folder(self.data))


def _folder(data: UpstreamData) -> Path:
    """The folder of cached question files."""
    return data.cache_dir / "dvreward"


def _title(split: str) -> str:
    if split == "mini":
        return "DVReward over GenEval's mini prompts, with known questions"
    return f"DVReward over {split}" if split else "DVReward over prompts of your own"


def _bounds(images: Sequence[Cluster]) -> tuple[float, float] | None:
    """The headline had every unscored image been 0, and 1."""
    n_expected = sum(cluster.n_expected for cluster in images)
    if not n_expected:
        return None
    total = sum(cluster.total for cluster in images)
    n_scored = sum(cluster.n_scored for cluster in images)
    return total / n_expected, (total + n_expected - n_scored) / n_expected


def _by_question(samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> dict[str, Estimate]:
    """Means of P(yes) by aspect and by tag; an unanswered question is left out and counted."""
    known = {sample.id: sample for sample in samples}
    values: dict[str, dict[str, list[float | None]]] = {}
    for verdict in verdicts:
        sample = known.get(statistics.sample_of(verdict))
        if sample is None:
            continue
        for entry in verdict.detail.get("questions") or _unanswered(sample):
            names = [f"aspect {entry['aspect']}"]
            if entry["tag"] is not None:
                names.append(f"tag {entry['tag']}")
            for name in names:
                values.setdefault(name, {}).setdefault(sample.id, []).append(entry["p_yes"])
    groups = {sample.id: sample.group for sample in samples}
    return {name: _estimate(of, groups) for name, of in sorted(values.items())}


def _unanswered(sample: Sample) -> list[dict[str, Any]]:
    """What the log of an image would say of which there is none."""
    questions = prompt_sources.questions_of(sample).questions
    return [{"aspect": one.aspect, "tag": one.tag, "p_yes": None} for one in questions]


def _estimate(values: Mapping[str, Sequence[float | None]], groups: Mapping[str, str]) -> Estimate:
    clusters = [
        Cluster(
            sample_id=sample,
            group=groups[sample],
            total=math.fsum(p for p in of if p is not None),
            n_scored=sum(p is not None for p in of),
            n_expected=len(of),
        )
        for sample, of in values.items()
    ]
    return statistics.estimate(clusters, statistics.pooled(clusters))
