"""CVTG-2K's rules: the words that a prompt asks for, and the scores of all images.

official: equal to TextCrafter's unified_metrics_eval.py, as OpenSenseNova/SenseNova-U1 has it (blob
f1288c8e). strict: an apostrophe is no quotation mark. How words of an image are compared says
`evaluators.word_accuracy`. Knows no OCR engine and no file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from alphabench import statistics
from alphabench.benchmarks import reporting
from alphabench.benchmarks.text_accuracy import unit_cluster
from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.word_accuracy import SIMILARITIES
from alphabench.statistics import Cluster, mean_of_groups
from alphabench.types import Estimate, ProtocolName, Report, Sample, Verdict

KINDS: Final = ("CVTG", "CVTG-Style")
"""Prompts without and with demands on size, colour and font."""
AREAS: Final = (2, 3, 4, 5)
"""Regions of text in a prompt."""
NED: Final = "NED"
AS_UPSTREAM: Final = ("word accuracy, failures as wrong", "NED, failures as wrong")
"""Upstream's two scores where some images could not be read."""
_QUOTED: Final[Mapping[ProtocolName, re.Pattern[str]]] = {
    "official": re.compile(r"'(.*?)'"),
    "strict": re.compile(r"(?<!\w)'(.*?)'(?!\w)"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadImage:
    """One image, and how much of its text was read in it."""

    sample_id: str
    part: str
    """One of KINDS, and the number of regions: `CVTG-2`."""
    expected: int
    """Words that should be there; 0 where a prompt quotes none, which counts in nothing."""
    correct: int | None
    """Those that are; None where nothing is known, as in `similarities`."""
    similarities: Sequence[float] | None

    @classmethod
    def of(cls, sample: Sample, verdict: Verdict | None) -> ReadImage:
        """AlphaBenchError where the verdict has similarities, and not one for each word."""
        expected, correct, similarities = len(sample.facts["words"]), None, None
        if verdict is not None and verdict.value is not None:
            correct = round(verdict.value * expected)
            similarities = _stored_similarities(verdict, expected)
        elif verdict is not None and not expected and SIMILARITIES in verdict.detail:
            correct, similarities = 0, []  # it was read, and there is nothing to find
        return cls(
            sample_id=sample.id,
            part=sample.group,
            expected=expected,
            correct=correct,
            similarities=similarities,
        )


def asked_words(prompt: str, protocol: ProtocolName) -> list[str]:
    """The words between pairs of straight single quotes, in lower case and in order."""
    return [word for text in _QUOTED[protocol].findall(prompt) for word in text.lower().split()]


def cvtg_report(
    images: Sequence[ReadImage],
    scope: reporting.ReportScope,
    *,
    failed: Sequence[str] = (),
    notes: tuple[str, ...] = (),
) -> Report:
    """Headline: the share of all words that are there. Groups: the same by part. Extras: NED.

    Images that were not read, and those without a word to look for, are in none of them; counts
    are of images. strict: no headline while a part has no image that was read.

    Args:
        images: all that there should be.
        scope: what the report is about.
        failed: ids of samples whose image exists and could not be read. Under official, upstream's
            scores, in which all of their words are wrong, then stand beside the others.
        notes: what a reader must know.
    """
    headline, withheld = over_words(images), ""
    parts = {p: [i for i in images if i.part == p] for p in dict.fromkeys(i.part for i in images)}
    if scope.protocol == "strict":
        clusters = [replace(c, group=p) for p, of in parts.items() for c in word_clusters(of)]
        headline, withheld = statistics.over_all_groups(headline, clusters, parts, kind="parts")
    extras = {NED: over_words(images, similarity_clusters)}
    if failed and scope.protocol == "official":
        wrong = [
            replace(i, correct=0, similarities=[0.0] * i.expected) if i.sample_id in failed else i
            for i in images
        ]
        extras |= zip(
            AS_UPSTREAM, (over_words(wrong), over_words(wrong, similarity_clusters)), strict=True
        )
    for area in AREAS:
        if some := [image for image in images if image.part.endswith(f"-{area}")]:
            extras[f"{area} regions"] = over_words(some)
    return reporting.build_report(
        scope,
        headline,
        {part: over_words(of) for part, of in parts.items()},
        coverage=reporting.scored_share(*_counts(images)),
        bounds=statistics.bounds(word_clusters(images), mean_of_groups),
        extras=extras,
        withheld=withheld,
        notes=notes,
    )


def word_clusters(images: Iterable[ReadImage]) -> list[Cluster]:
    """The words of each image, each worth 1 where it is there and 0 where it is not."""
    return [unit_cluster(one.sample_id, [(one.correct, one.expected)]) for one in images]


def similarity_clusters(images: Iterable[ReadImage]) -> list[Cluster]:
    """The words of each image, each worth its similarity."""
    values = ((one, one.similarities) for one in images)
    return [
        unit_cluster(one.sample_id, [(None if of is None else math.fsum(of), one.expected)])
        for one, of in values
    ]


def over_words(
    images: Sequence[ReadImage],
    clusters_of: Callable[[Iterable[ReadImage]], list[Cluster]] = word_clusters,
) -> Estimate:
    """The mean over all words of images that were read; counts are of images."""
    n_read, n_images = _counts(images)
    found = statistics.estimate(clusters_of(images), mean_of_groups)
    return replace(found, n_scored=n_read, n_expected=n_images)


def _counts(images: Iterable[ReadImage]) -> tuple[int, int]:
    """Of those with a word to look for: how many were read, and how many there should be."""
    return reporting.scored_counts(one.correct for one in images if one.expected)


def _stored_similarities(verdict: Verdict, n_words: int) -> list[float] | None:
    found = verdict.detail.get(SIMILARITIES)
    if found is None:
        return None
    values = [one for one in found if isinstance(one, int | float) and math.isfinite(one)]
    if len(values) != n_words:
        raise AlphaBenchError(
            f"the verdict on image {verdict.image_id!r} has {len(values)} similarities of "
            f"{n_words} words",
            hint="use the version of alphabench that wrote it, or score the run again",
        )
    return values
