"""Lines of text in images, from an OCR engine in this process or from a file that one wrote.

Knows no benchmark: the key of an image in such a file comes in as a function.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, parse_json, read_bytes
from alphabench.evaluators.ocr import RapidReader, TextEvaluator
from alphabench.types import GeneratedImage, Sample

Key = Callable[[Sample], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OcrOptions:
    """What `ocr?key=value` takes, where results may come from a file."""

    results: Path | None = None
    """JSON file of OCR results by image; unset: rapidocr reads the images."""
    engine: str | None = None
    """What made that file, with its version; part of the evaluator's identity."""

    def __post_init__(self) -> None:
        if bool(self.engine) != (self.results is not None):
            raise ValueError("results=FILE and engine=NAME are given together or not at all")


class OcrResults(Protocol):
    """The lines of text in images."""

    @property
    def engine(self) -> str:
        """What read them, with its version."""
        ...

    @property
    def identity(self) -> Mapping[str, str]: ...

    def has(self, sample: Sample) -> bool:
        """Whether the image of a sample can be looked up."""
        ...

    def lines(self, image: GeneratedImage) -> Sequence[str]:
        """Those of one image, in the engine's order; raises where the engine failed."""
        ...

    def self_test(self) -> None:
        """See `TextEvaluator.self_test`; a file has none."""
        ...


class OcrFailedError(Exception):
    """A file of results says that its engine failed on an image."""


def open_ocr_results(options: OcrOptions, key: Key) -> OcrResults:
    """The results of rapidocr, or those of a file.

    Raises:
        AlphaBenchError: the file cannot be read, or has another form; see `StoredResults`.
    """
    if options.results is None:
        return EngineResults()
    file, hint = options.results, "docs/benchmarks/cvtg.md shows the form of a file of OCR results"
    try:
        content = read_bytes(file)
        tree = parse_json(content)
        if not isinstance(tree, dict):
            raise UnreadableFileError("it is no JSON object")
    except UnreadableFileError as error:
        raise AlphaBenchError(f"{str(file)!r} cannot be read: {error}", hint=hint) from error
    by_key: dict[str, tuple[str, ...] | str] = {}
    for name, pages in tree.items():
        try:
            by_key[name] = pages if isinstance(pages, str) else tuple(_texts(pages))
        except (TypeError, ValueError) as error:
            raise AlphaBenchError(
                f"{name!r} in {str(file)!r} is no list of pages with lines of text", hint=hint
            ) from error
    digest = hashlib.sha256(content).hexdigest()
    return StoredResults(by_key=by_key, digest=digest, engine=options.engine or "", key=key)


@dataclass(frozen=True, slots=True)
class EngineResults:
    """Read by rapidocr; see `OcrResults`."""

    reader: RapidReader = field(default_factory=RapidReader)

    @property
    def engine(self) -> str:
        return " ".join(self.reader.identity.values())

    @property
    def identity(self) -> Mapping[str, str]:
        return {f"text.{key}": value for key, value in self.reader.identity.items()}

    def has(self, sample: Sample) -> bool:  # noqa: ARG002  (it reads any image)
        return True

    def lines(self, image: GeneratedImage) -> Sequence[str]:
        return self.reader.read(image.path)

    def self_test(self) -> None:
        TextEvaluator(reader=self.reader).self_test()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResults:
    """From a file of JSON, key of an image -> list of pages; see `OcrResults`.

    A page is null or a list of lines. A line is its text, or what PaddleOCR 2 returns for it,
    `[corners, [text, confidence]]`. A text in place of the pages is the error of an engine that
    failed.
    """

    by_key: Mapping[str, tuple[str, ...] | str]
    digest: str
    engine: str
    key: Key

    @property
    def identity(self) -> Mapping[str, str]:
        return {"text.reader": self.engine, "text.results": f"sha256:{self.digest}"}

    def has(self, sample: Sample) -> bool:
        return self.key(sample) in self.by_key

    def lines(self, image: GeneratedImage) -> Sequence[str]:
        found = self.by_key[self.key(image.request.sample)]
        if isinstance(found, str):
            raise OcrFailedError(found)
        return found

    def self_test(self) -> None: ...


def _texts(pages: Any) -> Iterator[str]:
    """The lines of all pages; TypeError or ValueError for anything else."""
    for page in _listed(pages):
        for line in _listed([] if page is None else page):
            text = line
            if not isinstance(line, str):
                _, (text, _) = _listed(line)
            if not isinstance(text, str):
                raise TypeError(f"{text!r} is no text")
            yield text


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return value
