"""Writes and reads the run folder. The only module that knows its file names; knows no metric.

    runs/geneval/scene-error-0.2-9f2c1a/
      manifest.json                what decides the pixels, and how the run was made
      images/00007/2.png           lossless; prompt, seed and fingerprint in its text chunks
      images.jsonl                 one line per generated image
      not_made.jsonl               one line per attempt without an image, with the reason
      verdicts/<evaluation>.jsonl  one line per question about an image
      reports/<evaluation>.json    the numbers of an evaluation
      benchmark.json               a copy of the benchmark, if it is a file of the user's own
      checked.json                 size and times of each image's file when its sha256 was last
                                   verified; if deleted, all images are read again

A file is either appended to, line by line, or replaced completely by rename. A crash can tear the
last line of a file and nothing else. One process writes at a time.

A folder may be untrusted: no path in it leads outside, and malformed content is reported as one
sentence with file, line and key. Unknown keys are ignored.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import FileState, UnreadableFileError, read_text, well_formed
from alphabench.core.locking import HeldError, exclusive, holder_of
from alphabench.core.writing import (
    append_rows,
    line_of,
    link_or_copy,
    remove_drafts,
    replace_file,
    writing,
)
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
    Row,
    StoredVerdict,
    fingerprint,
    pixel_changes,
    with_packed_detail,
)
from alphabench.runs.serialization import report_to_json
from alphabench.runs.sharding import no_run_folder
from alphabench.runs.verified_images import VerifiedImages
from alphabench.types import GeneratedImage, ImageRequest, NotGenerated, Report

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "BENCHMARK_FILE",
    "FORMAT",
    "ImageRecord",
    "Manifest",
    "RunFolder",
    "StoredVerdict",
    "fingerprint",
    "image_path",
    "save_image",
    "sha256_of",
]

T = TypeVar("T")
FORMAT: Final = 1
"""Incremented when this version could misread a folder of an older one."""
BENCHMARK_FILE: Final = "benchmark.json"
_SAFE = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,120}")
_UNSAFE_ELSEWHERE: Final = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?|.*\.")
"""Names that Windows file systems do not allow; a run folder may be copied to one."""
_LEFTOVERS: Final = re.compile(r"lock(\.exclusive.*)?|\.manifest\.json\.\d+\.tmp|\.DS_Store")

Damage = Literal["deleted", "altered"]


class RunFolder:
    """One run on disk. Use `create` or `open`; write only inside `locked()`."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self.root = root
        self.manifest = manifest
        self._checked = VerifiedImages(root / "checked.json")
        self._cache: dict[str, tuple[Sequence[int], Any]] = {}

    @classmethod
    def create(cls, root: Path, manifest: Manifest) -> RunFolder:
        """The folder at `root`: created if absent, continued if it holds the same run.

        The larger `limit` counts: a smaller one than before is ignored.

        Raises:
            AlphaBenchError: the folder holds another run (names what differs), or is no run
                folder and holds anything.
        """
        with _writing(root):
            if (root / "manifest.json").exists():
                folder = cls.open(root)
                folder._widen(manifest)
                return folder
            if root.exists() and any(not _LEFTOVERS.fullmatch(f.name) for f in root.iterdir()):
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
        if not os.path.isfile(path):  # noqa: PTH113 - False also without permission
            raise no_run_folder(root)
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
        """Extend the run to the larger limit of `wanted`.

        Raises:
            AlphaBenchError: it is another run.
        """
        if changes := pixel_changes(self.manifest, wanted):
            raise AlphaBenchError(
                f"{str(self.root)!r} holds another run ({changes})",
                hint="take back that change, or name another folder with --out",
            )
        if self.manifest.shard != wanted.shard:
            held = f"{str(self.root)!r} holds {self.manifest.shard or 'the whole run'}"
            named = f", and --shard names {wanted.shard}"
            raise AlphaBenchError(
                held + (named if wanted.shard else ", and the command is about the whole run"),
                hint="correct --shard, or name another folder with --out",
            )
        if wanted.is_wider_than(self.manifest):
            self.manifest = wanted

    def _write_manifest(self) -> None:
        path, manifest = self._path("manifest.json"), self.manifest
        content = {
            **(read_object(path) if path.exists() else {}),  # preserves unknown keys
            "format": FORMAT,
            "benchmark": manifest.benchmark,
            "checkpoint": manifest.checkpoint,
            "pixels": dict(manifest.pixels),
            "limit": manifest.limit,
            "circumstances": dict(manifest.circumstances),
            **({} if manifest.shard is None else {"shard": asdict(manifest.shard)}),
        }
        self._replace(path, json.dumps(content, indent=2, ensure_ascii=False))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the write lock, which the operating system releases when the process ends.

        Nothing is written before, not even the manifest of a new run. Drafts that a killed process
        left behind are removed.

        Raises:
            AlphaBenchError: another process holds it, or the folder now holds another run.
        """
        with contextlib.ExitStack() as stack:
            with _writing(self.root):
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
            if self._checked.is_changed:
                self._replace(self._path("checked.json"), json.dumps(self._checked.to_json()))
                self._checked.is_changed = False

    def holder(self) -> HeldError | None:
        """Who writes the folder now; None for nobody. Changes nothing, and holds nothing."""
        return holder_of(self._path("lock"))

    def record_circumstances(self, circumstances: Mapping[str, Any]) -> None:
        """Replace what the manifest says about how the run was made."""
        if circumstances != self.manifest.circumstances:
            self.manifest = replace(self.manifest, circumstances=circumstances)
            self._write_manifest()

    def _path(self, name: str) -> Path:
        return inside(self.root, name)

    def _replace(self, path: Path, text: str | Iterable[str]) -> None:
        with _writing(self.root):
            replace_file(path, text)

    def _append(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        with _writing(self.root):
            append_rows(self._path(name), rows)

    def _replace_rows(self, name: str, rows: Iterable[Row]) -> None:
        """Replace a file of lines; one that would stay the same is left alone."""
        path = self._path(name)
        content = well_formed("".join(line_of(row.to_json()) for row in rows)).encode()
        if content != (path.read_bytes() if path.exists() else b""):
            with _writing(self.root):
                replace_file(path, content)

    def _parsed(self, name: str, parse: Callable[[Path], T]) -> T:
        """The parsed lines of a file; parsed again only if the file has changed."""
        path = self._path(name)
        status = path.stat() if path.exists() else None
        state = (status.st_ino, status.st_size, status.st_mtime_ns) if status else ()
        if name not in self._cache or self._cache[name][0] != state:
            self._cache[name] = (state, parse(path))
        parsed: T = self._cache[name][1]
        return parsed

    def images(self) -> Mapping[str, ImageRecord]:
        """Image id -> its newest record; the file may be damaged since."""
        return self._parsed(
            "images.jsonl",
            lambda path: {row.image_id: row for row in read_records(path, ImageRecord)},
        )

    def not_made(self) -> dict[str, NotGenerated]:
        """Image id -> why the newest attempt gave no image; without images that exist now."""
        rows = self._parsed("not_made.jsonl", lambda path: list(read_records(path, FailedAttempt)))
        made = self.images()
        return {
            row.image_id: NotGenerated(status=row.status, reason=row.reason)
            for row in rows
            if row.image_id not in made
        }

    def damage(self, records: Iterable[ImageRecord]) -> dict[str, Damage]:
        """Image id -> what happened to its file, for files that were deleted or altered.

        Files that have not changed since they were last verified are not read again.

        Raises:
            AlphaBenchError: a link leads out of the folder.
        """
        damaged: dict[str, Damage] = {}
        inside: set[Path] = set()
        root = str(self.root)
        for record in records:
            name = f"{root}/{record.path}"
            if self._checked.is_unchanged(name, record.sha256):
                continue
            path = self.root / record.path
            if path.parent not in inside or path.is_symlink():
                self._path(record.path)
                inside.add(path.parent)
            if not path.exists():
                damaged[record.image_id] = "deleted"
            elif file_sha256(path) != record.sha256:
                damaged[record.image_id] = "altered"
            else:
                self._checked.record(name, record.sha256)
        return damaged

    def verified_state(self, record: ImageRecord) -> FileState | None:
        """The state in which the image's file was last verified; None where it was not."""
        return self._checked.state_of(f"{self.root}/{record.path}", record.sha256)

    def set_aside(self, record: ImageRecord) -> Path:
        """Rename an altered image, so that generating it again overwrites nothing."""
        path = self._path(record.path)
        digest = file_sha256(path) or "unreadable"
        aside = path.with_suffix(f".altered-{digest[:8]}{path.suffix}")
        with _writing(self.root):
            path.rename(aside)
        return aside

    def append_image(self, image: GeneratedImage) -> None:
        request = image.request
        record = ImageRecord(
            image_id=image.id,
            seed=request.seed,
            prompt=request.sample.prompt,
            path=image.path.relative_to(self.root).as_posix(),
            sha256=image.sha256,
            seconds=round(image.seconds, 4),
            notes=image.notes,
        )
        self._append("images.jsonl", [record.to_json()])
        self._checked.record(f"{self.root}/{record.path}", image.sha256)

    def adopt_image(self, record: ImageRecord, source: RunFolder) -> None:
        """Take over the file of an undamaged image of another folder of the same run.

        It is hard-linked where the file system can, so that it needs no space, and else copied.
        """
        path, origin = self._path(record.path), inside(source.root, record.path)
        if file_sha256(path) != record.sha256:
            with _writing(self.root):
                link_or_copy(origin.resolve(), path)
        self._checked.record(f"{self.root}/{record.path}", record.sha256)

    def replace_images(self, records: Iterable[ImageRecord]) -> None:
        """Make these the records of all images, in this order."""
        self._replace_rows("images.jsonl", records)

    def append_not_made(self, image_id: str, outcome: NotGenerated) -> None:
        self._append("not_made.jsonl", [FailedAttempt.of(image_id, outcome).to_json()])

    def replace_not_made(self, outcomes: Mapping[str, NotGenerated]) -> None:
        """Make these the attempts without an image: image id -> why, in this order."""
        attempts = (FailedAttempt.of(name, outcome) for name, outcome in outcomes.items())
        self._replace_rows("not_made.jsonl", attempts)

    def verdicts(self, evaluation: str) -> Sequence[StoredVerdict]:
        """The newest verdict on each question about each image, in the order first answered."""
        return self._parsed(f"verdicts/{_safe(evaluation)}.jsonl", _newest_verdicts)

    def append_verdicts(self, evaluation: str, verdicts: Sequence[StoredVerdict]) -> None:
        rows = [verdict.to_json() for verdict in verdicts]
        self._append(f"verdicts/{_safe(evaluation)}.jsonl", rows)

    def replace_verdicts(self, evaluation: str, verdicts: Iterable[StoredVerdict]) -> None:
        """Make these the verdicts of the evaluation, in this order."""
        self._replace_rows(f"verdicts/{_safe(evaluation)}.jsonl", verdicts)

    def write_evaluation(self, evaluation: str, identity: Mapping[str, str]) -> None:
        """Store the identity of an evaluation.

        Raises:
            AlphaBenchError: the name already stands for another identity.
        """
        path = self._path(f"verdicts/{_safe(evaluation)}.identity.json")
        text = well_formed(json.dumps(dict(identity), indent=2, ensure_ascii=False))
        if not path.exists():
            self._replace(path, text)
        elif read_object(path) != json.loads(text):
            raise AlphaBenchError(
                f"{str(path)!r} belongs to another evaluator", hint="move it away and score again"
            )

    def evaluations(self) -> list[str]:
        """The names of all evaluations that were begun, sorted."""
        return self._names("verdicts", ".identity.json")

    def evaluations_by_time(self) -> list[str]:
        """The same, in the order in which a verdict of theirs was last added."""

        def added(evaluation: str) -> float:
            path = self._path(f"verdicts/{_safe(evaluation)}.jsonl")
            return path.stat().st_mtime if path.exists() else 0.0

        return sorted(self.evaluations(), key=lambda one: (added(one), one))

    def evaluation_identity(self, evaluation: str) -> dict[str, str]:
        """The identity of an evaluation; empty if nothing was scored under that name."""
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
        reports = {name: self.report(name) for name in self._names("reports", ".json")}
        return {name: report for name, report in reports.items() if report is not None}

    def _names(self, folder: str, ending: str) -> list[str]:
        """Names of evaluations, by files; other files are ignored."""
        names = [path.name for path in self._path(folder).glob(f"*{ending}")]
        return sorted(name.removesuffix(ending) for name in names if _SAFE.fullmatch(name))

    def write_page(self, name: str, text: str | Iterable[str]) -> Path:
        """Write a report for people (markdown, HTML), given as one text or in parts."""
        path = self._path(_safe(name))
        self._replace(path, text)
        return path

    def read_page(self, name: str) -> str | None:
        """A report for people as it was written; None if there is none yet."""
        path = self._path(_safe(name))
        try:
            return read_text(path) if path.exists() else None
        except UnreadableFileError as error:
            raise unusable_file(path, error) from error


def image_path(root: Path, request: ImageRequest) -> Path:
    """The path of an image of the run at `root`."""
    return inside(root, f"images/{_safe(request.sample.id)}/{request.index}.png")


def save_image(root: Path, request: ImageRequest, image: Image, *, run: str) -> tuple[Path, str]:
    """Store an image as PNG; equal pixels, prompt and seed give equal bytes.

    Args:
        root: of the run folder.
        request: names the file and is written into its text chunks.
        image: of any mode that `images.to_rgb` takes; only its pixels are stored.
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
    with _writing(root):
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


def _safe(name: str) -> str:
    """Names come from data and must not lead out of their folder."""
    if not _SAFE.fullmatch(name) or _UNSAFE_ELSEWHERE.fullmatch(name):
        raise AlphaBenchError(
            f"{name!r} cannot be a file name", hint="use letters, digits, '.', '_', '+' and '-'"
        )
    return name


def _writing(root: Path) -> contextlib.AbstractContextManager[None]:
    return writing(root, elsewhere="name another folder with --out")
