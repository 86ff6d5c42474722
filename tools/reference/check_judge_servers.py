"""Serves tiny models of the judges' architectures with vLLM on this CPU, and asks through ours.

    python -m tools.reference.check_judge_servers --python ENV/bin/python --work DIR [--only NAME]

ENV is an environment with vLLM. Each architecture of docs/judge_servers.md gets a server with
random weights and the page's flags, as far as a CPU has them; our client asks about images with
log-probabilities, and transformers answers the same on the same weights. Prints the number of
answers that were read and the mean difference in P(yes); ends with code 1 where one was not read or
the difference exceeds 0.02, what rounding in bfloat16 makes. Says nothing of trained weights, of
AWQ, which has no kernels for CPUs, or of speed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from alphabench.judges import open_judge
from tests.support.tiny_vlms import (
    save_pictures,
    save_qwen3_vl_moe,
    save_qwen25_vl,
    save_qwen35_moe,
    yes_no_questions,
)
from tests.support.vllm_server import serving

MODELS: Mapping[str, Callable[[Path], Path]] = {
    "qwen2.5-vl": save_qwen25_vl,
    "qwen3-vl-moe": save_qwen3_vl_moe,
    "qwen3.5-moe": save_qwen35_moe,
}
BOUND = 0.02


def main() -> int:
    """Check each architecture, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, required=True, help="interpreter with vLLM")
    parser.add_argument("--work", type=Path, required=True, help="folder for models and logs")
    parser.add_argument("--only", choices=list(MODELS), help="one architecture")
    parser.add_argument("--patience", type=float, default=1800.0, help="seconds for a start")
    arguments = parser.parse_args()
    chosen = [arguments.only] if arguments.only else list(MODELS)
    passed = [
        _check(name, arguments.work / name, arguments.python, arguments.patience) for name in chosen
    ]
    return 0 if all(passed) else 1


def _check(name: str, folder: Path, python: Path, patience: float) -> bool:
    """One architecture: served answers against transformers'."""
    model = MODELS[name](folder / "model")
    images = save_pictures(folder / "images", 4)
    questions = yes_no_questions(images)
    log = folder / "server.log"
    with serving(python, model, name=name, log=log, patience_seconds=patience) as address:
        served = list(open_judge(f"{address}#{name}").ask(questions))
    local = list(open_judge(f"transformers:{model}?dtype=bfloat16").ask(questions))
    apart = [
        abs(one.values[0] - other.values[0])
        for one, other in zip(served, local, strict=True)
        if one.values and other.values
    ]
    mean = sum(apart) / len(apart) if apart else float("nan")
    spread = [one.values[0] for one in served if one.values]
    print(
        f"{name}: {len(apart)} of {len(questions)} answers read on both sides, P(yes) from "
        f"{min(spread, default=0.0):.3f} to {max(spread, default=0.0):.3f}, "
        f"mean difference {mean:.4f}",
        flush=True,
    )
    return len(apart) == len(questions) and mean <= BOUND


if __name__ == "__main__":
    sys.exit(main())
