"""The kinds of reward that a recipe can name, and what a reward may offer beside its scores.

A kind is one row: a `RewardKind` in the module that implements it. Nothing else in the package
knows the kinds by name. Knows no judge.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any, Final, Literal, Protocol, runtime_checkable

from alphabench.core.errors import unknown_name
from alphagrpo.assembly_context import AssemblyContext
from alphatrainers.protocols import RewardFunction
from alphatrainers.settings import AppliesTo
from alphatrainers.trajectory import TrainingPrompt

REWARD_KINDS: Final[Mapping[str, str]] = {
    "dvreward": "alphagrpo.rewards.evaluator_rewards:DVREWARD",
    "evaluator": "alphagrpo.rewards.evaluator_rewards:EVALUATOR",
    "holistic": "alphagrpo.rewards.evaluator_rewards:HOLISTIC",
    "python": "alphagrpo.rewards.python_reward:PYTHON",
    "reflection": "alphagrpo.rewards.text_rewards:REFLECTION",
    "reflection_judge": "alphagrpo.rewards.reflection_judge:REFLECTION_JUDGE",
    "sum": "alphagrpo.rewards.weighted_sum:SUM",
    "think_tags": "alphagrpo.rewards.text_rewards:THINK_TAGS",
}
"""`kind` in a recipe -> `module:object`, a `RewardKind`."""


_OF_ALL_KINDS: Final = ("kind", "weight", "credits")
"""Keys of a reward that every kind takes."""


_NEEDED: Final = {"judge": "a judge", "benchmark": "a benchmark", "of": "parts: of: {NAME: {...}}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardKind:
    """One kind of reward."""

    settings: type
    """Dataclass of the keys that it takes in a recipe beside `kind`, `weight` and `credits`."""
    build: Callable[[Any, AssemblyContext], RewardFunction]
    """Makes the reward of these settings.

    Raises AlphaBenchError where its judge, evaluator or code cannot be used.
    """
    judges: Literal["image", "text", "parts"]
    """What it looks at; `parts`: whatever the rewards in it look at."""
    needs_questions: bool = False
    """Prompts must carry DVReward's questions: written ones, or such as follow from their facts."""
    judge_calls: float = 0.0
    """Estimated calls of its judge for each image; 0 where it asks none."""
    judge_calls_small: float | None = None
    """The same for prompts of the synthetic small world; None: no different."""


@runtime_checkable
class FactReadingReward(Protocol):
    """A reward that reads facts of the prompts."""

    def missing_facts(self, prompt: TrainingPrompt) -> str | None:
        """Why it cannot judge images of this prompt; None where it can."""
        ...


@runtime_checkable
class SelfTestedReward(Protocol):
    """A reward that can be checked before anything is generated for it."""

    def self_test(self) -> None:
        """Checks that it scores as it should.

        Raises:
            AlphaBenchError: it does not.
        """
        ...


@runtime_checkable
class CompositeReward(Protocol):
    """A reward made of others."""

    @property
    def rewards(self) -> Mapping[str, RewardFunction]:
        """Its parts, by name."""
        ...


def load_reward_kind(name: str) -> RewardKind:
    """The row of a kind.

    Raises:
        AlphaBenchError: there is no such kind; the error names the nearest.
    """
    if name not in REWARD_KINDS:
        raise unknown_name("kind of reward", name, REWARD_KINDS)
    module, _, attribute = REWARD_KINDS[name].partition(":")
    kind = getattr(importlib.import_module(module), attribute)
    assert isinstance(kind, RewardKind)
    return kind


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardSettings:
    """One reward; which keys a kind takes is defined by its row in `REWARD_KINDS`."""

    kind: str
    """One of `REWARD_KINDS`."""
    weight: float = 1.0
    credits: AppliesTo = "both"
    """Which parts of a trajectory it is credited to."""
    judge: str | None = None
    """As `--judge` takes it; dvreward, holistic and reflection_judge need one."""
    usd_per_million_tokens: float = 0.0
    """What the judge charges, for `--dry-run`."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Of the evaluator, for dvreward e.g. {aggregate: mean}; of kind python: of the factory."""
    benchmark: str | None = None
    """Of kind evaluator: whose evaluator, e.g. geneval."""
    evaluator: str | None = None
    """Of kind evaluator: which one; null takes the benchmark's default."""
    of: Mapping[str, RewardSettings] = field(default_factory=dict)
    """Of kind sum: its parts; their own `weight` counts."""
    factory: str | None = None
    """Of kind python: `module:function`, your own reward; see docs/extending/reward.md."""

    def __post_init__(self) -> None:
        if self.kind not in REWARD_KINDS:
            error = unknown_name("kind of reward", self.kind, REWARD_KINDS)
            raise ValueError(f"kind={self.kind!r}: {error}")
        self.of_kind()

    def of_kind(self) -> object:
        """The settings that the kind takes, as an instance of its own dataclass.

        Raises:
            ValueError: a key that it does not take is set, or one that it needs is not.
        """
        own = {f.name: f for f in dataclasses.fields(load_reward_kind(self.kind).settings)}
        given = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in _OF_ALL_KINDS and getattr(self, f.name) not in (None, {}, f.default)
        }
        if foreign := sorted(given.keys() - own.keys()):
            takes = ", ".join(own) or "no key of its own"
            raise ValueError(f"{foreign[0]} is no key of kind {self.kind}, which takes {takes}")
        for name, one in own.items():
            required = one.default is MISSING and one.default_factory is MISSING
            if required and name not in given:
                raise ValueError(f"{self.kind} needs {_NEEDED.get(name, name)}")
        made: object = load_reward_kind(self.kind).settings(**given)
        return made


def open_reward(settings: RewardSettings, context: AssemblyContext) -> RewardFunction:
    """One reward of a recipe.

    Raises:
        AlphaBenchError: its judge, evaluator or code cannot be used.
    """
    return load_reward_kind(settings.kind).build(settings.of_kind(), context)


def with_parts(rewards: Mapping[str, RewardFunction]) -> dict[str, RewardFunction]:
    """The rewards and, as `name.part`, the rewards that they are made of."""
    flat: dict[str, RewardFunction] = {}
    for name, reward in rewards.items():
        flat[name] = reward
        if isinstance(reward, CompositeReward):
            parts = with_parts(reward.rewards)
            flat |= {f"{name}.{part}": one for part, one in parts.items()}
    return flat
