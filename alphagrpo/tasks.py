"""What is drawn for a prompt in training: programs of segments, in one stage or two.

    t2i     prompt -> picture
    rt2i    prompt -> thought -> picture
    edit    source picture, instruction -> (thought ->) picture
    srr     self-reflective refinement: an initial picture is drawn and judged; then picture,
            reflection instruction -> thought -> refined picture, for a whole group of refinements
            of that one picture; rewards rectified (`refinement`)
    mixed   one of these a training step, drawn by weight

After arXiv 2605.12495 and its released code. Every choice follows from run seed, step and prompt.
Knows no policy, judge or loss.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from alphabench.core.errors import AlphaBenchError
from alphabench.images import UnreadableImageError, open_rgb
from alphagrpo.rectification import Rectification, rectify
from alphagrpo.reward_functions import SOURCE
from alphatrainers.algorithms import windows
from alphatrainers.protocols import Json, Round, Score, Scored, Studio, Task
from alphatrainers.trajectory import (
    DrawImage,
    InputImage,
    InputText,
    Program,
    Prompt,
    Step,
    WriteText,
)

if TYPE_CHECKING:
    from PIL.Image import Image

Resize = Callable[["Image"], "Image"]
"""A source picture in the size in which a policy reads it, and draws what becomes of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which steps of a drawing are stochastic and trained."""

    kind: Literal["none", "static", "random", "progressive"] = "random"
    """none: for nft and awm, which need no stored steps."""
    size: int = 5
    low: int = 0
    """static: first step. random: least first step."""
    high: int = 15
    """random: one past the last step that may be trained."""
    iterations: int = 25
    """progressive: training steps before it moves."""
    stride: int = 1

    @property
    def described(self) -> str:
        """What places it, as a recipe writes it."""
        if self.kind == "progressive":
            return f"{{kind: progressive, size: {self.size}}}"
        high = f", high: {self.high}" if self.kind == "random" else ""
        return f"{{kind: {self.kind}, size: {self.size}, low: {self.low}{high}}}"

    def at(self, step: int, *, n_steps: int, seed: int) -> range:
        """The window of one training step, the same for all its trajectories."""
        if self.kind == "none":
            return range(0)
        if self.kind == "static":
            return windows.static_window(n_steps, start=self.low, size=self.size)
        if self.kind == "progressive":
            return windows.progressive_window(
                step,
                n_steps=n_steps,
                size=self.size,
                iterations=self.iterations,
                stride=self.stride,
            )
        return windows.random_window(
            n_steps, size=self.size, low=self.low, high=self.high, seed=seed, rollout=step
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """How pictures are drawn, but for their window."""

    asked: DrawImage
    """With an empty window."""
    window: Window

    def at(self, turn: Round) -> DrawImage:
        """With the window of this training step."""
        n_steps = len(self.asked.sigmas) - 1
        return replace(
            self.asked, window=self.window.at(turn.step, n_steps=n_steps, seed=turn.seed)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """All that single-stage tasks need beside prompts."""

    drawing: Drawing
    thought: WriteText | None
    """None draws without thinking."""
    think_prompt: str
    """Read before all else where it thinks."""


def program(
    name: str, prompt: Prompt, steps: Sequence[Step], *, turn: Round, member: int
) -> Program:
    """One member of a group; `name` tells stages of one step apart."""
    group = f"{turn.step}/{prompt.id}/{name}"
    digest = hashlib.sha256(f"{turn.seed} {group} {member}".encode()).digest()
    return Program(
        id=f"{group}/{member}",
        group=group,
        prompt=prompt,
        steps=tuple(steps),
        seed=int.from_bytes(digest[:8], "big") >> 1,
    )


def text_to_image(prompt: Prompt, manner: Manner, asked: DrawImage) -> list[Step]:
    """Thinking prompt, prompt, thought, picture; without a thought prompt and picture alone."""
    if manner.thought is None:
        return [InputText(text=prompt.text), asked]
    system = InputText(text=manner.think_prompt, role="system")
    return [system, InputText(text=prompt.text), manner.thought, asked]


def image_to_image(source: Image, words: str, manner: Manner, asked: DrawImage) -> list[Step]:
    """The picture comes before the words about it, and decides the size."""
    steps: list[Step] = []
    if manner.thought is not None:
        steps.append(InputText(text=manner.think_prompt, role="system"))
    steps += [InputImage(image=source), InputText(text=words)]
    if manner.thought is not None:
        steps.append(manner.thought)
    return [*steps, replace(asked, width=source.width, height=source.height)]


class _Stateless:
    """For tasks whose every choice follows from the round."""

    def state(self) -> Json:
        """Nothing."""
        return None

    def restore(self, state: Json) -> None:
        """Takes nothing."""
        del state


@dataclass(frozen=True, kw_only=True)
class TextToImage(_Stateless):
    """t2i, or rt2i with a thought."""

    manner: Manner

    def collect(self, prompts: Sequence[Prompt], studio: Studio, turn: Round) -> list[Scored]:
        """See `alphatrainers.protocols.Task`."""
        asked = self.manner.drawing.at(turn)
        return studio.draw(
            [
                program(
                    "draw", prompt, text_to_image(prompt, self.manner, asked), turn=turn, member=n
                )
                for prompt in prompts
                for n in range(turn.group_size)
            ]
        )


@dataclass(frozen=True, kw_only=True)
class Edit(_Stateless):
    """Edits of pictures that come with the prompts."""

    manner: Manner
    resize: Resize

    def collect(self, prompts: Sequence[Prompt], studio: Studio, turn: Round) -> list[Scored]:
        """See `alphatrainers.protocols.Task`."""
        asked = self.manner.drawing.at(turn)
        programs = []
        for prompt in prompts:
            steps = image_to_image(self.resize(source_of(prompt)), prompt.text, self.manner, asked)
            programs += [
                program("edit", prompt, steps, turn=turn, member=n) for n in range(turn.group_size)
            ]
        return studio.draw(programs)


def source_of(prompt: Prompt) -> Image:
    """The picture that a prompt asks to edit.

    Raises:
        AlphaBenchError: it names none, or one that cannot be opened.
    """
    path = prompt.facts.get(SOURCE)
    if path is None:
        raise AlphaBenchError(
            f"the prompt {prompt.text!r} has no {SOURCE!r}", hint="train on an editing source"
        )
    try:
        return open_rgb(Path(str(path)))
    except UnreadableImageError as error:
        raise AlphaBenchError(
            f"the source picture {str(path)!r} cannot be read: {error}", hint="mend the prompt file"
        ) from error


@dataclass(frozen=True, kw_only=True)
class Refining:
    """How refinements are trained."""

    initial_images: int
    """Drawn for each prompt before one is chosen."""
    choose: Literal["worst", "sampled"]
    """worst: the lowest reward. sampled: by softmax of 1 - reward."""
    rectify: Rectification
    train_initial: bool
    """Initial pictures are drawn stochastically and trained too."""
    reflect_prompt: str
    """With a place for `{prompt}`."""


@dataclass(frozen=True, kw_only=True)
class Refine(_Stateless):
    """srr: the group refines one and the same initial picture."""

    initial: Manner
    manner: Manner
    how: Refining
    resize: Resize
    judging: Mapping[str, float]
    """Rewards that look at pictures, with their weights: their sum chooses, and decides what has
    improved."""

    def collect(self, prompts: Sequence[Prompt], studio: Studio, turn: Round) -> list[Scored]:
        """See `alphatrainers.protocols.Task`.

        A prompt none of whose initial pictures could be scored has no refinements in this step; the
        engine stops a training in which too many could not.
        """
        drawing = self.initial.drawing
        first = (
            drawing.at(turn) if self.how.train_initial else replace(drawing.asked, trained=False)
        )
        initial = studio.draw(
            [
                program(
                    "initial",
                    prompt,
                    text_to_image(prompt, self.initial, first),
                    turn=turn,
                    member=n,
                )
                for prompt in prompts
                for n in range(self.how.initial_images)
            ]
        )
        chosen: dict[str, Scored] = {}
        for prompt in prompts:
            own = [one for one in initial if one.trajectory.program.prompt.id == prompt.id]
            picked = self._pick(own, turn, prompt)
            if picked is not None:
                chosen[prompt.id] = picked
        refined = studio.draw(self._programs(prompts, chosen, turn))
        trained = initial if self.how.train_initial else []
        return [*trained, *self.rectified(refined, chosen)]

    def rectified(self, refined: Sequence[Scored], chosen: Mapping[str, Scored]) -> list[Scored]:
        """Refinements with rectified scores: all rewards of pictures together, by their sum."""
        starts = [chosen[one.trajectory.program.prompt.id] for one in refined]
        groups = [one.trajectory.program.group for one in refined]
        earned = rectify(refined, starts, groups, mode=self.how.rectify, total=self._total)
        return [
            replace(one, scores={**one.scores, **self._earned(one, start, by)})
            for one, start, by in zip(refined, starts, earned, strict=True)
        ]

    def _earned(self, one: Scored, start: Scored, by: Scored | None) -> dict[str, Score]:
        """The scores of `by` in the place of the refinement's own; none without it."""
        found = {}
        for name in self.judging:
            own, first = one.scores[name], start.scores[name]
            value = None if by is None else by.scores[name].value
            if value is None:
                reason = own.reason or self._lacking(one) or f"initially {self._lacking(start)}"
                found[name] = Score(value=None, reason=reason, cost_usd=own.cost_usd)
                continue
            before = {"unrectified": own.value, "initial": first.value}
            known = {key: number for key, number in before.items() if number is not None}
            found[name] = replace(own, value=value, parts={**own.parts, **known})
        return found

    def _lacking(self, scored: Scored) -> str:
        values = {name: scored.scores[name] for name in self.judging}
        return "; ".join(f"{name!r}: {s.reason}" for name, s in values.items() if s.value is None)

    def _programs(
        self, prompts: Sequence[Prompt], chosen: Mapping[str, Scored], turn: Round
    ) -> list[Program]:
        asked = self.manner.drawing.at(turn)
        found = []
        for prompt in prompts:
            if prompt.id not in chosen:
                continue
            source = self.resize(chosen[prompt.id].trajectory.images[-1].image)
            words = self.how.reflect_prompt.replace("{prompt}", prompt.text)
            steps = image_to_image(source, words, self.manner, asked)
            found += [
                program("refine", prompt, steps, turn=turn, member=n)
                for n in range(turn.group_size)
            ]
        return found

    def _pick(self, scored: Sequence[Scored], turn: Round, prompt: Prompt) -> Scored | None:
        known = [(total, one) for one in scored if (total := self._total(one)) is not None]
        if not known:
            return None
        if self.how.choose == "worst":
            return min(known, key=lambda pair: pair[0])[1]
        weights = [math.exp(1.0 - total) for total, _ in known]
        chance = random.Random(f"initial {turn.seed} {turn.step} {prompt.id}")  # noqa: S311
        return chance.choices([one for _, one in known], weights)[0]

    def _total(self, scored: Scored) -> float | None:
        total = 0.0
        for name, weight in self.judging.items():
            value = scored.scores[name].value
            if value is None:
                return None
            total += weight * value
        return total


@dataclass(frozen=True, kw_only=True)
class Mixed(_Stateless):
    """One task a training step; which one follows from seed and step."""

    tasks: Mapping[str, Task]
    weights: Mapping[str, float]

    def collect(self, prompts: Sequence[Prompt], studio: Studio, turn: Round) -> list[Scored]:
        """See `alphatrainers.protocols.Task`."""
        return self.tasks[self.chosen(turn)].collect(prompts, studio, turn)

    def chosen(self, turn: Round) -> str:
        """The name of the task of this step."""
        names = sorted(self.tasks)
        chance = random.Random(f"task {turn.seed} {turn.step}")  # noqa: S311  no secret
        return chance.choices(names, [self.weights[name] for name in names])[0]
