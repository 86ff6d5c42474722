"""A judge for `--judge python:tests.support.truthful:factory`: it says what is truly in scenes.

It draws every picture again and compares: a question about any other picture than the one that the
request stands for is a fault of the harness, and gets no answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from alphabench.benchmarks import open_benchmark
from alphabench.checkpoints.scene import SceneCheckpoint, open_scene
from alphabench.judges.scripted import MISHAPS, Mishap, ScriptedJudge, ScriptedReply
from alphabench.questions import Answer, Capabilities, ImagePart, Question
from alphabench.runs.factories import upstream_data
from alphabench.runs.plan import requests_for
from alphabench.types import ImageRequest
from tests.support.truth import drawn, replies

FAULTS = tuple(kind for kind in MISHAPS if kind != "wrong_model")
"""All that leave the run going."""


@dataclass(kw_only=True)
class Witness:
    """Knows what `scene:` draws for one benchmark."""

    benchmark: str
    error: str
    fail: float

    @cached_property
    def checkpoint(self) -> SceneCheckpoint:
        return open_scene("", options={"error": self.error})

    @cached_property
    def requests(self) -> Mapping[str, ImageRequest]:
        opened = open_benchmark(self.benchmark, data=upstream_data())
        made = requests_for(opened.samples(), opened.card.images_per_sample, seed=0)
        return {request.id: request for request in made}

    @cached_property
    def known(self) -> dict[str, Mapping[str, str]]:
        return {}

    def __call__(self, question: Question) -> ScriptedReply:
        name = question.image_id
        if name not in self.known:
            self.look(question)
            self.known[name] = replies(
                self.benchmark.partition(":")[0], self.checkpoint, self.requests[name]
            )
        answer = self.known[name][question.id]
        draw = hashlib.sha256(question.content_digest.encode()).digest()
        if int.from_bytes(draw[:6], "big") / 2**48 >= self.fail:
            return answer
        return Mishap(kind=FAULTS[draw[6] % len(FAULTS)], answer=answer)

    def look(self, question: Question) -> None:
        """Is the picture of the request among those that are shown?"""
        request = self.requests[question.image_id]
        expected = drawn(self.checkpoint, request).image.tobytes()
        shown = [part for part in question.parts if isinstance(part, ImagePart)]
        with Image.open(shown[-1].path) as stored:
            text: Any = stored.text  # type: ignore[attr-defined]
            assert (text["seed"], text["prompt"]) == (str(request.seed), request.sample.prompt)
            assert stored.tobytes() == expected, f"{question.image_id} shows something else"


@dataclass
class TruthfulJudge:
    """The witness as a judge that keeps a list of what it was asked."""

    judge: ScriptedJudge
    log: Path | None

    @property
    def identity(self) -> Mapping[str, str]:
        return {"kind": "python", "model": "truthful"}

    @property
    def capabilities(self) -> Capabilities:
        return self.judge.capabilities

    def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
        for answer in self.judge.ask(questions):
            if self.log is not None:
                asked = answer.question
                line = [asked.image_id, asked.id, asked.repeat, answer.status]
                with self.log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
            yield answer


def factory(
    benchmark: str, error: str = "0.0", fail: float = 0.0, log: Path | None = None
) -> TruthfulJudge:
    """The judge.

    Args:
        benchmark: whose pictures it is shown: `tiif:mini`.
        error: of `scene:?error=...`.
        fail: share of the questions that meet a fault.
        log: where it writes what it was asked: image, question, repeat, status.
    """
    witness = Witness(benchmark=benchmark, error=error, fail=fail)
    return TruthfulJudge(ScriptedJudge(witness), log)
