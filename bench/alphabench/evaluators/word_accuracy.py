"""Which of the words that an image should have OCR reads in it, and how near the others come.

official: as CVTG-2K's scorer (TextCrafter's unified_metrics_eval.py in OpenSenseNova/SenseNova-U1,
blob f1288c8e; `compute_ocr_metrics`, `get_ld`): a word counts if it is among those read, however
often it is asked for, and is compared with the word of the highest ratio of `difflib`. strict:
words are assigned one to one, as many as are equal, and with the least distance.

Words are compared in lower case. Knows no prompt: a sample's `facts["words"]` lists its words.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

from alphabench.core.edit_distances import levenshtein
from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.ocr import edit_distance
from alphabench.evaluators.ocr_results import OcrResults
from alphabench.types import GeneratedImage, ImageRequest, ProtocolName, Verdict

ENGINE: Final = "engine"
"""In a verdict's detail: what read the image."""
SIMILARITIES: Final = "similarities"
"""In a verdict's detail: of each word, 0 to 1, in the order of the prompt."""
NO_WORD: Final = "its prompt quotes no word, so nothing is looked for in the image"
"""The reason of a verdict that is neither right nor wrong."""


class WordMatch(NamedTuple):
    """The words of one image against those that it should have."""

    correct: int
    similarities: Sequence[float]
    """0 to 1, one for each word that should be there."""


def match_words(asked: Sequence[str], lines: Iterable[str], protocol: ProtocolName) -> WordMatch:
    """The words in lines that were read against those in lower case that are asked for."""
    read = [word for line in lines for word in line.lower().split()]
    if protocol == "strict":
        correct = (Counter(asked) & Counter(read)).total()
        return WordMatch(correct, _assigned_similarities(asked, read))
    read = read or [""]
    best = [difflib.get_close_matches(word, read, n=1, cutoff=0.0)[0] for word in asked]
    return WordMatch(sum(word in read for word in asked), list(map(word_similarity, asked, best)))


def word_similarity(one: str, other: str) -> float:
    """1 - distance / (length of the longer + 1e-5), as upstream's `get_ld` has it."""
    return 1 - levenshtein(one, other) / (max(len(one), len(other)) + 1e-5)


@dataclass(frozen=True, slots=True, kw_only=True)
class WordEvaluator:
    """One verdict for each image: the share of its words that OCR read."""

    results: OcrResults
    protocol: ProtocolName
    question_id: str

    @property
    def identity(self) -> Mapping[str, str]:
        return {**self.results.identity, "words": "1"}

    @property
    def batch_size(self) -> int:
        return 8

    def self_test(self) -> None:
        """See `OcrResults.self_test`."""
        self.results.self_test()

    def refusals(self, requests: Sequence[ImageRequest]) -> Mapping[str, str]:
        """The images of which a file has no result; see `alphabench.interfaces.Selective`."""
        absent = [request.id for request in requests if not self.results.has(request.sample)]
        return dict.fromkeys(absent, "the file of OCR results has no entry of it")

    def evaluate(self, images: Sequence[GeneratedImage]) -> Iterator[Verdict]:
        """The verdicts in order; none without a result.

        `failed` where the engine failed, `missing` with `NO_WORD` where there is nothing to find.

        Raises:
            AlphaBenchError: the engine is not installed.
        """
        return (self._verdict(image) for image in images if self.results.has(image.request.sample))

    def _verdict(self, image: GeneratedImage) -> Verdict:
        asked = image.request.sample.facts["words"]
        detail: dict[str, Any] = {"asked": list(asked), ENGINE: self.results.engine}
        verdict = partial(Verdict, image_id=image.id, question_id=self.question_id)
        try:
            lines = self.results.lines(image)
        except AlphaBenchError:
            raise
        except Exception as error:  # noqa: BLE001  (the boundary to the engine)
            detail["reason"] = f"{type(error).__name__}: {error}"
            return verdict(value=None, status="failed", detail=detail)
        match = match_words(asked, lines, self.protocol)
        detail |= {"read": list(lines), SIMILARITIES: list(match.similarities)}
        if not asked:
            return verdict(value=None, status="missing", detail={**detail, "reason": NO_WORD})
        return verdict(value=match.correct / len(asked), status="scored", detail=detail)


def _assigned_similarities(asked: Sequence[str], read: Sequence[str]) -> list[float]:
    from scipy.optimize import linear_sum_assignment

    similarities = [0.0] * len(asked)
    if asked and read:
        distances = [[edit_distance(word, other) for other in read] for word in asked]
        for row, column in zip(*linear_sum_assignment(distances), strict=True):
            similarities[row] = 1 - distances[row][column]
    return similarities
