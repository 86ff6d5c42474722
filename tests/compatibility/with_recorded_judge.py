"""`alphabench` with the nano judge of the recordings: `python with_recorded_judge.py run ...`."""

from __future__ import annotations

from pathlib import Path

from alphabench.cli import main
from alphabench.judges import nano_judge

JUDGE = Path(__file__).parent / "judge"

if __name__ == "__main__":
    nano_judge.weights_folder = lambda: JUDGE
    main()
