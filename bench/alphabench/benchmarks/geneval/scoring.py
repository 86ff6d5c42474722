"""GenEval's averages: prompts from images, and the metrics that upstream prints first.

The rules of a single image are in `detections.geneval_rules`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from alphabench import statistics
from alphabench.statistics import Cluster
from alphabench.types import Estimate

TAGS: Final = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
"""The six tasks, in the order of the official prompts."""
IMAGES_PER_PROMPT: Final = 4


def prompt_cluster(images: Cluster, *, strict: bool) -> Cluster:
    """One prompt, correct when any of its images is.

    Args:
        images: of the prompt.
        strict: count the prompt as unscored while an image that might be correct is unscored.
    """
    correct = images.total > 0
    known = correct or images.n_scored == images.n_expected if strict else images.n_scored > 0
    return Cluster(
        sample_id=images.sample_id,
        group=images.group,
        total=float(correct),
        n_scored=int(known),
        n_expected=1,
    )


def share_metrics(images: Iterable[Cluster], prompts: Iterable[Cluster]) -> dict[str, Estimate]:
    """The two metrics that upstream prints first: correct images, and prompts with one."""
    clusters = {"correct_images": list(images), "correct_prompts": list(prompts)}
    return {
        name: statistics.estimate(group, statistics.pooled(group))
        for name, group in clusters.items()
    }
