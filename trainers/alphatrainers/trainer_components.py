"""What a training is assembled from, the context that it runs in, and what identifies it.

Recipes build the components, the command line the context, and `Trainer` uses both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from alphatrainers import strict_yaml
from alphatrainers.distributed import Processes
from alphatrainers.protocols import Policy, Task, Validation
from alphatrainers.reward_scoring import RewardUse, ScoringClock
from alphatrainers.settings import TrainingSettings
from alphatrainers.training_display import NoDisplay, TrainingDisplay
from alphatrainers.trajectory import Program, TrainingPrompt

_NOT_DECISIVE: Final = (
    "steps",
    "validate_every",
    "validate_views",
    "best_view",
    "save_every",
    "keep",
    "logging",
    "guards",
)
"""Settings that may differ when a training is resumed: they change no number of the steps done.
A linear schedule then falls towards the new last step."""

_ADDED_LATER: Final[Mapping[tuple[str, ...], object]] = {
    ("text_batch",): None,
    ("compute",): "float32",
    ("advantage", "flat_below"): 0.0,
    ("advantage", "noise_images"): 0,
    ("image", "kl_estimator"): "k3",
}
"""Settings that older folders do not know, with the value that changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerComponents:
    """What a training is made of."""

    policy: Policy
    task: Task
    rewards: Mapping[str, RewardUse]
    prompts: Sequence[TrainingPrompt]
    validations: Sequence[Validation] = ()
    panel: Sequence[Program] = ()
    """Generated anew at every validation, as images for people to look at."""
    decisive: Mapping[str, Any] = field(default_factory=dict)
    """What else decides the results, as plain values: a training resumes only with equal ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeContext:
    """Device processes, clock and callbacks of a training run; none of them changes a result."""

    processes: Processes = field(default_factory=Processes)
    clock: ScoringClock = field(default_factory=ScoringClock)
    report: Callable[[str], None] = lambda _: None
    """Receives progress messages for the user, in the first process."""
    display: TrainingDisplay = field(default_factory=NoDisplay)
    """Shows the progress, in the first process."""
    on_measured: Callable[[], object] = lambda: None
    """Called in the first process after each validation."""
    on_begin: Callable[[], None] = lambda: None
    """Called once in the first process, when the folder is known to belong to this training."""
    config: Mapping[str, Any] | None = None
    """What trackers show as the training's configuration, in plain values; None: its settings."""


def training_identity(
    components: TrainerComponents, settings: TrainingSettings, *, prompts_digest: str
) -> dict[str, Any]:
    """What decides a training's numbers, in plain values; a folder resumes only with the same."""
    plain = strict_yaml.to_plain(settings)
    decisive = {key: value for key, value in plain.items() if key not in _NOT_DECISIVE}
    decisive = without_defaults(decisive, _ADDED_LATER)
    rewards = {
        name: {**dict(use.reward.identity), "weight": use.weight, "credits": use.applies_to}
        for name, use in components.rewards.items()
    }
    return {
        "settings": decisive,
        "prompts": prompts_digest,
        "policy": dict(components.policy.identity),
        "rewards": rewards,
        **components.decisive,
    }


def without_defaults(
    plain: Mapping[str, Any], defaults: Mapping[tuple[str, ...], object]
) -> dict[str, Any]:
    """A copy without the keys that have their default, so that it equals one of an older version.

    Args:
        plain: settings as plain values.
        defaults: the way to a key through sections -> its default. A section that is not there is
            skipped.
    """
    left = dict(plain)
    for (first, *deeper), default in defaults.items():
        if first not in left:
            continue
        if not deeper:
            if left[first] == default:
                del left[first]
        elif isinstance(left[first], Mapping):
            left[first] = without_defaults(left[first], {tuple(deeper): default})
    return left
