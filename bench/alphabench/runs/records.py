"""The records of a run folder: its manifest, and the rows of its files. Knows no file.

A record whose path leads out of its run, or a manifest without what decides the images, is refused.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final, Literal

from alphabench.core.files import well_formed
from alphabench.runs.serialization import verdict_to_json
from alphabench.runs.sharding import RunShard
from alphabench.types import NotGenerated, Verdict

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
    shard: RunShard | None = None
    """The part of the samples that the folder holds; None for all of them."""

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

    def is_wider_than(self, other: Manifest) -> bool:
        """Whether its limit leaves more samples."""
        return other.limit is not None and (self.limit is None or self.limit > other.limit)

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


def pixel_changes(before: Manifest, after: Manifest, *, most: int | None = None) -> str:
    """What decides the images and differs, as `seed: '0' -> '1'`; empty for one run.

    Args:
        before: of one folder.
        after: of another.
        most: how many are named; the others are counted. None names all.
    """
    ours, theirs = (_as_stored(manifest.pixels) for manifest in (before, after))
    changes = [
        f"{key}: {_brief(ours.get(key))} -> {_brief(theirs.get(key))}"
        for key in sorted({*ours, *theirs})
        if ours.get(key) != theirs.get(key)
    ]
    if most is not None and len(changes) > most:
        changes[most:] = [f"and {len(changes) - most} more settings"]
    return ", ".join(changes)


def _as_stored(pixels: Mapping[str, str]) -> dict[str, str]:
    return {well_formed(key): well_formed(value) for key, value in pixels.items()}


def _brief(value: str | None) -> str:
    """A value for a message; of a digest, as much as tells it from another."""
    digest = value is not None and re.fullmatch(r"[0-9a-f]{40,}", value)
    return f"'{value[:12]}…'" if value is not None and digest else repr(value)


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

    def to_json(self) -> dict[str, Any]:
        row = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "notes"}
        return {**row, **({"notes": dict(self.notes)} if self.notes else {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVerdict:
    """A verdict and the image content that it is about."""

    image_sha256: str
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        return {"image_sha256": self.image_sha256, "verdict": verdict_to_json(self.verdict)}


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

    @classmethod
    def of(cls, image_id: str, outcome: NotGenerated) -> FailedAttempt:
        return cls(image_id=image_id, status=outcome.status, reason=outcome.reason)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


Row = ImageRecord | StoredVerdict | FailedAttempt
"""A line of one of the files of lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationIdentity:
    """What an evaluation's name stands for."""

    identity: Mapping[str, str]
