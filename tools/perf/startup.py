"""How long `alphabench --help` takes beside an idle Python: `python -m tools.perf.startup`."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

PASS = (sys.executable, "-c", "pass")
HELP = (sys.executable, "-m", "alphabench", "--help")


def seconds(command: Sequence[str]) -> float:
    """Wall time of one whole process."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Time both in turn, and print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=11)
    runs = parser.parse_args().runs
    seconds(HELP)
    rows = [(seconds(PASS), seconds(HELP)) for _ in range(runs)]
    bare, ours = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"python -c pass      {bare:.3f} s (median of {runs})")
    print(f"alphabench --help   {ours:.3f} s")
    print(f"ratio               {ours / bare:.1f}")


if __name__ == "__main__":
    main()
