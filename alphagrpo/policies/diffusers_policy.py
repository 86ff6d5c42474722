"""A pipeline of the SD3 family as a policy: it generates images from text, and reads no image.

Its transformer alone is trained; text encoders and autoencoder stay as they are. Guidance is that
of `alphabench.models.bagel.guidance` over the whole image. Knows no task, reward or optimizer.

Shapes: B rows; C channels; Y X cells of a latent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from alphabench.core.errors import AlphaBenchError, TrainingStoppedError
from alphabench.models.bagel.guidance import Guidance, apply_guidance
from alphatrainers.protocols import ReplayAnswer, ReplaySpec, VelocityPredicted, VelocityQuery
from alphatrainers.sampling import generator, sample_latents
from alphatrainers.trajectory import (
    GenerateImage,
    InputText,
    Program,
    SampledImage,
    Trajectory,
)

if TYPE_CHECKING:
    from PIL.Image import Image

EXPERTS: Final[Mapping[str, str]] = {
    "gen": r"transformer_blocks\.\d+\.attn2?\."
    r"(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)",
}
"""Flow-GRPO's targets: every projection of the joint attention."""
_TIMESTEPS: Final = 1000.0
_MAX_CACHED: Final = 256
"""Encoded prompts; the encoders are not trained, so that these stay right."""


class EncodedPrompts(NamedTuple):
    """Encoded prompts, one a row."""

    tokens_BTD: Tensor
    pooled_BD: Tensor


class DiffusersPolicy:
    """See `alphatrainers.protocols.Policy`; takes programs of one prompt and one image."""

    def __init__(self, pipeline: Any, *, identity: Mapping[str, str], longest: int) -> None:
        self.pipeline = pipeline
        self.identity = identity
        self._longest = longest
        self._encoded: dict[str, EncodedPrompts] = {}

    @property
    def module(self) -> nn.Module:
        found: nn.Module = self.pipeline.transformer
        return found

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def experts(self) -> Mapping[str, str]:
        return EXPERTS

    @property
    def units(self) -> Sequence[nn.Module]:
        return list(self.pipeline.transformer.transformer_blocks)

    @torch.no_grad()
    def rollout(self, programs: Sequence[Program]) -> list[Trajectory]:
        spec = _image_spec(programs[0])
        encoded = self._encode([_prompt(program) for program in programs])
        factor = self.pipeline.vae_scale_factor
        if spec.width % (2 * factor) or spec.height % (2 * factor):
            raise AlphaBenchError(
                f"{spec.width}x{spec.height} is no size in steps of {2 * factor} pixels",
                hint="set another task.draw.width and height",
            )
        channels = self.pipeline.transformer.config.in_channels
        shape = (channels, spec.height // factor, spec.width // factor)

        def predict(x_BCYX: Tensor, sigma: float) -> Tensor:
            sigma_B = torch.full((len(x_BCYX),), sigma, device=x_BCYX.device)
            return self._velocity(encoded, x_BCYX, sigma_B, _guidance(spec))

        generators = [generator(program, 1) for program in programs]
        sampled = sample_latents(predict, spec, generators, shape, device=self.device)
        images = self._decode(sampled.final_BX)
        return [
            Trajectory(
                program=program,
                segments=(
                    program.steps[0],  # type: ignore[arg-type]  # `_prompt` looked at it
                    SampledImage(
                        spec=spec,
                        path_NX=sampled.path_BNX[row],
                        velocity_SX=sampled.velocity_BSX[row],
                        logp_S=sampled.logp_BS[row],
                        final_X=sampled.final_BX[row],
                        image=images[row],
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
        assert not texts, "it writes none"
        spec = trajectories[0].images[0].spec
        encoded = self._encode([_prompt(one.program) for one in trajectories])
        transformer = self.pipeline.transformer
        switch = "enable" if how.recompute else "disable"
        getattr(transformer, f"{switch}_gradient_checkpointing")()
        for number, query in enumerate(queries):
            wanted = _guidance(spec) if query.guided else None
            v_BX = self._velocity(encoded, query.x_BX, query.sigma_B, wanted)
            yield VelocityPredicted(query=number, v_BX=v_BX)

    def _velocity(
        self, encoded: EncodedPrompts, x_BCYX: Tensor, sigma_B: Tensor, guidance: Guidance | None
    ) -> Tensor:
        """Noise minus data; a guided query has one noise level for all rows."""
        if guidance is None or guidance.branches(float(sigma_B[0])) == 1:
            return self._predict(encoded, x_BCYX, sigma_B)
        free = self._encode([""] * len(x_BCYX))
        both = EncodedPrompts(*(torch.cat(pair) for pair in zip(encoded, free, strict=True)))
        predicted = self._predict(both, x_BCYX.repeat(2, 1, 1, 1), sigma_B.repeat(2))
        full, text_free = (part.flatten(1)[:, None] for part in predicted.chunk(2))
        return apply_guidance(full, text_free, None, guidance).view_as(x_BCYX)

    def _predict(self, encoded: EncodedPrompts, x_BCYX: Tensor, sigma_B: Tensor) -> Tensor:
        transformer = self.pipeline.transformer
        predicted: Tensor = transformer(
            hidden_states=x_BCYX.to(transformer.dtype),
            timestep=(sigma_B * _TIMESTEPS).to(transformer.dtype),
            encoder_hidden_states=encoded.tokens_BTD,
            pooled_projections=encoded.pooled_BD,
            return_dict=False,
        )[0]
        return predicted.float()

    @torch.no_grad()
    def _encode(self, prompts: Sequence[str]) -> EncodedPrompts:
        unknown = [one for one in dict.fromkeys(prompts) if one not in self._encoded]
        if len(self._encoded) + len(unknown) > _MAX_CACHED:
            self._encoded = {}
            unknown = list(dict.fromkeys(prompts))
        for prompt in unknown:
            tokens_1TD, _, pooled_1D, _ = self.pipeline.encode_prompt(
                prompt=prompt,
                prompt_2=None,
                prompt_3=None,
                do_classifier_free_guidance=False,
                device=self.device,
                max_sequence_length=self._longest,
            )
            self._encoded[prompt] = EncodedPrompts(tokens_1TD, pooled_1D)
        found = [self._encoded[prompt] for prompt in prompts]
        return EncodedPrompts(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def _decode(self, latents_BCYX: Tensor) -> list[Image]:
        vae = self.pipeline.vae
        shift = vae.config.shift_factor or 0.0
        scaled = latents_BCYX / vae.config.scaling_factor + shift
        decoded = vae.decode(scaled.to(device=vae.device, dtype=vae.dtype), return_dict=False)[0]
        if not decoded.isfinite().all():
            raise TrainingStoppedError(
                "the policy generated no image: the pipeline made NaN or infinity",
                hint="lower the learning rate or eta, and go back to an earlier checkpoint",
            )
        images: list[Image] = self.pipeline.image_processor.postprocess(decoded, output_type="pil")
        return images


def _prompt(program: Program) -> str:
    encoded = program.steps[0]
    assert isinstance(encoded, InputText), "tasks ask it for t2i alone"
    return encoded.text


def _image_spec(program: Program) -> GenerateImage:
    spec = program.steps[1]
    assert isinstance(spec, GenerateImage)
    if spec.guidance is not None and _guidance(spec).renorm != "global":
        raise AlphaBenchError(
            "a diffusers policy renormalises guidance over the image as a whole only",
            hint="set task.draw.guidance.renorm=global",
        )
    return spec


def _guidance(spec: GenerateImage) -> Guidance:
    if spec.guidance is None:
        return Guidance(text_scale=1.0)
    assert isinstance(spec.guidance, Guidance)
    return spec.guidance
