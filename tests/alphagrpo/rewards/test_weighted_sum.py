"""The weighted sum of rewards."""

from __future__ import annotations

from collections.abc import Sequence

from alphagrpo.rewards.weighted_sum import WeightedSum
from alphatrainers.protocols import Score
from alphatrainers.trajectory import Trajectory
from tests.support.made_recipes import wrote


def values(scores: Sequence[Score]) -> list[float | None]:
    return [score.value for score in scores]


def test_a_sum_is_unscored_where_a_part_is() -> None:
    class Told:
        def __init__(self, *found: float | None) -> None:
            self.found = found
            self.identity = {"kind": "told"}

        def score(self, trajectories: Sequence[Trajectory]) -> list[Score]:
            del trajectories
            return [Score(value=v, reason="" if v is not None else "lost") for v in self.found]

    both = WeightedSum(
        rewards={"a": Told(1.0, None, 0.5), "b": Told(0.25, 1.0, 0.0)},
        weights={"a": 2.0, "b": 4.0},
    )
    scores = both.score([wrote("x")] * 3)
    assert values(scores) == [3.0, None, 1.0]
    assert scores[1].reason == "a: lost"
    assert scores[0].parts == {"a": 1.0, "b": 0.25}
    assert both.identity["b.weight"] == "4.0"
