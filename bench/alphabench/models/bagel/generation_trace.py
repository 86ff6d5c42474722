"""What one generation of a BAGEL takes, counted by running it on shapes without weights.

The same code generates images: contexts, a thought, guided denoising, the autoencoder. One step of
each kind runs and counts for all of its kind. See `alphabench.tracing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from alphabench.models.bagel.autoencoder import Autoencoder
from alphabench.models.bagel.bagel_inference import UnifiedBagel
from alphabench.models.bagel.config import BagelConfig
from alphabench.models.bagel.guidance import intervals
from alphabench.models.bagel.loading import LoadedBagel
from alphabench.models.bagel.model import Bagel, ImageMarks
from alphabench.models.bagel.sampler import GuidedVelocity, with_thought
from alphabench.models.bagel.sampling_config import BagelSampling
from alphabench.models.bagel.text_decoding import ChosenTokens, chosen_tokens, generate_text
from alphabench.models.bagel.tokenizer import BagelTokens
from alphabench.models.unified_model import GenerationTask
from alphabench.tracing.extrapolation import at_depth, mean_phase, repeated_phase
from alphabench.tracing.ledger import PhaseCounts, TensorLedger
from alphabench.tracing.shapes_only import shapes_only, without_values

WEIGHTS: Final = "weights"
KV_CACHE: Final = "KV cache"
START, END = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationLoad:
    """What is generated at once."""

    images: int = 1
    """In one batch."""
    prompt_tokens: int = 60
    thought_tokens: int = 0
    """Of each thought; 0 generates none."""
    system_tokens: int = 60
    """Of the prompt that asks for a thought."""


class CountedWords:
    """A tokenizer of one token a word."""

    def encode(self, text: str, **settings: Any) -> list[int]:
        """As many ids as words."""
        del settings
        return [3] * len(text.split())

    def decode(self, ids: Sequence[int], **settings: Any) -> str:
        """As many words as ids."""
        del settings
        return "word " * len(ids)


def words(count: int) -> str:
    """A text of `count` tokens of `CountedWords`."""
    return "word " * count


def shaped_bagel(config: BagelConfig, ledger: TensorLedger, *, dtype: torch.dtype) -> LoadedBagel:
    """A model without values, its weights and KV caches booked. Call it inside `shapes_only`."""
    with torch.device("meta"):
        model = Bagel(config, ImageMarks(start=START, end=END)).eval()
        autoencoder = Autoencoder(config.autoencoder)
    without_values(model, dtype)
    model.hold_heads()
    without_values(autoencoder.network, torch.float32)
    ledger.book(WEIGHTS, [*model.parameters(), *autoencoder.network.parameters()])
    book_contexts(model, ledger)
    tokens = BagelTokens(
        tokenizer=CountedWords(), start=START, end=END, start_of_image=START, end_of_image=END
    )
    return LoadedBagel(
        model=model, autoencoder=autoencoder, tokens=tokens, device=torch.device("cpu")
    )


def book_contexts(model: Bagel, ledger: TensorLedger) -> None:
    """Books every context that the decoder reads after as KV cache."""

    def book(module: nn.Module, args: tuple[Any, ...]) -> None:
        del module
        context = args[2]
        ledger.book(KV_CACHE, [*context.keys, *context.values])

    model.language_model.model.register_forward_pre_hook(book)


def trace_generation(
    config: BagelConfig,
    sampling: BagelSampling,
    load: GenerationLoad,
    *,
    dtype: torch.dtype,
    values: bool = False,
) -> dict[str, PhaseCounts]:
    """Counts by phase for one batch of images.

    Phases: `prompt`; `thought` and `reading the thought` where one is generated; `denoising`;
    `decoding`.

    Args:
        config: sizes of the model.
        sampling: size of the images, schedule and guidance.
        load: what is generated at once.
        dtype: of the weights.
        values: use weights with values (zeros), which takes their memory, to compare the counts.
    """

    def trace(layers: int) -> Mapping[str, PhaseCounts]:
        language = replace(config.language, num_hidden_layers=layers)
        return _trace(replace(config, language=language), sampling, load, dtype, values)

    return at_depth(trace, config.language.num_hidden_layers)


def _counted(config: BagelConfig, values: bool) -> AbstractContextManager[TensorLedger]:
    return shapes_only(vocabulary=config.language.vocab_size, values=values)


def _trace(
    config: BagelConfig,
    sampling: BagelSampling,
    load: GenerationLoad,
    dtype: torch.dtype,
    values: bool,
) -> dict[str, PhaseCounts]:
    found: dict[str, PhaseCounts] = {}
    think = load.thought_tokens > 0
    sampling = replace(sampling, think_prompt=words(load.system_tokens))
    with _counted(config, values) as ledger, torch.no_grad():
        umm = UnifiedBagel(shaped_bagel(config, ledger, dtype=dtype), sampling)
        task = GenerationTask(prompt=words(load.prompt_tokens), seed=0)
        tasks = [task] * load.images
        noise = [umm.noise(task) for task in tasks]
        with ledger.phase(found, "prompt"):
            contexts = umm.contexts(tasks, noise, think=think)
        if think:
            contexts = _thought(umm, contexts, load, ledger, found)
        grids = [umm.grid_of(sampling.width, sampling.height)] * load.images
        guided = GuidedVelocity(umm.loaded.model, contexts, grids, sampling.draw)
        x_LC = torch.cat([one.image_LC for one in noise])
        steps = [t for t, _ in intervals(sampling.timesteps, sampling.shift)]
        parts: list[PhaseCounts] = []
        kinds = [sampling.draw.branches(t) for t in steps]
        for kind in sorted(set(kinds)):
            with ledger.phase(found, "denoising"):
                guided.velocity(x_LC, steps[kinds.index(kind)])
            parts.append(repeated_phase(found["denoising"], kinds.count(kind)))
        found["denoising"] = _together(parts)
        latents_LC = torch.empty_like(x_LC)
        del guided, contexts
        with ledger.phase(found, "decoding"):
            umm.decoded(latents_LC, grids)
    return found


def _thought(
    umm: UnifiedBagel,
    contexts: Any,
    load: GenerationLoad,
    ledger: TensorLedger,
    found: dict[str, PhaseCounts],
) -> Any:
    """Decodes the first and the last token of a thought, and reads it."""
    model, tokens = umm.loaded.model, umm.loaded.tokens
    before = model.read_text(contexts.full, [[START] * (load.thought_tokens - 1)] * load.images)
    ends: list[PhaseCounts] = []
    for context in (contexts.full, before.context):
        with ledger.phase(found, "thought"):
            generate_text(
                model,
                context,
                start=START,
                end=END,
                max_tokens=load.thought_tokens,
                choose=_nothing_more,
            )
        ends.append(found["thought"])
    found["thought"] = repeated_phase(mean_phase(*ends), load.thought_tokens)
    del before, context
    block = tokens.block(words(load.thought_tokens))
    with ledger.phase(found, "reading the thought"):
        return with_thought(model, contexts, [block] * load.images)


def _nothing_more(logits_BV: Tensor, rows: Sequence[int]) -> ChosenTokens:
    """Chooses from logits as sampling does, and ends each row."""
    logits_BV.argmax(dim=-1)
    return chosen_tokens(torch.full((len(rows),), END))


def _together(parts: Sequence[PhaseCounts]) -> PhaseCounts:
    """The sum of phases, with the highest of their peaks."""
    return PhaseCounts(
        flops=sum(part.flops for part in parts),
        bytes_moved=sum(part.bytes_moved for part in parts),
        operators=sum(part.operators for part in parts),
        peak=max(parts, key=lambda part: part.peak_bytes).peak,
    )
