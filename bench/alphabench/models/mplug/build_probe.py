"""A tiny model that shows whether this build computes mPLUG as modelscope's code does.

Has every kind of layer of the real one. Weights come from numpy's legacy generator, whose stream is
frozen; `probe.json` holds the logits that modelscope 1.40.2 computed with them
(`tools/reference/make_mplug_probe.py` wrote it). Knows no released weights.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

from alphabench.core.errors import AlphaBenchError
from alphabench.models.mplug.beam_search import END
from alphabench.models.mplug.config import (
    BeamSearchConfig,
    MplugConfig,
    MplugTextConfig,
    MplugVisionConfig,
)
from alphabench.models.mplug.image_processing import pixels_of
from alphabench.models.mplug.model import Mplug

if TYPE_CHECKING:
    from PIL.Image import Image

FILE: Final = "probe.json"
EVERY: Final = 10
"""Every tenth logit is stored."""
BOUND: Final = 2e-3
"""On logits whose standard deviation is about 1; wide enough for a GPU's TF32."""
PROBE: Final = MplugConfig(
    vision=MplugVisionConfig(
        image_res=32, clip_vision_layers=2, clip_vision_width=64, clip_vision_patch_size=8
    ),
    text=MplugTextConfig(
        vocab_size=200,
        hidden_size=32,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
        num_hidden_layers=6,
        text_encoder_layers=2,
        fusion_layers=5,
        text_decode_layers=2,
        stride_layer=2,
    ),
    search=BeamSearchConfig(),
)
"""Three fusion layers with cross-attention, and two joint ones."""


def check_mplug_build(device: str) -> None:
    """Compares logits of the tiny model with the stored ones.

    Raises:
        AlphaBenchError: they differ by more than `BOUND`.
    """
    stored = resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8")
    model = probe_model().to(device)
    image_ID = model.encode_image(
        pixels_of([probe_image()], side=PROBE.vision.image_res).to(device)
    )[0]
    for case in json.loads(stored):
        token_1T = torch.tensor([case["tokens"]], device=device)
        answer_1T = torch.tensor([case["answer"]], dtype=torch.long, device=device)
        seen_1T = torch.ones_like(token_1T, dtype=torch.bool)
        ours_TV = model.logits(image_ID, token_1T, seen_1T, answer_1T)[0, :, ::EVERY].cpu()
        difference = float((ours_TV - torch.tensor(case["logits"])).abs().max())
        if not difference <= BOUND:
            raise AlphaBenchError(
                f"the self-test failed: this build's mPLUG differs by {difference:.2g} from the "
                f"official code on {device!r}",
                hint="use another build of torch, or another device: --devices cpu",
            )


def probe_image() -> Image:
    """Noise of the probe's own size."""
    from PIL import Image as Pillow

    side = PROBE.vision.image_res
    noise_RR3 = np.random.RandomState(0).randint(0, 256, size=(side, side, 3))
    return Pillow.fromarray(noise_RR3.astype(np.uint8))


def probe_model() -> Mplug:
    """The small model, in evaluation mode."""
    with torch.device("meta"):
        model = Mplug(PROBE)
    wanted = model.state_dict()
    weights = frozen_weights(PROBE)
    model.load_state_dict({name: weights[name] for name in wanted}, assign=True)
    return model.requires_grad_(False).eval()


def frozen_weights(
    config: MplugConfig, *, seed: int = 0, end_bias: float = 2.0
) -> dict[str, Tensor]:
    """Random tensors under the names of the released file; equal on every machine.

    Scaled so that attention is peaked, and answers differ between images and questions.

    Args:
        config: all sizes.
        seed: of the random generator.
        end_bias: the bias of the token that ends an answer; higher gives shorter answers.
    """
    with torch.device("meta"):
        shapes = {name: tuple(one.shape) for name, one in Mplug(config).state_dict().items()}
    tensors = {name: _random_tensor(name, shape, seed) for name, shape in shapes.items()}
    head = "text_decoder.cls.predictions"
    tensors[f"{head}.bias"][END] = end_bias
    tensors["text_decoder.bert.embeddings.word_embeddings.weight"][END] = 0.0
    return tensors


def doubled(weights: Mapping[str, Any]) -> dict[str, Any]:
    """With tied tensors under both their names, as in the released file."""
    head, embeddings = (
        "text_decoder.cls.predictions",
        "text_decoder.bert.embeddings.word_embeddings",
    )
    return {
        **weights,
        f"{head}.decoder.bias": weights[f"{head}.bias"],
        f"{head}.decoder.weight": weights[f"{embeddings}.weight"],
    }


def _random_tensor(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    normal = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32).standard_normal
    value = torch.from_numpy(normal(shape).astype(np.float32))
    if "LayerNorm" in name or "layer_norm" in name or ".ln_" in name:
        return 1.0 + 0.1 * value if name.endswith("weight") else 0.1 * value
    if "embedding" in name:
        return 0.15 * value
    if name.endswith("bias"):
        return 0.05 * value
    peak = 2.0 if ".query" in name or ".key" in name else 1.0
    return value * peak / math.sqrt(math.prod(shape[1:]))
