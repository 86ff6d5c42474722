"""Measures a judge on pictures that no training saw: by kind of question, and its grades.

    python -m tools.nano_judge.measure --judge nano --scenes 150

Pictures come from the generators of `pictures` and `edits` under shard numbers that training does
not use. Prints tables for the judge's card.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alphabench.benchmarks.gedit import viescore
from alphabench.benchmarks.gedit.viescore_parser import LowestScore
from alphabench.benchmarks.wise.questions import own_wise_template
from alphabench.benchmarks.wise.scoring import EDITIONS
from alphabench.judges import open_judge
from alphabench.judges.yesno import YesNoProbability, yes_no_question
from alphabench.questions import Answer, ImagePart, Question, ReplySampling
from alphabench.runs.store import sha256_of
from alphagrpo import holistic
from tools.nano_judge import claims, edits, scene_images
from tools.nano_judge.questions import BAD_GRADE, KINDS, question
from tools.nano_judge.view import View

Column = NDArray[np.float64]
HELD_OUT: Final = 900
"""Shard number of the pictures; training uses the first few."""
_BINS: Final = 10


@dataclass(frozen=True, slots=True)
class Known:
    """A question, what belongs together in a table, and the true value."""

    group: str
    kind: str
    question: Question
    truth: float


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--judge", default="nano")
    parser.add_argument("--scenes", type=int, default=150)
    chosen = parser.parse_args()
    judge = open_judge(chosen.judge, options={"handshake": "off"})
    with tempfile.TemporaryDirectory() as folder:
        known = [
            *asked(chosen.scenes, Path(folder)),
            *graded(chosen.scenes, Path(folder)),
            *edited(chosen.scenes, Path(folder)),
        ]
        answers = list(judge.ask(one.question for one in known))
    print(yes_no_table(known, answers))
    print(grade_table(known, answers))
    print(edit_table(known, answers))


def _saved(pixels: scene_images.Pixels, path: Path) -> ImagePart:
    Image.fromarray(pixels).save(path)
    return ImagePart(path=path, sha256=sha256_of(path))


def asked(count: int, folder: Path) -> Iterator[Known]:
    """One question of every kind about each of `count` pictures of each world."""
    answer_format = YesNoProbability()
    for world in ("small", "common", "wide"):
        for index in range(count):
            pixels, _, shown = scene_images.made_scene_image(world, HELD_OUT, index)
            picture = _saved(pixels, folder / f"{world}-{index}.png")
            rng = np.random.default_rng([59, index])
            view = View(shown)
            for kind in KINDS:
                if shown.grade <= BAD_GRADE and kind != "quality":
                    continue
                one = question(kind, view, rng)
                if one is not None:
                    put = yes_no_question(
                        one.text, [picture], image_id=picture.path.stem,
                        question_id=kind, answer_format=answer_format,
                    )  # fmt: skip
                    yield Known(f"yes/no, {world}", kind, put, float(one.truth))


def graded(count: int, folder: Path) -> Iterator[Known]:
    """WISE's and the holistic judge's questions; the truth is the first grade."""
    for world in ("small", "common"):
        for index in range(count):
            pixels, _, shown = scene_images.made_scene_image(world, HELD_OUT + 1, index)
            picture = _saved(pixels, folder / f"{world}-graded-{index}.png")
            rng = np.random.default_rng([61, index])
            view = View(shown)
            consistency, quality = holistic.holistic_questions(picture.path.stem, picture, "")
            yield Known("grades", "holistic quality, 0 to 10", quality, float(shown.grade))
            if shown.grade <= BAD_GRADE:
                continue
            if (claim := claims.text(view, rng)) is not None:
                share = claim.held / claim.made if claim.there else 0.0
                consistency, _ = holistic.holistic_questions("", picture, claim.words)
                yield Known("grades", "holistic consistency, 0 to 10", consistency, 10 * share)
            if (claim := claims.phrase(view, rng)) is not None:
                fully = float(claim.held == claim.made)
                yield Known("yes/no, riddles", "WISE, 0 or 1", _riddle(claim, picture), fully)


def _riddle(claim: claims.Claims, picture: ImagePart) -> Question:
    edition = EDITIONS["verified"]
    told = f"So the books say. The image should show {claim.words}."
    return Question(
        image_id=picture.path.stem,
        id=edition.question,
        parts=own_wise_template(edition).message("What the old gardener liked best", told, picture),
        sampling=ReplySampling(max_tokens=500, temperature=0.0),
        answer_format=edition.answer_format("strict"),
    )


def edited(count: int, folder: Path) -> Iterator[Known]:
    """VIEScore's first question; the truth is the lower of its two scores."""
    for world in ("small", "common"):
        for index in range(count):
            made = edits.made_edit_pair(world, HELD_OUT, index)
            pair = made.pair
            paths = [folder / f"{world}-{name}-{index}.png" for name in ("before", "after")]
            before, after = (_saved(p, path) for p, path in zip(made.pixels, paths, strict=True))
            text = viescore.OWN.semantics.replace("<instruction>", pair.instructions[0])
            put = Question(
                image_id=after.path.stem,
                id=viescore.SEMANTICS,
                parts=(text, before, after),
                sampling=ReplySampling(max_tokens=64, temperature=0.0),
                answer_format=LowestScore(strict=True),
            )
            truth = float(min(pair.success, pair.rest))
            yield Known("grades", f"VIEScore of an edit, {world}, {pair.outcome}", put, truth)


def yes_no_table(known: Sequence[Known], answers: Sequence[Answer]) -> str:
    """Accuracy, means of P(yes) and calibration error by kind."""
    rows: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for one, answer in zip(known, answers, strict=True):
        if one.group.startswith("yes/no"):
            value = -1.0 if answer.values is None else answer.values[0]
            rows[one.group, one.kind].append((value, one.truth))
            rows[one.group, "all"].append((value, one.truth))
    head = "| world | kind | asked | unread | accuracy | P(yes), true | P(yes), false | ECE |"
    lines = [head, "|---|---|--:|--:|--:|--:|--:|--:|"]
    for (group, kind), pairs in sorted(rows.items()):
        p, truth = (np.array(column) for column in zip(*pairs, strict=True))
        read = p >= 0
        right = ((p > 0.5) == (truth > 0.5)) & read
        means = [_mean(p[read & (truth == side)]) for side in (1.0, 0.0)]
        error = _ece(p[read], truth[read])
        lines.append(
            f"| {group.removeprefix('yes/no, ')} | {kind} | {len(p)} | {int((~read).sum())} | "
            f"{right.mean():.3f} | {means[0]:.3f} | {means[1]:.3f} | {error:.3f} |"
        )
    return "\n".join(lines)


def _mean(values: Column) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _ece(p: Column, truth: Column) -> float:
    bins = np.minimum((p * _BINS).astype(int), _BINS - 1)
    gaps = [abs((p - truth)[bins == one].sum()) for one in range(_BINS)]
    return float(sum(gaps) / max(len(p), 1))


def grade_table(known: Sequence[Known], answers: Sequence[Answer]) -> str:
    """Mean grade beside the true mean, mean error, and how often within one."""
    rows: dict[str, list[tuple[float | None, float]]] = defaultdict(list)
    for one, answer in zip(known, answers, strict=True):
        if one.group == "grades":
            rows[one.kind].append((None if answer.values is None else answer.values[0], one.truth))
    lines = ["| grade | asked | unread | mean | true mean | mean error | within 1 |"]
    lines.append("|---|--:|--:|--:|--:|--:|--:|")
    for kind, pairs in sorted(rows.items()):
        read = np.array([pair for pair in pairs if pair[0] is not None], dtype=np.float64)
        unread = len(pairs) - len(read)
        error = np.abs(read[:, 0] - read[:, 1]) if len(read) else np.array([np.nan])
        means = read.mean(axis=0) if len(read) else np.array([np.nan, np.nan])
        lines.append(
            f"| {kind} | {len(pairs)} | {unread} | {means[0]:.2f} | {means[1]:.2f} | "
            f"{error.mean():.2f} | {(error <= 1.0).mean():.3f} |"
        )
    return "\n".join(lines)


def edit_table(known: Sequence[Known], answers: Sequence[Answer]) -> str:
    """Balanced accuracy over edits done (8 to 10), half done (4 to 7) and not done (below 4).

    Edits that changed something else as well have 3 and are left out. A reply that could not be
    read is wrong.
    """
    lines = ["| edits | asked | done | half done | not done | balanced accuracy |"]
    lines.append("|---|--:|--:|--:|--:|--:|")
    for world in ("small", "common"):
        right: dict[int, list[bool]] = {2: [], 1: [], 0: []}
        for one, answer in zip(known, answers, strict=True):
            if not one.kind.startswith(f"VIEScore of an edit, {world}") or one.truth == 3:
                continue
            found = None if answer.values is None else edit_class(answer.values[0])
            right[edit_class(one.truth)].append(found == edit_class(one.truth))
        shares = [float(np.mean(values)) for values in right.values()]
        lines.append(
            f"| {world} | {sum(map(len, right.values()))} | "
            f"{' | '.join(f'{share:.3f}' for share in shares)} | {np.mean(shares):.3f} |"
        )
    return "\n".join(lines)


def edit_class(grade: float) -> int:
    """2 for an edit that was done, 1 for half of one, 0 for none; grades of 0 to 10."""
    return 2 if grade >= 8 else 1 if grade >= 4 else 0


if __name__ == "__main__":
    main()
