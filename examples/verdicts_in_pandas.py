"""Evaluate from Python, then look at the verdicts as a pandas data frame.

    cd examples
    python verdicts_in_pandas.py

It needs the extra `notebook` (pandas). docs/python.md explains the calls.
"""

from __future__ import annotations

import sys

from alphabench import compare, evaluate, leaderboard


def main(folder: str = "runs/pandas") -> None:
    """Two runs of the synthetic checkpoint, which plants errors in a known share of its images."""
    good = evaluate("geneval:mini", "scene:?error=0.1", limit=24, out=f"{folder}/good")
    poor = evaluate("geneval:mini", "scene:?error=0.4", limit=24, out=f"{folder}/poor")
    print(poor)

    print("\nOne row for each group:")
    print(poor.to_pandas("groups")[["group", "score", "low", "high"]].to_string(index=False))

    verdicts = poor.to_pandas("verdicts")
    print("\nThe most frequent reasons of wrong images:")
    wrong = verdicts[verdicts["value"] == 0]
    print(wrong["reason"].value_counts().head(5).to_string())

    print("\nThe prompts that failed most often:")
    print(verdicts.groupby("prompt")["value"].mean().sort_values().head(5).to_string())

    first = wrong["image_id"].iloc[0]
    image = poor.images[first]
    print(f"\nImage {first}: {image.size}, prompt {image.info['prompt']!r}")

    print("\nAre they different?")
    print(compare(poor.folder, good.folder))
    print(leaderboard(folder).to_pandas()[["rank", "checkpoint", "score", "low", "high"]])


if __name__ == "__main__":
    main(*sys.argv[1:])
