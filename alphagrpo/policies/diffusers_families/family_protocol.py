"""What the policy must know of a family of diffusers pipelines, and what several adapters share.

An adapter repeats what the pipeline's own call does around its network: how a prompt is encoded,
in which shape noise is sampled, at which levels, with which timesteps, and how latents become
pixels. Its latents have the shape in which the pipeline samples its noise, so that one seed gives
one image by either. Knows no task, reward or trainer.

Shapes: B rows; T tokens of text or of a source image; D their width; X the axes of one latent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from PIL.Image import Image

GuidanceForm = Literal["branches", "embedded", "none"]
"""branches: a second evaluation of the network with the negative prompt. embedded: the scale is an
input of the network. none: the network was distilled for one scale."""


class Condition(NamedTuple):
    """What the network reads beside a latent; of one row, without a batch axis."""

    tokens_TD: Tensor
    pooled_D: Tensor | None = None
    source_TD: Tensor | None = None
    """Packed latents of the source image, of an edit."""
    source_size: tuple[int, int] = (0, 0)
    """Rows and columns of these tokens."""


class NetworkInput(NamedTuple):
    """Where one evaluation of the network takes place."""

    x_BX: Tensor
    """Latents, float32."""
    sigma_B: Tensor
    """Noise levels, float32."""
    rows: Sequence[Condition]
    """One a latent."""
    scale: float
    """Of embedded guidance; the other forms do not read it."""


class SourceViews(NamedTuple):
    """One source image, twice."""

    shown: Any
    """What the text encoder sees: `image` of the pipeline's `encode_prompt`."""
    pixels_1CYX: Tensor
    """What the autoencoder encodes."""


class DiffusersFamily(Protocol):
    """Adapter of one class of pipelines. `pipeline` is always the loaded one."""

    @property
    def experts(self) -> Mapping[str, str]:
        """See `alphatrainers.protocols.Policy`."""
        ...

    @property
    def blocks(self) -> Sequence[str]:
        """Attributes of the transformer that hold its lists of blocks."""
        ...

    @property
    def longest(self) -> int:
        """Most tokens of a prompt, where neither options nor preset say: the call's default."""
        ...

    @property
    def edits(self) -> bool:
        """Reads a source image in every program."""
        ...

    def guidance_form(self, pipeline: Any) -> GuidanceForm:
        """How the pipeline's call guides."""
        ...

    def encode(
        self, pipeline: Any, prompt: str, source: Image | None, *, longest: int
    ) -> Condition:
        """One prompt, with the source image of an edit, as the pipeline's call encodes it.

        Args:
            pipeline: loaded.
            prompt: or negative prompt.
            source: to be edited.
            longest: most tokens of a prompt (`max_sequence_length`).
        """
        ...

    def latent_shape(self, pipeline: Any, width: int, height: int) -> tuple[int, ...]:
        """Shape X of the noise of one image of so many pixels."""
        ...

    def noise_levels(
        self, pipeline: Any, n_steps: int, width: int, height: int
    ) -> tuple[float, ...]:
        """Noise levels of the pipeline's call: one more than steps, the last one 0."""
        ...

    def velocity(self, pipeline: Any, at: NetworkInput) -> Tensor:
        """Noise minus image (B, X), from one evaluation of the network."""
        ...

    def guided(self, full_BX: Tensor, free_BX: Tensor, scale: float) -> Tensor:
        """The velocity that the pipeline's call follows, from those of both branches."""
        ...

    def decode(self, pipeline: Any, latents_BX: Tensor) -> Tensor:
        """The autoencoder's pixels (B, 3, height, width), before the image processor."""
        ...


def two_branches(pipeline: Any) -> GuidanceForm:
    """`DiffusersFamily.guidance_form` of pipelines that all guide alike."""
    del pipeline
    return "branches"


def classifier_free(full_BX: Tensor, free_BX: Tensor, scale: float) -> Tensor:
    """Plain guidance (arXiv 2207.12598, in the form w = scale - 1)."""
    return free_BX + scale * (full_BX - free_BX)


def plain_shape(pipeline: Any, width: int, height: int) -> tuple[int, ...]:
    """`DiffusersFamily.latent_shape` of a network that reads the autoencoder's latents."""
    factor = pipeline.vae_scale_factor
    return (pipeline.transformer.config.in_channels, height // factor, width // factor)


def packed_shape(pipeline: Any, width: int, height: int) -> tuple[int, ...]:
    """`DiffusersFamily.latent_shape` of a network that reads 2 x 2 cells of them as one token."""
    channels, rows, columns = plain_shape(pipeline, width, height)
    return (channels // 4, rows, columns)


def scheduled(scheduler: Any, n_steps: int, *, even: bool, mu: float) -> tuple[float, ...]:
    """Noise levels that a scheduler with this configuration steps through.

    Args:
        scheduler: of the pipeline; is not changed.
        n_steps: denoising steps.
        even: the pipeline gives even levels from 1 to 1 / n_steps; False leaves them to the
            scheduler.
        mu: exponent of the shift, for schedulers that shift by the size of the image.
    """
    own = type(scheduler).from_config(scheduler.config)
    if even:
        own.set_timesteps(sigmas=np.linspace(1.0, 1.0 / n_steps, n_steps), mu=mu)
    else:
        own.set_timesteps(n_steps, mu=mu if own.config.get("use_dynamic_shifting") else None)
    found: list[float] = own.sigmas.tolist()
    return tuple(found)


def size_shift(scheduler: Any, n_tokens: int, *, largest: float) -> float:
    """`mu` of FLUX.1 and its successors: linear in the number of an image's tokens.

    As `calculate_shift` of diffusers 0.42, `pipelines/flux/pipeline_flux.py`.

    Args:
        scheduler: its configuration names the two ends of the line.
        n_tokens: of one image.
        largest: shift at the upper end, where the configuration names none.
    """
    config = scheduler.config
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    base, most = config.get("base_shift", 0.5), config.get("max_shift", largest)
    slope = (most - base) / (high - low)
    return float(n_tokens * slope + (base - slope * low))


def even_levels(pipeline: Any, n_steps: int, width: int, height: int) -> tuple[float, ...]:
    """Noise levels of FLUX.1 and its successors; see `DiffusersFamily.noise_levels`."""
    side = 2 * pipeline.vae_scale_factor
    mu = size_shift(pipeline.scheduler, (height // side) * (width // side), largest=1.15)
    return scheduled(pipeline.scheduler, n_steps, even=True, mu=mu)


def packed(x_BCYX: Tensor) -> Tensor:
    """Tokens (B, T, 4 C) of 2 x 2 cells of a latent, row by row."""
    return nn.functional.pixel_unshuffle(x_BCYX, 2).flatten(2).transpose(1, 2)


def unpacked(x_BTD: Tensor, rows: int, columns: int) -> Tensor:
    """The inverse of `packed`: a latent (B, C, 2 rows, 2 columns)."""
    patches_BDYX = x_BTD.transpose(1, 2).reshape(len(x_BTD), -1, rows, columns)
    return nn.functional.pixel_shuffle(patches_BDYX, 2)


def with_source(text: Condition, latents_1CYX: Tensor) -> Condition:
    """A condition that also holds the latents of a source image; C, cells in Y and X."""
    rows, columns = latents_1CYX.shape[-2:]
    return text._replace(source_TD=packed(latents_1CYX)[0], source_size=(rows // 2, columns // 2))


def beside_sources(x_BTD: Tensor, rows: Sequence[Condition]) -> Tensor:
    """Tokens of latents, before those of their source images where the rows have such."""
    sources = [row.source_TD for row in rows if row.source_TD is not None]
    return torch.cat([x_BTD, torch.stack(sources)], dim=1) if sources else x_BTD


def unscaled(pipeline: Any, latents_BX: Tensor) -> Tensor:
    """Pixels of latents that the autoencoder's configuration scales and shifts."""
    vae = pipeline.vae
    shift = vae.config.shift_factor or 0.0
    scaled = latents_BX / vae.config.scaling_factor + shift
    pixels: Tensor = vae.decode(scaled.to(device=vae.device, dtype=vae.dtype), return_dict=False)[0]
    return pixels
