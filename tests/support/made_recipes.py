"""Trajectories and scores made by hand, for tests of tasks and rewards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from PIL import Image

from alphatrainers.protocols import Score, Scored
from alphatrainers.trajectory import (
    DrawImage,
    Program,
    Prompt,
    SampledImage,
    SampledText,
    Segment,
    Step,
    Trajectory,
    WriteText,
)

SIGMAS = (1.0, 0.5, 0.0)


def drawing() -> DrawImage:
    return DrawImage(width=8, height=8, sigmas=SIGMAS)


def sampled(step: Step, *, grey: int, text: str) -> Segment:
    """What came of one step of a program."""
    if isinstance(step, DrawImage):
        stored = len(step.window)
        return SampledImage(
            asked=step,
            path_NX=torch.zeros(stored + 1 if stored else 0, 2),
            velocity_SX=torch.zeros(stored, 2),
            logp_S=torch.zeros(stored),
            final_X=torch.zeros(2),
            image=Image.new("RGB", (step.width, step.height), (grey, grey, grey)),
        )
    if isinstance(step, WriteText):
        return SampledText(asked=step, ids=(1,), logp_T=torch.zeros(1), finished=True, text=text)
    return step


def trajectory(program: Program, *, grey: int = 0, text: str = "") -> Trajectory:
    segments = tuple(sampled(step, grey=grey, text=text) for step in program.steps)
    return Trajectory(program=program, segments=segments)


def wrote(text: str, *, prompt: str = "a red dog", grey: int = 0) -> Trajectory:
    """A thought and a picture."""
    made = Program(
        id=text or "empty",
        group="g",
        prompt=Prompt(id="p", text=prompt),
        steps=(WriteText(max_tokens=9), drawing()),
        seed=0,
    )
    return trajectory(made, grey=grey, text=text)


class Studio:
    """Draws nothing: gives every program the scores that a function says."""

    def __init__(self, score: Callable[[Program], Mapping[str, float | None]]) -> None:
        self.score = score
        self.drawn: list[Program] = []

    def draw(self, programs: Sequence[Program], *, scored: bool = True) -> list[Scored]:
        self.drawn += programs
        return [self._one(program, scored=scored) for program in programs]

    def _one(self, program: Program, *, scored: bool) -> Scored:
        values = self.score(program) if scored else {}
        scores = {
            name: Score(value=value, reason="" if value is not None else "away")
            for name, value in values.items()
        }
        # A shade of its own for every picture, so that it can be told from others.
        grey = program.seed % 251
        return Scored(trajectory=trajectory(program, grey=grey), scores=scores)
