"""The records of a run folder: its manifest, and the rows of its files. Knows no file.

A record whose path leads out of its run, or a manifest without what decides the images, is refused.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from alphabench.core.files import well_formed
from alphabench.types import Verdict

_IMAGE: Final = re.compile(r"images/[^./\\\0][^/\\\0]*/[^./\\\0][^/\\\0]*")
_MOST_IMAGES_PER_SAMPLE: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What decides a run, and how it was made."""

    benchmark: str
    """The card's id, with its split."""
    checkpoint: str
    """As the user named it."""
    pixels: Mapping[str, str]
    """Everything that decides the images; its digest is the fingerprint."""
    limit: int | None
    """The number of samples, the largest so far; None means all."""
    circumstances: Mapping[str, Any]
    """Versions, machine, command line and times; recorded only, never compared."""

    def __post_init__(self) -> None:
        for key in ("seed", "benchmark.data_digest", "benchmark.images_per_sample"):
            if key not in self.pixels:
                raise ValueError(f"'pixels' lacks {key!r}")
        int(self.pixels["seed"])
        if not 1 <= int(self.pixels["benchmark.images_per_sample"]) <= _MOST_IMAGES_PER_SAMPLE:
            raise ValueError("'pixels.benchmark.images_per_sample' is no count of images")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"'limit' is {self.limit}")

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.pixels)

    @property
    def label(self) -> str:
        """The name that the user gave the run; empty for none."""
        label = self.circumstances.get("label")
        return label if isinstance(label, str) else ""

    @property
    def title(self) -> str:
        """What tables call the run: its label, or else its checkpoint."""
        return self.label or self.checkpoint


def fingerprint(identity: Mapping[str, str]) -> str:
    """sha256 over the sorted keys and values, in hexadecimal."""
    text = json.dumps(dict(sorted(identity.items())), ensure_ascii=False)
    return hashlib.sha256(well_formed(text).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """A line of images.jsonl."""

    image_id: str
    seed: int
    prompt: str
    path: str
    """Relative to the run folder."""
    sha256: str
    seconds: float
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What its generator reported about it; see `types.NOTES`."""

    def __post_init__(self) -> None:
        if not _IMAGE.fullmatch(self.path):
            raise ValueError(f"'path' is {self.path!r}, which is no image of a run")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVerdict:
    """A verdict and the image content that it is about."""

    image_sha256: str
    verdict: Verdict


class PackedDetail(Mapping[str, Any]):
    """A read-only mapping stored as JSON text, a third of its size as objects.

    Recently read ones are cached unpacked.
    """

    __slots__ = ("_json",)

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._json = json.dumps(dict(content), ensure_ascii=False).encode()

    def __getitem__(self, key: str) -> Any:
        return _unpacked(self._json)[key]

    def __iter__(self) -> Iterator[str]:
        return iter(_unpacked(self._json))

    def __len__(self) -> int:
        return len(_unpacked(self._json))

    def __repr__(self) -> str:
        return repr(_unpacked(self._json))


@functools.lru_cache(maxsize=64)
def _unpacked(text: bytes) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(text)
    return content


def with_packed_detail(stored: StoredVerdict) -> StoredVerdict:
    """The same verdict with a compact detail: a run may have a hundred thousand verdicts."""
    return replace(
        stored, verdict=replace(stored.verdict, detail=PackedDetail(stored.verdict.detail))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAttempt:
    """A line of not_made.jsonl."""

    image_id: str
    status: Literal["refused", "failed"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationIdentity:
    """What an evaluation's name stands for."""

    identity: Mapping[str, str]
