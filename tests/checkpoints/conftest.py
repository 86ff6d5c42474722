"""Tiny pipelines on disk, built once, and the requests that the tests of checkpoints share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from alphabench.types import ImageRequest, Sample
from tests.tiny_pipelines import save

AskFor = Callable[..., ImageRequest]


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Name of a tiny pipeline -> its folder, which a test must not change."""
    root = tmp_path_factory.mktemp("pipelines")

    def folder(name: str) -> Path:
        return root / name if (root / name).exists() else save(name, root / name)

    return folder


@pytest.fixture
def ask() -> AskFor:
    """Makes a request."""

    def make(
        prompt: str = "a photo of a cat",
        *,
        sample: str = "00000",
        index: int = 0,
        seed: int = 1,
        size: tuple[int, int] | None = None,
    ) -> ImageRequest:
        width, height = size or (None, None)
        return ImageRequest(
            sample=Sample(id=sample, prompt=prompt, group="single_object"),
            index=index,
            seed=seed,
            width=width,
            height=height,
        )

    return make
