"""The run folder: writes and reads it. The only module that knows a file name; knows no metric.

    runs/geneval/scene-error-0.2-9f2c1a/
      manifest.json                what decides the pixels, and the circumstances of the run
      images/00007/2.png           lossless; prompt, seed and fingerprint in its text chunks
      images.jsonl                 one line per image that was made
      not_made.jsonl               one line per attempt that made none, and why
      verdicts/<evaluation>.jsonl  one line per question about an image
      reports/<evaluation>.json    what they amount to

A file is either append-only lines, each on disk before the next step, or replaced whole by rename:
a crash can tear the last line of a file and nothing else. One process writes at a time.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from alphabench.errors import AlphaBenchError
from alphabench.images import to_rgb
from alphabench.types import GeneratedImage, ImageRequest, NotMade, Report, Verdict
from alphabench.wire import report_from_json, report_to_json, verdict_from_json, verdict_to_json

if TYPE_CHECKING:
    from PIL.Image import Image

FORMAT: Final = 1
"""Raised when a folder written before could be misread."""
_SAFE = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,120}")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a run folder is about."""

    benchmark: str
    """The card's id, with its split."""
    checkpoint: str
    """As the user named it."""
    pixels: Mapping[str, str]
    """All that decides the images; its digest is the fingerprint."""
    limit: int | None
    """How many samples were asked for, the widest so far; None is all of them."""
    circumstances: Mapping[str, Any]
    """Recorded, compared with nothing: versions, machine, command line, times."""

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.pixels)


def fingerprint(identity: Mapping[str, str]) -> str:
    """sha256 over the sorted keys and values, in hexadecimal."""
    text = json.dumps(dict(sorted(identity.items())), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


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
    """What its generator had to say about it; see `types.NOTES`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVerdict:
    """A verdict and the image content that it is about."""

    image_sha256: str
    verdict: Verdict


Damage = Literal["deleted", "altered"]


class RunFolder:
    """One run on disk. Use `create` or `open`; write only inside `locked()`."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self.root = root
        self.manifest = manifest

    @classmethod
    def create(cls, root: Path, manifest: Manifest) -> RunFolder:
        """The folder at `root`: made if absent, continued if it holds the same run.

        A narrower `limit` than before keeps the wider one.

        Raises:
            AlphaBenchError: the folder holds another run (names what differs), or is no run
                folder and not empty.
        """
        if (root / "manifest.json").exists():
            return cls.open(root)._continue(manifest)
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise AlphaBenchError(
                f"{str(root)!r} exists and is not a run folder", hint="name another with --out"
            )
        folder = cls(root, manifest)
        with _room(root):
            root.mkdir(parents=True, exist_ok=True)
        folder._write_manifest()
        return folder

    @classmethod
    def open(cls, root: Path) -> RunFolder:
        """An existing run folder.

        Raises:
            AlphaBenchError: there is none at `root`, or this version cannot read it.
        """
        path = root / "manifest.json"
        if not path.is_file():
            raise AlphaBenchError(
                f"{str(root)!r} is not a run folder", hint="`alphabench list runs` shows them"
            )
        content = _read_json(path)
        if content.pop("format", None) != FORMAT:
            raise AlphaBenchError(
                f"{str(path)!r} was written by another version of alphabench",
                hint="use that version, or start a new run",
            )
        try:
            return cls(root, Manifest(**content))
        except TypeError as error:
            raise AlphaBenchError(
                f"{str(path)!r} is damaged ({error})", hint="start a new run with --out"
            ) from error

    def _continue(self, wanted: Manifest) -> RunFolder:
        ours, theirs = self.manifest.pixels, wanted.pixels
        if ours != theirs:
            keys = [k for k in sorted({*ours, *theirs}) if ours.get(k) != theirs.get(k)]
            changes = ", ".join(f"{k}: {ours.get(k)!r} -> {theirs.get(k)!r}" for k in keys)
            raise AlphaBenchError(
                f"{str(self.root)!r} holds another run ({changes})",
                hint="take back that change, or name another folder with --out",
            )
        if _wider(wanted.limit, self.manifest.limit):
            folder = RunFolder(self.root, wanted)
            folder._write_manifest()
            return folder
        return self

    def _write_manifest(self) -> None:
        manifest = self.manifest
        content = {
            "format": FORMAT,
            "benchmark": manifest.benchmark,
            "checkpoint": manifest.checkpoint,
            "pixels": dict(manifest.pixels),
            "limit": manifest.limit,
            "circumstances": dict(manifest.circumstances),
        }
        _replace(self.root / "manifest.json", json.dumps(content, indent=2, ensure_ascii=False))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the right to write; the system frees it when the process ends, however it ends.

        Raises:
            AlphaBenchError: another process holds it.
        """
        with _room(self.root), (self.root / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "another process"
                raise AlphaBenchError(
                    f"{str(self.root)!r} is being written by {holder}",
                    hint="wait for it, stop it, or name another folder with --out",
                ) from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            yield

    def images(self) -> dict[str, ImageRecord]:
        """Image id -> its newest record; what the record names may since be damaged."""
        rows = (ImageRecord(**row) for row in _read_lines(self.root / "images.jsonl"))
        return {row.image_id: row for row in rows}

    def not_made(self) -> dict[str, NotMade]:
        """Image id -> why the newest attempt made no image; an image made since is not in it."""
        rows = list(_read_lines(self.root / "not_made.jsonl"))
        made = self.images()
        return {
            row["image_id"]: NotMade(status=row["status"], reason=row["reason"])
            for row in rows
            if row["image_id"] not in made
        }

    def damage(self, records: Iterable[ImageRecord]) -> dict[str, Damage]:
        """Image id -> what is wrong with its file, for those that are not as they were made."""
        found: dict[str, Damage] = {}
        for record in records:
            path = self.root / record.path
            if not path.is_file():
                found[record.image_id] = "deleted"
            elif sha256_of(path) != record.sha256:
                found[record.image_id] = "altered"
        return found

    def set_aside(self, record: ImageRecord) -> Path:
        """Rename an altered image, so that making it again destroys nothing."""
        path = self.root / record.path
        aside = path.with_suffix(f".altered-{sha256_of(path)[:8]}{path.suffix}")
        path.rename(aside)
        return aside

    def append_image(self, image: GeneratedImage) -> None:
        request = image.request
        row = {
            "image_id": image.id,
            "seed": request.seed,
            "prompt": request.sample.prompt,
            "path": image.path.relative_to(self.root).as_posix(),
            "sha256": image.sha256,
            "seconds": round(image.seconds, 4),
            **({"notes": dict(image.notes)} if image.notes else {}),
        }
        _append(self.root / "images.jsonl", [row])

    def append_not_made(self, image_id: str, outcome: NotMade) -> None:
        row = {"image_id": image_id, "status": outcome.status, "reason": outcome.reason}
        _append(self.root / "not_made.jsonl", [row])

    def verdicts(self, evaluation: str) -> list[StoredVerdict]:
        """The newest verdict on each question about each image, in the order first asked."""
        newest: dict[tuple[str, str], StoredVerdict] = {}
        for row in _read_lines(self.root / "verdicts" / f"{evaluation}.jsonl"):
            verdict = verdict_from_json(row["verdict"])
            key = (verdict.image_id, verdict.question_id)
            newest[key] = StoredVerdict(image_sha256=row["image_sha256"], verdict=verdict)
        return list(newest.values())

    def append_verdicts(self, evaluation: str, verdicts: Sequence[StoredVerdict]) -> None:
        rows = [
            {"image_sha256": stored.image_sha256, "verdict": verdict_to_json(stored.verdict)}
            for stored in verdicts
        ]
        _append(self.root / "verdicts" / f"{evaluation}.jsonl", rows)

    def write_evaluation(self, evaluation: str, identity: Mapping[str, str]) -> None:
        """Keep what the evaluation's name stands for.

        Raises:
            AlphaBenchError: the name already stands for another identity.
        """
        path = self.root / "verdicts" / f"{evaluation}.identity.json"
        if path.exists() and _read_json(path) != dict(identity):
            raise AlphaBenchError(
                f"{str(path)!r} belongs to another evaluator", hint="move it away and score again"
            )
        _replace(path, json.dumps(dict(identity), indent=2, ensure_ascii=False))

    def evaluations(self) -> list[str]:
        """The names of all evaluations that were begun, sorted."""
        paths = (self.root / "verdicts").glob("*.identity.json")
        return sorted(path.name.removesuffix(".identity.json") for path in paths)

    def evaluation_identity(self, evaluation: str) -> dict[str, str]:
        """What the evaluation's name stands for; empty where nothing was scored under it."""
        path = self.root / "verdicts" / f"{evaluation}.identity.json"
        return _read_json(path) if path.exists() else {}

    def write_report(self, evaluation: str, report: Report) -> Path:
        path = self.root / "reports" / f"{evaluation}.json"
        _replace(path, json.dumps(report_to_json(report), indent=2, ensure_ascii=False))
        return path

    def reports(self) -> dict[str, Report]:
        """Evaluation -> its report, by name."""
        paths = sorted((self.root / "reports").glob("*.json"))
        return {path.stem: report_from_json(_read_json(path)) for path in paths}

    def write_page(self, name: str, text: str) -> Path:
        """A page for people (markdown, HTML), replaced whole."""
        path = self.root / _safe(name)
        _replace(path, text)
        return path


def run_folders(root: Path) -> list[RunFolder]:
    """All run folders at or below `root`, by path.

    Raises:
        AlphaBenchError: there is no such folder.
    """
    if not root.is_dir():
        raise AlphaBenchError(
            f"there is no folder {str(root)!r}", hint="`alphabench list runs` shows what there is"
        )
    return [RunFolder.open(path.parent) for path in sorted(root.rglob("manifest.json"))]


def image_path(root: Path, request: ImageRequest) -> Path:
    """Where an image of the run at `root` lies."""
    return root / "images" / _safe(request.sample.id) / f"{request.index}.png"


def save_image(root: Path, request: ImageRequest, image: Image, *, run: str) -> tuple[Path, str]:
    """Store an image as PNG; equal pixels, prompt and seed give equal bytes.

    Args:
        root: of the run folder.
        request: names the file and is written into its text chunks.
        image: of any mode that `images.to_rgb` takes; nothing but its pixels is stored.
        run: the run's fingerprint.

    Returns:
        The path and the sha256 of the file.

    Raises:
        UnreadableImageError: as `images.to_rgb`.
    """
    from PIL.PngImagePlugin import PngInfo

    rgb = to_rgb(image)
    about = PngInfo()
    about.add_itxt("prompt", request.sample.prompt)
    about.add_text("seed", str(request.seed))
    about.add_text("run", run)
    path = image_path(root, request)
    with _room(root):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.tmp")
        with partial.open("wb") as file:
            rgb.save(file, format="PNG", pnginfo=about)
            file.flush()
            os.fsync(file.fileno())
        digest = sha256_of(partial)
        partial.replace(path)
    return path, digest


def sha256_of(path: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wider(limit: int | None, than: int | None) -> bool:
    return than is not None and (limit is None or limit > than)


def _safe(name: str) -> str:
    """Names come from data; none may leave its folder."""
    if not _SAFE.fullmatch(name):
        raise AlphaBenchError(
            f"{name!r} cannot be a file name", hint="use letters, digits, '.', '_', '+' and '-'"
        )
    return name


@contextlib.contextmanager
def _room(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise AlphaBenchError(
                f"there is no room left to write {str(root)!r}",
                hint="free some space and give the same command again; what was done is kept",
            ) from error
        if isinstance(error, PermissionError):
            raise AlphaBenchError(
                f"{str(root)!r} may not be written", hint="name another folder with --out"
            ) from error
        raise


def _replace(path: Path, text: str) -> None:
    with _room(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)


def _append(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Durable once it returns; a line that an earlier crash tore is cut off first."""
    with _room(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            _cut_torn_line(file)
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())


def _cut_torn_line(file: Any) -> None:
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    whole = file.read().rpartition(b"\n")
    file.truncate(len(whole[0]) + len(whole[1]))
    file.seek(0, os.SEEK_END)


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file; none where the file is absent.

    Raises:
        AlphaBenchError: a whole line that is no JSON object.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise AlphaBenchError(
                    f"line {number} of {str(path)!r} is damaged",
                    hint="delete that line and give the same command again; it will be made anew",
                )
            yield row


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AlphaBenchError(
            f"{str(path)!r} is damaged ({error})", hint="restore it, or start a new run with --out"
        ) from error
    if not isinstance(content, dict):
        raise AlphaBenchError(f"{str(path)!r} is damaged", hint="restore it, or start a new run")
    return content
