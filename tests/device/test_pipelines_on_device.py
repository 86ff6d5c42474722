"""Pipelines of diffusers make on a device the images of the CPU, with and without LoRA.

The host's waits of the libraries are theirs; ours are one for a batch, once it is ready.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from alphabench.checkpoints import open_checkpoint
from alphabench.checkpoints.diffusers import DiffusersCheckpoint
from alphabench.types import ImageRequest, Sample
from tests.evaluators.conftest import noise_image
from tests.support.host_traffic import HostEvent, recorded
from tests.support.tiny_pipelines import BUILDERS

Folder = Callable[[str], Path]
FAST: dict[str, Any] = {"steps": "2", "width": "32", "height": "32", "batch_size": "2"}
QUICK = ("flux-dev", "qwen-image")
"""In every run of the tests; the other families with --whole."""

pytestmark = [
    pytest.mark.device,
    pytest.mark.filterwarnings(
        "ignore::FutureWarning",
        "ignore::DeprecationWarning",
        "ignore:.*not find a config file:UserWarning",
    ),
]


def requests(source: Path | None = None) -> list[ImageRequest]:
    return [
        ImageRequest(
            sample=Sample(id=f"{seed}", prompt=prompt, group="g", source_image=source),
            index=0,
            seed=seed,
        )
        for seed, prompt in enumerate(["a photo of a cat", "two dogs"])
    ]


def opened(
    folder: Path, device: torch.device | str, lora: Path | None = None, **options: Any
) -> DiffusersCheckpoint:
    adapter = None if lora is None else str(lora)
    found = open_checkpoint(str(folder), options=options, lora=adapter, device=str(device))
    assert isinstance(found, DiffusersCheckpoint)
    found.pipeline()
    return found


def levels(images: Sequence[Any]) -> Any:
    return np.stack([np.asarray(one, dtype=int) for one in images])


def is_own(event: HostEvent) -> bool:
    return event.place.file.startswith("bench/")


def assert_as_on_the_cpu(
    folder: Path,
    device: torch.device,
    asked: Sequence[ImageRequest],
    *,
    lora: Path | None = None,
    **options: Any,
) -> Any:
    """Compares the images and counts our own waits; the levels of the images."""
    with sdpa_kernel(SDPBackend.MATH):  # a fused kernel of the CPU rounds otherwise
        wanted = opened(folder, "cpu", lora, **options).generate(asked)
        checkpoint = opened(folder, device, lora, **options)
        with recorded() as traffic:
            found = checkpoint.generate(asked)
    assert np.abs(levels(found) - levels(wanted)).max() <= 1
    assert np.ptp(levels(wanted)) > 20
    n_calls = len(asked) // int(options.get("batch_size", "1"))
    assert traffic.waits(is_own) == n_calls, traffic.by_place()
    assert traffic.uploads(is_own) == 0, traffic.by_place(waits=False)
    return levels(found)


@pytest.mark.parametrize(
    "family",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.whole) for name in BUILDERS],
)
def test_each_family_makes_the_images_of_the_cpu(
    family: str, pipeline: Folder, stand_in: torch.device
) -> None:
    assert_as_on_the_cpu(pipeline(family), stand_in, requests(), dtype="float32", **FAST)


@pytest.mark.whole
@pytest.mark.parametrize("family", BUILDERS)
def test_each_family_does_so_in_the_precision_of_its_preset(
    family: str, pipeline: Folder, stand_in: torch.device
) -> None:
    assert_as_on_the_cpu(pipeline(family), stand_in, requests(), **FAST)


@pytest.mark.whole
def test_a_pipeline_whose_parts_take_turns_on_the_device_makes_the_images_of_the_cpu(
    pipeline: Folder, stand_in: torch.device
) -> None:
    options = {**FAST, "dtype": "float32", "offload": "model"}
    wanted = opened(pipeline("sd3"), "cpu", dtype="float32", **FAST).generate(requests())
    with recorded() as traffic:
        found = opened(pipeline("sd3"), stand_in, **options).generate(requests())
    assert np.abs(levels(found) - levels(wanted)).max() <= 1
    assert traffic.waits() > 0, "it ran on the device"


def test_an_editor_makes_the_images_of_the_cpu(
    pipeline: Folder, tmp_path: Path, stand_in: torch.device
) -> None:
    source = tmp_path / "source.png"
    noise_image(32, 32).save(source)
    folder = pipeline("instruct-pix2pix")
    assert_as_on_the_cpu(folder, stand_in, requests(source), dtype="float32", steps="2")


@pytest.fixture(scope="module")
def adapters(pipeline: Folder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One LoRA as PEFT and as diffusers write it."""
    from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    root = tmp_path_factory.mktemp("adapters")
    transformers: Any = SD3Transformer2DModel
    model = transformers.from_pretrained(pipeline("sd3") / "transformer")
    config = LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_k"])
    tuned = get_peft_model(model, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=4.0)
    tuned.save_pretrained(str(root / "peft"))
    pipelines: Any = StableDiffusion3Pipeline
    layers = {
        key.removeprefix("base_model.model."): tensor
        for key, tensor in get_peft_model_state_dict(tuned).items()
    }
    pipelines.save_lora_weights(root / "diffusers", transformer_lora_layers=layers)
    return {"peft": root / "peft", "diffusers": root / "diffusers"}


@pytest.mark.parametrize(
    ("layout", "dtype"),
    [
        ("peft", "bfloat16"),
        pytest.param("peft", "float32", marks=pytest.mark.whole),
        pytest.param("diffusers", "bfloat16", marks=pytest.mark.whole),
        ("diffusers", "float32"),
    ],
)
def test_a_pipeline_with_lora_makes_the_images_of_the_cpu(
    layout: str,
    dtype: str,
    adapters: dict[str, Path],
    pipeline: Folder,
    stand_in: torch.device,
) -> None:
    folder, options = pipeline("sd3"), {**FAST, "dtype": dtype}
    with_lora = assert_as_on_the_cpu(folder, stand_in, requests(), lora=adapters[layout], **options)
    plain = levels(opened(folder, "cpu", **options).generate(requests()))
    assert np.abs(with_lora - plain).max() > 5
