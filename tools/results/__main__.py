"""python -m tools.results OUT RUN [RUN ...]: writes OUT/README.md and what it shows."""

from __future__ import annotations

import argparse
from pathlib import Path

from alphabench.upstream import UpstreamData, default_cache_dir
from tools.results.reading import Comparer, read_run
from tools.results.report import write_report


def main() -> None:
    """Write one report."""
    parser = argparse.ArgumentParser(prog="python -m tools.results", description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the report; its files are replaced")
    parser.add_argument("runs", type=Path, nargs="+", help="folders of trainings; NAME is theirs")
    parser.add_argument("--title", default="Trainings")
    parser.add_argument(
        "--view",
        choices=["train", "ema", "old"],
        help="the weights that are compared in all trainings (default: those whose best the first"
        " training kept)",
    )
    arguments = parser.parse_args()
    comparer = Comparer(UpstreamData(cache_dir=default_cache_dir()))
    view = arguments.view or read_run(arguments.runs[0]).view
    runs = [read_run(folder, view=view) for folder in arguments.runs]
    size = write_report(arguments.out, runs, comparer, title=arguments.title)
    print(f"{arguments.out / 'README.md'}: {size / 1024:.0f} KiB in all")


if __name__ == "__main__":
    main()
