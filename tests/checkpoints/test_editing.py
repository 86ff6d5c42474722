"""Diffusion pipelines that edit: what they are given, and what they are not asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
from PIL import Image

from alphabench.checkpoints import open_checkpoint
from alphabench.checkpoints.editing import (
    ALSO_EDITS,
    ALWAYS_EDITS,
    check_edits,
    open_source,
    takes_edits,
)
from alphabench.checkpoints.presets import PRESETS
from alphabench.core.errors import AlphaBenchError
from alphabench.types import ImageRequest
from tests.checkpoints.conftest import AskFor

Folder = Callable[[str], Path]
pytestmark = pytest.mark.filterwarnings(
    # Libraries warn of their own next releases while they load or sample.
    "ignore::FutureWarning",
    "ignore::DeprecationWarning",
)


def opened(folder: Path, **options: str) -> Any:
    defaults = {"dtype": "float32", "steps": "2"}
    return open_checkpoint(str(folder), options={**defaults, **options})


@pytest.fixture
def edit(tmp_path: Path, ask: AskFor) -> Callable[..., ImageRequest]:
    """Makes a request to edit an image of one colour."""

    def make(colour: str = "red", **others: Any) -> ImageRequest:
        path = tmp_path / f"{colour}.png"
        Image.new("RGB", (64, 32), colour).save(path)
        request = ask("make it blue", **others)
        return replace(request, sample=replace(request.sample, source_image=path))

    return make


def pixels(image: Any) -> np.ndarray[Any, np.dtype[np.int16]]:
    assert isinstance(image, Image.Image)
    return np.asarray(image, dtype=np.int16)


def test_an_edit_depends_on_its_source_image_and_request_alone(
    pipeline: Folder, edit: Callable[..., ImageRequest]
) -> None:
    checkpoint = opened(pipeline("instruct-pix2pix"), batch_size="3")
    requests = [edit("red"), edit("blue", sample="1"), edit("red", sample="2", seed=5)]
    together = [pixels(one) for one in checkpoint.generate(requests)]
    alone = [pixels(checkpoint.generate([request])[0]) for request in reversed(requests)][::-1]
    assert all((a == b).all() for a, b in zip(together, alone, strict=True))
    assert (together[0] != together[1]).any()
    assert (together[0] != together[2]).any()
    assert together[0].shape == (32, 64, 3)


def test_a_pipeline_that_edits_refuses_requests_without_an_image(
    pipeline: Folder, ask: AskFor
) -> None:
    with pytest.raises(AlphaBenchError, match="has no source image"):
        opened(pipeline("instruct-pix2pix")).generate([ask()])


def test_a_text_to_image_pipeline_refuses_an_edit(
    pipeline: Folder, edit: Callable[..., ImageRequest]
) -> None:
    checkpoint = opened(pipeline("sd15"))
    with pytest.raises(AlphaBenchError, match="edits an image"):
        checkpoint.generate([edit()])
    with pytest.raises(AlphaBenchError, match="edits an image"):
        checkpoint.refusals([edit()])  # asked while a run is planned


def test_a_source_that_is_no_image_is_one_sentence(
    pipeline: Folder, edit: Callable[..., ImageRequest], tmp_path: Path
) -> None:
    request = edit("red")
    (tmp_path / "red.png").write_bytes(b"no image")
    with pytest.raises(AlphaBenchError, match="cannot be read"):
        opened(pipeline("instruct-pix2pix")).generate([request])


def test_the_family_of_an_editor_is_chosen_by_its_class(pipeline: Folder) -> None:
    identity = opened(pipeline("instruct-pix2pix")).identity
    assert (identity["family"], identity["guidance_scale"]) == ("instruct-pix2pix", "7.5")
    assert identity["size"] == "pipeline default"


@pytest.mark.parametrize("name", [*ALWAYS_EDITS, *ALSO_EDITS])
def test_every_editor_of_the_table_takes_an_image_in_diffusers(name: str) -> None:
    import inspect

    pipeline_class: Any = getattr(diffusers, name)
    assert "image" in inspect.signature(pipeline_class.__call__).parameters
    assert takes_edits(name)


def test_an_optional_editor_also_generates_from_text(ask: AskFor) -> None:
    check_edits([ask()], "FluxKontextPipeline")


def test_presets_of_editors_leave_the_size_to_the_source_image() -> None:
    ours = [preset for preset in PRESETS if takes_edits(preset.pipeline_class)]
    assert len(ours) == 4
    assert all(preset.width is None for preset in ours)


def test_what_is_transparent_in_a_source_becomes_white(
    tmp_path: Path, edit: Callable[..., ImageRequest]
) -> None:
    path = tmp_path / "glass.png"
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(path)
    request = edit()
    request = replace(request, sample=replace(request.sample, source_image=path))
    assert open_source(request).getpixel((0, 0)) == (255, 255, 255)
