"""The run folder: writes and reads it. The only module that knows a file name; knows no metric.

    runs/geneval/scene-error-0.2-9f2c1a/
      manifest.json                what decides the pixels, and the circumstances of the run
      images/00007/2.png           lossless; prompt, seed and fingerprint in its text chunks
      images.jsonl                 one line per image that was made
      not_made.jsonl               one line per attempt that made none, and why
      verdicts/<evaluation>.jsonl  one line per question about an image
      reports/<evaluation>.json    what they amount to
      checked.json                 what each image's file looked like when its digest was last
                                   verified; may be deleted, then all are read again

A file is either append-only lines, each on disk before the next step, or replaced whole by rename:
a crash can tear the last line of a file and nothing else. One process writes at a time.

A folder may come from somebody else: no path in it leads out, and what is malformed is one sentence
that names file, line and key. Keys that this version does not know are passed over.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import FileState, UnreadableFileError, read_text, well_formed
from alphabench.core.locking import HeldError, exclusive
from alphabench.core.writing import append_rows, remove_drafts, replace_file, writing
from alphabench.images import to_rgb
from alphabench.runs.reading import (
    file_sha256,
    inside,
    read_object,
    read_record,
    read_records,
    unusable_file,
)
from alphabench.runs.records import (
    EvaluationIdentity,
    FailedAttempt,
    ImageRecord,
    Manifest,
    StoredVerdict,
    fingerprint,
    with_packed_detail,
)
from alphabench.runs.serialization import report_to_json, verdict_to_json
from alphabench.runs.verified_images import VerifiedImages
from alphabench.types import GeneratedImage, ImageRequest, NotGenerated, Report

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "FORMAT",
    "ImageRecord",
    "Manifest",
    "RunFolder",
    "StoredVerdict",
    "fingerprint",
    "image_path",
    "run_folders",
    "save_image",
    "sha256_of",
]

T = TypeVar("T")
FORMAT: Final = 1
"""Raised when a folder written before could be misread."""
_SAFE = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,120}")
_UNSAFE_ELSEWHERE: Final = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?|.*\.")
"""No name of a file on file systems of Windows, to which a run folder may be copied."""
_OWN_LEFTOVERS: Final = re.compile(r"lock(\.exclusive.*)?|\.manifest\.json\.\d+\.tmp|\.DS_Store")
_MOST_NOTES: Final = 8

Damage = Literal["deleted", "altered"]


class RunFolder:
    """One run on disk. Use `create` or `open`; write only inside `locked()`."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self.root = root
        self.manifest = manifest
        self._checked = VerifiedImages(root / "checked.json")
        self._kept: dict[str, tuple[Sequence[int], Any]] = {}

    @classmethod
    def create(cls, root: Path, manifest: Manifest) -> RunFolder:
        """The folder at `root`: made if absent, continued if it holds the same run.

        A narrower `limit` than before keeps the wider one; a wider one is written by `locked`.

        Raises:
            AlphaBenchError: the folder holds another run (names what differs), or is no run
                folder and holds anything.
        """
        with _room(root):
            if (root / "manifest.json").exists():
                folder = cls.open(root)
                folder._widen(manifest)
                return folder
            if root.exists() and any(not _OWN_LEFTOVERS.fullmatch(f.name) for f in root.iterdir()):
                raise AlphaBenchError(
                    f"{str(root)!r} exists and is not a run folder", hint="name another with --out"
                )
        folder = cls(root, manifest)
        with folder.locked():
            pass
        return folder

    @classmethod
    def open(cls, root: Path) -> RunFolder:
        """An existing run folder.

        Raises:
            AlphaBenchError: there is none at `root`, or this version cannot read it.
        """
        path = root / "manifest.json"
        if not os.path.isfile(path):  # noqa: PTH113 - False also where nobody may look
            raise AlphaBenchError(
                f"{str(root)!r} is not a run folder", hint="`alphabench list runs` shows them"
            )
        content = read_object(inside(root, "manifest.json"))
        if "format" not in content or not isinstance(content.get("pixels"), dict):
            raise AlphaBenchError(
                f"{str(path)!r} is not the manifest of a run",
                hint="`alphabench list runs` shows the run folders",
            )
        if content["format"] != FORMAT:
            raise AlphaBenchError(
                f"{str(path)!r} was written by another version of alphabench",
                hint="use that version, or start a new run",
            )
        return cls(root, read_record(path, Manifest))

    def _widen(self, wanted: Manifest) -> None:
        """Take over `wanted` where it asks for more of the same run.

        Raises:
            AlphaBenchError: it is another run.
        """
        ours, theirs = (_as_stored(manifest.pixels) for manifest in (self.manifest, wanted))
        if ours != theirs:
            keys = [k for k in sorted({*ours, *theirs}) if ours.get(k) != theirs.get(k)]
            changes = ", ".join(f"{k}: {ours.get(k)!r} -> {theirs.get(k)!r}" for k in keys)
            raise AlphaBenchError(
                f"{str(self.root)!r} holds another run ({changes})",
                hint="take back that change, or name another folder with --out",
            )
        if _wider(wanted.limit, self.manifest.limit):
            self.manifest = wanted

    def _write_manifest(self) -> None:
        path, manifest = self._path("manifest.json"), self.manifest
        content = {
            **(read_object(path) if path.exists() else {}),  # keeps what this version knows not
            "format": FORMAT,
            "benchmark": manifest.benchmark,
            "checkpoint": manifest.checkpoint,
            "pixels": dict(manifest.pixels),
            "limit": manifest.limit,
            "circumstances": dict(manifest.circumstances),
        }
        self._replace(path, json.dumps(content, indent=2, ensure_ascii=False))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the right to write, which ends with the process, however that ends.

        Nothing is written before it is held, the manifest of a new or wider run included; then
        what a killed process was writing is removed.

        Raises:
            AlphaBenchError: another process holds it, or the folder now holds another run.
        """
        with contextlib.ExitStack() as stack:
            with _room(self.root):
                self.root.mkdir(parents=True, exist_ok=True)
                try:
                    was_left = stack.enter_context(exclusive(self._path("lock")))
                except HeldError as held:
                    what = f"delete {str(held.file)!r} if it has ended" if held.file else "stop it"
                    raise AlphaBenchError(
                        f"{str(self.root)!r} is being written by {held.holder}",
                        hint=f"wait for it, {what}, or name another folder with --out",
                    ) from None
                if was_left:
                    remove_drafts(self.root)
            if (self.root / "manifest.json").exists():
                wanted, stored = self.manifest, RunFolder.open(self.root).manifest
                self.manifest = stored
                self._widen(wanted)
                if self.manifest is not stored:
                    self._write_manifest()
            else:
                self._write_manifest()
            yield
            if self._checked.is_newer:
                self._replace(self._path("checked.json"), json.dumps(self._checked.settled()))
                self._checked.is_newer = False

    def _path(self, name: str) -> Path:
        return inside(self.root, name)

    def _replace(self, path: Path, text: str | Iterable[str]) -> None:
        with _room(self.root):
            replace_file(path, text)

    def _append(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        with _room(self.root):
            append_rows(self._path(name), rows)

    def _parsed(self, name: str, parse: Callable[[Path], T]) -> T:
        """What a file of lines holds, parsed again only where it has changed since."""
        path = self._path(name)
        found = path.stat() if path.exists() else None
        looks = (found.st_ino, found.st_size, found.st_mtime_ns) if found else ()
        if name not in self._kept or self._kept[name][0] != looks:
            self._kept[name] = (looks, parse(path))
        parsed: T = self._kept[name][1]
        return parsed

    def images(self) -> Mapping[str, ImageRecord]:
        """Image id -> its newest record; what the record names may since be damaged."""
        return self._parsed(
            "images.jsonl",
            lambda path: {row.image_id: row for row in read_records(path, ImageRecord)},
        )

    def not_made(self) -> dict[str, NotGenerated]:
        """Image id -> why the newest attempt made no image; an image made since is not in it."""
        rows = self._parsed("not_made.jsonl", lambda path: list(read_records(path, FailedAttempt)))
        made = self.images()
        return {
            row.image_id: NotGenerated(status=row.status, reason=row.reason)
            for row in rows
            if row.image_id not in made
        }

    def damage(self, records: Iterable[ImageRecord]) -> dict[str, Damage]:
        """Image id -> what is wrong with its file, for those that are not as they were made.

        Files that have not changed since they were last found sound are not read; see `checked`.

        Raises:
            AlphaBenchError: a link leads out of the folder.
        """
        found: dict[str, Damage] = {}
        inside: set[Path] = set()
        root = str(self.root)
        for record in records:
            name = f"{root}/{record.path}"
            if self._checked.holds(name, record.sha256):
                continue
            path = self.root / record.path
            if path.parent not in inside or path.is_symlink():
                self._path(record.path)
                inside.add(path.parent)
            if not path.exists():
                found[record.image_id] = "deleted"
            elif file_sha256(path) != record.sha256:
                found[record.image_id] = "altered"
            else:
                self._checked.keep(name, record.sha256)
        return found

    def verified_state(self, record: ImageRecord) -> FileState | None:
        """The state in which the image's file was last verified; None where it was not."""
        return self._checked.state_of(f"{self.root}/{record.path}", record.sha256)

    def set_aside(self, record: ImageRecord) -> Path:
        """Rename an altered image, so that making it again destroys nothing."""
        path = self._path(record.path)
        digest = file_sha256(path) or "unreadable"
        aside = path.with_suffix(f".altered-{digest[:8]}{path.suffix}")
        with _room(self.root):
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
        self._append("images.jsonl", [row])
        self._checked.keep(f"{self.root}/{row['path']}", image.sha256)

    def append_not_made(self, image_id: str, outcome: NotGenerated) -> None:
        row = {"image_id": image_id, "status": outcome.status, "reason": outcome.reason}
        self._append("not_made.jsonl", [row])

    def verdicts(self, evaluation: str) -> Sequence[StoredVerdict]:
        """The newest verdict on each question about each image, in the order first asked."""
        return self._parsed(f"verdicts/{_safe(evaluation)}.jsonl", _newest_verdicts)

    def append_verdicts(self, evaluation: str, verdicts: Sequence[StoredVerdict]) -> None:
        rows = [
            {"image_sha256": stored.image_sha256, "verdict": verdict_to_json(stored.verdict)}
            for stored in verdicts
        ]
        self._append(f"verdicts/{_safe(evaluation)}.jsonl", rows)

    def write_evaluation(self, evaluation: str, identity: Mapping[str, str]) -> None:
        """Keep what the evaluation's name stands for.

        Raises:
            AlphaBenchError: the name already stands for another identity.
        """
        path = self._path(f"verdicts/{_safe(evaluation)}.identity.json")
        text = well_formed(json.dumps(dict(identity), indent=2, ensure_ascii=False))
        if path.exists() and read_object(path) != json.loads(text):
            raise AlphaBenchError(
                f"{str(path)!r} belongs to another evaluator", hint="move it away and score again"
            )
        self._replace(path, text)

    def evaluations(self) -> list[str]:
        """The names of all evaluations that were begun, sorted."""
        return self._names("verdicts", ".identity.json")

    def evaluation_identity(self, evaluation: str) -> dict[str, str]:
        """What the evaluation's name stands for; empty where nothing was scored under it."""
        path = self._path(f"verdicts/{_safe(evaluation)}.identity.json")
        if not path.exists():
            return {}
        return dict(read_record(path, EvaluationIdentity, under="identity").identity)

    def write_report(self, evaluation: str, report: Report) -> Path:
        path = self._path(f"reports/{_safe(evaluation)}.json")
        self._replace(path, json.dumps(report_to_json(report), indent=2, ensure_ascii=False))
        return path

    def report(self, evaluation: str) -> Report | None:
        """The report of one evaluation; None where there is none yet."""
        path = self._path(f"reports/{_safe(evaluation)}.json")
        return read_record(path, Report) if path.exists() else None

    def reports(self) -> dict[str, Report]:
        """Evaluation -> its report, by name."""
        found = {name: self.report(name) for name in self._names("reports", ".json")}
        return {name: report for name, report in found.items() if report is not None}

    def _names(self, folder: str, ending: str) -> list[str]:
        """Evaluations by the files that we write; what other programs leave there is not ours."""
        names = [path.name for path in self._path(folder).glob(f"*{ending}")]
        return sorted(name.removesuffix(ending) for name in names if _SAFE.fullmatch(name))

    def write_page(self, name: str, text: str | Iterable[str]) -> Path:
        """A page for people (markdown, HTML), whole or in pieces; replaced whole."""
        path = self._path(_safe(name))
        self._replace(path, text)
        return path

    def read_page(self, name: str) -> str | None:
        """A page as it was written; None where there is none yet."""
        path = self._path(_safe(name))
        try:
            return read_text(path) if path.exists() else None
        except UnreadableFileError as error:
            raise unusable_file(path, error) from error


def run_folders(root: Path, *, note: Callable[[str], None] = lambda _: None) -> list[RunFolder]:
    """All run folders at or below `root`, by path; what cannot be read as one is passed over.

    Args:
        root: a run folder, or a folder above some.
        note: called with a sentence for what was passed over.

    Raises:
        AlphaBenchError: there is no such folder, or it is itself a run that cannot be read and
            holds no other.
    """
    if not root.is_dir():
        raise AlphaBenchError(
            f"there is no folder {str(root)!r}", hint="`alphabench list runs` shows what there is"
        )
    found, passed_over = [], []
    for path in sorted(root.rglob("manifest.json")):
        try:
            found.append(RunFolder.open(path.parent))
        except AlphaBenchError as error:
            passed_over.append(f"passed over: {error.message}")
    if not found and (root / "manifest.json").is_file():
        return [RunFolder.open(root)]
    for text in passed_over[:_MOST_NOTES]:
        note(text)
    if (more := len(passed_over) - _MOST_NOTES) > 0:
        note(f"passed over: {more} more files named manifest.json")
    return found


def image_path(root: Path, request: ImageRequest) -> Path:
    """Where an image of the run at `root` lies."""
    return inside(root, f"images/{_safe(request.sample.id)}/{request.index}.png")


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
    about.add_itxt("prompt", well_formed(request.sample.prompt))
    about.add_text("seed", str(request.seed))
    about.add_text("run", run)
    content = io.BytesIO()
    rgb.save(content, format="PNG", pnginfo=about)
    path = image_path(root, request)
    with _room(root):
        replace_file(path, content.getvalue())
    return path, hashlib.sha256(content.getvalue()).hexdigest()


def sha256_of(path: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _newest_verdicts(path: Path) -> list[StoredVerdict]:
    newest: dict[tuple[str, str], StoredVerdict] = {}
    for stored in read_records(path, StoredVerdict):
        newest[stored.verdict.image_id, stored.verdict.question_id] = with_packed_detail(stored)
    return list(newest.values())


def _as_stored(pixels: Mapping[str, str]) -> dict[str, str]:
    return {well_formed(key): well_formed(value) for key, value in pixels.items()}


def _wider(limit: int | None, than: int | None) -> bool:
    return than is not None and (limit is None or limit > than)


def _safe(name: str) -> str:
    """Names come from data; none may leave its folder."""
    if not _SAFE.fullmatch(name) or _UNSAFE_ELSEWHERE.fullmatch(name):
        raise AlphaBenchError(
            f"{name!r} cannot be a file name", hint="use letters, digits, '.', '_', '+' and '-'"
        )
    return name


def _room(root: Path) -> contextlib.AbstractContextManager[None]:
    return writing(root, elsewhere="name another folder with --out")
