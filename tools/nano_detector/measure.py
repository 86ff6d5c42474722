"""Measures the nano detector on held-out GenEval scenes; prints the tables of its card as markdown.

    python -m tools.nano_detector.measure --scenes 1000 --sizes 64,96,128,192,256
    python -m tools.nano_detector.measure --world small --scenes 300 --sizes 64,128

For each of the six tasks it draws scenes that satisfy a random prompt and as many with one planted
error, and compares GenEval's verdict on what the detector finds with its verdict on the truth.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from alphabench.benchmarks.geneval.scoring import TAGS
from alphabench.core.options import pairs
from alphabench.detections.geneval_rules import colour_questions, decide, select
from alphabench.detections.objects import DetectedObject, Thresholds
from alphabench.evaluators.detection.detector import ColourQuery, ColourReader, Detector
from alphabench.evaluators.detection.nano_detector import open_nano_detector
from alphabench.scenes.geneval_scenes import applicable_errors, compose
from alphabench.scenes.render import render
from alphabench.scenes.spec import Scene
from tools.nano_detector.geneval_facts import random_facts
from tools.nano_detector.small_cases import near_miss, small_facts, small_scene

HELD_OUT_SEED: Final = 987_654_321
"""Training draws from seeds [seed, index]; these scenes come from [HELD_OUT_SEED, task, number]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One scene for one prompt."""

    tag: str
    facts: dict[str, Any]
    scene: Scene
    planted: bool


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was counted over all cases."""

    cases: Counter[tuple[str, bool, int]] = field(default_factory=Counter)
    """(task, planted, size) -> images."""
    agreed: Counter[tuple[str, bool, int]] = field(default_factory=Counter)
    categories: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(true, found); `nothing` on either side for objects missed and made up."""
    colours: Counter[tuple[str, str]] = field(default_factory=Counter)
    box_iou: list[float] = field(default_factory=list)
    mask_iou: list[float] = field(default_factory=list)
    seconds: float = 0.0
    """In the detector."""


def held_out_cases(tag: str, count: int) -> Iterator[Case]:
    """`count` right scenes of a task and `count` with one error each."""
    for number in range(count):
        rng = np.random.default_rng([HELD_OUT_SEED, TAGS.index(tag), number])
        facts = random_facts(tag, rng)
        errors = applicable_errors(facts)
        yield Case(tag=tag, facts=facts, scene=compose(facts, rng), planted=False)
        error = errors[rng.integers(len(errors))]
        scene = compose(facts, rng, error=error)
        yield Case(tag=tag, facts=facts, scene=scene, planted=True)


def held_out_small_cases(tag: str, count: int) -> Iterator[Case]:
    """`count` scenes of the small world, each as its prompt asks and as one near to it does."""
    for number in range(count):
        rng = np.random.default_rng([HELD_OUT_SEED, TAGS.index(tag), number, 1])
        facts = small_facts(tag, rng)
        yield Case(tag=tag, facts=facts, scene=small_scene(facts, rng), planted=False)
        scene = small_scene(near_miss(facts, rng), rng)
        yield Case(tag=tag, facts=facts, scene=scene, planted=True)


Cases = Callable[[str, int], Iterator[Case]]
"""Of a task, so many right and so many wrong."""
WORLDS: Final[Mapping[str, Cases]] = {"whole": held_out_cases, "small": held_out_small_cases}


def verdict(
    case: Case,
    image: Image.Image,
    objects: Iterable[DetectedObject],
    reader: ColourReader | None,
    thresholds: Thresholds,
) -> bool:
    """GenEval's decision; without a reader the objects' own colours are the truth."""
    selected = select(objects, tag=case.tag, thresholds=thresholds)
    asked = colour_questions(case.facts, selected)
    if reader is None:
        words = [item.colour or "natural" for item in asked]
    else:
        words = reader.read([ColourQuery(image=image, found=item) for item in asked])
    answers = dict(zip(asked, words, strict=True))
    return decide(case.facts, selected, answers.__getitem__).correct


def measure(
    detector: Detector,
    reader: ColourReader,
    sizes: Sequence[int],
    count: int,
    *,
    through: int | None = None,
    cases: Cases = held_out_cases,
) -> Tally:
    """Runs all cases at all sizes; `through` softens each image to so many pixels and back."""
    tally = Tally()
    for tag in TAGS:
        for case in cases(tag, count):
            for size in sizes:
                image, truth = render(case.scene, size, size)
                if through is not None:
                    small = image.resize((through, through), Image.Resampling.BOX)
                    image = small.resize(image.size, Image.Resampling.BICUBIC)
                started = time.perf_counter()
                (found,) = detector.detect([image])
                tally.seconds += time.perf_counter() - started
                true = verdict(case, image, truth.objects, None, Thresholds())
                assert true != case.planted, "a composed scene is what it was composed to be"
                place = (tag, case.planted, size)
                seen = verdict(case, image, found, reader, detector.thresholds)
                tally.cases[place] += 1
                tally.agreed[place] += seen == true
                sure = [item for item in found if item.score > detector.thresholds.score]
                _compare(tally, truth.objects, sure)
    return tally


def _compare(tally: Tally, truth: Sequence[DetectedObject], found: list[DetectedObject]) -> None:
    """Pairs each true object with the detection of the greatest overlap above one half."""
    free = list(found)
    for item in truth:
        best = max(free, key=lambda f: _iou(item.box, f.box), default=None)
        if best is None or _iou(item.box, best.box) <= 0.5:
            tally.categories[item.category, "nothing"] += 1
            continue
        free.remove(best)
        tally.categories[item.category, best.category] += 1
        tally.colours[item.colour or "natural", best.colour or "natural"] += 1
        tally.box_iou.append(_iou(item.box, best.box))
        assert item.mask is not None
        assert best.mask is not None
        tally.mask_iou.append(float((item.mask & best.mask).sum() / (item.mask | best.mask).sum()))
    for extra in free:
        tally.categories["nothing", extra.category] += 1


def tables(tally: Tally, detector: Detector) -> str:
    """The card's tables."""
    thresholds = detector.thresholds
    images = sum(tally.cases.values())
    objects = sum(tally.colours.values())
    same = sum(n for (true, found), n in tally.colours.items() if true == found)
    parts = [
        f"Agreement in % (thresholds {thresholds.score} and, for counting, {thresholds.counting}):"
        f"\n\n{_agreement(tally)}",
        f"{images} images, {1000 * tally.seconds / images:.1f} ms each in the detector.\n"
        f"Mean IoU of boxes {np.mean(tally.box_iou):.3f}, of masks {np.mean(tally.mask_iou):.3f}; "
        f"colour right, natural included: {100 * same / objects:.2f}% of {objects} objects.",
        f"Most frequent category errors:\n\n{_confusions(tally.categories)}",
        f"Most frequent colour errors:\n\n{_confusions(tally.colours)}",
    ]
    return "\n\n".join(parts)


def _agreement(tally: Tally) -> str:
    sizes = sorted({size for _, _, size in tally.cases})
    lines = [
        "| task | scenes | " + " | ".join(f"{size} px" for size in sizes) + " | all |",
        "|---|---|" + "--:|" * (len(sizes) + 1),
    ]
    for tag in TAGS:
        for planted in (False, True):
            places = [(tag, planted, size) for size in sizes]
            right, total = [tally.agreed[p] for p in places], [tally.cases[p] for p in places]
            shares = [100 * r / t for r, t in zip(right, total, strict=True)]
            cells = [f"{share:.1f}" for share in (*shares, 100 * sum(right) / sum(total))]
            kind = "one error" if planted else "right"
            lines.append(f"| {tag} | {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _confusions(pairs: Counter[tuple[str, str]]) -> str:
    """The twelve most frequent wrong pairs, with their share of the true objects."""
    totals: Counter[str] = Counter()
    for (true, _), n in pairs.items():
        totals[true] += n
    wrong = [(pair, n) for pair, n in pairs.most_common() if pair[0] != pair[1]][:12]
    lines = ["| true | found | times | % of the true |", "|---|---|--:|--:|"]
    for (true, found), n in wrong:
        share = "" if true == "nothing" else f"{100 * n / totals[true]:.2f}"
        lines.append(f"| {true} | {found} | {n} | {share} |")
    return "\n".join(lines)


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    both = width * height
    either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / either if either > 0.0 else 0.0


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=1000, help="of each task and kind")
    parser.add_argument("--world", choices=list(WORLDS), default="whole", help="which scenes")
    parser.add_argument("--sizes", default="64,96,128,192,256")
    parser.add_argument("--through", type=int, help="soften to so many pixels and back first")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="option of nano: score=0.5")
    parser.add_argument("--out", type=Path, help="write the tables here too")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    detector, reader = open_nano_detector(pairs(options.set), device="cpu")
    sizes = [int(size) for size in options.sizes.split(",")]
    tally = measure(
        detector,
        reader,
        sizes,
        options.scenes,
        through=options.through,
        cases=WORLDS[options.world],
    )
    text = tables(tally, detector)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
