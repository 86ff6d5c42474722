"""TIIF-Bench: 39 attributes in nine groups, each item in short and in long (Wei et al., 2025).

Splits: `testmini` (277 items, the leaderboard's; the default), `test` (2,538 items) and `mini`
(authored here over the project's synthetic scenes; needs no download). A short and a long prompt
are two samples. `testmini-text` and `test-text` are the text items by OCR, see `ocr_split`. Metrics
are in `scoring`, questions in `questions`, published file formats in `official_files`.

Upstream prints an overall metric for short and one for long prompts, and none for both. The
headline is their mean, which rests on every image; the two stand first among the groups.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from alphabench import statistics
from alphabench.benchmarks.mini_split import (
    MINI_VERSION,
    mini_bytes,
    mini_source,
    pinned_source,
)
from alphabench.benchmarks.reporting import ReportScope, build_report, coverage_of
from alphabench.benchmarks.tiif.ocr_split import TiifText
from alphabench.benchmarks.tiif.questions import TiifJudgeOptions, open_tiif_judge
from alphabench.benchmarks.tiif.scoring import (
    ATTRIBUTES,
    GROUPS,
    LENGTHS,
    headline_formula,
    stratum,
    tiif_metrics,
)
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.options import fill, split_spec
from alphabench.interfaces import Benchmark, Evaluator
from alphabench.questions import Judge
from alphabench.statistics import Cluster, Formula
from alphabench.types import Card, ProtocolName, Report, Sample, Verdict
from alphabench.upstream import UpstreamData, pin_of

PIN: Final = "tiif"
MINI_DATA: Final = "tiif.jsonl"
SPLITS: Final = ("testmini", "test", "mini")
TEXT: Final = "-text"
"""After a split's name: its text items, for OCR."""
JUDGE: Final = "judge"
CITATION: Final = "arXiv:2506.02161"
_TITLES: Final[Mapping[str, str]] = {
    "testmini": "TIIF-Bench, testmini",
    "test": "TIIF-Bench, test",
    "mini": "TIIF-Bench's nine groups over AlphaBench's synthetic scenes",
}
_HINT: Final = "restore the file from its source"


def open_tiif(
    split: str = "",
    *,
    version: str | None = None,
    protocol: ProtocolName = "official",
    data: UpstreamData,
) -> Benchmark:
    """TIIF-Bench's prompts and rules; opening it reads no file.

    Args:
        split: empty means `testmini`.
        version: None takes the one there is.
        protocol: see `scoring.tiif_metrics`.
        data: where the official files lie.

    Raises:
        AlphaBenchError: no such split or version.
    """
    split = split or "testmini"
    texts = [f"{name}{TEXT}" for name in SPLITS if name != "mini"]
    if split not in (*SPLITS, *texts):
        raise unknown_name("split of tiif", split, [*SPLITS, *texts])
    known = tiif_version(split)
    if version not in (None, known):
        raise unknown_name(f"version of tiif:{split}", str(version), [known])
    prompts = Tiif(split=split.removesuffix(TEXT), protocol=protocol, data=data)
    if split not in texts:
        return prompts
    return TiifText(prompts=prompts)


def tiif_version(split: str) -> str:
    """The upstream commit, or a number of our own; other data is another version."""
    return MINI_VERSION if split == "mini" else pin_of(PIN).commit[:7]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiif:
    """One split of TIIF-Bench under one protocol."""

    split: str
    protocol: ProtocolName
    data: UpstreamData

    @property
    def card(self) -> Card:
        if self.split == "mini":
            origin = mini_source("tiif")
        else:
            origin = pinned_source(pin_of(PIN), digest=_digest(self.split))
        return Card(
            name="tiif",
            version=tiif_version(self.split),
            split=self.split,
            protocol=self.protocol,
            title=_TITLES[self.split],
            licence=origin.licence,
            source=origin.source,
            citation=CITATION,
            data_digest=origin.digest,
            images_per_sample=1,
            evaluators=(JUDGE,),
        )

    def samples(self) -> Sequence[Sample]:
        """Attribute by attribute, each item short and then long: `style-0-short`, `style-0-long`.

        Raises:
            AlphaBenchError: the official data is not fetched, or was changed.
        """
        items = self._mini_items() if self.split == "mini" else self._official_items()
        return [sample for item in items for sample in _samples_of(item)]

    def questions(self, sample: Sample) -> Sequence[str]:
        """`0`, `1` ... in the order of upstream's list; one judge call may answer all of them."""
        return [str(i) for i in range(len(sample.facts["questions"]))]

    def evaluator(
        self, spec: str | None = None, *, judge: Judge | None = None, device: str = "cpu"
    ) -> Evaluator:
        """A judge with TIIF's questions: `judge?wording=own`; see `TiifJudgeOptions`."""
        del device
        name, options = split_spec(spec or JUDGE)
        if name != JUDGE:
            raise unknown_name("evaluator of tiif", name, [JUDGE])
        asking = fill(TiifJudgeOptions, options, owner=name)
        return open_tiif_judge(
            judge, asking, split=self.split, protocol=self.protocol, data=self.data
        )

    def clusters(self, samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[Cluster]:
        """Answers by sample; the strata are attributes by length."""
        return statistics.gather(samples, verdicts, n_expected=_n_questions)

    def formula(self) -> Formula:
        """The headline from the accuracies of the strata."""
        return headline_formula(self.protocol)

    def summarise(
        self,
        samples: Sequence[Sample],
        verdicts: Sequence[Verdict],
        *,
        evaluator: str,
        all_samples: Sequence[Sample],
    ) -> Report:
        """See `scoring.tiif_metrics` for what the protocols do.

        Unanswered questions are in no metric; coverage and bounds account for them.
        """
        scope = ReportScope(
            benchmark="tiif",
            split=self.split,
            protocol=self.protocol,
            evaluator=evaluator,
            statuses=statistics.count_statuses(samples, verdicts, n_expected=_n_questions),
            has_all_samples=len(samples) >= len(all_samples),
        )
        complete = [sample.group for sample in all_samples]
        return tiif_report(self.clusters(samples, verdicts), scope, complete=complete)

    def _official_items(self) -> Iterator[_Item]:
        for attribute in ATTRIBUTES:
            prompts, evals = (_path(self.split, attribute, kind) for kind in ("", "eval_"))
            asked, judged = self._lines(prompts), self._lines(evals)
            if len(asked) != len(judged):
                raise AlphaBenchError(
                    f"{prompts!r} has {len(asked)} items and {evals!r} {len(judged)}", hint=_HINT
                )
            for index, (prompt, questions) in enumerate(zip(asked, judged, strict=True)):
                fields = {**questions, **prompt}
                where = f"item {index} of {prompts!r}"
                yield _item(fields, index=index, attribute=attribute, where=where)

    def _mini_items(self) -> Iterator[_Item]:
        seen: dict[str, int] = {}
        for number, fields in enumerate(_objects(mini_bytes("tiif"), where=MINI_DATA)):
            attribute = str(fields.get("type"))
            index = seen[attribute] = seen.get(attribute, -1) + 1
            where = f"item {number} of {MINI_DATA!r}"
            yield _item(fields, index=index, attribute=attribute, where=where)

    def _lines(self, path: str) -> list[dict[str, Any]]:
        return _objects(self.data.read(PIN, path), where=path)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    attribute: str
    index: int
    fields: Mapping[str, Any]


def tiif_report(
    clusters: Sequence[Cluster],
    scope: ReportScope,
    *,
    complete: Sequence[str],
    alone: bool = True,
) -> Report:
    """The report over answers that are gathered by sample.

    Groups: the two overall metrics and the nine groups, each short and long. Extras: the levels,
    upstream's mean over all attributes, and the two overall metrics under the other protocol.
    """
    protocol = scope.protocol
    other: ProtocolName = "strict" if protocol == "official" else "official"
    found = tiif_metrics(clusters, protocol=protocol, complete=complete, alone=alone)
    headline = found.pop("headline")
    groups = {name: found.pop(name) for name in tiif_group_names()}
    elsewhere = tiif_metrics(clusters, protocol=other, complete=complete, alone=alone)
    beside = {f"overall {length}, {other}": elsewhere[f"overall {length}"] for length in LENGTHS}
    needed = set(complete) if protocol == "strict" else set()
    return build_report(
        scope,
        headline,
        groups,
        coverage=coverage_of(clusters),
        bounds=statistics.bounds(clusters, headline_formula(protocol), needed=needed),
        extras={**found, **beside},
        withheld=statistics.unscored_groups(clusters, needed, kind="attributes by length"),
    )


def tiif_group_names() -> list[str]:
    """Names of a report's groups, in order."""
    return [f"{name} {length}" for name in ("overall", *GROUPS) for length in LENGTHS]


def _samples_of(item: _Item) -> Iterator[Sample]:
    fields = item.fields
    for length in LENGTHS:
        facts = {
            "type": item.attribute,
            "length": length,
            "index": item.index,
            "questions": fields["yn_question_list"],
            "answers": fields["yn_answer_list"],
            **{key: fields[key] for key in ("include", "exclude", "check") if key in fields},
        }
        yield Sample(
            id=f"{item.attribute}-{item.index}-{length}",
            prompt=fields[f"{length}_description"],
            group=stratum(item.attribute, length),
            facts=facts,
        )


def _item(fields: Mapping[str, Any], *, index: int, attribute: str, where: str) -> _Item:
    if fields.get("type") != attribute or attribute not in ATTRIBUTES:
        raise AlphaBenchError(f"{where} is of type {fields.get('type')!r}", hint=_HINT)
    for length in LENGTHS:
        if not isinstance(fields.get(f"{length}_description"), str):
            raise AlphaBenchError(f"{where} has no {length} description", hint=_HINT)
    questions, answers = (_texts(fields.get(f"yn_{one}_list")) for one in ("question", "answer"))
    if not questions or len(questions) != len(answers):
        raise AlphaBenchError(f"{where} has not one answer to each question", hint=_HINT)
    return _Item(attribute=attribute, index=index, fields=fields)


def _texts(value: Any) -> list[str]:
    """The value if it is a list of texts, else an empty one."""
    return value if isinstance(value, list) and all(isinstance(v, str) for v in value) else []


def _objects(content: bytes, *, where: str) -> list[dict[str, Any]]:
    found = []
    for number, line in enumerate(content.decode("utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            raise AlphaBenchError(
                f"line {number} of {where!r} is not JSON ({error.msg})", hint=_HINT
            ) from error
        if not isinstance(fields, dict):
            raise AlphaBenchError(f"line {number} of {where!r} is not a JSON object", hint=_HINT)
        found.append(fields)
    return found


def _n_questions(sample: Sample) -> int:
    return len(sample.facts["questions"])


def _path(split: str, attribute: str, kind: str) -> str:
    return f"data/{split}_{kind}prompts/{attribute}_{kind}prompts.jsonl"


def _digest(split: str) -> str:
    """sha256 over the digests of the split's files, in order of their paths."""
    pin = pin_of(PIN)
    paths = sorted(
        _path(split, attribute, kind) for attribute in ATTRIBUTES for kind in ("", "eval_")
    )
    files = {file.path: file.digest for file in pin.files}
    return hashlib.sha256("\n".join(files[path] for path in paths).encode()).hexdigest()
