"""Reads published results in upstream's formats, and exports runs to them.

Each benchmark registers its `OfficialFormat`; this module reads and writes files and knows no
format.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alphabench import registry
from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_bytes
from alphabench.core.writing import replace_file, writing
from alphabench.runs.stored_run import StoredRun
from alphabench.types import Report
from alphabench.upstream import UpstreamData
from alphabench.upstream.formats import OfficialFormat

if TYPE_CHECKING:
    from alphabench.runs.run import Outcome


def published_report(benchmark: str, path: Path, data: UpstreamData) -> tuple[Report, str]:
    """The report of a published raw result, and the text that upstream's script prints for it.

    Raises:
        AlphaBenchError: the benchmark has no such format, or the file is not of it.
    """
    form = _format(benchmark)
    report = form.summarise(path, data)
    return report, form.text(report)


def export_runs(outcomes: Sequence[Outcome], target: Path) -> list[Path]:
    """Write each outcome in upstream's layout; several outcomes get a subfolder each.

    Raises:
        AlphaBenchError: `target` exists and is not an empty folder.
    """
    with writing(target, elsewhere="name another folder with --export"):
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise AlphaBenchError(f"{str(target)!r} is not empty", hint="name a new folder")
    folders = [target / one.evaluation if len(outcomes) > 1 else target for one in outcomes]
    for outcome, folder in zip(outcomes, folders, strict=True):
        _write(outcome, folder)
    return folders


def _write(outcome: Outcome, target: Path) -> None:
    benchmark = outcome.benchmark
    stored = StoredRun.of(outcome.folder, verify_images=True)
    images = {image.id: image.path for image in stored.generated_images(outcome.samples)}
    verdicts = stored.expected_verdicts(benchmark, outcome.samples, outcome.evaluation)
    form = _format(f"{benchmark.card.name}:{benchmark.card.split}")
    for name, content in form.files(outcome.samples, images, verdicts):
        with writing(target, elsewhere="name another folder with --export"):
            replace_file(target / name, _image(content) if isinstance(content, Path) else content)


def _image(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except UnreadableFileError as error:
        raise AlphaBenchError(
            f"the image {str(path)!r} cannot be exported ({error})",
            hint="give the command that made the run again, which makes it anew",
        ) from error


def _format(benchmark: str) -> OfficialFormat:
    """The format of `name[@version][:split]`, by split where a split has one.

    Raises:
        AlphaBenchError: there is no such benchmark, or it has no format.
    """
    name, _, split = benchmark.partition(":")
    name = name.partition("@")[0]
    formats = registry.benchmark_entry(name).official_formats
    reference = formats.get(split) or formats.get("")
    if reference is None:
        raise AlphaBenchError(
            f"the benchmark {name!r} has no official result format",
            hint="leave out --official or --export",
        )
    form: OfficialFormat = registry.load_object(reference)
    return form
