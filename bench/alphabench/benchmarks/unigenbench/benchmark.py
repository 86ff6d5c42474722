"""UniGenBench++: 600 prompts in two languages and two lengths, by test points (Wang et al., 2025).

Four images a prompt. The split `mini` is authored here over the project's synthetic scenes, with
six of the ten dimensions: the scenes have no style, no knowledge of the world, no acts, no writing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from alphabench.benchmarks import judged
from alphabench.benchmarks.judged import ImageValues, JudgedBenchmark, JudgedRun
from alphabench.benchmarks.mini_split import DataSource, mini_source, pinned_files_source
from alphabench.benchmarks.unigenbench import questions, scoring
from alphabench.benchmarks.unigenbench.questions import Language
from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Evaluator
from alphabench.questions import Judge
from alphabench.statistics import Cluster
from alphabench.types import Report, Sample, Verdict
from alphabench.upstream import pin_of
from alphabench.upstream.csv_tables import read_csv_rows

PIN: Final = "unigenbench"
ROWS: Final = 600
BROKEN_ROWS: Final[Mapping[str, tuple[str, ...]]] = {"en-long": ("509",)}
"""Rows whose test points are no JSON at the pinned commit, by split; upstream's script stops there.
They are left out under both protocols, and every report names them."""
_KEYS: Final = {
    "en": ("Testpoints", "Testpoint Description", "Primary Categories"),
    "zh": ("\u8003\u70b9", "\u8003\u70b9\u5bf9\u5e94\u63cf\u8ff0", "\u4e00\u7ea7\u5782\u7c7b"),
}
"""Of a row's JSON: the test points, what each means in the prompt, and the theme (LANG_CONFIGS)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UniGenBench(JudgedBenchmark):
    """One split of UniGenBench++ under one protocol."""

    about: ClassVar = judged.About(
        name="unigenbench",
        titles={
            "en": "UniGenBench++, short English prompts",
            "zh": "UniGenBench++, short Chinese prompts",
            "en-long": "UniGenBench++, long English prompts",
            "zh-long": "UniGenBench++, long Chinese prompts",
            "mini": "UniGenBench++'s dimensions over AlphaBench's synthetic scenes",
        },
        citation="arXiv:2510.18701",
        images=scoring.IMAGES,
    )

    def source(self) -> DataSource:
        """The package, or upstream's table of the split."""
        if self.split == "mini":
            return mini_source("unigenbench")
        return pinned_files_source(pin_of(PIN), paths=[self._path])

    def samples(self) -> Sequence[Sample]:
        """The prompts in file order; ids are upstream's indices."""
        if self.split == "mini":
            rows = judged.mini_rows("unigenbench", _is_row)
            return [_sample(str(index), row) for index, row in enumerate(rows)]
        return list(self._official())

    def questions(self, sample: Sample) -> Sequence[str]:
        """The positions of the test points: `0`, `1` ..."""
        return judged.index_ids(sample.facts["points"])

    def judge_evaluator(self, spec: str | None, judge: Judge | None) -> Evaluator:
        """With one call for each image: `judge`, `judge?backend=gemini`."""
        options = judged.judge_options(spec, questions.UniGenBenchOptions, benchmark="unigenbench")
        own = options.is_own(self.split)
        texts = None if own else questions.official_texts(self.data, self._language)
        return questions.open_unigenbench_judge(
            judge, options, texts, self.protocol, one_by_one=self.split == "mini"
        )

    def clusters(self, samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[Cluster]:
        """The test points of each prompt's images, by dimension."""
        return scoring.point_clusters(judged_points(judged_images(samples, verdicts)))

    def report(self, run: JudgedRun) -> Report:
        """See `unigenbench_report`; the protocols differ in how replies are asked for and read."""
        known = (point for sample in run.all_samples for point in sample.facts["points"])
        needed = list(dict.fromkeys(map(scoring.primary_of, known)))
        points = judged_points(judged_images(run.samples, run.verdicts))
        notes = left_out_notes(self.split)
        return scoring.unigenbench_report(points, run.scope, needed=needed, notes=notes)

    @property
    def _language(self) -> Language:
        return "zh" if self.split.startswith("zh") else "en"

    @property
    def _path(self) -> str:
        return f"data/test_prompts_{self.split.replace('-', '_')}.csv"

    def _official(self) -> Iterator[Sample]:
        """AlphaBenchError where the file is not fetched, or is another."""
        hint = "restore the file from its source: `alphabench fetch unigenbench`"
        path, language = self._path, self._language
        columns = ("index", f"prompt_{language}", f"sub_dims_{language}")
        for row in read_csv_rows(self.data.read(PIN, path), columns, where=path, hint=hint):
            index, prompt, stated = (row[column] for column in columns)
            if index in BROKEN_ROWS.get(self.split, ()):
                continue
            table = judged.json_or_none(stated)
            values = map(table.get, _KEYS[language]) if isinstance(table, dict) else ()
            names = ("prompt", "points", "descriptions", "theme")
            facts = dict(zip(names, (prompt, *values), strict=False))
            if not (index.isdecimal() and judged.fits(facts, _is_row)):
                raise AlphaBenchError(
                    f"row {index!r} of {path!r} holds no prompt with test points", hint=hint
                )
            yield _sample(index, facts)


open_unigenbench: Final = UniGenBench.open


def left_out_notes(split: str) -> tuple[str, ...]:
    """What a reader must know of prompts that cannot be judged."""
    why = "upstream's file holds its test points in no valid JSON"
    return tuple(f"row {n} of {ROWS} is left out: {why}" for n in BROKEN_ROWS.get(split, ()))


def judged_images(samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[ImageValues]:
    """The images with a value for each test point that a verdict is about."""
    return judged.values_by_image(
        samples, verdicts, lambda one: judged.index_ids(one.facts["points"]), images=scoring.IMAGES
    )


def judged_points(images: Iterable[ImageValues]) -> list[scoring.JudgedPoint]:
    """The test points of all images."""
    return [
        scoring.JudgedPoint(image.sample.id, point, met)
        for image in images
        for point, met in zip(image.sample.facts["points"], image.values, strict=True)
    ]


def _is_row(facts: Any) -> bool:
    lists = [facts["points"], facts["descriptions"], facts.get("questions", facts["points"])]
    texts = [facts["prompt"], facts["theme"], *(text for one in lists for text in one)]
    fit = all(isinstance(one, list) and len(one) == len(lists[0]) > 0 for one in lists)
    return fit and all(isinstance(text, str) for text in texts)


def _sample(index: str, facts: Any) -> Sample:
    return Sample(id=index, prompt=facts["prompt"], group=facts["theme"], facts=facts)
