"""The metrics by name, and their scales. Knows no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from alphabench import registry
from alphabench.core.errors import unknown_name
from alphabench.core.options import split_spec

if TYPE_CHECKING:
    from alphabench.evaluators.metrics.image_metric import MetricEvaluator
    from alphabench.upstream import UpstreamData


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricEntry:
    """A metric before its modules are imported."""

    opener: str
    """`module:function`, called as `open_metric` does."""
    value_range: tuple[float, float]
    """The ends of its scale; for a linear head a range that values do not leave in practice. They
    bound the interval of a group with a single prompt, whose spread is not known."""


_CLIP: Final = "alphabench.evaluators.metrics.clip_metrics"
METRICS: Final[Mapping[str, MetricEntry]] = {
    "clipscore": MetricEntry(opener=f"{_CLIP}:open_clip_score", value_range=(0.0, 2.5)),
    "pickscore": MetricEntry(opener=f"{_CLIP}:open_pick_score", value_range=(-100.0, 100.0)),
    "hpsv2": MetricEntry(opener=f"{_CLIP}:open_hps", value_range=(-1.0, 1.0)),
    "imagereward": MetricEntry(
        opener="alphabench.evaluators.metrics.image_reward:open_image_reward",
        value_range=(-10.0, 10.0),
    ),
    "aesthetic": MetricEntry(opener=f"{_CLIP}:open_aesthetic", value_range=(0.0, 10.0)),
}
"""The first is the default."""


def open_metric(spec: str, *, device: str, data: UpstreamData) -> MetricEvaluator:
    """An evaluator by `name?key=value&...`; nothing is loaded yet.

    Args:
        spec: the name of a metric with its options.
        device: of torch: `cpu`, `cuda:1`.
        data: where fetched files lie.

    Raises:
        AlphaBenchError: an unknown name or option, or a value that does not fit.
    """
    name, values = split_spec(spec)
    if name not in METRICS:
        raise unknown_name("metric", name, METRICS)
    entry = METRICS[name]
    evaluator: MetricEvaluator = registry.load_object(entry.opener)(
        values, device=device, data=data, highest=entry.value_range[1]
    )
    return evaluator
