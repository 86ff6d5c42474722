"""Several rewards as one: the weighted sum of their scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.rewards.reward_kinds import RewardKind, open_reward
from alphatrainers.protocols import RewardFunction, Score
from alphatrainers.reward_scoring import scores_of_repeat
from alphatrainers.trajectory import Trajectory

if TYPE_CHECKING:
    from alphagrpo.rewards.reward_kinds import RewardSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedSum:
    """Several rewards as one; unscored where any of them is."""

    rewards: Mapping[str, RewardFunction]
    weights: Mapping[str, float]

    @property
    def identity(self) -> Mapping[str, str]:
        found = {"kind": "sum"}
        for name, reward in self.rewards.items():
            found[f"{name}.weight"] = repr(self.weights[name])
            found |= {f"{name}.{key}": value for key, value in reward.identity.items()}
        return found

    def score(self, trajectories: Sequence[Trajectory]) -> list[Score]:
        """See `alphatrainers.protocols.Reward`."""
        return self.score_repeat(trajectories, 0)

    def score_repeat(self, trajectories: Sequence[Trajectory], repeat: int) -> list[Score]:
        """See `alphatrainers.protocols.RepeatableReward`."""
        columns = {
            name: scores_of_repeat(reward, trajectories, repeat)
            for name, reward in self.rewards.items()
        }
        return [
            self._added({name: column[row] for name, column in columns.items()})
            for row in range(len(trajectories))
        ]

    def _added(self, scores: Mapping[str, Score]) -> Score:
        missing = [f"{name}: {one.reason}" for name, one in scores.items() if one.value is None]
        costs = [one.cost_usd for one in scores.values() if one.cost_usd is not None]
        cost = math.fsum(costs) if costs else None
        if missing:
            return Score(value=None, reason="; ".join(missing), cost_usd=cost)
        values = {name: one.value for name, one in scores.items() if one.value is not None}
        total = math.fsum(self.weights[name] * value for name, value in values.items())
        return Score(value=total, parts=values, cost_usd=cost)


@dataclass(frozen=True, slots=True, kw_only=True)
class SumSettings:
    """Keys of kind `sum`."""

    of: Mapping[str, RewardSettings]


def _build(settings: SumSettings, context: AssemblyContext) -> WeightedSum:
    return WeightedSum(
        rewards={name: open_reward(one, context) for name, one in settings.of.items()},
        weights={name: one.weight for name, one in settings.of.items()},
    )


SUM: Final = RewardKind(settings=SumSettings, build=_build, judges="parts")
