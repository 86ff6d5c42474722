"""Tiny pipelines, a host of images, and the requests that the tests of checkpoints share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from alphabench.checkpoints.http import HttpCheckpoint, Pacing
from alphabench.checkpoints.http_options import HttpOptions
from alphabench.remote.endpoint import parse_endpoint
from alphabench.types import ImageRequest, Sample
from tests.support.image_server import ImageServer, serve

AskFor = Callable[..., ImageRequest]
KEY = "sk-very-secret-0123456789"
NOW = 1_700_000_000.0


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


@dataclass
class Clock:
    """Records waits instead of waiting; chance always takes its upper end."""

    waits: list[float] = field(default_factory=list)

    def pacing(self) -> Pacing:
        return Pacing(sleep=self.waits.append, now=lambda: NOW, jitter=lambda _, high: high)


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with serve() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


def connect(
    server: ImageServer, clock: Clock, *, key: str | None = KEY, **options: Any
) -> HttpCheckpoint:
    return HttpCheckpoint(
        endpoint=parse_endpoint(f"{server.url}#tiny-model"),
        options=HttpOptions(**{"concurrency": 1, **options}),
        find_key=lambda host: key,
        pacing=clock.pacing(),
    )
