"""What a training's displays know, in words: its numbers, its pace, its phase.

A number that was not measured has no word. Knows no terminal and no file format.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Final

from alphabench.runs.progress import duration
from alphatrainers.protocols import ValidationPoint, WeightView
from alphatrainers.reporting.history import CurvePoint, MetricsLine
from alphatrainers.training_display import StepSummary

SMOOTHED_STEPS: Final = 5
LONG_PHASE: Final = 10.0
"""Seconds after which a phase says how long it has lasted."""
_NO_PARTS: Final = ("questions", "initial", "unrectified")
"""Parts of a reward that are no score of it, or stand in words of their own."""
_PHASES: Final = {"rollout": "rollout", "reward_wait": "rewards", "update": "update"}
"""Seconds of a step, and what they are called."""
_MEMORY: Final = {"gpu_peak_gib": "GPU", "process_peak_gib": "memory"}
"""The first that is known is shown."""


class TrainingState:
    """What the displays know, in words."""

    def __init__(
        self,
        *,
        steps: Sequence[MetricsLine] = (),
        points: Sequence[CurvePoint] = (),
        best_view: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begins with what an interrupted training logged.

        Args:
            steps: its steps, in order.
            points: its validations, in order.
            best_view: whose held-out score is shown; None takes the first that is measured.
            clock: in seconds.
        """
        self._clock = clock
        rewards = [one.values["reward/mean"] for one in steps if "reward/mean" in one.values]
        self._first = rewards[:SMOOTHED_STEPS]
        self._last = deque(rewards[-SMOOTHED_STEPS:], maxlen=SMOOTHED_STEPS)
        self._rewards = len(rewards)
        self._seconds = deque((one.seconds for one in steps[-3:]), maxlen=3)
        self._values: Mapping[str, float] = steps[-1].values if steps else {}
        self._memory: Mapping[str, float] = steps[-1].memory if steps else {}
        self._kl: dict[str, float] = {}
        for one in steps:
            self._kl |= _kl_of(one.values)
        self._images: float | None = None
        self._images_before = self._values.get("images", 0.0)
        self._best_view = best_view
        self._held_out: dict[tuple[str, str], tuple[float, str]] = {}
        for point in points:
            if point.value is not None and point.low is not None and point.high is not None:
                self._keep(point.name, point.view, point.value, point.low, point.high)
        self.step = self.steps = self._done_before = 0
        self.phase, self.total, self.done = "", 0, 0
        self._began: float | None = None
        self._phase_began = clock()

    def start(self, *, step: int, steps: int) -> None:
        self.step, self.steps, self._done_before = step, steps, step

    def begin(self, phase: str, *, total: int, done: int) -> None:
        if self._began is None and self.steps and not phase.startswith("validation"):
            self._began = self._clock()
        self.phase, self.total, self.done = phase, total, done
        self._phase_began = self._clock()

    def advance(self, count: int = 1) -> None:
        self.done += count

    def end(self) -> None:
        self.phase, self.total = "", 0

    def step_done(self, summary: StepSummary) -> None:
        self.step, self._values, self._memory = summary.step, summary.values, summary.memory
        self._seconds.append(summary.seconds)
        self._kl |= _kl_of(summary.values)
        if (images := summary.values.get("images")) is not None:
            self._images, self._images_before = images - self._images_before, images
        if (reward := summary.values.get("reward/mean")) is not None:
            self._last.append(reward)
            self._rewards += 1
            if len(self._first) < SMOOTHED_STEPS:
                self._first.append(reward)

    def measured(self, name: str, view: WeightView, point: ValidationPoint | None) -> None:
        if point is not None:
            self._keep(name, view, point.value, point.low, point.high)

    @property
    def seconds_left(self) -> float | None:
        """Until the last step, at the pace so far, validations included; None before a step."""
        made = self.step - self._done_before
        if self._began is None or made <= 0:
            return None
        return (self._clock() - self._began) / made * (self.steps - self.step)

    @property
    def phase_seconds(self) -> float:
        """How long the present phase has lasted."""
        return self._clock() - self._phase_began

    def reward(self) -> str:
        """`reward 0.953 (+0.021)`: the last step, and the mean of the last five minus the first.

        The change is left out while the last five are the first ones.
        """
        value = self._values.get("reward/mean")
        if value is None:
            return "no reward yet" if not self._values else "reward none"
        if self._rewards <= SMOOTHED_STEPS:
            return f"reward {value:.3f}"
        change = fmean(self._last) - fmean(self._first)
        return f"reward {value:.3f} ({change:+.3f})"

    def reward_parts(self) -> list[str]:
        """`dvreward 0.95 (quality 0.99, semantic 0.93)`: each reward and its parts.

        One reward without parts is the reward itself, and has no word.
        """
        rewards: dict[str, float] = {}
        parts: dict[str, list[str]] = {}
        for name, value in self._values.items():
            match name.split("/"):
                case ["reward", reward, "mean"]:
                    rewards[reward] = value
                case ["reward", reward, part, "mean"] if part not in _NO_PARTS:
                    parts.setdefault(reward, []).append(f"{part} {value:.2f}")
        if len(rewards) == 1 and not parts:
            return []
        return [
            f"{name} {value:.2f}" + (f" ({', '.join(parts[name])})" if name in parts else "")
            for name, value in rewards.items()
        ]

    def refinement(self) -> str:
        """`refined 0.781 from 0.742, 41% better`: the images of a step, or nothing."""
        names = ("refined/mean", "initial/mean", "improved_share")
        known = [self._values.get(f"refinement/{name}") for name in names]
        refined, initial, improved = known
        if refined is None or initial is None or improved is None:
            return ""
        return f"refined {refined:.3f} from {initial:.3f}, {improved:.0%} better"

    def held_out(self) -> str:
        """`held out 0.612 [0.55, 0.67] (+0.030)` of the first validation, or nothing."""
        if not self._held_out:
            return ""
        first = next(iter(self._held_out))
        chosen = (first[0], self._best_view or first[1])
        return self._held_out.get(chosen, self._held_out[first])[1]

    def numbers(self) -> list[str]:
        """KL, clip fraction, length, groups without variance, unscored: those that were measured.

        A KL that is not measured in each step is the last one.
        """
        values, words = self._values, []
        if self._kl:
            words.append(f"KL {self._kl.get('image', self._kl.get('text', 0.0)):.2g}")
        clipped = [values[key] for key in _of_parts("clip_fraction") if key in values]
        if clipped:
            words.append(f"clip {max(clipped):.0%}")
        if (length := values.get("text/completion_length")) is not None:
            words.append(f"{length:.0f} tokens")
        if values.get("image/groups") and values.get("image/zero_std_groups"):
            same, groups = values["image/zero_std_groups"], values["image/groups"]
            words.append(f"{same:.0f}/{groups:.0f} groups zero-std")
        if share := values.get("reward/unscored_share"):
            words.append(f"{share:.0%} unscored")
        return words

    def pace(self) -> list[str]:
        """Seconds a step and by phase, images a second, and the time left."""
        words = []
        if self._seconds:
            took = fmean(one["step"] for one in self._seconds)
            phases = [
                f"{label} {_brief(fmean(known))}"
                for name, label in _PHASES.items()
                if (known := [one[name] for one in self._seconds if name in one])
            ]
            words.append(f"{took:.1f} s/step" + (f" ({', '.join(phases)})" if phases else ""))
            last = self._seconds[-1]["step"]
            if self._images is not None and last > 0.0:
                words.append(f"{_brief(self._images / last)} images/s")
        left = self.seconds_left
        return [*words, f"{duration(left)} left"] if left and left >= 1.0 else words

    def memory(self) -> str:
        """`GPU 61.2 GiB`: the largest so far of the first process; nothing where it is unknown."""
        return next(
            (f"{label} {self._memory[key]:.1f} GiB" for key, label in _MEMORY.items()
             if key in self._memory), "",
        )  # fmt: skip

    def phase_words(self) -> str:
        """`update 12/96`, with the time so far where it is long."""
        lasted = self.phase_seconds
        words = f"{self.phase} {self.done}/{self.total}" if self.total else self.phase
        return f"{words} ({duration(lasted)})" if lasted >= LONG_PHASE else words

    def _keep(self, name: str, view: str, value: float, low: float, high: float) -> None:
        curve = (name, view)
        first, _ = self._held_out.get(curve, (value, ""))
        change = f" ({value - first:+.3f})" if curve in self._held_out else ""
        text = f"held out {value:.3f} [{low:.2f}, {high:.2f}]{change}"
        self._held_out[curve] = (first, text)


def _of_parts(name: str) -> tuple[str, str]:
    return f"image/{name}", f"text/{name}"


def _kl_of(values: Mapping[str, float]) -> dict[str, float]:
    """The distance from the reference by part."""
    return {key.split("/")[0]: values[key] for key in _of_parts("kl") if key in values}


def _brief(value: float) -> str:
    return f"{value:.1f}" if value < 10.0 else f"{value:.0f}"
