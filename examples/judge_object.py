r"""A judge of your own: any function of images and a question, for benchmarks that ask questions.

    cd examples
    alphabench run python:judged_benchmark:Fruit --ckpt scene: \
        --judge python:judge_object:ColourJudge

This judge can only tell whether a colour is in an image. To every other question it says so, and
AlphaBench counts these answers as `unparsed`, not as wrong: the report shows the coverage.

docs/extending/judge.md walks through this file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from alphabench.images import open_rgb
from alphabench.judges.parsing import read_reply
from alphabench.questions import Answer, Capabilities, ImagePart, Question, Reply

COLOURS = {
    "red": (222, 25, 25),
    "green": (35, 155, 45),
    "blue": (25, 75, 220),
    "yellow": (252, 222, 15),
}


def answer(question: str, pixels: np.ndarray, *, least: float) -> str:
    """The judge's reply, as a model would write it.

    Args:
        question: the text that a model would be asked.
        pixels: of the image, (height, width, 3), 0 to 255.
        least: the share of pixels that a colour must have, 0 to 1.
    """
    named = re.search("|".join(COLOURS), question.casefold())
    if named is None:
        return "I can only see colours."
    distance = np.abs(pixels.astype(int) - COLOURS[named[0]]).max(axis=-1)
    return "yes" if np.mean(distance < 60) >= least else "no"


class ColourJudge:
    """What AlphaBench needs of a judge: who it is, what it can do, and answers in order."""

    def __init__(self, least: float = 0.02) -> None:
        """Parameters are options: `--judge 'python:judge_object:ColourJudge?least=0.05'`."""
        self.least = least

    @property
    def identity(self) -> Mapping[str, str]:
        """All that decides an answer besides the question; results of two identities never mix."""
        return {"kind": "colour", "version": "1", "least": str(self.least)}

    @property
    def capabilities(self) -> Capabilities:
        """A run that shows more images in a question, or reads probabilities, is refused early."""
        return Capabilities(images_per_question=1, logprobs=False)

    def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """One answer for each question, in order.

        `read_reply` parses the text by the question's own rules: an unclear reply is `unparsed` and
        a refusal is `refused`. An exception here would stop the run.
        """
        for question in questions:
            text = "\n".join(part for part in question.parts if isinstance(part, str))
            (shown,) = [part for part in question.parts if isinstance(part, ImagePart)]
            reply = answer(text, np.asarray(open_rgb(shown.path)), least=self.least)
            yield read_reply(question, Reply(text=reply, model="colour"))
