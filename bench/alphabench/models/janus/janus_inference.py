"""Janus and Janus-Pro, as transformers loads them: images token by token, and answers as text.

The sampling loop is AlphaBench's, since transformers' samples from the global generator: here every
image has its own generator, so that batch and order change no sample. A guided image takes two rows
of a batch, the prompt and its unconditional twin of padding; logits are combined in float32.
Verified against transformers' `generate` token by token. Knows no file and no benchmark.

Shapes: B images, R rows (B, or 2B with guidance), T prompt tokens, N tokens of an image,
V entries of the image vocabulary, E width of the decoder.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from alphabench.core.errors import AlphaBenchError
from alphabench.device_transfer import sent
from alphabench.models.unified_model import (
    AnswerTask,
    GenerationResult,
    GenerationTask,
    RefineTask,
    TextAnswer,
)
from alphabench.types import NotGenerated
from alphabench.weights.find import LOADING_ERRORS, load_complete
from alphabench.weights.strict_loading import quiet, strict_loading

T = TypeVar("T")
REFINE_QUESTION: Final = (
    "This image was generated for: {prompt}\nDescribe in one sentence what it should show instead."
)
"""AlphaBench's own; part of the identity of a refined checkpoint."""
_NO_BOUND: Final = 1 << 30
"""Tokens, for a decoder whose configuration names no longest sequence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JanusSampling:
    """How images and answers are sampled."""

    guidance: float
    """Scale of classifier-free guidance; 1 is none, in half the rows."""
    temperature: float
    """0 takes the most likely token each time."""
    top_k: int | None
    """Sample among this many most likely tokens; None among all."""
    batch_size: int
    """Images, or answers, in one batch."""
    answer_tokens: int
    """An answer is cut off after so many."""


class JanusPrompts(NamedTuple):
    """Padded on the left."""

    ids_BT: Tensor
    mask_BT: Tensor
    """1 where there is a token, 0 where there is padding."""


class PromptTokens(NamedTuple):
    """The tokens that stay in an unconditional prompt, and the padding for all others."""

    begin: int
    image: int
    padding: int


class ImageTokenStep(NamedTuple):
    """One token of each image, and the logits that it was sampled by."""

    token_B: Tensor
    """On the CPU; -1 where the logits are not finite."""
    logits_BV: Tensor
    """After guidance, before temperature and top_k; float32, on the CPU."""


class Janus:
    """A `UnifiedModel`; see `load_janus`."""

    def __init__(self, network: Any, processor: Any, sampling: JanusSampling) -> None:
        self.network = network
        self.processor = processor
        self.sampling = sampling
        tokenizer = processor.tokenizer
        self.prompt_tokens = PromptTokens(
            begin=tokenizer.bos_token_id,
            image=tokenizer.convert_tokens_to_ids(processor.image_start_token),
            padding=tokenizer.pad_token_id,
        )
        added = tokenizer.added_tokens_decoder.values()
        self.control = tuple(sorted(str(token.content) for token in added if token.special))

    def generate(
        self, tasks: Sequence[GenerationTask], *, think: bool = False
    ) -> list[GenerationResult | NotGenerated]:
        """See `UnifiedModel.generate`; it neither edits nor thinks."""
        assert not think, "Janus cannot think before it generates"
        refusals = [self.refusal(task) for task in tasks]
        able = [task for task, refusal in zip(tasks, refusals, strict=True) if refusal is None]
        images = (one for batch in self._batches(able) for one in self._images(batch))
        results = (refusal or next(images) for refusal in refusals)
        return [
            one if isinstance(one, NotGenerated) else GenerationResult(image=one) for one in results
        ]

    def answer(self, tasks: Sequence[AnswerTask]) -> list[TextAnswer]:
        """See `UnifiedModel.answer`: greedy.

        Raises:
            AlphaBenchError: a text holds a control token, or is too long.
        """
        for task in tasks:
            if (token := self._control_token(task.text)) is not None:
                raise AlphaBenchError(
                    f"the text {task.text!r} holds {token!r}, which controls the model",
                    hint="rephrase it",
                )
        answers: dict[int, TextAnswer] = {}
        for shows in (False, True):
            indices = [i for i, task in enumerate(tasks) if bool(task.images) is shows]
            for batch in self._batches(indices):
                batch_answers = self._answers([tasks[index] for index in batch])
                answers |= zip(batch, batch_answers, strict=True)
        return [answers[index] for index in range(len(tasks))]

    def prompts(self, texts: Sequence[str]) -> JanusPrompts:
        """Texts in the chat template, up to the token that begins an image."""
        inputs = self.processor(
            text=[self._in_template(text, 0) for text in texts],
            generation_mode="image",
            padding=True,
            return_tensors="pt",
        )
        return JanusPrompts(inputs["input_ids"], inputs["attention_mask"])

    def decode(self, tokens_BN: Tensor) -> list[Image.Image | NotGenerated]:
        """Tokens -> RGB images; see `sample_image_tokens`."""
        complete_B = (tokens_BN >= 0).all(dim=1)
        with torch.inference_mode():
            known_BN = sent(tokens_BN.clamp(min=0), self.network.device)
            levels_BHWC = self.network.decode_image_tokens(known_BN)
            # -1 to 1, cut off and not rounded: as the authors' generation_inference.py does it.
            levels_BHWC = ((levels_BHWC.float() + 1.0) / 2.0 * 255.0).cpu()
        return [
            Image.fromarray(one.clamp(0.0, 255.0).numpy().astype(np.uint8))
            if sampled and bool(one.isfinite().all())
            else NotGenerated(status="failed", reason="the model made NaN or infinity")
            for one, sampled in zip(levels_BHWC, complete_B.tolist(), strict=True)
        ]

    def _batches(self, tasks: Sequence[T]) -> Iterator[Sequence[T]]:
        size = self.sampling.batch_size
        return (tasks[start : start + size] for start in range(0, len(tasks), size))

    def _images(self, tasks: Sequence[GenerationTask]) -> list[Image.Image | NotGenerated]:
        generators = [torch.Generator("cpu").manual_seed(task.seed) for task in tasks]
        prompts = self.prompts([task.prompt for task in tasks])
        return self.decode(
            sample_image_tokens(
                self.network, prompts, self.prompt_tokens, self.sampling, generators=generators
            )
        )

    def refusal(self, task: GenerationTask) -> NotGenerated | None:
        """Why a request is not generated: its size, or a prompt that cannot be read as text."""
        assert task.source is None, "Janus does not edit"
        side = image_side(self.network)
        if (task.width or side, task.height or side) != (side, side):
            reason = (
                f"{task.width}x{task.height} pixels were requested, and it generates {side}x{side}"
            )
            return NotGenerated(status="refused", reason=reason)
        if (token := self._control_token(task.prompt)) is not None:
            reason = f"the prompt holds {token!r}, which controls the model"
            return NotGenerated(status="refused", reason=reason)
        n_tokens = self.prompts([task.prompt]).ids_BT.shape[1]
        if n_tokens + n_image_tokens(self.network) > _longest(self.network):
            reason = f"the prompt is too long: {n_tokens} tokens"
            return NotGenerated(status="refused", reason=reason)
        return None

    def _control_token(self, text: str) -> str | None:
        """A token in a text that would end the user's message, or stand for an image."""
        return next((token for token in self.control if token in text), None)

    def _in_template(self, text: str, n_images: int) -> str:
        content: list[dict[str, str]] = [{"type": "image"}] * n_images
        content = [*content, {"type": "text", "text": text}]
        templated: str = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        return templated

    def _answers(self, tasks: Sequence[AnswerTask]) -> list[TextAnswer]:
        """All tasks show images, or none does."""
        images = [list(task.images) for task in tasks]
        inputs = self.processor(
            text=[self._in_template(task.text, len(task.images)) for task in tasks],
            images=images if any(images) else None,
            generation_mode="text",
            padding=True,
            return_tensors="pt",
        ).to(self.network.device)
        n_given, bound = inputs["input_ids"].shape[1], self.sampling.answer_tokens
        if n_given + bound > _longest(self.network):
            raise AlphaBenchError(
                f"{n_given} tokens to read and {bound} to answer exceed the model's limit",
                hint="shorten the request, or lower answer_tokens",
            )
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.network.dtype)
        with torch.inference_mode(), quiet():
            generated_BT = self.network.generate(
                **inputs, generation_mode="text", max_new_tokens=bound
            )
        return [self._read(row) for row in generated_BT[:, n_given:].tolist()]

    def _read(self, tokens: list[int]) -> TextAnswer:
        text = self.processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        return TextAnswer(text=text, cut=self.processor.tokenizer.eos_token_id not in tokens)


class JanusRefiner:
    """An `ImageRefiner` for a model that cannot edit: it looks, writes, and generates a new image.

    The answer about the image follows the prompt in the text that the new image is generated from.
    """

    def __init__(self, model: Janus) -> None:
        self.model = model

    def refine(self, tasks: Sequence[RefineTask]) -> list[GenerationResult | NotGenerated]:
        """See `ImageRefiner`."""
        answers = self.model.answer(
            [
                AnswerTask(
                    text=REFINE_QUESTION.replace("{prompt}", task.prompt), images=(task.image,)
                )
                for task in tasks
            ]
        )
        results = self.model.generate(
            [
                GenerationTask(prompt=f"{task.prompt} {answer.text}", seed=task.seed)
                for task, answer in zip(tasks, answers, strict=True)
            ]
        )
        return [
            one
            if isinstance(one, NotGenerated)
            else replace(one, thought=answer.text, thought_cut=answer.cut)
            for one, answer in zip(results, answers, strict=True)
        ]


@torch.inference_mode()
def sample_image_tokens(
    network: Any,
    prompts: JanusPrompts,
    prompt_tokens: PromptTokens,
    sampling: JanusSampling,
    *,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """The tokens of one image for each prompt, `tokens_BN` on the CPU; see `image_token_steps`."""
    steps = image_token_steps(network, prompts, prompt_tokens, sampling, generators=generators)
    return torch.stack([step.token_B for step in steps], dim=1)


@torch.no_grad()
def image_token_steps(
    network: Any,
    prompts: JanusPrompts,
    prompt_tokens: PromptTokens,
    sampling: JanusSampling,
    *,
    generators: Sequence[torch.Generator],
) -> Iterator[ImageTokenStep]:
    """Samples one image for each prompt, token by token.

    Where logits are not finite the token is -1.

    Args:
        network: transformers' JanusForConditionalGeneration.
        prompts: up to and with the token that begins an image.
        prompt_tokens: for the unconditional twins.
        sampling: guidance, temperature and top_k.
        generators: one for each image, of the CPU; each advances by its own samples alone.
    """
    guided = sampling.guidance != 1.0
    n_tokens = n_image_tokens(network)
    rows, device = prompt_rows(prompts, prompt_tokens, guided=guided), network.device
    mask_RT = sent(rows.mask_BT, device)
    positions_RT = token_positions(mask_RT)
    embedded_RTE = network.get_input_embeddings()(sent(rows.ids_BT, device))
    cache = _new_cache(network, length=rows.ids_BT.shape[1] + n_tokens)
    for _ in range(n_tokens):
        seen_RTE = network.model.language_model(
            inputs_embeds=embedded_RTE,
            attention_mask=mask_RT,
            position_ids=positions_RT,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        logits_RV = network.model.generation_head(seen_RTE[:, -1]).float().cpu()
        logits_BV = guided_logits(logits_RV, sampling.guidance)
        known_B = logits_BV.isfinite().all(dim=1)
        token_B = sampled_codes(logits_BV.masked_fill(~known_B[:, None], 0.0), sampling, generators)
        yield ImageTokenStep(token_B.masked_fill(~known_B, -1), logits_BV)
        token_R1 = sent(torch.cat([token_B] * (1 + guided))[:, None], device)
        embedded_RTE = network.prepare_embeddings_for_image_generation(token_R1)
        mask_RT = torch.cat([mask_RT, mask_RT.new_ones(len(mask_RT), 1)], dim=1)
        positions_RT = positions_RT[:, -1:] + 1


def prompt_rows(
    prompts: JanusPrompts, prompt_tokens: PromptTokens, *, guided: bool
) -> JanusPrompts:
    """The rows of a batch: the prompts, then with guidance their unconditional twins."""
    twins_BT = without_prompt(prompts.ids_BT, prompt_tokens)
    return JanusPrompts(
        ids_BT=torch.cat([prompts.ids_BT, twins_BT][: 1 + guided]),
        mask_BT=torch.cat([prompts.mask_BT] * (1 + guided)),
    )


def token_positions(mask_RT: Tensor) -> Tensor:
    """Padding has no position: those of a prompt do not depend on its neighbours in the batch."""
    return (mask_RT.cumsum(dim=1) - 1).clamp(min=0)


def without_prompt(ids_BT: Tensor, prompt_tokens: PromptTokens) -> Tensor:
    """The unconditional twins: padding for every text token, and of the same length.

    After deepseek-ai/Janus, generation_inference.py; the padding is read, not masked.
    """
    prompt_BT = (ids_BT == prompt_tokens.begin) | (ids_BT == prompt_tokens.image)
    return torch.where(prompt_BT, ids_BT, prompt_tokens.padding)


def guided_logits(logits_RV: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance on logits: rows of prompts, then of their twins; float32."""
    if scale == 1.0:
        return logits_RV
    with_BV, without_BV = logits_RV.chunk(2)
    return without_BV + (with_BV - without_BV) * scale


def sampled_codes(
    logits_BV: Tensor, sampling: JanusSampling, generators: Sequence[torch.Generator]
) -> Tensor:
    """One token for each row, sampled with the row's own generator; on the CPU."""
    if sampling.temperature == 0.0:
        return logits_BV.argmax(dim=-1)
    logits_BV = logits_BV / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < logits_BV.shape[1]:
        least_B1 = logits_BV.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < least_B1, -torch.inf)
    odds_BV = logits_BV.softmax(dim=-1)
    rows = zip(odds_BV, generators, strict=True)
    return torch.cat(
        [torch.multinomial(odds_V, 1, generator=generator) for odds_V, generator in rows]
    )


def n_image_tokens(network: Any) -> int:
    """Tokens of one generated image."""
    n_tokens: int = network.config.vision_config.num_image_tokens
    return n_tokens


def image_side(network: Any) -> int:
    """Pixels; every image is a square of this side."""
    coder = network.config.vq_config
    side: int = coder.num_patches * 2 ** (len(coder.channel_multiplier) - 1)
    return side


def _longest(network: Any) -> int:
    longest: int | None = getattr(network.config.text_config, "max_position_embeddings", None)
    return longest or _NO_BOUND


def _new_cache(network: Any, *, length: int) -> Any:
    """Keys and values in their final size, so that no step copies those of the steps before."""
    transformers: Any = importlib.import_module("transformers")
    return transformers.StaticCache(config=network.config.text_config, max_cache_len=length)


def load_janus(
    folder: Path, sampling: JanusSampling, *, name: str, dtype: str, device: str
) -> Janus:
    """The model with its processor, in evaluation mode.

    Args:
        folder: config.json, safetensors and the processor's files.
        sampling: of images and answers.
        name: of the checkpoint, as the user wrote it.
        dtype: of the weights, by torch's name.
        device: where the weights go, one after another.

    Raises:
        AlphaBenchError: no Janus, weights missing or of another shape, or no tokenizer with
            Janus's own tokens.
    """
    transformers: Any = importlib.import_module("transformers")
    try:
        with strict_loading(name):
            # Without torchvision, whose resampling would also give other pixels than PIL's.
            processor = transformers.JanusProcessor.from_pretrained(folder, backend="pil")
            if not processor.chat_template or processor.tokenizer.pad_token_id is None:
                raise ValueError("it has no chat template, or its tokenizer no padding")
            network = load_complete(
                transformers.JanusForConditionalGeneration,
                folder,
                dtype=getattr(torch, dtype),
                device_map={"": device},
                # So that it can name them; `load_complete` refuses them all the same.
                ignore_mismatched_sizes=True,
            )
            if n_image_tokens(network) != network.config.vq_config.num_patches**2:
                raise ValueError(f"{n_image_tokens(network)} tokens make no image of its size")
    except (*LOADING_ERRORS, TypeError, AttributeError) as error:
        first = " ".join(str(error).split())[:300] or type(error).__name__
        raise AlphaBenchError(
            f"{name!r} cannot be loaded as a Janus model: {first}",
            hint="give a complete folder or hub repository in the layout of transformers",
        ) from error
    tokenizer = processor.tokenizer
    # Penalties and samplers that a checkpoint recommends would take part in greedy decoding.
    network.generation_config = transformers.GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
    )
    return Janus(network.eval(), processor, sampling)
