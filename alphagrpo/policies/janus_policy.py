"""Janus as a policy: it generates images from text, token by token, and reads no image.

A rollout samples as the harness does. A replay reads prompt and image tokens in one pass, and
scores each token under the guided distribution that it was sampled from. That pass reads the prompt
too, so gradients always reach it, whatever `ReplaySpec.context_gradient` says. Knows no task,
reward or optimizer.

Shapes: B images, R rows (B, or 2B with guidance), T prompt tokens, N tokens of an image, G branches
of guidance, V entries of the image vocabulary, D width of the decoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from alphabench.core.errors import AlphaBenchError, TrainingStoppedError
from alphabench.device_transfer import sent
from alphabench.models.janus.janus_inference import (
    Janus,
    guided_logits,
    image_token_steps,
    prompt_rows,
    token_positions,
)
from alphabench.models.unified_model import GenerationTask
from alphabench.types import NotGenerated
from alphatrainers.protocols import ReplayAnswer, ReplaySpec, TextScored, VelocityQuery
from alphatrainers.sampling import HiddenText, generator, score_hidden_texts, score_tokens
from alphatrainers.trajectory import (
    GenerateImageTokens,
    InputText,
    Program,
    SampledImageTokens,
    Trajectory,
)

EXPERTS: Final[Mapping[str, str]] = {
    "llm": r"model\.language_model\.layers\.\d+\."
    r"(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)",
    "head": r"model\.generation_head\.(proj_out|vision_head)",
}
"""Attention and MLP of the decoder, and the head of image tokens, which a learning rate of 0
freezes. Encoders, embeddings and the image decoder are never trained."""


class JanusPolicy:
    """See `alphatrainers.protocols.Policy`; takes programs of one prompt and one image."""

    def __init__(self, janus: Janus, *, identity: Mapping[str, str]) -> None:
        self.janus = janus
        self.identity = identity

    @property
    def module(self) -> nn.Module:
        found: nn.Module = self.janus.network
        return found

    @property
    def device(self) -> torch.device:
        return torch.device(self.janus.network.device)

    @property
    def experts(self) -> Mapping[str, str]:
        return EXPERTS

    @property
    def units(self) -> Sequence[nn.Module]:
        return list(self.janus.network.model.language_model.layers)

    @torch.no_grad()
    def rollout(self, programs: Sequence[Program]) -> list[Trajectory]:
        spec = _image_spec(programs[0])
        for program in programs:
            self._refuse_unfit(program, spec)
        sampling = replace(
            self.janus.sampling, guidance=spec.guidance, temperature=spec.temperature, top_k=None
        )
        tokens, logps = [], []
        for step in image_token_steps(
            self.janus.network,
            self.janus.prompts([_prompt(program) for program in programs]),
            self.janus.prompt_tokens,
            sampling,
            generators=[generator(program, 1) for program in programs],
        ):
            tokens.append(step.token_B)
            known_B = step.token_B.clamp(min=0)
            logps.append(
                score_tokens(step.logits_BV, known_B, temperature=spec.temperature, top_p=1.0)
            )
        tokens_BN, logp_BN = torch.stack(tokens, 1), torch.stack(logps, 1)
        images = self.janus.decode(tokens_BN)
        made = []
        for row, (program, image) in enumerate(zip(programs, images, strict=True)):
            if isinstance(image, NotGenerated):
                raise TrainingStoppedError(
                    f"the policy generated no image: {image.reason}",
                    hint="lower the learning rate, and go back to an earlier checkpoint",
                )
            sampled = SampledImageTokens(
                spec=spec, ids=tuple(tokens_BN[row].tolist()), logp_T=logp_BN[row], image=image
            )
            prompt = InputText(text=_prompt(program))
            made.append(Trajectory(program=program, segments=(prompt, sampled)))
        return made

    def replay(
        self,
        trajectories: Sequence[Trajectory],
        *,
        texts: Sequence[int],
        queries: Sequence[VelocityQuery],
        how: ReplaySpec,
    ) -> Iterator[ReplayAnswer]:
        assert not queries, "its images are tokens"
        for index in texts:
            yield TextScored(segment=index, logp=self._score(trajectories, how))

    def _score(self, trajectories: Sequence[Trajectory], how: ReplaySpec) -> tuple[Tensor, ...]:
        images = [one.token_images[0] for one in trajectories]
        spec, head = images[0].spec, self.janus.network.model.generation_head
        ids_BN = sent(torch.tensor([image.ids for image in images]), self.device)
        prompts = [_prompt(one.program) for one in trajectories]
        hidden_RND = self._hidden(prompts, ids_BN, guided=spec.guidance != 1.0, how=how)
        hidden_BNGD = torch.stack(torch.split(hidden_RND, len(images)), dim=2)

        def logits(hidden_NGD: Tensor) -> Tensor:
            """After guidance; shape N, V."""
            logits_NGV = head(hidden_NGD).float()
            return guided_logits(logits_NGV.transpose(0, 1).flatten(0, 1), spec.guidance)

        rows = zip(hidden_BNGD, ids_BN, strict=True)
        sampled = [HiddenText(*row, temperature=spec.temperature, top_p=1.0) for row in rows]
        return score_hidden_texts(sampled, logits)

    def _hidden(
        self, prompts: Sequence[str], ids_BN: Tensor, *, guided: bool, how: ReplaySpec
    ) -> Tensor:
        """What the head reads for each token: rows of prompts, then of their twins; R, N, D."""
        network = self.janus.network
        given = prompt_rows(self.janus.prompts(prompts), self.janus.prompt_tokens, guided=guided)
        ids_RT, mask_RT = sent(given.ids_BT, self.device), sent(given.mask_BT, self.device)
        # The last token is scored and never read.
        read_RND = network.prepare_embeddings_for_image_generation(
            torch.cat([ids_BN[:, :-1]] * (1 + guided))
        )
        mask_RT = torch.cat([mask_RT, mask_RT.new_ones(read_RND.shape[:2])], dim=1)
        with _recomputed(network.model.language_model, how.recompute):
            seen_RTD = network.model.language_model(
                inputs_embeds=torch.cat([network.get_input_embeddings()(ids_RT), read_RND], dim=1),
                attention_mask=mask_RT,
                position_ids=token_positions(mask_RT),
                use_cache=False,
            ).last_hidden_state
        found: Tensor = seen_RTD[:, -ids_BN.shape[1] :]
        return found

    def _refuse_unfit(self, program: Program, spec: GenerateImageTokens) -> None:
        task = GenerationTask(prompt=_prompt(program), seed=0, width=spec.width, height=spec.height)
        refusal = self.janus.refusal(task)
        if refusal is not None:
            raise AlphaBenchError(
                f"the prompt {task.prompt[:80]!r} cannot be trained on: {refusal.reason}",
                hint="correct the prompts, or leave out task.draw.width and height",
            )


@contextmanager
def _recomputed(decoder: Any, wanted: bool) -> Iterator[None]:
    """Activation checkpointing of the layers in a forward pass inside the block."""
    if not wanted:
        yield
        return
    again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
    for layer in decoder.layers:
        # As transformers' own switch sets them, whose name differs by release. Only the layer asks
        # whether it is training: what is in it stays in evaluation mode.
        layer.gradient_checkpointing, layer._gradient_checkpointing_func = True, again
        layer.training = True
    try:
        yield
    finally:
        for layer in decoder.layers:
            layer.gradient_checkpointing = layer.training = False


def _prompt(program: Program) -> str:
    given = program.steps[0]
    assert isinstance(given, InputText), "tasks ask it for t2i alone"
    return given.text


def _image_spec(program: Program) -> GenerateImageTokens:
    spec = program.steps[1]
    assert isinstance(spec, GenerateImageTokens), "recipes are checked against the checkpoint"
    return spec
