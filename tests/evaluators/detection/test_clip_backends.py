from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from alphabench.core.errors import AlphaBenchError
from alphabench.detections.objects import DetectedObject
from alphabench.evaluators.detection.clip_backends import (
    Backend,
    OpenClip,
    TransformersClip,
    find_clip,
)
from alphabench.evaluators.detection.clip_colour import (
    ClipColourReader,
    class_embeddings,
    colour_logits,
    colour_sentences,
    crop_pixels,
)
from alphabench.evaluators.detection.detector import ColourQuery
from tests.evaluators.conftest import noise_image
from tests.support.tiny_models import SIDE, save_clip

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@pytest.fixture(scope="module")
def both_layouts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One CLIP, with CLIP's own tokenizer, as transformers and as open_clip save it."""
    open_clip = pytest.importorskip("open_clip")
    tokenizer = open_clip.tokenizer.SimpleTokenizer()
    merges = [" ".join(pair) for pair in tokenizer.bpe_ranks]
    vocabulary = {
        {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}.get(
            piece, piece
        ): i
        for piece, i in tokenizer.encoder.items()
    }
    folder = tmp_path_factory.mktemp("clip")
    theirs = save_clip(folder / "transformers", pieces=(vocabulary, merges))
    ours = folder / "open_clip"
    ours.mkdir()
    tower = {"layers": 2, "width": 32}
    model = {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {**tower, "image_size": SIDE, "patch_size": 8, "head_width": 16},
        "text_cfg": {**tower, "context_length": 77, "vocab_size": len(vocabulary), "heads": 2},
    }
    preprocess = {"mean": CLIP_MEAN, "std": CLIP_STD}
    (ours / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": model, "preprocess_cfg": preprocess})
    )
    weights = to_open_clip(load_file(theirs / "model.safetensors"))
    save_file(weights, ours / "open_clip_model.safetensors")
    return theirs, ours


def to_open_clip(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same numbers under open_clip's names, queries, keys and values stacked."""
    found = {
        "logit_scale": weights["logit_scale"],
        "text_projection": weights["text_projection.weight"].T,
        "visual.proj": weights["visual_projection.weight"].T,
        "token_embedding.weight": weights["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": weights["text_model.embeddings.position_embedding.weight"],
        "visual.class_embedding": weights["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": weights["vision_model.embeddings.position_embedding.weight"],
        "visual.conv1.weight": weights["vision_model.embeddings.patch_embedding.weight"],
    }
    norms = {
        "ln_final": "text_model.final_layer_norm",
        "visual.ln_pre": "vision_model.pre_layrnorm",
        "visual.ln_post": "vision_model.post_layernorm",
    }
    for part in ("weight", "bias"):
        for ours, theirs in norms.items():
            found[f"{ours}.{part}"] = weights[f"{theirs}.{part}"]
        for tower, prefix in (("text_model", ""), ("vision_model", "visual.")):
            for layer in range(2):
                here = f"{tower}.encoder.layers.{layer}"
                block = f"{prefix}transformer.resblocks.{layer}"
                names = {
                    "ln_1": "layer_norm1",
                    "ln_2": "layer_norm2",
                    "mlp.c_fc": "mlp.fc1",
                    "mlp.c_proj": "mlp.fc2",
                    "attn.out_proj": "self_attn.out_proj",
                }
                for ours, theirs in names.items():
                    found[f"{block}.{ours}.{part}"] = weights[f"{here}.{theirs}.{part}"]
                found[f"{block}.attn.in_proj_{part}"] = torch.cat(
                    [weights[f"{here}.self_attn.{one}_proj.{part}"] for one in "qkv"]
                )
    return {name: tensor.contiguous() for name, tensor in found.items()}


def test_open_clip_and_transformers_give_equal_embeddings_for_equal_weights(
    both_layouts: tuple[Path, Path],
) -> None:
    theirs, ours = both_layouts
    by_transformers = TransformersClip(theirs, dtype=torch.float32, device="cpu")
    by_open_clip = OpenClip(ours, dtype=torch.float32, device="cpu")
    assert by_transformers.framing == by_open_clip.framing
    pixels = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    sentences = [*colour_sentences("sports ball"), *colour_sentences("hair drier")]
    with torch.inference_mode():
        images = [one.encode_images(pixels) for one in (by_transformers, by_open_clip)]
        texts = [one.encode_texts(sentences) for one in (by_transformers, by_open_clip)]
    torch.testing.assert_close(images[0], images[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(texts[0], texts[1], rtol=1e-4, atol=1e-5)
    assert (texts[0][0] - texts[0][1]).abs().max() > 1e-2  # sentences do differ


def test_open_clip_and_transformers_give_equal_logits_from_the_same_crops_and_templates(
    both_layouts: tuple[Path, Path],
) -> None:
    theirs, ours = both_layouts
    backends: list[Backend] = [
        TransformersClip(theirs, dtype=torch.float32, device="cpu"),
        OpenClip(ours, dtype=torch.float32, device="cpu"),
    ]
    crops = [
        noise_image(*size, seed=seed) for seed, size in enumerate([(40, 40), (90, 31), (20, 77)])
    ]
    logits = []
    for backend in backends:
        pixels = torch.stack([crop_pixels(crop, framing=backend.framing) for crop in crops])
        with torch.inference_mode():
            texts = backend.encode_texts(colour_sentences("sports ball"))
            classifier = class_embeddings(texts, n_classes=10).expand(len(crops), -1, -1)
            logits.append(colour_logits(backend.encode_images(pixels), classifier))
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-4, atol=1e-3)
    assert logits[0].std() > 0.1  # of 100 x cosine: crops and colours do differ
    found = ColourQuery(image=crops[0], found=whole(crops[0]))
    names = [
        ClipColourReader(str(f), dtype="float32", device="cpu").read([found])
        for f in (theirs, ours)
    ]
    assert names[0] == names[1]


def whole(crop: Image.Image) -> DetectedObject:
    """All of an image as one object."""
    box = (0.0, 0.0, float(crop.width), float(crop.height))
    return DetectedObject(category="sports ball", score=0.9, box=box)


def test_weights_in_openais_own_format_give_the_logits_of_transformers() -> None:
    """OpenAI's file has sizes beside the tensors and infers the rest; open_clip reads it so."""
    model = pytest.importorskip("open_clip.model")
    import transformers

    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1}
    common = {**sizes, "intermediate_size": 256, "hidden_act": "quick_gelu"}
    words = {"vocab_size": 50, "max_position_embeddings": 77, "bos_token_id": 48}
    network: Any = transformers.CLIPModel(
        transformers.CLIPConfig(
            text_config={**common, **words, "eos_token_id": 49, "pad_token_id": 49},
            vision_config={**common, "image_size": SIDE, "patch_size": 8},
            projection_dim=16,
        )
    )
    network = (
        network.eval().half().float()
    )  # the file holds half precision, which loses nothing then
    state = to_open_clip(network.state_dict())
    given = {"input_resolution": SIDE, "context_length": 77, "vocab_size": 50}
    state |= {name: torch.tensor(value) for name, value in given.items()}
    read: Any = model.build_model_from_openai_state_dict
    other = read(state, cast_dtype=torch.float32).float().eval()
    tokens = torch.randint(0, 48, (4, 77))
    tokens[:, 0], tokens[:, 9:] = 48, 49
    pixels = torch.randn(3, 3, SIDE, SIDE)
    with torch.inference_mode():
        theirs = network(input_ids=tokens, pixel_values=pixels).logits_per_image
        image, text, scale = other(pixels, tokens)
    torch.testing.assert_close(scale * image @ text.T, theirs, rtol=1e-4, atol=1e-4)
    assert theirs.std() > 1e-2


def test_the_layout_of_a_folder_decides_which_library_reads_it(
    both_layouts: tuple[Path, Path],
) -> None:
    theirs, ours = both_layouts
    assert find_clip(str(theirs)).library.startswith("transformers ")
    assert find_clip(str(ours)).library.startswith("open_clip ")
    assert isinstance(
        find_clip(str(theirs)).load(dtype=torch.float32, device="cpu"), TransformersClip
    )
    assert isinstance(find_clip(str(ours)).load(dtype=torch.float32, device="cpu"), OpenClip)


def test_missing_weights_are_refused_instead_of_filled_at_random(
    clip_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(clip_folder, tmp_path / "hole"))
    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    source = find_clip(str(folder))
    with pytest.raises(AlphaBenchError, match=r"loaded as a CLIP .*weights are missing"):
        source.load(dtype=torch.float32, device="cpu")


def test_a_folder_without_a_clip_is_refused(mask2former_folder: Path) -> None:
    source = find_clip(str(mask2former_folder))
    with pytest.raises(AlphaBenchError, match="cannot be loaded as a CLIP"):
        source.load(dtype=torch.float32, device="cpu")


@pytest.mark.usefixtures("offline_hub")
def test_openais_weights_out_of_reach_are_named_with_the_option_for_a_folder() -> None:
    with pytest.raises(AlphaBenchError) as raised:
        find_clip("openai")
    assert "openai" in raised.value.message
    assert "clip=FOLDER" in raised.value.hint
