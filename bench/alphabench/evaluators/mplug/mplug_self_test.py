"""mPLUG's self-test: that this build computes it, and that the weights are right.

First a tiny model, whose logits modelscope's own code computed, shows a broken build. Then
questions about bundled photographs and rendered circles, half of them with the answer no, show
wrong or damaged weights. The expected answers were written without the trained weights; they are
limited to the unmistakable, and two mistakes are allowed.
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
"""Of the questions; a model that always gives one answer makes eleven or more."""
HINT: Final = (
    "this build must not score: take the weights as they were released, other versions of torch "
    "and transformers, or look closer with `alphabench doctor`"
)
CIRCLES: Final = {"red": (200, 20, 25), "blue": (25, 60, 200), "green": (25, 140, 45)}

Answers = Callable[[Sequence[tuple["Image", str]]], Sequence[str]]


@dataclass(frozen=True, slots=True)
class KnownPhotograph:
    """A bundled photograph and its known answers."""

    file: str
    yes: tuple[str, ...]
    no: tuple[str, ...]
    named: tuple[str, str] | None = None
    """A question and the one word that answers it."""


PHOTOGRAPHS: Final = (
    KnownPhotograph(
        "person.jpg",
        yes=("Is there a person?", "Is there a woman?", "Is the woman smiling?"),
        no=("Is there a cat?", "Is there a pizza?", "Is there a train?"),
    ),
    KnownPhotograph(
        "cat.jpg",
        yes=("Is there a cat?", "Is there an animal?"),
        no=("Is there a person?", "Is there a bicycle?", "Is there a laptop?"),
        named=("What animal is this?", "cat"),
    ),
    KnownPhotograph(
        "cup.jpg",
        yes=("Is there a cup?", "Is there a spoon?", "Is there coffee in the cup?"),
        no=("Is there a dog?", "Is there a car?"),
    ),
)


def run_mplug_self_test(answers: Answers, *, device: str) -> None:
    """Checks the build on `device`, then the answers to questions with known answers.

    Args:
        answers: answers (image, question) pairs, in order.
        device: of torch.

    Raises:
        AlphaBenchError: the computation differs, or more than two answers are wrong.
    """
    from alphabench.models.mplug.build_probe import check_mplug_build

    check_mplug_build(device)
    trials = [*_photograph_trials(), *_circle_trials()]
    replies = answers([(image, question) for image, question, _ in trials])
    wrong = [
        f"{question!r} -> {answer!r}"
        for (_, question, expected), answer in zip(trials, replies, strict=True)
        if answer != expected
    ]
    if len(wrong) > MISTAKES_ALLOWED:
        raise AlphaBenchError(
            f"the self-test failed: mPLUG is wrong on {len(wrong)} of {len(trials)} questions "
            f"about bundled images, such as {wrong[0]}",
            hint=HINT,
        )


def _photograph_trials() -> list[tuple[Image, str, str]]:
    trials = []
    for known in PHOTOGRAPHS:
        image = _photograph(known.file)
        trials += [(image, question, "yes") for question in known.yes]
        trials += [(image, question, "no") for question in known.no]
        if known.named:
            trials.append((image, *known.named))
    return trials


def _circle_trials() -> list[tuple[Image, str, str]]:
    """Asks about each circle's own colour and about the next one's."""
    names = list(CIRCLES)
    trials = []
    for name, other in zip(names, [*names[1:], names[0]], strict=True):
        image = _circle(CIRCLES[name])
        trials.append((image, f"Is the circle {name}?", "yes"))
        trials.append((image, f"Is the circle {other}?", "no"))
    return trials


def _photograph(name: str) -> Image:
    folder = files("alphabench.evaluators.detection") / "self_test_images"
    return open_rgb((folder / name).read_bytes())


def _circle(colour: tuple[int, int, int]) -> Image:
    from PIL import Image as Pillow
    from PIL import ImageDraw

    image = Pillow.new("RGB", (256, 256), (235, 235, 232))
    ImageDraw.Draw(image).ellipse((48, 48, 208, 208), fill=colour)
    return image
