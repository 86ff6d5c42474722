from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from alphabench.checkpoints import open_checkpoint
from alphabench.checkpoints.diffusers import DiffusersCheckpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.types import NotGenerated
from tests.checkpoints.conftest import AskFor
from tests.support.tiny_pipelines import BUILDERS, save

Folder = Callable[[str], Path]
FAST = {"steps": "2", "width": "32", "height": "32", "dtype": "float32"}
PROMPTS = ("a cat", "a photo of two red apples on the left of a green bench")

pytestmark = pytest.mark.filterwarnings(
    # Libraries warn of their own next releases while they load or sample.
    "ignore::FutureWarning",
    "ignore::DeprecationWarning",
)


def opened(folder: Path | str, *, lora: str | None = None, **options: str) -> DiffusersCheckpoint:
    checkpoint = open_checkpoint(str(folder), options={**FAST, **options}, lora=lora)
    assert isinstance(checkpoint, DiffusersCheckpoint)
    return checkpoint


def pixels(image: Any) -> np.ndarray[Any, np.dtype[np.int16]]:
    assert isinstance(image, Image.Image), image
    return np.asarray(image, dtype=np.int16)


@pytest.mark.parametrize("name", BUILDERS)
def test_each_family_generates_an_image_from_its_request_alone(
    name: str, pipeline: Folder, ask: AskFor
) -> None:
    checkpoint = opened(pipeline(name))
    requests = [ask(prompt, sample=prompt, seed=i) for i, prompt in enumerate(PROMPTS)]
    forwards = [pixels(image) for image in checkpoint.generate(requests)]
    backwards = [pixels(image) for image in checkpoint.generate(requests[::-1])][::-1]
    assert all(image.shape == (32, 32, 3) for image in forwards)
    assert all(np.array_equal(*pair) for pair in zip(forwards, backwards, strict=True))
    assert np.abs(forwards[0] - forwards[1]).mean() > 5, "different seeds gave nearly one image"
    checkpoint.options = replace(checkpoint.options, batch_size=2)
    batched = [pixels(image) for image in checkpoint.generate(requests)]
    for alone, in_batch in zip(forwards, batched, strict=True):
        assert np.abs(alone - in_batch).max() <= 1, "another noise: more than rounding"


@pytest.mark.parametrize("name", BUILDERS)
def test_output_that_is_not_finite_fails_instead_of_becoming_a_black_image(
    name: str, pipeline: Folder, ask: AskFor
) -> None:
    checkpoint = opened(pipeline(name))
    found = checkpoint.pipeline()
    denoiser = found.components.get("transformer") or found.unet
    for network, value in ((denoiser, torch.nan), (found.vae.decoder, torch.inf)):
        kinds = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.Conv3d)
        last = [one for one in network.modules() if isinstance(one, kinds)][-1]
        kept = last.weight.detach().clone()
        last.weight.data.flatten()[0] = value
        (made,) = checkpoint.generate([ask()])
        assert made == NotGenerated(status="failed", reason="the pipeline made NaN or infinity")
        last.weight.data = kept
    assert isinstance(checkpoint.generate([ask()])[0], Image.Image)


def tensors_beside(folder: Path, component: str, beside: dict[str, torch.Tensor]) -> None:
    from safetensors.torch import load_file, save_file

    (file,) = (folder / component).glob("*.safetensors")
    save_file({**load_file(file), **beside}, file)


@pytest.mark.parametrize("name", BUILDERS)
def test_unexpected_tensors_are_refused_by_name(
    name: str, pipeline: Folder, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(pipeline(name), tmp_path / "copy"))
    denoiser = "transformer" if (folder / "transformer").is_dir() else "unet"
    harmless = {"text_model.embeddings.position_ids": torch.zeros(1, 77)}
    tensors_beside(folder, "text_encoder", harmless)
    opened(folder).pipeline()
    for component, tensor in (
        (denoiser, "blocks.9.attn.to_q.weight_scale"),
        ("text_encoder", "encoder.layers.99.mlp.weight"),
    ):
        spoiled = Path(shutil.copytree(folder, tmp_path / f"{component}-{tensor}"))
        tensors_beside(spoiled, component, {tensor: torch.ones(1)})
        with pytest.raises(AlphaBenchError, match=rf"does not use, such as '{tensor}'"):
            opened(spoiled).pipeline()


def test_requests_of_several_sizes_come_back_in_order_and_size(
    pipeline: Folder, ask: AskFor
) -> None:
    sizes = [(32, 32), (48, 32), (32, 32), (48, 32)]
    requests = [ask(sample=str(i), seed=i, size=size) for i, size in enumerate(sizes)]
    images = opened(pipeline("sd3"), batch_size="4").generate(requests)
    assert [pixels(image).shape[:2] for image in images] == [(h, w) for w, h in sizes]


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("sd15", "sd15"), ("sdxl", "sdxl"), ("sd3", "sd3"), ("sd35", "sd35-large"),
        ("flux-dev", "flux-dev"), ("flux-schnell", "flux-schnell"), ("sana", "sana"),
        ("qwen-image", "qwen-image"), ("z-image", "z-image"),
    ],
)  # fmt: skip
def test_the_family_is_chosen_by_class_and_configuration(
    name: str, family: str, pipeline: Folder
) -> None:
    assert opened(pipeline(name)).identity["family"] == family


def test_the_identity_follows_weights_and_settings_and_nothing_else(
    pipeline: Folder, tmp_path: Path
) -> None:
    first = opened(pipeline("sd3")).identity
    elsewhere = shutil.copytree(pipeline("sd3"), tmp_path / "another-name")
    assert opened(elsewhere, offload="model").identity == first
    assert opened(pipeline("sd3"), guidance="3.0").identity.items() - first.items() == {
        ("guidance_scale", "3.0")
    }
    assert opened(pipeline("sd3"), batch_size="8").identity["batched"] == "yes"
    other = save("sd3", tmp_path / "other-weights", seed=1)
    assert opened(other).identity["weights"] != first["weights"]


def test_a_negative_prompt_of_its_authors_is_read_from_the_card_beside_the_weights(
    pipeline: Folder, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(pipeline("qwen-image"), tmp_path / "Qwen-Image-2512"))
    with pytest.raises(AlphaBenchError, match=r"no model card \(README.md\) that gives it"):
        opened(folder)
    assert opened(folder, negative_prompt="dull").identity["negative_prompt"] == "dull"
    (folder / "README.md").write_text('negative_prompt = "grey"\n')
    assert opened(folder).identity["negative_prompt"] == "grey"
    assert opened(folder).identity["family"] == "qwen-image-2512"


def test_options_left_out_are_filled_from_the_preset(pipeline: Folder) -> None:
    identity = open_checkpoint(str(pipeline("qwen-image"))).identity
    expected = {
        "true_cfg_scale": "4.0", "steps": "50", "size": "1328x1328", "dtype": "bfloat16",
        "negative_prompt": " ",
    }  # fmt: skip
    assert identity.items() >= expected.items()


def test_a_checkpoint_can_be_pickled_until_its_first_image(pipeline: Folder, ask: AskFor) -> None:
    checkpoint = opened(pipeline("flux-dev"))
    identity = checkpoint.identity
    copy = pickle.loads(pickle.dumps(checkpoint))
    assert copy.identity == identity
    (one,), (two,) = checkpoint.generate([ask()]), copy.generate([ask()])
    assert np.array_equal(pixels(one), pixels(two))


def test_an_image_flagged_by_the_safety_checker_is_refused_and_not_black(
    tmp_path: Path, ask: AskFor
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = save("sd15", tmp_path / "sd15")
    weights = folder / "safety_checker" / "model.safetensors"
    tensors = load_file(weights)
    for key in ("concept_embeds_weights", "special_care_embeds_weights"):
        tensors[key] = torch.full_like(tensors[key], -2.0)  # below any cosine: all is flagged
    save_file(tensors, weights, metadata={"format": "pt"})
    (refused,) = opened(folder).generate([ask()])
    assert isinstance(refused, NotGenerated)
    assert refused.status == "refused"
    (image,) = opened(folder, safety_checker="false").generate([ask()])
    assert pixels(image).std() > 5


def test_the_shift_reaches_the_scheduler_and_changes_the_image(
    pipeline: Folder, ask: AskFor
) -> None:
    plain = opened(pipeline("sd3")).generate([ask()])[0]
    shifted = opened(pipeline("sd3"), shift="6.0").generate([ask()])[0]
    assert not np.array_equal(pixels(plain), pixels(shifted))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("sd3", {"stepps": "4"}, "did you mean 'steps'"),
        ("sd3", {"steps": "many"}, "whole number"),
        ("sd3", {"steps": "0"}, "steps must be 1 or more"),
        ("sd3", {"width": "33"}, "steps of 8 pixels"),
        ("sd3", {"family": "sd33"}, "no family of diffusion models named 'sd33'"),
        ("sd3", {"revision": "main"}, "a folder has no revision"),
        ("sd15", {"shift": "3"}, "has no shift"),
        ("flux-dev", {"shift": "3"}, "computes its shift from the image's size"),
        ("flux-dev", {"negative_prompt": "blur"}, "takes no negative prompt"),
        ("sdxl", {"max_sequence_length": "64"}, "has no max_sequence_length"),
    ],
)
def test_an_option_that_does_not_fit_is_refused_when_opening(
    name: str, options: dict[str, str], words: str, pipeline: Folder
) -> None:
    with pytest.raises(AlphaBenchError, match=words):
        opened(pipeline(name), **options)


def test_a_size_that_the_pipeline_rounds_is_an_error_and_not_another_size(
    pipeline: Folder, tmp_path: Path, ask: AskFor
) -> None:
    # A deep autoencoder makes Flux work in steps of 16 and floor what is asked for.
    folder = shutil.copytree(pipeline("flux-dev"), tmp_path / "flux")
    config = json.loads((folder / "vae" / "config.json").read_text())
    config["block_out_channels"] = [4, 4, 4, 4]
    config["down_block_types"] = ["DownEncoderBlock2D"] * 4
    config["up_block_types"] = ["UpDecoderBlock2D"] * 4
    import torch
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    vae: Any = AutoencoderKL
    vae.from_config(config).save_pretrained(folder / "vae")
    with pytest.raises(AlphaBenchError, match="made 32x32 pixels where 40x40 were requested"):
        opened(folder, width="40", height="40").generate([ask()])


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda f: (f / "vae" / "config.json").unlink(), "config.json' .* is missing"),
        (lambda f: shutil.rmtree(f / "vae"), "component 'vae' .* is missing"),
        (
            lambda f: (f / "vae" / "diffusion_pytorch_model.safetensors").unlink(),
            "weights of 'vae' are missing",
        ),
        (lambda f: truncate(f / "vae" / "diffusion_pytorch_model.safetensors"), "is damaged"),
        (
            lambda f: (f / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"\x01"),
            "cannot be read",
        ),
        (lambda f: (f / "model_index.json").write_text("{"), "model_index.json .* cannot be read"),
        (lambda f: (f / "model_index.json").write_text("[]"), "holds no JSON object"),
        (lambda f: (f / "model_index.json").write_text("{}"), "names no pipeline class"),
        (lambda f: (f / "vae" / "config.json").write_text("]"), "config.json .* cannot be read"),
    ],
)
def test_a_damaged_folder_is_refused_when_opening(
    break_it: Callable[[Path], object], words: str, pipeline: Folder, tmp_path: Path
) -> None:
    folder = shutil.copytree(pipeline("sd3"), tmp_path / "sd3")
    break_it(folder)
    with pytest.raises(AlphaBenchError, match=words):
        opened(folder)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def test_weights_with_a_missing_tensor_are_refused(
    pipeline: Folder, tmp_path: Path, ask: AskFor
) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(pipeline("sd3"), tmp_path / "sd3")
    for part, file in (("transformer", "diffusion_pytorch_model"), ("text_encoder", "model")):
        whole = (folder / part / f"{file}.safetensors").read_bytes()
        tensors = load_file(folder / part / f"{file}.safetensors")
        del tensors[min(tensors)]
        save_file(tensors, folder / part / f"{file}.safetensors", metadata={"format": "pt"})
        with pytest.raises(AlphaBenchError, match="are incomplete"):
            opened(folder).generate([ask()])
        (folder / part / f"{file}.safetensors").write_bytes(whole)
    opened(folder).generate([ask()])


def test_pickled_weights_need_consent_and_the_message_explains_why(
    pipeline: Folder, tmp_path: Path, ask: AskFor
) -> None:
    import torch
    from safetensors.torch import load_file

    folder = shutil.copytree(pipeline("sd3"), tmp_path / "sd3")
    safe = folder / "vae" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(safe), folder / "vae" / "diffusion_pytorch_model.bin")
    safe.unlink()
    with pytest.raises(AlphaBenchError, match=r"can run any code.*allow_pickle=true"):
        opened(folder)
    from_pickle = opened(folder, allow_pickle="true").generate([ask()])[0]
    assert np.array_equal(pixels(from_pickle), pixels(opened(pipeline("sd3")).generate([ask()])[0]))


@pytest.mark.parametrize("place", ["pipeline.py", "transformer/own_model.py"])
def test_code_beside_the_weights_needs_consent(
    place: str, pipeline: Folder, tmp_path: Path
) -> None:
    folder = shutil.copytree(pipeline("sd3"), tmp_path / "sd3")
    (folder / place).write_text("raise SystemExit('executed')\n")
    with pytest.raises(AlphaBenchError, match=r"Python code of its own.*trust_remote_code=true"):
        opened(folder)
    assert opened(folder, trust_remote_code="true").identity


def test_a_variant_is_chosen_by_option_and_named_when_it_is_the_only_one(
    pipeline: Folder, tmp_path: Path, ask: AskFor
) -> None:
    folder = shutil.copytree(pipeline("sd3"), tmp_path / "sd3")
    vae = folder / "vae" / "diffusion_pytorch_model.safetensors"
    vae.rename(vae.with_name("diffusion_pytorch_model.fp16.safetensors"))
    with pytest.raises(AlphaBenchError, match=r"variants there: fp16.*--set variant"):
        opened(folder)
    assert pixels(opened(folder, variant="fp16").generate([ask()])[0]).std() > 5
