"""A model of your own that `alphabench train` can train: a tiny flow network over 8 x 8 pixels.

    cd examples
    alphabench train trainable_recipe.yaml

`TinyPolicy` is what the trainer needs (`alphatrainers.protocols.Policy`): sample images along a
schedule of noise levels, and predict velocities again at stored latents. `TinyCheckpoint` is the
checkpoint: it generates images for benchmarks, and opens the policy.
docs/extending/unified_model.md walks through this file.

Shapes: B rows of a batch; C = 3 colours; Y, X = 8 cells; F features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import torch
from PIL import Image
from torch import Tensor, nn

from alphabench.types import ImageRequest
from alphagrpo.policies.handle import PolicyHandle, trained_digest
from alphatrainers.algorithms.schedules import sigmas_of_points
from alphatrainers.protocols import ReplayAnswer, ReplaySpec, VelocityPredicted, VelocityQuery
from alphatrainers.sampling import generator, sample_latents
from alphatrainers.trajectory import (
    GenerateImage,
    InputText,
    Program,
    SampledImage,
    TrainingPrompt,
    Trajectory,
)

CELLS: Final = 8
SIZE: Final = 64
"""Pixels on a side: a cell is a square of 8 x 8 pixels."""
WORDS: Final = 64
"""Slots that the letters of a prompt are counted in."""
SIGMAS: Final = sigmas_of_points(9, shift=3.0)


class FlowNetwork(nn.Module):
    """Predicts the velocity (noise minus image) of each cell by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(3 + 1 + WORDS, 64)
        self.leave = nn.Linear(64, 3)

    def forward(self, x_BCYX: Tensor, sigma_B: Tensor, prompt_BF: Tensor) -> Tensor:
        known_BF = torch.cat([sigma_B[:, None], prompt_BF], 1)
        known_BYXF = known_BF[:, None, None].expand(-1, CELLS, CELLS, -1)
        inputs_BYXF = torch.cat([x_BCYX.movedim(1, -1), known_BYXF], -1)
        velocity_BYXC: Tensor = self.leave(torch.tanh(self.enter(inputs_BYXF)))
        return velocity_BYXC.movedim(-1, 1)


def prompt_features(prompts: Sequence[str]) -> Tensor:
    """How often each letter occurs; a real model has a text encoder. Shape B, F."""
    rows = torch.zeros(len(prompts), WORDS)
    for row, prompt in zip(rows, prompts, strict=True):
        for letter in prompt.casefold():
            row[ord(letter) % WORDS] += 0.1
    return rows


def image_of(latent_CYX: Tensor) -> Image.Image:
    """A latent decoded; a real model has an autoencoder."""
    levels_YXC = (latent_CYX.movedim(0, -1).clamp(-1.0, 1.0) + 1.0) * 127.5
    image = Image.fromarray(levels_YXC.round().to(torch.uint8).numpy())
    return image.resize((SIZE, SIZE), Image.Resampling.NEAREST)


@dataclass(frozen=True, kw_only=True)
class TinyPolicy:
    """The model as the trainer sees it: it generates one image from one text."""

    network: FlowNetwork

    @property
    def identity(self) -> Mapping[str, str]:
        return {"kind": "tiny-flow", "version": "1"}

    @property
    def module(self) -> nn.Module:
        """All weights. The trainer adds LoRA layers here and swaps values in place."""
        return self.network

    @property
    def device(self) -> torch.device:
        return self.network.leave.weight.device

    @property
    def experts(self) -> Mapping[str, str]:
        """Groups of trainable layers, each with a learning rate of its own in the recipe."""
        return {"gen": r"enter|leave"}

    @property
    def units(self) -> Sequence[nn.Module]:
        """What FSDP shards one by one; used with `training.parallel=shard` alone."""
        return [self.network.enter, self.network.leave]

    @torch.no_grad()
    def rollout(self, programs: Sequence[Program]) -> list[Trajectory]:
        """Samples a batch of programs of one shape: a prompt, then an image."""
        spec = programs[0].steps[1]
        assert isinstance(spec, GenerateImage), "the recipe's task is t2i"
        prompt_BF = prompt_features([one.prompt.text for one in programs]).to(self.device)

        def velocity(x_BCYX: Tensor, sigma: float) -> Tensor:
            sigma_B = torch.full((len(x_BCYX),), sigma, device=self.device)
            v_BCYX: Tensor = self.network(x_BCYX, sigma_B, prompt_BF)
            return v_BCYX

        generators = [generator(program, 1) for program in programs]
        shape = (3, CELLS, CELLS)
        made = sample_latents(velocity, spec, generators, shape, device=self.device)
        return [
            Trajectory(
                program=program,
                segments=(
                    InputText(text=program.prompt.text),
                    SampledImage(
                        spec=spec,
                        path_NX=made.path_BNX[row],
                        velocity_SX=made.velocity_BSX[row],
                        logp_S=made.logp_BS[row],
                        final_X=made.final_BX[row],
                        image=image_of(made.final_BX[row]),
                    ),
                ),
            )
            for row, program in enumerate(programs)
        ]

    def replay(
        self,
        trajectories: Sequence[Trajectory],
        *,
        texts: Sequence[int],
        queries: Sequence[VelocityQuery],
        how: ReplaySpec,
    ) -> Iterator[ReplayAnswer]:
        """Predicts the velocities that the loss asks for, under the weights now in force."""
        assert not texts, "it generates none"
        del how  # context gradients and recomputation: for larger models
        prompts = [one.program.prompt.text for one in trajectories]
        prompt_BF = prompt_features(prompts).to(self.device)
        for number, query in enumerate(queries):
            v_BCYX = self.network(query.x_BX, query.sigma_B, prompt_BF)
            yield VelocityPredicted(query=number, v_BX=v_BCYX)


@dataclass(frozen=True, kw_only=True)
class TinyCheckpoint:
    """A checkpoint for `--ckpt` and for a recipe's `policy.checkpoint`."""

    device: str
    batch_size: int = 16
    policy: TinyPolicy = field(repr=False)
    suggested_evaluator: str = "nano"

    @property
    def identity(self) -> Mapping[str, str]:
        """The digest changes with every update, so that validations are never mixed."""
        return {**self.policy.identity, "weights": trained_digest(self.policy.module)}

    def generate(self, requests: Sequence[ImageRequest]) -> list[Image.Image]:
        """One image for each request of a benchmark, without stochastic steps."""
        spec = GenerateImage(width=SIZE, height=SIZE, sigmas=SIGMAS)
        programs = [
            Program(
                id=request.id, group=request.sample.id, seed=request.seed,
                prompt=TrainingPrompt(id=request.sample.id, text=request.sample.prompt),
                steps=(InputText(text=request.sample.prompt), spec),
            )
            for request in requests
        ]  # fmt: skip
        return [one.images[-1].image for one in self.policy.rollout(programs)]

    def check_trainable(self) -> None:
        """A real checkpoint refuses here what is known without weights."""

    def open_policy(self, *, device: str) -> PolicyHandle:
        """The policy, and what tasks and validations need to know of its checkpoint."""
        self.policy.network.to(device)
        return PolicyHandle(
            name="tiny-flow",
            policy=self.policy,
            generator=lambda: replace(self, device=device),
            size=(SIZE, SIZE),
            resize=lambda image: image.resize((SIZE, SIZE)),
            think_prompt="",
            reflect_prompt="{prompt}",
            thinks=False,
            edits=False,
        )


def open_tiny(*, device: str, seed: int = 0) -> TinyCheckpoint:
    """What `python:trainable_model:open_tiny` calls. A real factory loads a file of weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FlowNetwork()
    return TinyCheckpoint(device=device, policy=TinyPolicy(network=network))
