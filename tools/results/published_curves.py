"""python -m tools.results.published_curves: makes charts anew from the published results.

    docs/results/earlier/NAME/comparison.svg    all trainings of a report
    docs/images/training_curve.svg      two of them, for the README

Reads the logs that `tools.results` published; run folders are not needed. Equal logs give equal
charts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import yaml

from alphatrainers.protocols import WeightView
from alphatrainers.reporting.history import CurvePoint, read_points, read_steps
from alphatrainers.reporting.svg import Chart, Line, svg
from tools.results.image_panels import comparison_figure
from tools.results.reading import Finished, without_gaps

RESULTS: Final = Path("docs", "results", "earlier")
README_CURVE: Final = Path("docs", "images", "training_curve.svg")


class PublishedReport(NamedTuple):
    """A folder of `docs/results/earlier`."""

    runs: tuple[str, ...]
    """In the order of its tables."""
    view: WeightView
    """The weights that it compares."""


REPORTS: Final[Mapping[str, PublishedReport]] = {
    "nano": PublishedReport(
        (
            "nano-rt2i",
            "nano-rt2i-seed-1",
            "nano-rt2i-seed-2",
            "nano-holistic",
            "nano-awm",
            "nano-nft",
        ),
        "ema",
    ),
    "nano-srr": PublishedReport(("nano-srr",), "ema"),
}
_SHOWN: Final = {"nano-awm": "nano-awm (AWM)", "nano-rt2i": "nano-rt2i (Flow-GRPO)"}
"""Trainings in the README, with their labels."""


def published_figures(root: Path) -> dict[Path, str]:
    """Each chart by its path in the repository `root`."""
    figures = {}
    for name, report in REPORTS.items():
        runs = [_read(root / RESULTS / name / run, report.view) for run in report.runs]
        figures[RESULTS / name / "comparison.svg"] = comparison_figure(runs)
        if name == "nano":
            shown = [next(run for run in runs if run.name == one) for one in _SHOWN]
            figures[README_CURVE] = readme_curve(shown)
    return figures


def readme_curve(runs: list[Finished]) -> str:
    """Held-out scores over images sampled for training, with their intervals."""
    lines = [
        Line(
            name=_SHOWN[run.name],
            points=[(run.images[point.step], point.value) for point in run.curve],
            band=[_interval(run, point) for point in without_gaps(run.curve)],
            dots=True,
            colour=colour,
        )
        for colour, run in enumerate(runs)
    ]
    title = f"Held-out score on {runs[0].curve[0].name}, 95% interval"
    return svg([Chart(title=title, x="images sampled for training", y="score", lines=lines)])


def _read(folder: Path, view: WeightView) -> Finished:
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    return Finished(
        name=folder.name,
        folder=folder,
        recipe=recipe,
        identity={},
        steps=read_steps(folder),
        points=read_points(folder),
        view=view,
    )


def _interval(run: Finished, point: CurvePoint) -> tuple[float, float, float]:
    assert point.low is not None
    assert point.high is not None
    return run.images[point.step], point.low, point.high


def main() -> None:
    """Write all of them."""
    for path, text in published_figures(Path()).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
