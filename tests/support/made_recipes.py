"""Trajectories and scores made by hand, for tests of tasks and rewards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from PIL import Image

from alphagrpo.prompts import with_questions
from alphatrainers.protocols import Score, ScoredTrajectory
from alphatrainers.trajectory import (
    GenerateImage,
    GenerateImageTokens,
    GenerateText,
    Program,
    ProgramStep,
    SampledImage,
    SampledImageTokens,
    SampledText,
    Segment,
    TrainingPrompt,
    Trajectory,
)

SIGMAS = (1.0, 0.5, 0.0)


def drawing() -> GenerateImage:
    return GenerateImage(width=8, height=8, sigmas=SIGMAS)


def sampled(step: ProgramStep, *, grey: int, text: str) -> Segment:
    """What came of one step of a program."""
    if isinstance(step, GenerateImage):
        stored = len(step.window)
        return SampledImage(
            spec=step,
            path_NX=torch.zeros(stored + 1 if stored else 0, 2),
            velocity_SX=torch.zeros(stored, 2),
            logp_S=torch.zeros(stored),
            final_X=torch.zeros(2),
            image=Image.new("RGB", (step.width, step.height), (grey, grey, grey)),
        )
    if isinstance(step, GenerateImageTokens):
        image = Image.new("RGB", (step.width, step.height), (grey, grey, grey))
        return SampledImageTokens(spec=step, ids=(1, 2), logp_T=torch.zeros(2), image=image)
    if isinstance(step, GenerateText):
        return SampledText(spec=step, ids=(1,), logp_T=torch.zeros(1), finished=True, text=text)
    return step


def trajectory(program: Program, *, grey: int = 0, text: str = "") -> Trajectory:
    segments = tuple(sampled(step, grey=grey, text=text) for step in program.steps)
    return Trajectory(program=program, segments=segments)


def wrote(text: str, *, prompt: str = "a red dog", grey: int = 0) -> Trajectory:
    """A thought and a image."""
    made = Program(
        id=text or "empty",
        group="g",
        prompt=TrainingPrompt(id="p", text=prompt),
        steps=(GenerateText(max_tokens=9), drawing()),
        seed=0,
    )
    return trajectory(made, grey=grey, text=text)


FACTS = {"include": [{"class": "dog", "count": 1, "color": "red"}], "exclude": [], "tag": "colors"}


def about_a_dog(*greys: int) -> list[Trajectory]:
    """A grey image for each level, of a prompt with GenEval's facts and DVReward's questions."""
    (prompt,) = with_questions([TrainingPrompt(id="p", text="a red dog", facts=FACTS)], {})
    return [
        trajectory(
            Program(id=str(n), group="g", prompt=prompt, steps=(drawing(),), seed=n), grey=grey
        )
        for n, grey in enumerate(greys)
    ]


class FakeCollector:
    """Generates nothing: gives every program the scores that a function says."""

    def __init__(self, score: Callable[[Program], Mapping[str, float | None]]) -> None:
        self.score = score
        self.programs: list[Program] = []

    def collect(
        self, programs: Sequence[Program], *, scored: bool = True
    ) -> list[ScoredTrajectory]:
        self.programs += programs
        return [self._one(program, scored=scored) for program in programs]

    def _one(self, program: Program, *, scored: bool) -> ScoredTrajectory:
        values = self.score(program) if scored else {}
        scores = {
            name: Score(value=value, reason="" if value is not None else "away")
            for name, value in values.items()
        }
        # A shade of its own for every image, so that it can be told from others.
        grey = program.seed % 251
        return ScoredTrajectory(trajectory=trajectory(program, grey=grey), scores=scores)
