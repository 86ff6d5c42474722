"""Has mPLUG prove itself: that this build computes it, and that these weights can see.

First a model of a few numbers, whose logits modelscope's own code gave, shows a broken build. Then
questions about bundled photographs and drawn circles, half of them to be answered no, show wrong or
damaged weights. The expected answers were written without the trained weights at hand; they are
limited to what is unmistakable, and two mistakes are allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.images import open_rgb

if TYPE_CHECKING:
    from PIL.Image import Image

MISTAKES_ALLOWED: Final = 2
"""Of the questions; a model that always says one word makes eleven or more."""
HINT: Final = (
    "this build must not score: take the weights as they were released, other versions of torch "
    "and transformers, or look closer with `alphabench doctor`"
)
CIRCLES: Final = {"red": (200, 20, 25), "blue": (25, 60, 200), "green": (25, 140, 45)}

Answers = Callable[[Sequence[tuple["Image", str]]], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Known:
    """A bundled photograph and what is known of it."""

    file: str
    yes: tuple[str, ...]
    no: tuple[str, ...]
    named: tuple[str, str] | None = None
    """A question and the one word that answers it."""


PHOTOGRAPHS: Final = (
    Known(
        "person.jpg",
        yes=("Is there a person?", "Is there a woman?", "Is the woman smiling?"),
        no=("Is there a cat?", "Is there a pizza?", "Is there a train?"),
    ),
    Known(
        "cat.jpg",
        yes=("Is there a cat?", "Is there an animal?"),
        no=("Is there a person?", "Is there a bicycle?", "Is there a laptop?"),
        named=("What animal is this?", "cat"),
    ),
    Known(
        "cup.jpg",
        yes=("Is there a cup?", "Is there a spoon?", "Is there coffee in the cup?"),
        no=("Is there a dog?", "Is there a car?"),
    ),
)


def run_self_test(answers: Answers, *, device: str) -> None:
    """Check the build on `device`, then ask what is known.

    Args:
        answers: to (picture, question) pairs, in order.
        device: of torch.

    Raises:
        AlphaBenchError: the computation differs, or more than two answers are wrong.
    """
    from alphabench.models.mplug.build_probe import check_build

    check_build(device)
    trials = [*_photograph_trials(), *_circle_trials()]
    said = answers([(image, question) for image, question, _ in trials])
    wrong = [
        f"{question!r} -> {answer!r}"
        for (_, question, expected), answer in zip(trials, said, strict=True)
        if answer != expected
    ]
    if len(wrong) > MISTAKES_ALLOWED:
        raise AlphaBenchError(
            f"the self-test failed: mPLUG is wrong on {len(wrong)} of {len(trials)} questions "
            f"about bundled pictures, such as {wrong[0]}",
            hint=HINT,
        )


def _photograph_trials() -> list[tuple[Image, str, str]]:
    found = []
    for known in PHOTOGRAPHS:
        image = _photograph(known.file)
        found += [(image, question, "yes") for question in known.yes]
        found += [(image, question, "no") for question in known.no]
        if known.named:
            found.append((image, *known.named))
    return found


def _circle_trials() -> list[tuple[Image, str, str]]:
    """Each circle is called by its own colour and by the next one's."""
    names = list(CIRCLES)
    found = []
    for name, other in zip(names, [*names[1:], names[0]], strict=True):
        image = _circle(CIRCLES[name])
        found.append((image, f"Is the circle {name}?", "yes"))
        found.append((image, f"Is the circle {other}?", "no"))
    return found


def _photograph(name: str) -> Image:
    folder = files("alphabench.evaluators.detection") / "self_test_images"
    return open_rgb((folder / name).read_bytes())


def _circle(colour: tuple[int, int, int]) -> Image:
    from PIL import Image as Pillow
    from PIL import ImageDraw

    picture = Pillow.new("RGB", (256, 256), (235, 235, 232))
    ImageDraw.Draw(picture).ellipse((48, 48, 208, 208), fill=colour)
    return picture
