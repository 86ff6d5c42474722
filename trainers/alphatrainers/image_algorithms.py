"""The image algorithms, one table row each, and the settings of the image part.

A row says what an algorithm needs (stored steps, other weights, forward passes) and how its loss is
computed; the trainer reads the row and compares no name. A recipe's `image.kind` is a name of one
of two tables, `none`, or `package.module:object` for a row from outside. `IMAGE_ALGORITHMS` trains
velocities; `TOKEN_ALGORITHMS` trains images that are sampled token by token, by the losses of text.
Knows no model and no optimizer.

Shapes: B trajectories of a batch; X the axes of one latent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

import torch
from torch import Tensor

from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.user_code import import_user_module
from alphatrainers.algorithms.losses import image as losses
from alphatrainers.algorithms.losses.image import Weighting
from alphatrainers.algorithms.losses.kl import IMAGE_KLS, ImageKL, TextKL
from alphatrainers.algorithms.losses.surrogate import Clip, Surrogate
from alphatrainers.algorithms.losses.text import TextAlgorithm
from alphatrainers.algorithms.sde_steps import DENSITIES, Density, StepKind
from alphatrainers.protocols import WeightView
from alphatrainers.setting_checks import require_kl_views, require_positive
from alphatrainers.trajectory import Trajectory
from alphatrainers.velocity_requests import (
    StoredStep,
    VelocityRequest,
    noised_image_requests,
    stored_step_requests,
)

NOT_TRAINED: Final = "none"
"""The `image.kind` that trains no image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLossSettings:
    """The image part."""

    kind: str = "flow_grpo"
    """An algorithm by name (flow_grpo, guard, nft, awm; token_grpo, token_gspo, token_cispo for
    images of tokens), none, or `package.module:object` for an `ImageAlgorithm` of your own."""
    weight: float = 1.0
    """Of the mean over all trained (trajectory, step) pairs of an update."""
    clip_low: float = 1e-5
    clip_high: float = 1e-5
    """Range of the ratio; for awm 1 and 1 are usual, for images of tokens 0.2 and 0.2."""
    limit: float = 5.0
    """Largest advantage that counts."""
    reweight: bool = False
    """guard: divide by |dt|."""
    beta: float = 1.0
    """nft: distance of the implicit policies."""
    weighting: Weighting = "ghuber"
    """awm: weight of a noise level."""
    power: float = 0.25
    """awm: of `ghuber`."""
    largest: float = 1.0
    """awm: what an advantage of `limit` becomes."""
    levels: int = 6
    """nft, awm: independent noise levels for each image."""
    level_range: tuple[float, float] = (0.0, 1.0)
    """nft, awm: the levels lie above the first and at most at the second."""
    kl: ImageKL = "v_mse"
    """Which distance; all but `v_mse` need stored steps."""
    kl_estimator: TextKL = "k3"
    """How the distance is estimated for images of tokens, as `text.kl`."""
    kl_weights: Mapping[str, float] = field(default_factory=dict)
    """Distance to other weights by view: {reference: 1e-4, old: 1.0, ema: ...}."""

    def __post_init__(self) -> None:
        self.clip()
        require_positive(limit=self.limit)
        require_positive(levels=self.levels, beta=self.beta, power=self.power, largest=self.largest)
        if not 0.0 <= self.level_range[0] < self.level_range[1] <= 1.0:
            raise ValueError(f"level_range={self.level_range!r} is not within 0..1")
        if self.token_algorithm is not None and self.kl != "v_mse":
            raise ValueError(f"kl={self.kl!r} compares velocities: {self.kind} has kl_estimator")
        algorithm = self.algorithm
        if algorithm is not None and self.kl not in algorithm.kl_kinds:
            raise ValueError(
                f"kl={self.kl!r} is not defined for {self.kind}, which has "
                f"{', '.join(algorithm.kl_kinds)}"
            )
        require_kl_views(self.kl_weights)

    @property
    def algorithm(self) -> ImageAlgorithm | None:
        """The row that `kind` names; None if no velocity is trained."""
        known = self.kind == NOT_TRAINED or self.kind in TOKEN_ALGORITHMS
        return None if known else image_algorithm(self.kind)

    @property
    def token_algorithm(self) -> TextAlgorithm | None:
        """How tokens of images are trained; None if they are not."""
        return TOKEN_ALGORITHMS.get(self.kind)

    @property
    def trained(self) -> bool:
        """Whether images are trained at all."""
        return self.kind != NOT_TRAINED

    def clip(self) -> Clip:
        """As `losses` take it."""
        return Clip(low=self.clip_low, high=self.clip_high)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLossInput:
    """All that a loss may use of one velocity of a batch."""

    request: VelocityRequest
    """The latent and noise level; for noised images also what the latent was made of."""
    v_BX: Tensor
    """Velocity of the trained weights, with gradient."""
    advantage_B: Tensor
    views: Mapping[str, Tensor]
    """The same velocity, without gradient, under each of `ImageAlgorithm.views`."""
    old_BX: Tensor | None
    """The same under the weights that sampled; None if they are the trained ones, or if the
    sampler's stored numbers stand for them."""
    stored: StoredStep | None
    """The denoising step and its log-probabilities; None for noised images."""


class ImageLossValues(NamedTuple):
    """One loss a sample, and values to monitor."""

    loss_B: Tensor
    monitored: Mapping[str, Tensor]
    """Their means over trained samples are logged as `image/<name>`; shape B."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VelocitySource:
    """At which latents an algorithm trains velocities, and what sampling must store for it."""

    needs_window: bool
    """Whether sampling must store the window's denoising steps: stochastic, each with the latents
    before and after it, its velocity and its log-probability. False: the finished latent is enough
    and the window may be empty."""
    requests: Callable[
        [int, Sequence[Trajectory], torch.device, ImageLossSettings], list[VelocityRequest]
    ]
    """The velocities that a replay computes for the image segment of that index of a batch."""
    forwards: Callable[[ImageLossSettings, Sequence[int]], int]
    """Cost of training one image, in forward passes without backward. The second argument has the
    passes of each step of the window: 1, or more with guidance."""


STORED_STEPS: Final = VelocitySource(
    needs_window=True,
    requests=lambda segment, batch, device, _: stored_step_requests(segment, batch, device),
    forwards=lambda _, passes: sum(passes),
)
"""The denoising steps of the window, at their stored latents and guided as sampled."""

NOISED_IMAGES: Final = VelocitySource(
    needs_window=False,
    requests=lambda segment, batch, device, settings: noised_image_requests(
        segment, batch, device, levels=settings.levels, level_range=settings.level_range
    ),
    forwards=lambda settings, _: settings.levels,
)
"""Finished images, noised anew at `levels` noise levels, without guidance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAlgorithm:
    """One way to train on sampled images."""

    loss: Callable[[ImageLossInput, ImageLossSettings], ImageLossValues]
    """Of one velocity; nothing is reduced over samples. Must mask nothing: untrained samples are
    left out of the mean by the caller."""
    trains_on: VelocitySource
    """`STORED_STEPS` or `NOISED_IMAGES`: what is stored at sampling, and at which latents
    velocities are trained."""
    kl_kinds: tuple[ImageKL, ...]
    """Distances to other weights that are defined for it."""
    views: tuple[WeightView, ...] = ()
    """Other weights whose velocities the loss itself needs; each costs one more replay."""
    replays_old: bool = False
    """Whether later updates of a step need velocities under the weights that sampled; costs one
    more replay, and the memory of its answers on the CPU."""
    kernels: tuple[StepKind, ...] = ("flow_sde", "cps", "dance")
    densities: tuple[Density, ...] = DENSITIES
    """Stochastic steps and log-probabilities that it accepts; only with a window."""


def image_algorithm(kind: str) -> ImageAlgorithm:
    """The row of an algorithm: by its name in the table, or `package.module:object`.

    Raises:
        AlphaBenchError: for a name that the table does not have, or an object that is no row.
    """
    module_name, colon, attribute = kind.partition(":")
    if not colon:
        if kind not in IMAGE_ALGORITHMS:
            raise unknown_name(
                "image algorithm (image.kind)",
                kind,
                [NOT_TRAINED, *IMAGE_ALGORITHMS, *TOKEN_ALGORITHMS],
            )
        return IMAGE_ALGORITHMS[kind]
    row = getattr(import_user_module(module_name), attribute, None)
    if not isinstance(row, ImageAlgorithm):
        raise AlphaBenchError(
            f"image.kind={kind!r} names no ImageAlgorithm",
            hint="name an object of that class as package.module:object; "
            "see docs/extending/algorithm.md",
        )
    return row


def _flow_grpo(inputs: ImageLossInput, settings: ImageLossSettings) -> ImageLossValues:
    assert inputs.stored is not None
    surrogate = losses.flow_grpo(
        inputs.stored.logp_B,
        inputs.stored.logp_old_B,
        inputs.advantage_B,
        clip=settings.clip(),
        limit=settings.limit,
    )
    return surrogate_values(surrogate)


def _guard(inputs: ImageLossInput, settings: ImageLossSettings) -> ImageLossValues:
    assert inputs.stored is not None
    surrogate = losses.guard(
        inputs.stored.logp_B,
        inputs.stored.logp_old_B,
        inputs.advantage_B,
        step=inputs.stored.step,
        mean_old_BX=inputs.stored.mean_old_BX,
        clip=settings.clip(),
        reweight=settings.reweight,
        limit=settings.limit,
    )
    return surrogate_values(surrogate)


def _nft(inputs: ImageLossInput, settings: ImageLossSettings) -> ImageLossValues:
    assert inputs.request.noised is not None
    result = losses.nft(
        inputs.v_BX,
        inputs.views["old"],
        inputs.request.noised,
        inputs.advantage_B,
        beta=settings.beta,
        limit=settings.limit,
    )
    halves = {"nft_positive": result.positive_B, "nft_negative": result.negative_B}
    return ImageLossValues(result.loss_B, halves)


def _awm(inputs: ImageLossInput, settings: ImageLossSettings) -> ImageLossValues:
    noised = inputs.request.noised
    assert noised is not None
    before_BX = inputs.v_BX.detach() if inputs.old_BX is None else inputs.old_BX
    logp_B, logp_old_B = (
        losses.awm_log_prob(v_BX, noised, weighting=settings.weighting, power=settings.power)
        for v_BX in (inputs.v_BX, before_BX)
    )
    surrogate = losses.awm(
        logp_B,
        logp_old_B,
        inputs.advantage_B,
        clip=settings.clip(),
        limit=settings.limit,
        largest=settings.largest,
    )
    return surrogate_values(surrogate)


def surrogate_values(surrogate: Surrogate) -> ImageLossValues:
    """A clipped ratio's loss, with the ratio, where it was clipped, and its distance from 1."""
    monitored = {
        "ratio/mean": surrogate.ratio_N,
        "clip_fraction": (surrogate.above_N | surrogate.below_N).float(),
        "clip_fraction_high": surrogate.above_N.float(),
        "clip_fraction_low": surrogate.below_N.float(),
        "approx_kl": surrogate.approx_kl_N,
    }
    return ImageLossValues(surrogate.loss_N, monitored)


IMAGE_ALGORITHMS: Final[Mapping[str, ImageAlgorithm]] = MappingProxyType(
    {
        # Sources: see `algorithms.losses.image`.
        "flow_grpo": ImageAlgorithm(
            loss=_flow_grpo,
            trains_on=STORED_STEPS,
            kl_kinds=IMAGE_KLS,
        ),
        "guard": ImageAlgorithm(
            loss=_guard,
            trains_on=STORED_STEPS,
            kl_kinds=IMAGE_KLS,
            kernels=("flow_sde", "dance"),
            densities=("gaussian", "exponent"),
        ),
        "nft": ImageAlgorithm(
            loss=_nft,
            trains_on=NOISED_IMAGES,
            kl_kinds=("v_mse",),
            views=("old",),
        ),
        "awm": ImageAlgorithm(
            loss=_awm,
            trains_on=NOISED_IMAGES,
            kl_kinds=("v_mse",),
            replays_old=True,
        ),
    }
)

TOKEN_ALGORITHMS: Final[Mapping[str, TextAlgorithm]] = MappingProxyType(
    {
        # Sources: see `algorithms.losses.text`. All images of one model have equally many tokens,
        # so that the means of grpo, dapo and dr_grpo are one.
        "token_grpo": TextAlgorithm(importance="token", normaliser="sequence"),
        "token_gspo": TextAlgorithm(importance="sequence", normaliser="sequence"),
        "token_cispo": TextAlgorithm(importance="truncated", normaliser="sequence"),
    }
)
"""How the tokens of an image are weighed; the mean is over images, of each one's tokens."""
