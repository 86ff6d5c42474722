"""A checkpoint of your own: a function of a prompt and a seed, and the same as an object.

    cd examples
    alphabench run geneval:mini --ckpt python:checkpoint_object:generate --evaluator nano --limit 12
    alphabench run geneval:mini --ckpt python:checkpoint_object:Collage --set size=192 --limit 12

The "model" pastes an icon for every object that it finds in the prompt, wherever there is room. It
knows nothing of "left of", and the scores show it. Put your own model in its place.

docs/extending/checkpoint.md walks through this file.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from alphabench import ImageRequest, NotGenerated
from alphabench.scenes.palette import grounds_for
from alphabench.scenes.render import render
from alphabench.scenes.spec import CATEGORIES, Background, Scene, SceneObject

if TYPE_CHECKING:
    from PIL.Image import Image

COUNTS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4}
COLOURS = "red|orange|yellow|green|blue|purple|pink|brown|black|white"
OBJECT = re.compile(rf"\b({'|'.join(COUNTS)}) (?:({COLOURS}) )?({'|'.join(CATEGORIES)})e?s?\b")
CORNERS = [(x, y) for x in (0.27, 0.73) for y in (0.27, 0.73)]


def generate(prompt: str, seed: int, *, size: int = 128) -> Image | NotGenerated:
    """The whole of a simple checkpoint: one image for one prompt.

    Args:
        prompt: of the benchmark.
        seed: decides all randomness of the image, so that it can be made again.
        size: an option, set with `--set size=192`.
    """
    chance = random.Random(seed)  # noqa: S311  no secret
    found = [
        (category, colour or None)
        for count, colour, category in OBJECT.findall(prompt)
        for _ in range(COUNTS[count])
    ]
    if not 1 <= len(found) <= len(CORNERS):
        return NotGenerated(status="refused", reason=f"it paints 1 to 4 objects, not {len(found)}")
    places = chance.sample(CORNERS, len(found))
    objects = tuple(
        SceneObject(category=category, colour=colour, x=x, y=y, size=0.36)
        for (category, colour), (x, y) in zip(found, places, strict=True)
    )
    background = Background(first=chance.choice(grounds_for(objects)))
    scene = Scene(background=background, objects=objects, seed=seed)
    return render(scene, size, size).image


class Collage:
    """The same as an object, for a model that works in batches and has weights to load.

    AlphaBench creates it to check names and options, so creating it must be cheap: weights load at
    the first `generate`.
    """

    suggested_evaluator = "nano"
    """Optional: the evaluator that suits its images; small synthetic objects here."""

    def __init__(self, size: int = 128, batch_size: int = 4, device: str = "cpu") -> None:
        """Parameters are options (`--set size=192`); `device` is where it should run."""
        self.size, self.batch_size, self.device = size, batch_size, device
        self.model: Callable[..., Image | NotGenerated] | None = None

    @property
    def identity(self) -> Mapping[str, str]:
        """All that decides an image besides prompt and seed; another identity is another run.

        For a model with weights, its revision or the digest of its files belongs here.
        """
        return {"name": "collage", "version": "1", "size": str(self.size)}

    @property
    def licences(self) -> Mapping[str, str]:
        """Optional: shown in reports."""
        return {"icons": "MIT"}

    def generate(self, requests: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
        """One image, or the reason why there is none, for each request in order."""
        if self.model is None:
            self.model = generate  # here a real checkpoint loads its weights onto self.device
        return [
            self.model(request.sample.prompt, request.seed, size=self.size) for request in requests
        ]
