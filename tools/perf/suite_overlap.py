"""A suite with a slow judge: run after run, against generation that goes on meanwhile.

    python -m tools.perf.suite_overlap                 four runs of 24 images
    python -m tools.perf.suite_overlap --answer 0.2    a judge that takes twice as long as an image

Makes the same suite twice, in two folders: each run by itself, which waits for its judge before the
next one begins, and all as `alphabench run` does it. Images and answers take a fixed time, so that
the ratio is comparable between machines. Reports must be equal. Prints JSON lines.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL.Image import Image

from alphabench.evaluators.judge_evaluator import JudgeEvaluator
from alphabench.questions import Question
from alphabench.runs.plan import CheckpointFactory
from alphabench.runs.prepared_run import RunSettings
from alphabench.runs.run import Work
from alphabench.runs.suite import SuiteColumn, SuiteRow, execute_suite, plan_suite
from alphabench.types import Card, ImageRequest, NotGenerated, Report
from tests.support.fakes import Dots, Reds
from tests.support.remote_judge import Remote, about, scored


@dataclass
class SlowDots(Dots):
    """Takes its time for each image, without using the processor."""

    image_seconds: float = 0.0
    ended: list[float] = field(default_factory=list)
    """When each batch was ready."""

    def generate(self, requests: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
        time.sleep(self.image_seconds * len(requests))
        self.ended.append(time.perf_counter())
        return super().generate(requests)


@dataclass
class NamedReds(Reds):
    """Reds under a name of its own."""

    name: str = ""

    @property
    def card(self) -> Card:
        card = super().card
        return Card(**{**{key: getattr(card, key) for key in Card.__slots__}, "name": self.name})


def main() -> None:
    """Print one line for each way, and the ratio of their times."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--image", type=float, default=0.1, help="seconds an image")
    parser.add_argument("--answer", type=float, default=0.1, help="seconds an answer")
    options = parser.parse_args()
    cases = {"one run after the other": False, "all together": True}
    measured: list[SuiteTimes] = []
    for case, together in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            measured.append(measure_suite(Path(folder), options, together=together))
        line = {
            "case": case,
            "seconds": round(measured[-1].seconds, 2),
            "seconds_until_the_last_image": round(measured[-1].until_last_image, 2),
        }
        print(json.dumps(line), flush=True)
    alone, overlapped = measured
    assert alone.reports == overlapped.reports
    ratios = {
        "ratio_of_times": round(overlapped.seconds / alone.seconds, 3),
        "ratio_until_the_last_image": round(
            overlapped.until_last_image / alone.until_last_image, 3
        ),
    }
    print(json.dumps(ratios))


class SuiteTimes(NamedTuple):
    """One way to run the suite."""

    seconds: float
    until_last_image: float
    """Seconds."""
    reports: list[Report]


def measure_suite(folder: Path, options: argparse.Namespace, *, together: bool) -> SuiteTimes:
    """Run the suite in an empty folder."""
    dots = SlowDots(image_seconds=options.image)
    judge = Remote(before=partial(_wait, options.answer))
    examiner = JudgeEvaluator(judge=judge, questions_about=about, score=scored)
    columns = [
        SuiteColumn(
            benchmark=NamedReds(name=f"reds{number}", examiner=examiner),
            settings=RunSettings(out=folder / "suite"),
        )
        for number in range(options.runs)
    ]
    row = SuiteRow(checkpoint=CheckpointFactory(name="dots", open=partial(_same, dots)))
    plan = plan_suite(columns, [row], device="cpu")
    began = time.perf_counter()
    if together:
        found = [result.outcome for result in execute_suite(plan, Work())]
    else:
        found = [cell.run.execute(Work()) for cell in plan.cells if cell.run is not None]
    seconds = time.perf_counter() - began
    reports = [one.report for one in found if one is not None]
    return SuiteTimes(seconds, dots.ended[-1] - began, reports)


def _same(dots: SlowDots, *, device: str) -> SlowDots:
    del device
    return dots


def _wait(seconds: float, _question: Question) -> None:
    time.sleep(seconds)


if __name__ == "__main__":
    main()
