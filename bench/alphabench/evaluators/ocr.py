"""How well the text in an image matches the requested words: GNED and recall, by OCR.

The two extras of TIIF-Bench's text items (A113N-W3I/TIIF-Bench at 3aae750). Upstream reads with
PaddleOCR; here any reader can be used, and `RapidReader` uses rapidocr, whose models come with it
(the extra `ocr`): another reader is another measurement, and the identity names it.

Words are compared in lower case. Knows no prompt: a sample's `facts["text"]` lists its words.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from alphabench.core.edit_distances import levenshtein
from alphabench.core.errors import AlphaBenchError
from alphabench.types import GeneratedImage, Verdict

RECALL: Final = "recall"
GNED: Final = "gned"
QUESTIONS: Final = (RECALL, GNED)
"""recall: higher is better. gned: an error, lower is better."""
NEAR: Final = 0.3
"""Upstream's threshold: words at most this far apart count as equal."""


_PRINTED: Final = ("drink", "tea")


class TextReader(Protocol):
    """Finds the lines of text in an image. Cheap to make; picklable until the first `read`."""

    @property
    def identity(self) -> Mapping[str, str]: ...

    def read(self, path: Path) -> Sequence[str]:
        """The lines of one image, in the reader's own order; empty where there are none."""
        ...


@dataclass(kw_only=True)
class RapidReader:
    """rapidocr with the models that its package ships."""

    _engine: Any = field(default=None, init=False, repr=False)

    @property
    def identity(self) -> Mapping[str, str]:
        """
        Raises:
            AlphaBenchError: rapidocr is not installed.
        """
        try:
            version = importlib.metadata.version("rapidocr")
        except importlib.metadata.PackageNotFoundError as error:
            raise _absent() from error
        return {"reader": "rapidocr", "version": version}

    def read(self, path: Path) -> Sequence[str]:
        if self._engine is None:
            try:
                rapidocr = importlib.import_module("rapidocr")
            except ImportError as error:
                raise _absent() from error
            self._engine = rapidocr.RapidOCR(params={"Global.log_level": "error"})
        return tuple(self._engine(str(path)).txts or ())


def _absent() -> AlphaBenchError:
    return AlphaBenchError(
        "reading text needs rapidocr, which is not installed",
        hint="pip install -e '.[ocr]'",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEvaluator:
    """A `recall` and a `gned` verdict for each image."""

    reader: TextReader

    @property
    def identity(self) -> Mapping[str, str]:
        return {**{f"text.{key}": value for key, value in self.reader.identity.items()}}

    @property
    def batch_size(self) -> int:
        return 8

    def self_test(self) -> None:
        """Let the reader read two printed words.

        Raises:
            AlphaBenchError: it reads something else; this build must not score.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "words.png"
            _print_words(_PRINTED, path)
            found = words_of(self.reader.read(path))
        if gned(_PRINTED, found) > 0:
            raise AlphaBenchError(
                f"the text reader reads {found!r} in an image of {list(_PRINTED)!r}",
                hint="reinstall it: pip install -e '.[ocr]'",
            )

    def evaluate(self, images: Sequence[GeneratedImage]) -> Iterator[Verdict]:
        """Two verdicts for each image, in order; `failed` where the reader raises.

        Raises:
            AlphaBenchError: the reader is not installed.
        """
        for image in images:
            yield from self._verdicts(image)

    def _verdicts(self, image: GeneratedImage) -> list[Verdict]:
        wanted = [str(word) for word in image.request.sample.facts["text"]]
        try:
            lines = self.reader.read(image.path)
        except AlphaBenchError:
            raise
        except Exception as error:  # noqa: BLE001  (the boundary to the reader)
            return [
                Verdict(
                    image_id=image.id,
                    question_id=question,
                    value=None,
                    status="failed",
                    detail={"reason": f"{type(error).__name__}: {error}"},
                )
                for question in QUESTIONS
            ]
        found = words_of(lines)
        values = {RECALL: recall(wanted, found), GNED: gned(wanted, found)}
        return [
            Verdict(
                image_id=image.id,
                question_id=question,
                value=values[question],
                status="scored",
                detail={"wanted": wanted, "found": found},
            )
            for question in QUESTIONS
        ]


def _print_words(words: Sequence[str], path: Path) -> None:
    """Black on white, in Pillow's default font."""
    from PIL import Image, ImageDraw, ImageFont

    canvas = Image.new("RGB", (480, 160), "white")
    font = ImageFont.load_default(size=64)
    ImageDraw.Draw(canvas).text((30, 40), " ".join(words).upper(), "black", font)
    canvas.save(path)


def words_of(lines: Sequence[str]) -> list[str]:
    """The words of OCR lines as upstream splits them: lower case, split at every space."""
    return [word for line in lines for word in line.lower().split(" ")]


def gned(wanted: Sequence[str], found: Sequence[str]) -> float:
    """Generalised normalised edit distance, 0 (the same words) to 1.

    The normalised edit distances of the best assignment, plus 1 for each word too many or too few,
    over the larger number of words. Upper and lower case are the same.

    Raises:
        ValueError: no word is wanted.
    """
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    if not wanted:
        raise ValueError("no word is wanted")
    if not found:
        return 1.0
    distance = np.array([[edit_distance(one, other) for other in found] for one in wanted])
    rows, columns = linear_sum_assignment(distance)
    unpaired = abs(len(wanted) - len(found))
    return float((distance[rows, columns].sum() + unpaired) / max(len(wanted), len(found)))


def recall(wanted: Sequence[str], found: Sequence[str]) -> float:
    """The share of wanted words that were found, 0 to 1; a found word matches one wanted word.

    Matched greedily in order, as upstream does: the first word within `NEAR`.

    Raises:
        ValueError: no word is wanted.
    """
    if not wanted:
        raise ValueError("no word is wanted")
    left = list(found)
    n_there = 0
    for word in wanted:
        near = next((i for i, one in enumerate(left) if edit_distance(word, one) <= NEAR), None)
        if near is not None:
            del left[near]
            n_there += 1
    return n_there / len(wanted)


def edit_distance(one: str, other: str) -> float:
    """Levenshtein's distance over the longer word's length, 0 to 1, in lower case."""
    one, other = one.lower(), other.lower()
    return levenshtein(one, other) / (max(len(one), len(other)) or 1)
