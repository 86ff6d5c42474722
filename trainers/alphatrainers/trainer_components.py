"""What a training is assembled from, and the context that it runs in.

Data only: `Trainer` uses both, recipes build the first, the command line the second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alphatrainers.distributed import Processes
from alphatrainers.protocols import Policy, Task, Validation
from alphatrainers.reward_scoring import RewardUse, ScoringClock
from alphatrainers.trajectory import Program, TrainingPrompt


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
    on_begin: Callable[[], None] = lambda: None
    """Called once in the first process, when the folder is known to belong to this training."""
