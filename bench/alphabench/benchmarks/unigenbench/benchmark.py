"""UniGenBench++: 600 prompts in two languages and two lengths, by test points (Wang et al., 2025).

Four images a prompt. The split `mini` is authored here over the project's synthetic scenes, with
six of the ten dimensions: the scenes have no style, no knowledge of the world, no acts, no writing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from alphabench import statistics
from alphabench.benchmarks import mini_split
from alphabench.benchmarks.judged import judge_options, rows_of_lines, with_known_names
from alphabench.benchmarks.reporting import run_scope
from alphabench.benchmarks.unigenbench import questions, scoring
from alphabench.benchmarks.unigenbench.questions import Language
from alphabench.benchmarks.unigenbench.scoring import IMAGES, JudgedImage
from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, parse_json
from alphabench.interfaces import Evaluator
from alphabench.questions import Judge
from alphabench.statistics import Cluster, Formula
from alphabench.types import Card, ProtocolName, Report, Sample, Verdict, image_id
from alphabench.upstream import UpstreamData, pin_of
from alphabench.upstream.csv_tables import read_csv_rows

PIN: Final = "unigenbench"
SPLITS: Final[Mapping[str, str]] = {
    "en": "UniGenBench++, short English prompts",
    "zh": "UniGenBench++, short Chinese prompts",
    "en-long": "UniGenBench++, long English prompts",
    "zh-long": "UniGenBench++, long Chinese prompts",
    "mini": "UniGenBench++'s dimensions over AlphaBench's synthetic scenes",
}
ROWS: Final = 600
BROKEN_ROWS: Final[Mapping[str, tuple[int, ...]]] = {"en-long": (509,)}
"""Rows whose test points are no JSON at the pinned commit, by split; upstream's script stops there.
They are left out under both protocols, and every report names them."""
_KEYS: Final = {
    "en": ("Testpoints", "Testpoint Description", "Primary Categories"),
    "zh": ("\u8003\u70b9", "\u8003\u70b9\u5bf9\u5e94\u63cf\u8ff0", "\u4e00\u7ea7\u5782\u7c7b"),
}
"""Of a row's JSON: the test points, what each means in the prompt, and the theme (LANG_CONFIGS)."""


def open_unigenbench(
    split: str = "",
    *,
    version: str | None = None,
    protocol: ProtocolName = "official",
    data: UpstreamData,
) -> UniGenBench:
    """UniGenBench++'s prompts and rules, as `open_benchmark` says; opening it reads no file.

    The split is `en` where none is named.
    """
    opened = UniGenBench(split=split or "en", protocol=protocol, data=data)
    return with_known_names(opened, splits=list(SPLITS), version=version)


@dataclass(frozen=True, slots=True, kw_only=True)
class UniGenBench:
    """One split of UniGenBench++ under one protocol."""

    split: str
    protocol: ProtocolName
    data: UpstreamData

    @property
    def card(self) -> Card:
        mini, pin = self.split == "mini", pin_of(PIN)
        digests = {file.path: file.digest for file in pin.files}
        digest = hashlib.sha256(digests.get(self._path, "").encode()).hexdigest()
        origin = mini_split.pinned_source(pin, digest=digest)
        if mini:
            origin = mini_split.mini_source("unigenbench")
        return Card(
            name="unigenbench",
            version=mini_split.MINI_VERSION if mini else pin.commit[:7],
            split=self.split,
            protocol=self.protocol,
            title=SPLITS.get(self.split, "UniGenBench++"),
            licence=origin.licence,
            source=origin.source,
            citation="arXiv:2510.18701",
            data_digest=origin.digest,
            images_per_sample=IMAGES,
            evaluators=("judge",),
        )

    def samples(self) -> Sequence[Sample]:
        """The prompts in file order; ids are upstream's indices."""
        if self.split == "mini":
            content = mini_split.mini_bytes("unigenbench")
            rows = rows_of_lines(content, _is_row, where="unigenbench.jsonl")
            return [_sample(str(index), row) for index, row in enumerate(rows)]
        return list(self._official())

    def questions(self, sample: Sample) -> Sequence[str]:
        """The positions of the test points: `0`, `1` ..."""
        return [str(index) for index in range(len(sample.facts["points"]))]

    def evaluator(
        self,
        spec: str | None = None,
        *,
        judge: Judge | None = None,
        device: str = "cpu",  # noqa: ARG002  (the judge has its own)
    ) -> Evaluator:
        """The judge with one call for each image: `judge`, `judge?backend=gemini`."""
        options = judge_options(spec, questions.UniGenBenchOptions, benchmark="unigenbench")
        mini = self.split == "mini"
        is_own = options.wording == "own" or (options.wording == "auto" and mini)
        texts = None if is_own else questions.official_texts(self.data, self._language)
        return questions.open_unigenbench_judge(
            judge, options, texts, self.protocol, one_by_one=mini
        )

    def clusters(self, samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[Cluster]:
        """The test points of each prompt's images, by dimension."""
        return scoring.point_clusters(judged_images(samples, verdicts))

    def formula(self) -> Formula:
        """The mean of the dimensions."""
        return statistics.mean_of_groups

    def summarise(
        self,
        samples: Sequence[Sample],
        verdicts: Sequence[Verdict],
        *,
        evaluator: str,
        all_samples: Sequence[Sample],
    ) -> Report:
        """See `unigenbench_report`; the protocols differ in how replies are asked for and read."""
        scope = run_scope(self, samples, verdicts, evaluator=evaluator, all_samples=all_samples)
        points = (point for sample in all_samples for point in sample.facts["points"])
        needed = list(dict.fromkeys(map(scoring.primary_of, points)))
        images = judged_images(samples, verdicts)
        notes = left_out_notes(self.split)
        return scoring.unigenbench_report(images, scope, needed=needed, notes=notes)

    @property
    def _language(self) -> Language:
        return "zh" if self.split.startswith("zh") else "en"

    @property
    def _path(self) -> str:
        return f"data/test_prompts_{self.split.replace('-', '_')}.csv"

    def _official(self) -> Iterator[Sample]:
        """AlphaBenchError where the file is not fetched, or is another."""
        hint = "restore the file from its source: `alphabench fetch unigenbench`"
        columns = ("index", f"prompt_{self._language}", f"sub_dims_{self._language}")
        content = self.data.read(PIN, self._path)
        for row in read_csv_rows(content, columns, where=self._path, hint=hint):
            index = row["index"]
            if index.isdecimal() and int(index) in BROKEN_ROWS.get(self.split, ()):
                continue
            facts = _facts(row, self._language)
            if facts is None:
                raise AlphaBenchError(
                    f"row {index!r} of {self._path!r} holds no prompt with test points",
                    hint=hint,
                )
            yield _sample(index, facts)


def left_out_notes(split: str) -> tuple[str, ...]:
    """What a reader must know of prompts that cannot be judged."""
    rows = BROKEN_ROWS.get(split, ())
    return tuple(
        f"row {row} of {ROWS} is left out: upstream's file holds its test points in no valid JSON"
        for row in rows
    )


def judged_images(samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[JudgedImage]:
    """The test points by image; what no verdict is about has no value."""
    values = {(verdict.image_id, verdict.question_id): verdict.value for verdict in verdicts}
    return [
        JudgedImage(
            sample_id=sample.id,
            points=tuple(sample.facts["points"]),
            met=tuple(
                values.get((image_id(sample.id, index), str(place)))
                for place in range(len(sample.facts["points"]))
            ),
        )
        for sample in samples
        for index in range(IMAGES)
    ]


def _facts(row: Mapping[str, Any], language: str) -> dict[str, Any] | None:
    """What a row of upstream's table states; None where it is none."""
    try:
        stated = parse_json(row[f"sub_dims_{language}"])
        points, described, theme = (stated[key] for key in _KEYS[language])
        facts = {
            "prompt": row[f"prompt_{language}"],
            "points": points,
            "descriptions": described,
            "theme": theme,
        }
        return facts if row["index"].isdecimal() and _is_row(facts) else None
    except (UnreadableFileError, AttributeError, KeyError, TypeError):
        return None


def _is_row(facts: Any) -> bool:
    """False, or KeyError or TypeError, for anything else."""
    lists = [facts["points"], facts["descriptions"], facts.get("questions", facts["points"])]
    texts = [facts["prompt"], facts["theme"], *(text for one in lists for text in one)]
    fit = all(isinstance(one, list) and len(one) == len(lists[0]) > 0 for one in lists)
    return fit and all(isinstance(text, str) for text in texts)


def _sample(index: str, facts: Any) -> Sample:
    return Sample(id=index, prompt=facts["prompt"], group=facts["theme"], facts=facts)
