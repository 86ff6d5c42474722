"""A diffusers pipeline as a policy: it generates images from text, or edits one.

Its transformer alone is trained; text encoders and autoencoder stay as they are. What differs
between families is in their adapters (`diffusers_families`). Guidance is the pipeline's own where
`renorm_floor` is 1; below, it is that of `alphabench.models.bagel.guidance` over the whole image.
Knows no task, reward or optimizer.

Shapes: B rows; X the axes of one latent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from alphabench.core.errors import AlphaBenchError, TrainingStoppedError
from alphabench.models.bagel.guidance import Guidance, apply_guidance
from alphagrpo.policies.diffusers_families.family_protocol import (
    Condition,
    DiffusersFamily,
    NetworkInput,
)
from alphatrainers.protocols import ReplayAnswer, ReplaySpec, VelocityPredicted, VelocityQuery
from alphatrainers.sampling import generator, sample_latents
from alphatrainers.trajectory import (
    GenerateImage,
    InputImage,
    InputText,
    Program,
    SampledImage,
    Trajectory,
)

if TYPE_CHECKING:
    from PIL.Image import Image

_MOST_CACHED: Final = 2**30
"""Bytes of encoded prompts; the encoders are not trained, so that these stay right."""


class DiffusersPolicy:
    """See `alphatrainers.protocols.Policy`; takes programs of one prompt, an image to be edited
    before it, and one image after it.
    """

    def __init__(
        self,
        pipeline: Any,
        family: DiffusersFamily,
        *,
        identity: Mapping[str, str],
        longest: int,
        negative_prompt: str = "",
    ) -> None:
        self.pipeline = pipeline
        self.family = family
        self.identity = identity
        self._longest = longest
        self._negative_prompt = negative_prompt
        self._encoded: dict[tuple[str, str], Condition] = {}

    @property
    def module(self) -> nn.Module:
        found: nn.Module = self.pipeline.transformer
        return found

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def experts(self) -> Mapping[str, str]:
        return self.family.experts

    @property
    def units(self) -> Sequence[nn.Module]:
        return [one for name in self.family.blocks for one in getattr(self.module, name)]

    @torch.no_grad()
    def rollout(self, programs: Sequence[Program]) -> list[Trajectory]:
        spec = self._image_spec(programs[0])
        rows = self._encode([_reads(program) for program in programs])
        free = self._free([_reads(program) for program in programs], spec)
        shape = self.family.latent_shape(self.pipeline, spec.width, spec.height)

        def predict(x_BX: Tensor, sigma: float) -> Tensor:
            sigma_B = torch.full((len(x_BX),), sigma, device=x_BX.device)
            return self._guided(rows, free, x_BX, sigma_B, sigma, spec)

        last = len(programs[0].steps) - 1
        generators = [generator(program, last) for program in programs]
        sampled = sample_latents(predict, spec, generators, shape, device=self.device)
        images = self._decode(sampled.final_BX)
        return [
            Trajectory(
                program=program,
                segments=(
                    *program.steps[:-1],  # type: ignore[arg-type]  # `_reads` looked at them
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
        reads = [_reads(one.program) for one in trajectories]
        rows, free = self._encode(reads), self._free(reads, spec)
        switch = "enable" if how.recompute else "disable"
        getattr(self.pipeline.transformer, f"{switch}_gradient_checkpointing")()
        for number, query in enumerate(queries):
            if query.guided:
                sigma = float(query.sigma_B[0]) if query.sigma is None else query.sigma
                v_BX = self._guided(rows, free, query.x_BX, query.sigma_B, sigma, spec)
            else:
                v_BX = self._plain(rows, query.x_BX, query.sigma_B, spec)
            yield VelocityPredicted(query=number, v_BX=v_BX)

    def _plain(
        self, rows: Sequence[Condition], x_BX: Tensor, sigma_B: Tensor, spec: GenerateImage
    ) -> Tensor:
        scale = _guidance(spec).text_scale
        return self.family.velocity(self.pipeline, NetworkInput(x_BX, sigma_B, rows, scale))

    def _guided(
        self,
        rows: Sequence[Condition],
        free: Sequence[Condition],
        x_BX: Tensor,
        sigma_B: Tensor,
        sigma: float,
        spec: GenerateImage,
    ) -> Tensor:
        """Noise minus data, all rows at the one noise level `sigma`."""
        guidance = _guidance(spec)
        if not free or guidance.branches(sigma) == 1:
            return self._plain(rows, x_BX, sigma_B, spec)
        both_BX = torch.cat([x_BX, x_BX])
        full_BX, free_BX = self._plain([*rows, *free], both_BX, sigma_B.repeat(2), spec).chunk(2)
        if guidance.renorm_floor == 1.0:
            return self.family.guided(full_BX, free_BX, guidance.text_scale)
        full_B1X, free_B1X = (part.flatten(1)[:, None] for part in (full_BX, free_BX))
        return apply_guidance(full_B1X, free_B1X, None, guidance).view_as(x_BX)

    def _free(
        self, reads: Sequence[tuple[str, Image | None]], spec: GenerateImage
    ) -> list[Condition]:
        """The conditions of the branch without the prompt; none where there is no such branch."""
        if self.family.guidance_form(self.pipeline) != "branches":
            return []
        if _guidance(spec).text_scale <= 1.0:
            return []
        return self._encode([(self._negative_prompt, source) for _, source in reads])

    @torch.no_grad()
    def _encode(self, reads: Sequence[tuple[str, Image | None]]) -> list[Condition]:
        keys = [(prompt, _digest(source)) for prompt, source in reads]
        if sum(map(_bytes, self._encoded.values())) > _MOST_CACHED:
            self._encoded = {}
        for key, (prompt, source) in zip(keys, reads, strict=True):
            if key not in self._encoded:
                self._encoded[key] = self.family.encode(
                    self.pipeline, prompt, source, longest=self._longest
                )
        return [self._encoded[key] for key in keys]

    def _decode(self, latents_BX: Tensor) -> list[Image]:
        decoded = self.family.decode(self.pipeline, latents_BX)
        if not decoded.isfinite().all():
            raise TrainingStoppedError(
                "the policy generated no image: the pipeline made NaN or infinity",
                hint="lower the learning rate or eta, and go back to an earlier checkpoint",
            )
        images: list[Image] = self.pipeline.image_processor.postprocess(decoded, output_type="pil")
        return images

    def _image_spec(self, program: Program) -> GenerateImage:
        spec = program.steps[-1]
        assert isinstance(spec, GenerateImage)
        if self.family.edits and not isinstance(program.steps[0], InputImage):
            raise AlphaBenchError(
                f"{type(self.pipeline).__name__} is trained to edit, and there is no source image",
                hint="set task.kind=edit, task.think=false and prompts with source images",
            )
        side = 2 * self.pipeline.vae_scale_factor
        if spec.width % side or spec.height % side:
            raise AlphaBenchError(
                f"{spec.width}x{spec.height} is no size in steps of {side} pixels",
                hint="set another task.draw.width and height",
            )
        self._check_guidance(spec)
        return spec

    def _check_guidance(self, spec: GenerateImage) -> None:
        guidance, form = _guidance(spec), self.family.guidance_form(self.pipeline)
        name = type(self.pipeline).__name__
        if spec.guidance is not None and guidance.renorm != "global":
            raise AlphaBenchError(
                "a diffusers policy renormalises guidance over the image as a whole only",
                hint="set task.draw.guidance.renorm=global",
            )
        if form == "none" and guidance.text_scale > 1.0:
            raise AlphaBenchError(
                f"this {name} is distilled and takes no guidance", hint="leave out draw.guidance"
            )
        if form == "embedded" and (guidance.low > 0.0 or guidance.high < 1.0):
            raise AlphaBenchError(
                f"the guidance of {name} is an input of its network, at all noise levels alike",
                hint="set task.draw.guidance.low=0 and high=1",
            )


def _reads(program: Program) -> tuple[str, Image | None]:
    """Prompt and source image."""
    *before, prompt, _ = program.steps
    assert isinstance(prompt, InputText), "tasks ask it for t2i and edits without thoughts"
    if not before:
        return prompt.text, None
    (source,) = before
    assert isinstance(source, InputImage)
    return prompt.text, source.image


def _digest(source: Image | None) -> str:
    if source is None:
        return ""
    return f"{source.size} {hashlib.sha256(source.tobytes()).hexdigest()}"


def _bytes(one: Condition) -> int:
    return sum(part.nbytes for part in one if isinstance(part, Tensor))


def _guidance(spec: GenerateImage) -> Guidance:
    if spec.guidance is None:
        return Guidance(text_scale=1.0, low=0.0)
    assert isinstance(spec.guidance, Guidance)
    return spec.guidance
