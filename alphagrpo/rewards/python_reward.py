"""A reward that is the user's own Python code: `kind: python, factory: module:function`.

The simplest reward is a function `(prompts, images) -> list[float | None]`. It receives the texts
of the prompts and the last image of each trajectory, RGB; None is for an image that cannot be
scored. Any other function is called once, with the options, and returns such a function or a
`RewardFunction`. Runs the user's code with all rights of the user.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from alphabench.core.errors import AlphaBenchError, JudgeUnavailableError
from alphabench.core.options import option_text
from alphabench.core.user_code import (
    call_factory,
    factory_arguments,
    find_factory,
    user_code_error,
)
from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.rewards.reward_kinds import RewardKind
from alphatrainers.protocols import RewardFunction, Score
from alphatrainers.trajectory import Trajectory

if TYPE_CHECKING:
    from PIL.Image import Image

ImageScorer = Callable[[list[str], "list[Image]"], Sequence[float | None]]
"""Texts of prompts and their RGB images -> one finite score or None for each, in order."""
_PARAMETERS: Final = ("prompts", "images")
"""A function whose parameters begin with these is the reward itself."""
_ADD_OPTION: Final = "add `options: {{{option}: VALUE}}` to the reward"
_IS_REWARD: Final = (
    "a function that is the reward itself has the parameters `prompts, images` first"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFunctionReward:
    """A function of prompts and images as a reward."""

    function: ImageScorer
    name: str
    """`module:function`, as the recipe names it."""
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> Mapping[str, str]:
        options = {f"options.{key}": value for key, value in sorted(self.options.items())}
        return {"kind": "python", "factory": self.name, **options}

    def score(self, trajectories: Sequence[Trajectory]) -> list[Score]:
        """See `alphatrainers.protocols.RewardFunction`.

        An exception in the function, or a result of another length, leaves all of them unscored
        with the reason; None, NaN, infinity and what is no number leave one unscored.

        Raises:
            JudgeUnavailableError: the function raises it, so that the training waits.
        """
        prompts = [one.program.prompt.text for one in trajectories]
        images = [one.final_images[-1].convert("RGB") for one in trajectories]
        try:
            values = list(self.function(prompts, images))
        except JudgeUnavailableError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001  a boundary: the user's code
            reason = user_code_error(self.name, error).message
            return [Score(value=None, reason=reason)] * len(trajectories)
        if len(values) != len(trajectories):
            reason = f"{self.name!r} returned {len(values)} scores for {len(trajectories)} images"
            return [Score(value=None, reason=reason)] * len(trajectories)
        return [_checked_score(value, self.name) for value in values]


def _checked_score(value: Any, name: str) -> Score:
    if value is None:
        return Score(value=None, reason=f"{name!r} returned None")
    try:
        number = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        return Score(value=None, reason=f"{name!r} returned {value!r:.80}, not a finite number")
    return Score(value=number)


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonRewardSettings:
    """Keys of kind `python`."""

    factory: str
    options: Mapping[str, object] = field(default_factory=dict)


def _build(settings: PythonRewardSettings, context: AssemblyContext) -> RewardFunction:
    options = {key: option_text(value) for key, value in settings.options.items()}
    named, owner = find_factory(settings.factory), f"python:{settings.factory}"
    if _scores_images(named):
        unbound = functools.partial(named, [], [])
        bound = factory_arguments(
            unbound, options, device=context.device, owner=owner, hint=_ADD_OPTION
        )
        return ImageFunctionReward(
            function=functools.partial(named, **bound), name=settings.factory, options=options
        )
    made = call_factory(
        settings.factory, options, device=context.device, hint=f"{_ADD_OPTION}; {_IS_REWARD}"
    )
    if callable(getattr(made, "score", None)):
        return _checked_reward(made, owner)
    if callable(made):
        return ImageFunctionReward(function=made, name=settings.factory, options=options)
    raise AlphaBenchError(
        f"what {owner!r} returned is a {type(made).__name__} and no reward",
        hint="return a function (prompts, images) -> scores, or an object with identity and score",
    )


def _scores_images(named: Callable[..., Any]) -> bool:
    try:
        parameters = list(inspect.signature(named).parameters)
    except (ValueError, TypeError):
        return False
    return tuple(parameters[:2]) == _PARAMETERS


def _checked_reward(made: Any, owner: str) -> RewardFunction:
    identity = getattr(made, "identity", None)
    if not isinstance(identity, Mapping) or not all(
        isinstance(part, str) for pair in identity.items() for part in pair
    ):
        raise AlphaBenchError(
            f"what {owner!r} returned has no identity, a mapping of text to text",
            hint="state in it what makes the scores: name, version, settings",
        )
    reward: RewardFunction = made
    return reward


PYTHON: Final = RewardKind(settings=PythonRewardSettings, build=_build, judges="image")
