"""Writes the pages of a run folder that people read, one set for each evaluation.

`report.md` and `gallery.html` show the evaluation that was written last. As soon as a run has
several, each has pages of its own as well, such as `report-nano-official-6e110e.md`, so that no
scoring hides an earlier one. Knows file names only; what the pages say is written by what the
registry names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from alphabench import registry
from alphabench.runs.stored_run import StoredEvaluation, StoredRun
from alphabench.types import Sample

REPORT_FILE: Final = "report.md"
GALLERY_FILE: Final = "gallery.html"


def page_of_evaluation(run: StoredRun, file: str, evaluation: str) -> str:
    """The page that shows this evaluation whatever is scored later: `file` if there is no other."""
    if len(run.evaluations()) < 2:
        return file
    name, dot, ending = file.partition(".")
    return f"{name}-{evaluation}{dot}{ending}"


def write_pages(
    run: StoredRun, samples: Sequence[Sample], evaluation: StoredEvaluation
) -> Mapping[str, Path]:
    """Write all pages about one evaluation, and what an earlier one still lacks.

    Returns:
        `report.md` and the other names of the registry -> the page that stays this evaluation's.

    Raises:
        UnwritableError: the folder cannot be written.
    """
    pages: dict[str, Path] = {}
    earlier = [name for name in run.evaluations() if name != evaluation.name]
    for file, writer in registry.known("report").items():
        write = registry.load_object(writer)
        own = page_of_evaluation(run, file, evaluation.name)
        for name in dict.fromkeys((own, file)):
            run.folder.write_page(name, write(run, samples, evaluation=evaluation))
        pages[file] = run.root / own
        for other in earlier:
            page = page_of_evaluation(run, file, other)
            if (run.root / page).exists() or (stored := run.evaluation(other)).report is None:
                continue
            run.folder.write_page(page, write(run, samples, evaluation=stored))
    return pages
