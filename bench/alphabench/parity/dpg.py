"""Compares the native mPLUG with modelscope's pipeline, answer by answer, down to DPG's scores.

Both get the same folder of weights and the same grids of images as DPG-Bench's script reads them.
The pipeline runs in a process of another interpreter (`mplug_worker`), one question at a time.
Knows no command line.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from alphabench.benchmarks.dpg.official_files import CELLS, cell_box, split_grid
from alphabench.benchmarks.dpg.scoring import JudgedItem, Proposition, propositions_of
from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.mplug.evaluator import open_mplug
from alphabench.parity.environments import interpreter_of
from alphabench.types import Sample

if TYPE_CHECKING:
    from PIL.Image import Image

WORKER: Final = Path(__file__).parents[1] / "evaluators" / "mplug" / "mplug_worker.py"
_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp"})
_SHOWN: Final = 20
"""Differing answers that the table names."""

Answers = Callable[[Sequence[tuple["Image", str]]], Sequence[str]]
"""The native model's answers to (image, question) pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalPipeline:
    """How the official pipeline is run."""

    python: Path
    """Interpreter of an environment with modelscope."""
    weights: Path
    """The released folder, with modelscope's configuration.json."""
    device: str = "cpu"
    """`cpu` or `gpu`, in modelscope's words."""
    seconds_per_question: float = 300.0
    """And as much again to start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedQuestion:
    """One question about one image of a grid."""

    image_path: Path
    cell: int
    box: tuple[int, int, int, int]
    proposition: Proposition


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemParity:
    """Both sides on one grid."""

    item: str
    n_questions: int
    n_equal: int
    """Answers that are the same text."""
    n_verdicts_equal: int
    """Answers that are both yes, or both not."""
    scores: tuple[float, float]
    """DPG's item score from our answers and from the official ones."""
    differing: tuple[str, ...] = ()
    """In words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DpgParity:
    """What came of it."""

    text: str
    equal: bool
    """Every answer is the same text."""


def mplug_parity(
    images: Path,
    samples: Sequence[Sample],
    *,
    weights: Path,
    python: Path | None,
    cells: int = CELLS,
    limit: int | None = None,
    device: str = "cpu",
) -> DpgParity:
    """Ours against the official pipeline on a folder of grids.

    Args:
        images: holds grids named after items.
        samples: of DPG-Bench.
        weights: the released folder, for both.
        python: interpreter with modelscope; None takes what `doctor --setup modelscope` made.
        cells: images in a file, 4 or 1.
        limit: so many grids at most.
        device: of torch, for both: modelscope takes `cuda:1` as well.

    Raises:
        AlphaBenchError: as `compare_answers`, or there is no interpreter or no weights.
    """
    weights = weights.expanduser()
    interpreter = python or interpreter_of("modelscope")
    if interpreter is None:
        raise AlphaBenchError(
            "there is no environment with modelscope",
            hint="alphabench doctor --setup modelscope, or give --python ENV/bin/python",
        )
    judge = open_mplug({"weights": str(weights)}, device=device, cache_dir=weights)
    original = OriginalPipeline(
        python=interpreter.expanduser(),
        weights=weights,
        device=device,
    )
    rows = compare_answers(
        images, samples, ours=judge.answers, original=original, cells=cells, limit=limit
    )
    return DpgParity(
        text=answer_table(rows), equal=all(row.n_equal == row.n_questions for row in rows)
    )


def compare_answers(
    images: Path,
    samples: Sequence[Sample],
    *,
    ours: Answers,
    original: OriginalPipeline,
    cells: int = CELLS,
    limit: int | None = None,
) -> list[ItemParity]:
    """Ask both sides every question about the grids in a folder.

    Args:
        images: holds grids named after items.
        samples: of DPG-Bench, with the questions.
        ours: the native side.
        original: the other side.
        cells: images in a file, 4 or 1.
        limit: so many grids at most, in the order of their names.

    Raises:
        AlphaBenchError: there is no grid, one cannot be read, or the official side fails.
    """
    _check_original(original)
    grids = _grids(images, samples)[:limit]
    questions: dict[str, list[AskedQuestion]] = {}
    our_answers: dict[str, list[str]] = {}
    for path, sample in grids:
        cell_images = split_grid(path, cells=cells)
        questions[sample.id] = [
            AskedQuestion(
                image_path=path,
                cell=number,
                box=cell_box(number, image.width),
                proposition=proposition,
            )
            for number, image in enumerate(cell_images)
            for proposition in propositions_of(sample.facts)
        ]
        our_answers[sample.id] = list(
            ours(
                [(cell_images[one.cell], one.proposition.question) for one in questions[sample.id]]
            )
        )
    replies = iter(query_original(original, [one for of in questions.values() for one in of]))
    return [
        _compared(item, of, our_answers[item], [next(replies) for _ in of])
        for item, of in questions.items()
    ]


def _check_original(original: OriginalPipeline) -> None:
    """What can be known before our side works for hours."""
    if not original.python.is_file():
        raise AlphaBenchError(
            f"there is no interpreter {str(original.python)!r}", hint="correct --python"
        )
    if not (original.weights / "configuration.json").is_file():
        raise AlphaBenchError(
            f"{str(original.weights)!r} has no 'configuration.json', which modelscope reads",
            hint="give the complete folder as ModelScope released it",
        )


def query_original(original: OriginalPipeline, questions: Sequence[AskedQuestion]) -> list[str]:
    """The official answers, in order.

    Raises:
        AlphaBenchError: the process cannot be started, takes too long, or fails on a question.
    """
    requests = [
        {
            "image": str(one.image_path.absolute()),
            "box": one.box,
            "question": one.proposition.question,
        }
        for one in questions
    ]
    hint = "see that modelscope works in that interpreter; docs/official_scorers.md says how"
    with tempfile.TemporaryDirectory(prefix="alphabench-parity-") as name:
        source, target = Path(name) / "requests.json", Path(name) / "answers.jsonl"
        source.write_text(json.dumps(requests), encoding="utf-8")
        words = [str(original.python), str(WORKER), "--model", str(original.weights.absolute())]
        words += ["--requests", str(source), "--answers", str(target), "--device", original.device]
        try:
            done = subprocess.run(  # noqa: S603  (the user's own interpreter)
                words,
                capture_output=True,
                check=False,
                timeout=original.seconds_per_question * (1 + len(questions)),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise AlphaBenchError(
                f"the official pipeline does not run with {str(original.python)!r}: {error}",
                hint=hint,
            ) from error
        lines = target.read_text(encoding="utf-8").splitlines() if target.is_file() else []
    replies: list[dict[str, Any]] = [json.loads(line) for line in lines]
    failed = next((one["error"] for one in replies if "error" in one), None)
    if failed is None and len(replies) != 1 + len(questions):
        last = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        failed = f"it ended early: {last[-1]}"
    if failed is not None:
        raise AlphaBenchError(f"the official pipeline failed: {failed}", hint=hint)
    return [str(one["answer"]) for one in replies[1:]]


def answer_table(rows: Sequence[ItemParity]) -> str:
    """One line for each grid, one for all, and the first answers that differ."""
    width = max((len(row.item) for row in rows), default=4)
    lines = [f"{'item':<{width}}  questions  equal  verdicts equal  score ours  official"]
    for row in rows:
        mark = "" if row.n_equal == row.n_questions else "  DIFFERS"
        lines.append(
            f"{row.item:<{width}}  {row.n_questions:>9}  {row.n_equal:>5}  "
            f"{row.n_verdicts_equal:>14}  {row.scores[0]:>10.4f}  {row.scores[1]:>8.4f}{mark}"
        )
    questions = sum(row.n_questions for row in rows)
    means = [sum(row.scores[side] for row in rows) / len(rows) for side in (0, 1)] if rows else []
    lines.append(
        f"answers equal on {sum(row.n_equal for row in rows)} of {questions} questions, verdicts "
        f"on {sum(row.n_verdicts_equal for row in rows)}; mean score "
        f"{' and '.join(f'{mean:.4f}' for mean in means) or 'of nothing'}"
    )
    lines += [words for row in rows for words in row.differing][:_SHOWN]
    return "\n".join(lines)


def _grids(images: Path, samples: Sequence[Sample]) -> list[tuple[Path, Sample]]:
    by_id = {sample.id: sample for sample in samples}
    if not images.is_dir():
        raise AlphaBenchError(f"there is no folder {str(images)!r}", hint="correct --images")
    found = [
        (path, by_id[path.stem])
        for path in sorted(images.iterdir())
        if path.suffix.lower() in _SUFFIXES and path.stem in by_id
    ]
    if not found:
        raise AlphaBenchError(
            f"no image in {str(images)!r} is named after an item of DPG-Bench",
            hint="give the folder of grids, <item_id>.png, as upstream's script takes it",
        )
    return found


def _compared(
    item: str, questions: Sequence[AskedQuestion], ours: Sequence[str], theirs: Sequence[str]
) -> ItemParity:
    same = [mine == other for mine, other in zip(ours, theirs, strict=True)]
    agree = [(mine == "yes") == (other == "yes") for mine, other in zip(ours, theirs, strict=True)]
    return ItemParity(
        item=item,
        n_questions=len(questions),
        n_equal=sum(same),
        n_verdicts_equal=sum(agree),
        scores=(_score(item, questions, ours), _score(item, questions, theirs)),
        differing=tuple(
            f"{item}, image {one.cell + 1}: {one.proposition.question!r} ours {mine!r}, "
            f"official {other!r}"
            for one, mine, other in zip(questions, ours, theirs, strict=True)
            if mine != other
        ),
    )


def _score(item: str, questions: Sequence[AskedQuestion], answers: Sequence[str]) -> float:
    """DPG's item score, over all its questions."""
    images: dict[int, dict[str, float | None]] = {}
    propositions: dict[str, Proposition] = {}
    for one, answer in zip(questions, answers, strict=True):
        images.setdefault(one.cell, {})[one.proposition.id] = float(answer == "yes")
        propositions[one.proposition.id] = one.proposition
    judged = JudgedItem(
        id=item, propositions=tuple(propositions.values()), images=tuple(images.values())
    )
    return judged.score("strict") or 0.0
