"""Metrics on a CLIP, each against a forward pass that is written out by hand (float64)."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.detection.clip_backends import Framing
from alphabench.evaluators.metrics.clip_metrics import fitted_pixels
from alphabench.evaluators.metrics.metric_table import METRICS, open_metric
from alphabench.types import GeneratedImage, ImageRequest, Sample, Verdict
from alphabench.upstream import UpstreamData
from tests.evaluators.conftest import noise_image
from tests.evaluators.detection.test_clip_backends import to_open_clip
from tests.support import clip_by_hand
from tests.support.clip_by_hand import Array, cosine_of, image_embedding, text_embedding
from tests.support.tiny_models import SIDE

PROMPTS = ("a photo of a red cup", "person dog cat traffic light")


def weights_of(folder: Path) -> dict[str, Array]:
    tensors = load_file(folder / "model.safetensors")
    return {name: tensor.double().numpy() for name, tensor in tensors.items()}


def cosine_by_hand(folder: Path, pixels: Image.Image, text: str) -> float:
    from transformers import CLIPTokenizer

    weights = weights_of(folder)
    tokens = CLIPTokenizer.from_pretrained(folder)(text)["input_ids"]
    image = image_embedding(weights, np.asarray(pixels, dtype=np.float64) / 255.0, heads=2)
    return cosine_of(image, text_embedding(weights, tokens, heads=2))


def generated(folder: Path, pixels: Image.Image, prompt: str) -> GeneratedImage:
    path = folder / f"{abs(hash(prompt))}.png"
    pixels.save(path)
    sample = Sample(id=f"{abs(hash(prompt))}", prompt=prompt, group="all")
    request = ImageRequest(sample=sample, index=0, seed=0)
    return GeneratedImage(request=request, path=path, sha256="0", seconds=0.0)


def verdicts(spec: str, folder: Path, images: list[Image.Image]) -> list[Verdict]:
    evaluator = open_metric(spec, device="cpu", data=UpstreamData(cache_dir=folder))
    made = [generated(folder, one, text) for one, text in zip(images, PROMPTS, strict=True)]
    return list(evaluator.evaluate(made))


@pytest.fixture
def squares() -> list[Image.Image]:
    return [noise_image(SIDE, SIDE, seed=4), noise_image(SIDE, SIDE, seed=7)]


def values(found: list[Verdict]) -> list[float]:
    return [verdict.value for verdict in found if verdict.value is not None]


def test_clipscore_is_two_and_a_half_cosines_of_the_prompt_after_its_prefix(
    clip_folder: Path, tmp_path: Path, squares: list[Image.Image]
) -> None:
    found = values(verdicts(f"clipscore?clip={clip_folder}", tmp_path, squares))
    expected = [
        2.5 * max(0.0, cosine_by_hand(clip_folder, one, f"A photo depicts {text}"))
        for one, text in zip(squares, PROMPTS, strict=True)
    ]
    assert min(found) > 0.1
    assert found == pytest.approx(expected, abs=2e-6)
    bare = values(verdicts(f"clipscore?clip={clip_folder}&prefix=", tmp_path, squares))
    assert bare != pytest.approx(expected, abs=1e-4)


def test_a_negative_cosine_is_a_clipscore_of_zero() -> None:
    from alphabench.evaluators.metrics.clip_metrics import clip_score

    assert clip_score(torch.tensor([-0.5, 0.0, 0.4]), 100.0).tolist() == [0.0, 0.0, 1.0]


def test_pickscore_is_the_scaled_cosine_of_the_bare_prompt(
    clip_folder: Path, tmp_path: Path, squares: list[Image.Image]
) -> None:
    found = values(verdicts(f"pickscore?clip={clip_folder}", tmp_path, squares))
    scale = float(np.exp(weights_of(clip_folder)["logit_scale"]))
    expected = [
        scale * cosine_by_hand(clip_folder, one, text)
        for one, text in zip(squares, PROMPTS, strict=True)
    ]
    assert found == pytest.approx(expected, abs=2e-5)


def test_hpsv2_reads_tensors_under_open_clips_names(
    clip_folder: Path, tmp_path: Path, squares: list[Image.Image]
) -> None:
    file = tmp_path / "hps.safetensors"
    stored = to_open_clip(load_file(clip_folder / "model.safetensors"))
    save_file({name: tensor.contiguous() for name, tensor in stored.items()}, file)
    found = values(verdicts(f"hpsv2?weights={file}&clip={clip_folder}", tmp_path, squares))
    expected = [
        cosine_by_hand(clip_folder, one, text) for one, text in zip(squares, PROMPTS, strict=True)
    ]
    assert found == pytest.approx(expected, abs=1e-6)
    del stored["visual.proj"]
    save_file({name: tensor.contiguous() for name, tensor in stored.items()}, file)
    with pytest.raises(AlphaBenchError, match="visual_projection"):
        verdicts(f"hpsv2?weights={file}&clip={clip_folder}", tmp_path, squares)


def test_a_pickle_is_opened_only_with_consent_and_never_runs_code(
    clip_folder: Path, tmp_path: Path, squares: list[Image.Image]
) -> None:
    file = tmp_path / "hps.pt"
    torch.save({"state_dict": to_open_clip(load_file(clip_folder / "model.safetensors"))}, file)
    spec = f"hpsv2?weights={file}&clip={clip_folder}"
    with pytest.raises(AlphaBenchError, match="pickle") as refused:
        verdicts(spec, tmp_path, squares)
    assert "allow_pickle=true" in refused.value.hint
    assert len(values(verdicts(f"{spec}&allow_pickle=true", tmp_path, squares))) == 2
    file.write_bytes(pickle.dumps(_Harmful()))
    with pytest.raises(AlphaBenchError, match="cannot be read as tensors"):
        verdicts(f"{spec}&allow_pickle=true", tmp_path, squares)


class _Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (pytest.fail, ("the pickle was executed",))


def test_the_aesthetic_score_is_linear_in_the_unit_embedding_and_blind_to_the_prompt(
    clip_folder: Path, tmp_path: Path, squares: list[Image.Image]
) -> None:
    head = tmp_path / "head.safetensors"
    weight = torch.randn(1, 16, generator=torch.Generator().manual_seed(0))
    save_file({"weight": weight, "bias": torch.tensor([5.0])}, head)
    spec = f"aesthetic?clip={clip_folder}&head={head}"
    expected = []
    for one in squares:
        pixels = np.asarray(one, dtype=np.float64) / 255.0
        embedding = image_embedding(weights_of(clip_folder), pixels, heads=2)
        unit = embedding / np.linalg.norm(embedding)
        expected.append(float(weight.double().numpy()[0] @ unit) + 5.0)
    assert values(verdicts(spec, tmp_path, squares)) == pytest.approx(expected, abs=2e-6)
    save_file({"weight": weight[:, :8].contiguous(), "bias": torch.tensor([5.0])}, head)
    with pytest.raises(AlphaBenchError, match="does not fit"):
        verdicts(spec, tmp_path, squares)


def test_without_laions_head_the_aesthetic_score_names_the_command_that_fetches_it(
    clip_folder: Path, tmp_path: Path
) -> None:
    evaluator = open_metric(
        f"aesthetic?clip={clip_folder}", device="cpu", data=UpstreamData(cache_dir=tmp_path)
    )
    with pytest.raises(AlphaBenchError) as missing:
        _ = evaluator.identity
    assert "alphabench fetch metrics" in missing.value.hint


def test_images_of_hpsv2_are_fitted_into_the_square_with_black_borders() -> None:
    framing = Framing(side=32, mean=clip_by_hand.MEAN, std=clip_by_hand.STD)
    wide = noise_image(96, 48, seed=3)
    pixels = fitted_pixels(wide, framing=framing)
    black = -np.array(clip_by_hand.MEAN) / np.array(clip_by_hand.STD)
    assert np.allclose(pixels[:, :8].numpy(), black[:, None, None], atol=1e-6)
    assert np.allclose(pixels[:, 24:].numpy(), black[:, None, None], atol=1e-6)
    for channel, band in enumerate(wide.split()):
        resized = band.convert("F").resize((32, 16), Image.Resampling.BICUBIC)
        expected = np.asarray(resized) / 255.0
        found = pixels[channel, 8:24].numpy() * clip_by_hand.STD[channel]
        assert np.allclose(found + clip_by_hand.MEAN[channel], expected, atol=1e-4)


def test_an_image_that_cannot_be_opened_fails_alone(
    clip_folder: Path, tmp_path: Path, squares: list[Image.Image]
) -> None:
    evaluator = open_metric(
        f"clipscore?clip={clip_folder}", device="cpu", data=UpstreamData(cache_dir=tmp_path)
    )
    images = [generated(tmp_path, one, text) for one, text in zip(squares, PROMPTS, strict=True)]
    images[0].path.write_bytes(b"no image")
    first, second = evaluator.evaluate(images)
    assert (first.status, first.value) == ("failed", None)
    assert second.status == "scored"


def test_weights_that_prefer_a_wrong_description_fail_the_self_test(
    clip_folder: Path, tmp_path: Path
) -> None:
    data = UpstreamData(cache_dir=tmp_path)
    with pytest.raises(AlphaBenchError, match="self-test failed"):
        open_metric(f"clipscore?clip={clip_folder}", device="cpu", data=data).self_test()
    off = open_metric(f"clipscore?clip={clip_folder}&self_test=off", device="cpu", data=data)
    off.self_test()
    assert off.identity["self_test"] == "off"


def test_identities_tell_metrics_weights_and_options_apart(
    clip_folder: Path, tmp_path: Path
) -> None:
    data = UpstreamData(cache_dir=tmp_path)
    specs = (
        f"clipscore?clip={clip_folder}",
        f"clipscore?clip={clip_folder}&prefix=",
        f"clipscore?clip={clip_folder}&dtype=bfloat16",
        f"pickscore?clip={clip_folder}",
    )
    found = [open_metric(one, device="cpu", data=data).identity for one in specs]
    assert len({tuple(sorted(one.items())) for one in found}) == len(specs)
    assert all(one["weights"].startswith("sha256:") for one in found)


def test_an_unknown_metric_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="pikscore") as refused:
        open_metric("pikscore", device="cpu", data=UpstreamData(cache_dir=tmp_path))
    assert "pickscore" in refused.value.hint
    assert next(iter(METRICS)) == "clipscore"


@pytest.mark.parametrize("name", sorted(METRICS))
def test_licences_are_stated_with_the_commit_before_anything_is_downloaded(
    name: str, tmp_path: Path
) -> None:
    stated = open_metric(name, device="cpu", data=UpstreamData(cache_dir=tmp_path)).licences
    assert stated
    for model, licence in stated.items():
        assert len(model.partition("@")[2]) == 12
        assert licence.startswith(("MIT", "Apache-2.0"))
