"""DPG-Bench: 1,065 dense prompts, each with a graph of yes/no questions (Hu et al., 2024).

Splits: the official prompts, and `mini` (authored here over the project's synthetic scenes; needs
no download). Four images a prompt. `scoring` decides which answers count; `official_files` and
`official_results` hold the published formats; this module knows prompts, questions and the report.

Metrics are 0 to 1; upstream and the literature print them times 100. Upstream's own answers come
from mPLUG, here the evaluator `mplug`: scores by any other judge are another measurement.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from alphabench import statistics
from alphabench.benchmarks.dpg.official_files import CELLS, TABLE_FILE, family_of, read_table
from alphabench.benchmarks.dpg.questions import DpgJudgeOptions, open_dpg_judge, open_dpg_mplug
from alphabench.benchmarks.dpg.scoring import (
    JudgedItem,
    Proposition,
    category_estimates,
    count_answers,
    dpg_bounds,
    dpg_headline,
    item_clusters,
    propositions_of,
)
from alphabench.benchmarks.mini_split import (
    MINI_VERSION,
    mini_bytes,
    mini_source,
    pinned_source,
)
from alphabench.benchmarks.reporting import ReportScope, build_report, scored_share
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.options import fill, split_spec
from alphabench.interfaces import Evaluator
from alphabench.questions import Judge
from alphabench.statistics import Cluster, Formula
from alphabench.types import Card, ProtocolName, Report, Sample, Verdict, image_id
from alphabench.upstream import UpstreamData, pin_of

PROMPTS_PIN: Final = "dpg"
QUESTIONS_PIN: Final = "dpg-judge"
TABLE_PATH: Final = f"dpg_bench/{TABLE_FILE}"
JUDGE: Final = "judge"
MPLUG: Final = "mplug"


def open_dpg(
    split: str = "",
    *,
    version: str | None = None,
    protocol: ProtocolName = "official",
    data: UpstreamData,
) -> Dpg:
    """DPG-Bench's prompts and rules; opening it reads no file.

    Args:
        split: empty for the official prompts, or `mini`.
        version: None takes the one there is.
        protocol: see `scoring.propositions_that_count` and `scoring.category_estimates`.
        data: where the official files lie.

    Raises:
        AlphaBenchError: no such split or version.
    """
    if split not in ("", "mini"):
        raise unknown_name("split of dpg", split, ["mini"])
    known = _version(split)
    if version not in (None, known):
        raise unknown_name(f"version of dpg:{split}".rstrip(":"), str(version), [known])
    return Dpg(split=split, protocol=protocol, data=data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dpg:
    """One split of DPG-Bench under one protocol."""

    split: str
    protocol: ProtocolName
    data: UpstreamData
    table: bytes | None = None
    """Questions to ask instead of upstream's, in the form of its table."""

    @property
    def card(self) -> Card:
        mini = self.split == "mini"
        pin = pin_of(PROMPTS_PIN)
        origin = mini_source("dpg") if mini else pinned_source(pin, digest=self._digest())
        return Card(
            name="dpg",
            version=_version(self.split),
            split=self.split,
            protocol=self.protocol,
            title="DPG-Bench's graphs of questions over AlphaBench's synthetic scenes"
            if mini
            else "DPG-Bench",
            licence=origin.licence,
            source=origin.source,
            citation="arXiv:2403.05135",
            data_digest=origin.digest,
            images_per_sample=CELLS,
            evaluators=(JUDGE, MPLUG),
        )

    def samples(self) -> Sequence[Sample]:
        """The items in the order of the table; ids are upstream's file names.

        Raises:
            AlphaBenchError: the official data is not fetched, was changed, or does not fit
                together.
        """
        if self.split == "mini":
            return list(_mini_samples())
        table = read_table(question_table(self.data) if self.table is None else self.table)
        return [self._sample(item, of) for item, of in table.items()]

    def questions(self, sample: Sample) -> Sequence[str]:
        """The ids of upstream's propositions, in the order of the table."""
        return [one["id"] for one in sample.facts["propositions"]]

    def evaluator(
        self, spec: str | None = None, *, judge: Judge | None = None, device: str = "cpu"
    ) -> Evaluator:
        """A judge with DPG's questions, or upstream's own model, which needs none.

        `judge?wording=official`: see `DpgJudgeOptions`. `mplug?weights=FOLDER`: see `MplugOptions`.

        Raises:
            AlphaBenchError: no judge, no weights, or an unknown name or option.
        """
        name, values = split_spec(spec or JUDGE)
        if name == JUDGE:
            return open_dpg_judge(judge, fill(DpgJudgeOptions, values, owner=name))
        if name != MPLUG:
            raise unknown_name("evaluator of dpg", name, [JUDGE, MPLUG])
        if judge is not None:
            raise AlphaBenchError("mplug answers by itself", hint="leave out --judge")
        from alphabench.evaluators.mplug.evaluator import open_mplug

        return open_dpg_mplug(open_mplug(values, device=device, cache_dir=self.data.cache_dir))

    def clusters(self, samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[Cluster]:
        """The score of each item that the protocol keeps."""
        return item_clusters(judged_items(samples, verdicts), self.protocol)

    def formula(self) -> Formula:
        """The mean over items."""
        return statistics.mean_of_groups

    def summarise(
        self,
        samples: Sequence[Sample],
        verdicts: Sequence[Verdict],
        *,
        evaluator: str,
        all_samples: Sequence[Sample],
    ) -> Report:
        """Headline: the mean over item scores. Groups: L1 categories. Extras: see `dpg_report`."""
        statuses = statistics.count_statuses(
            samples, verdicts, n_expected=lambda one: CELLS * len(self.questions(one))
        )
        scope = ReportScope(
            benchmark="dpg",
            split=self.split,
            protocol=self.protocol,
            evaluator=evaluator,
            statuses=statuses,
            has_all_samples=len(samples) >= len(all_samples),
        )
        return dpg_report(judged_items(samples, verdicts), scope)

    def _sample(self, item: str, propositions: Sequence[Proposition]) -> Sample:
        path = f"dpg_bench/prompts/{item}.txt"
        if path not in {file.path for file in pin_of(PROMPTS_PIN).files}:
            raise AlphaBenchError(
                f"the table asks about {item!r}, for which there is no prompt",
                hint="restore the table from its source",
            )
        prompt = self.data.read(PROMPTS_PIN, path).decode("utf-8").strip()
        return _sample(item, prompt, propositions)

    def _digest(self) -> str:
        """sha256 over the digests of prompts and table."""
        files = pin_of(PROMPTS_PIN).files
        table = (
            pin_of(QUESTIONS_PIN).file(TABLE_PATH).digest
            if self.table is None
            else hashlib.sha256(self.table).hexdigest()
        )
        lines = [f"{file.path} {file.digest}" for file in files]
        return hashlib.sha256("\n".join([*sorted(lines), table]).encode()).hexdigest()


def judged_items(samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[JudgedItem]:
    """The answers by item and image; an image without verdicts has no answer."""
    answers: dict[str, dict[str, float | None]] = {}
    for verdict in verdicts:
        answers.setdefault(verdict.image_id, {})[verdict.question_id] = verdict.value
    return [
        JudgedItem(
            id=sample.id,
            propositions=propositions_of(sample.facts),
            images=tuple(answers.get(image_id(sample.id, index), {}) for index in range(CELLS)),
        )
        for sample in samples
    ]


def dpg_report(items: Sequence[JudgedItem], scope: ReportScope) -> Report:
    """The report over judged items.

    Groups: L1 categories. Extras: the headline and the L1 categories under the other protocol, and
    L2 categories under this one. Under official, upstream's first item counts in no metric.
    """
    protocol = scope.protocol
    other: ProtocolName = "strict" if protocol == "official" else "official"
    beside = {
        f"{name}, {other}": metric
        for name, metric in category_estimates(items, other, broad=True).items()
    }
    narrow = category_estimates(items, protocol, broad=False)
    return build_report(
        scope,
        dpg_headline(items, protocol),
        category_estimates(items, protocol, broad=True),
        coverage=scored_share(*count_answers(items, protocol)),
        bounds=dpg_bounds(items, protocol),
        extras={
            f"score, {other}": dpg_headline(items, other),
            **beside,
            **{f"L2 {name}": metric for name, metric in narrow.items()},
        },
    )


def question_table(data: UpstreamData) -> bytes:
    """Upstream's table of questions.

    Raises:
        AlphaBenchError: it is not fetched, or was changed.
    """
    return data.read(QUESTIONS_PIN, TABLE_PATH)


def _sample(item: str, prompt: str, propositions: Sequence[Proposition], **others: Any) -> Sample:
    facts = [
        {
            "id": one.id,
            "parents": list(one.parents),
            "category": one.category,
            "question": one.question,
            "row": one.row,
        }
        for one in propositions
    ]
    return Sample(
        id=item,
        prompt=prompt,
        group=family_of(item),
        facts={"propositions": facts, **others},
    )


def _mini_samples() -> Iterator[Sample]:
    """One item a line: upstream's columns, the scene for `scene:`, and the true answers."""
    row = 0
    for line in mini_bytes("dpg").decode("utf-8").splitlines():
        item = json.loads(line)
        propositions = []
        for one in item["questions"]:
            propositions.append(
                Proposition(
                    id=str(one["proposition_id"]),
                    parents=tuple(p.strip() for p in one["dependency"].split(",") if p != "0"),
                    category=one["tuple"].partition("(")[0].strip(),
                    question=one["question_natural_language"],
                    row=row,
                )
            )
            row += 1
        yield _sample(
            item["item_id"],
            item["text"],
            propositions,
            include=item["include"],
            exclude=item["exclude"],
            check=[one["check"] for one in item["questions"]],
        )


def _version(split: str) -> str:
    """The upstream commit, or a number of our own; other data is another version."""
    return MINI_VERSION if split == "mini" else pin_of(PROMPTS_PIN).commit[:7]
