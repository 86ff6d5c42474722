"""What rewards by the nano judge know, on images of the embedded model: no training is run.

    python -m tools.results.reward_fidelity WORK --out docs/results/evidence/reward_fidelity

Generates 12 images for each development prompt (`geneval:mini`, seeds 0 to 2), as the nano recipes
sample them but without noise between steps, scores them by the nano detector with GenEval's rules,
which is the truth here, and asks the judge about each once. All of that stays in WORK and is used
again. Rewards, and judges that are worse by noise, are computed from the kept answers.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from alphabench import evaluate
from alphabench.core.writing import replace_file
from alphabench.judges.nano_judge import open_nano_judge
from alphabench.reports.reward_images import read_reward_images
from tools.results.judge_logits import KeptAnswers, ask_all
from tools.results.judge_strengths import NOISE_SEED, attainable_tau, measure_strengths
from tools.results.reward_fidelity_page import CHECKPOINT, fidelity_page

SEEDS: Final = (0, 1, 2)
_ESTIMATE: Final = {"value", "low", "high", "n_samples"}


def main() -> None:
    """Generate and ask what is not kept yet, then write the page."""
    parser = argparse.ArgumentParser(prog="python -m tools.results.reward_fidelity")
    parser.add_argument("work", type=Path, help="folder that keeps images and answers")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    parser.add_argument("--limit", type=int, help="only so many prompts, to try it")
    chosen = parser.parse_args()
    answers = kept_answers(chosen.work, limit=chosen.limit)
    results = measure_strengths(answers)
    ceiling = attainable_tau(answers)
    chosen.out.mkdir(parents=True, exist_ok=True)
    content = {
        "estimates": "value, low, high, prompts",
        "checkpoint": CHECKPOINT,
        "judge": nano_weights(),
        "noise_seed": NOISE_SEED,
        "tau_ceiling": asdict(ceiling),
        "strengths": [result.to_json() for result in results],
    }
    replace_file(chosen.out / "results.json", json.dumps(compact(content)) + "\n")
    replace_file(chosen.out / "README.md", fidelity_page(results, ceiling, judge=nano_weights()))
    print(chosen.out / "README.md")


def nano_weights() -> str:
    """The digest of the judge's weights, of this installation."""
    return open_nano_judge("", options={}, device="cpu").identity["model"]


def answers_file(work: Path) -> Path:
    """Where the answers of this judge are kept; those of other weights have files of their own."""
    return work / f"answers-{nano_weights().removeprefix('sha256:')[:12]}.jsonl"


def kept_answers(work: Path, *, limit: int | None = None) -> list[KeptAnswers]:
    """The answers in the folder; generates, scores and asks where there are none."""
    kept = answers_file(work)
    if not kept.exists():
        for seed in SEEDS:
            evaluate(
                "geneval:mini", CHECKPOINT, think=True, evaluator="nano", seed=seed, limit=limit,
                out=work / f"seed-{seed}",
            )  # fmt: skip
        images = read_reward_images([work / f"seed-{seed}" for seed in SEEDS])
        lines = [json.dumps(one.to_json()) + "\n" for one in ask_all(images, print)]
        replace_file(kept, "".join(lines))
    return [KeptAnswers.from_json(json.loads(line)) for line in kept.read_text().splitlines()]


def compact(value: Any) -> Any:
    """Numbers to four decimals, and an estimate as [value, low, high, prompts]."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        if value.keys() >= _ESTIMATE:
            return compact([value["value"], value["low"], value["high"], value["n_samples"]])
        return {key: compact(one) for key, one in value.items()}
    return [compact(one) for one in value] if isinstance(value, list | tuple) else value


if __name__ == "__main__":
    main()
