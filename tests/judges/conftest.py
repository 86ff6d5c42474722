"""Questions, pictures and a clock that does not wait, for the tests of judges."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image

from alphabench.judges.openai.rate_limit import Clock
from alphabench.questions import ImagePart, Question, Reply, ReplySampling

MakeQuestion = Callable[..., Question]


@dataclass(frozen=True)
class Number:
    """An answer format: the reply is a number and nothing else."""

    version: str = "1"

    @property
    def identity(self) -> Mapping[str, str]:
        return {"contract": "number", "version": self.version}

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        text = reply.text.strip()
        return (float(text),) if text.isdecimal() else None


@dataclass
class FakeTime:
    """Sleeping takes no time but the clock's own."""

    seconds: float = 0.0
    slept: list[float] = field(default_factory=list)

    @property
    def clock(self) -> Clock:
        return Clock(
            now=lambda: self.seconds,
            wall=lambda: self.seconds,
            sleep=self.sleep,
            jitter=lambda low, high: (low + high) / 2,
        )

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def picture(tmp_path: Path) -> ImagePart:
    path = tmp_path / "picture.png"
    Image.new("RGB", (12, 8), (200, 30, 30)).save(path)
    return ImagePart(path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def question(
    text: str = "How many?", *, image: str = "0/0", name: str | None = None, **more: object
) -> Question:
    """A question whose answer is a number."""
    fields: dict[str, object] = {
        "parts": (text,),
        "sampling": ReplySampling(max_tokens=8),
        "answer_format": Number(),
        **more,
    }
    return Question(image_id=image, id=name or text, **fields)  # type: ignore[arg-type]
