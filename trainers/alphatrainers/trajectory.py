"""What a policy is to do (a program of steps) and what it did (a trajectory of segments).

A program's steps and its trajectory's segments stand side by side: what is read stays as it is,
`GenerateText` becomes `SampledText`, `GenerateImage` becomes `SampledImage`, `GenerateImageTokens`
becomes `SampledImageTokens`. Everything that a later replay needs is in the trajectory: token ids
as sampled, latents as stored, noise levels as used.
Knows no model, tokenizer, task or reward. Trajectories live on the CPU.

Shapes: S trained steps; N = S + 1 latents, the last one after the last trained step; X the axes of
one latent; T tokens of a text or an image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from PIL.Image import Image
from torch import Tensor

from alphatrainers.algorithms.sde_steps import Density, StepKind

Role = Literal["system", "prompt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPrompt:
    """One row of the training data."""

    id: str
    text: str
    facts: Mapping[str, object] = field(default_factory=dict)
    """What task and rewards know about it (questions, a source image); nothing to the engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputText:
    """Text that is read, never trained. The policy adds its own control tokens."""

    text: str
    role: Role = "prompt"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputImage:
    """An image that is read, never trained."""

    image: Image
    encoded: Tensor | None = None
    """The policy's encoding from the rollout, so that no replay encodes it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateText:
    """The policy generates text here."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    trained: bool = True

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or not (self.temperature > 0.0 and 0.0 < self.top_p <= 1.0):
            raise ValueError(f"{self!r}: tokens, temperature above 0; 0 < top_p <= 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateImage:
    """The policy generates an image here."""

    width: int
    height: int
    sigmas: tuple[float, ...]
    """Falling noise levels from 1 to 0: one more than steps (`schedules`)."""
    window: range = range(0)
    """Steps that are stochastic and stored for training; all others are plain. Empty for losses
    that need no trajectory (nft, awm)."""
    kernel: StepKind = "flow_sde"
    eta: float = 0.7
    density: Density | None = None
    """By default the kernel's usual one."""
    guidance: object = None
    """The policy's own description of guidance, used again when it replays stored steps. Must
    compare by value; None is none."""
    trained: bool = True

    def __post_init__(self) -> None:
        falls = all(a > b for a, b in zip(self.sigmas, self.sigmas[1:], strict=False))
        if len(self.sigmas) < 2 or not falls or self.sigmas[0] > 1.0 or self.sigmas[-1] < 0.0:
            raise ValueError(f"sigmas={self.sigmas!r} do not fall within 1..0")
        last = len(self.sigmas) - 1
        if self.window and not (
            self.window.step == 1 and 0 <= self.window.start < self.window.stop <= last
        ):
            raise ValueError(f"window={self.window!r} is not within {last} steps")
        if self.window and self.kernel == "ode":
            raise ValueError("an ode has no stochastic steps: leave the window empty")
        most = 1.0 if self.kernel == "cps" else math.inf
        if self.window and not 0.0 < self.eta <= most:
            raise ValueError(f"eta={self.eta!r}: a stochastic step needs more, and cps at most 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateImageTokens:
    """The policy generates an image here, token by token."""

    width: int
    height: int
    temperature: float = 1.0
    guidance: float = 1.0
    """Scale of classifier-free guidance on logits; 1 is none."""
    trained: bool = True

    def __post_init__(self) -> None:
        if not (0.0 < self.temperature < math.inf and 1.0 <= self.guidance < math.inf):
            raise ValueError(f"{self!r}: temperature above 0, guidance 1 or more")


ProgramStep = InputText | InputImage | GenerateText | GenerateImage | GenerateImageTokens


TASK: Final = "task"
"""Key in `Program.facts`: the name of its task, where a training has several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One trajectory to be made."""

    id: str
    """Unique within a rollout."""
    group: str
    """Trajectories of one group are compared with each other."""
    prompt: TrainingPrompt
    steps: tuple[ProgramStep, ...]
    seed: int
    """All randomness of this trajectory comes from it (`sampling.generator`), so that no batch,
    order or number of devices changes it."""
    facts: Mapping[str, object] = field(default_factory=dict)
    """What the task records: e.g. the reward of the initial image."""

    @property
    def task(self) -> str:
        """The task that made it, of several in one training; else empty."""
        return str(self.facts.get(TASK, ""))

    @property
    def shape(self) -> tuple[object, ...]:
        """Programs with equal shapes may share a batch: same kinds of steps, same settings."""
        return tuple(
            _input_shape(step) if isinstance(step, InputText | InputImage) else step
            for step in self.steps
        )


def _input_shape(step: InputText | InputImage) -> object:
    return step.image.size if isinstance(step, InputImage) else step.role


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledText:
    """Text the policy generated: the token ids exactly as sampled."""

    spec: GenerateText
    ids: tuple[int, ...]
    """As sampled; the end token only if it was sampled, and no start token."""
    logp_T: Tensor
    """float32, one an id, under the distribution that was sampled (temperature, top-p)."""
    finished: bool
    """False: cut off at `max_tokens`; no end token was invented."""
    text: str
    """Decoded, without control tokens: for people and rewards, never tokenised again."""

    def __post_init__(self) -> None:
        if self.logp_T.shape != (len(self.ids),):
            raise ValueError(
                f"{len(self.ids)} ids and log-probabilities {tuple(self.logp_T.shape)}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledImage:
    """An image the policy generated, and the stored part of its denoising path."""

    spec: GenerateImage
    """Its `window` says which steps are stored, its `sigmas` at which noise levels."""
    path_NX: Tensor
    """Latents before each stored step, and after the last one; empty (0, X) without a window."""
    velocity_SX: Tensor
    """As predicted when sampling, guided as sampled."""
    logp_S: Tensor
    """float32; of each stored step, computed from the latents as stored."""
    final_X: Tensor
    """The finished latent."""
    image: Image
    """Decoded."""

    def __post_init__(self) -> None:
        steps = len(self.spec.window)
        stored = (len(self.path_NX), len(self.velocity_SX), len(self.logp_S))
        if stored != ((steps + 1, steps, steps) if steps else (0, 0, 0)):
            raise ValueError(
                f"a window of {steps} steps and {stored} latents, velocities, log-probs"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledImageTokens:
    """An image the policy generated, as the tokens that it sampled: trained as text is."""

    spec: GenerateImageTokens
    ids: tuple[int, ...]
    """As sampled; all tokens of the image, and nothing else."""
    logp_T: Tensor
    """float32, one an id, under the distribution that was sampled (guidance, temperature)."""
    image: Image
    """Decoded."""

    def __post_init__(self) -> None:
        if self.logp_T.shape != (len(self.ids),):
            raise ValueError(
                f"{len(self.ids)} ids and log-probabilities {tuple(self.logp_T.shape)}"
            )


Segment = InputText | InputImage | SampledText | SampledImage | SampledImageTokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """The result of a program; one segment for each of its steps."""

    program: Program
    segments: tuple[Segment, ...]
    facts: Mapping[str, object] = field(default_factory=dict)
    """What the policy records: e.g. seconds, forward passes."""

    def __post_init__(self) -> None:
        if len(self.segments) != len(self.program.steps):
            raise ValueError(f"{len(self.segments)} segments of {len(self.program.steps)} steps")

    @property
    def texts(self) -> tuple[SampledText, ...]:
        """The sampled texts, in order."""
        return tuple(part for part in self.segments if isinstance(part, SampledText))

    @property
    def images(self) -> tuple[SampledImage, ...]:
        """The images that were sampled by denoising, in order."""
        return tuple(part for part in self.segments if isinstance(part, SampledImage))

    @property
    def token_images(self) -> tuple[SampledImageTokens, ...]:
        """The images that were sampled token by token, in order."""
        return tuple(part for part in self.segments if isinstance(part, SampledImageTokens))

    @property
    def final_images(self) -> tuple[Image, ...]:
        """The generated images of either kind, in order; the last one is what is scored."""
        sampled = SampledImage | SampledImageTokens
        return tuple(part.image for part in self.segments if isinstance(part, sampled))
