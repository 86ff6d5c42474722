"""What more workers and a judge beside them gain: `python -m tools.perf.worker_scaling`.

A checkpoint that sleeps stands for a model on a device of its own, so that one machine can have
many. Each image also costs what it costs in a real run: encoding, writing, recording. Start-up is
left out: the clock starts when every worker has its first batch in hand, for which all wait, and
stops when the last image is recorded. Efficiency is the seconds of one worker divided by the
seconds of n workers and by n.

The judge sleeps, too, and answers one question at a time; `one after the other` generates all
images and then scores them, `overlapped` is what `alphabench run` does.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from alphabench.benchmarks import open_benchmark
from alphabench.evaluators.judge_evaluator import JudgeEvaluator, verdict_from
from alphabench.interfaces import Benchmark, Generator
from alphabench.judges.yesno import YesNoText, yes_no_question
from alphabench.questions import Answer, Capabilities, ImagePart, JudgeUsage, Question, Reply
from alphabench.runs.generation import generate_images
from alphabench.runs.plan import CheckpointFactory, Evaluation, RunPlan, plan_run
from alphabench.runs.run import Work, execute_plan, score_run
from alphabench.types import GeneratedImage, ImageRequest, Verdict
from alphabench.upstream import UpstreamData

WORKER_COUNTS = (1, 2, 4)


@dataclass
class Sleeper:
    """A checkpoint that takes `seconds` for an image; its first batch waits for all workers."""

    seconds: float
    side: int
    batch_size: int
    meeting: Path
    """A folder in which each worker leaves a file once it has its first batch."""
    n_workers: int
    waited: bool = False
    image: Image.Image | None = None

    @property
    def identity(self) -> Mapping[str, str]:
        return {"kind": "sleeper"}

    def generate(self, requests: Sequence[ImageRequest]) -> list[Image.Image]:
        if not self.waited:
            self._meet()
        time.sleep(self.seconds * len(requests))
        return [self._image() for _ in requests]

    def _meet(self) -> None:
        (self.meeting / str(os.getpid())).write_text(repr(time.time()))
        while len(list(self.meeting.iterdir())) < self.n_workers:
            time.sleep(0.002)
        self.waited = True

    def _image(self) -> Image.Image:
        """Always the same: a model on a device of its own costs the processor nothing."""
        if self.image is None:
            small = np.random.default_rng(0).integers(0, 256, (self.side // 8, self.side // 8, 3))
            size = (self.side, self.side)
            self.image = Image.fromarray(small.astype(np.uint8)).resize(size)
        return self.image.copy()


def open_sleeper(sleeper: Sleeper, *, device: str) -> Generator:
    """The checkpoint on any device."""
    del device
    return sleeper


@dataclass
class EndWatch:
    """A progress display that notes when the last image was through."""

    last: float = 0.0

    def begin(self, phase: str, *, total: int, done: int) -> None:
        pass

    def advance(self, count: int = 1, *, unscored: int = 0) -> None:
        del count, unscored
        self.last = time.time()

    def note(self, text: str) -> None:
        raise RuntimeError(text)

    def end(self) -> None:
        pass


@dataclass
class SlowJudge:
    """A judge behind a pretended address that answers one question at a time."""

    seconds: float
    address: str = "http://judge:8000/v1#sleeper"
    n_asked: int = field(default=0)

    @property
    def identity(self) -> Mapping[str, str]:
        return {"model": "sleeper"}

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(images_per_question=1, logprobs=False)

    @property
    def usage(self) -> JudgeUsage:
        return JudgeUsage(replies=self.n_asked, tokens_in=0, tokens_out=0, cost_usd=None)

    def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
        for question in questions:
            time.sleep(self.seconds)
            self.n_asked += 1
            reply = Reply(text="yes", model="sleeper")
            yield Answer(question=question, status="scored", reply=reply, values=(1.0,))


@dataclass
class OneQuestion:
    """One question about each image, whose answer is the verdict on all of the benchmark's."""

    benchmark: Benchmark

    def ask(self, image: GeneratedImage) -> list[Question]:
        part = ImagePart.of(image)
        asked = {"image_id": image.id, "question_id": "all", "answer_format": YesNoText()}
        return [yes_no_question("Is it right?", [part], **asked)]  # type: ignore[arg-type]

    def score(self, image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
        names = self.benchmark.questions(image.request.sample)
        return [verdict_from(answers[0], question_id=name) for name in names]


@dataclass(frozen=True)
class Load:
    """What is simulated."""

    images: int
    seconds: float
    side: int
    batch_size: int


def plan_of(load: Load, folder: Path, n_workers: int) -> RunPlan:
    """A run of sleeping workers."""
    benchmark = open_benchmark("geneval:mini", data=UpstreamData(cache_dir=folder / "cache"))
    meeting = folder / "meeting"
    meeting.mkdir(parents=True)
    sleeper = Sleeper(load.seconds, load.side, load.batch_size, meeting, n_workers)
    checkpoint = CheckpointFactory(name="sleeper", open=partial(open_sleeper, sleeper))
    samples = -(-load.images // benchmark.card.images_per_sample)
    return plan_run(benchmark, checkpoint, out=folder / "run", limit=samples)


def seconds_an_image(load: Load, n_workers: int) -> float:
    """Wall time of a run by so many workers without its start-up, divided by its images."""
    with tempfile.TemporaryDirectory(prefix="scaling-") as name:
        plan, clock = plan_of(load, Path(name), n_workers), EndWatch()
        generate_images(plan, Work(devices=("cpu",) * n_workers, progress=clock))
        began = max(float(one.read_text()) for one in (Path(name) / "meeting").iterdir())
        return (clock.last - began) / len(plan.requests)


def seconds_with_judge(load: Load, judge_seconds: float, *, overlapped: bool) -> float:
    """Wall time of a judged run by one worker, divided by its images."""
    with tempfile.TemporaryDirectory(prefix="judged-") as name:
        plan = plan_of(load, Path(name), 1)
        one = OneQuestion(plan.benchmark)
        judge = SlowJudge(judge_seconds)
        evaluator = JudgeEvaluator(judge=judge, questions_about=one.ask, score=one.score)

        def the_one(*, device: str) -> JudgeEvaluator:
            del device
            return evaluator

        identity = {**evaluator.identity, "protocol": "official"}
        evaluation = Evaluation(name="judge", open=the_one, identity=identity, licences={})
        began = time.time()
        if overlapped:
            execute_plan(plan, evaluation, Work())
        else:
            folder = generate_images(plan, Work())
            score_run(folder, plan.benchmark, evaluation, Work())
        return (time.time() - began) / len(plan.requests)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=0.5, help="for an image")
    parser.add_argument("--judge-seconds", type=float, default=0.5, help="for a question")
    parser.add_argument("--side", type=int, default=256, help="of an image, in pixels")
    parser.add_argument("--batch-size", type=int, default=4)
    given = parser.parse_args()
    load = Load(given.images, given.seconds, given.side, given.batch_size)
    print("workers  s an image  efficiency")
    alone = 0.0
    for n_workers in WORKER_COUNTS:
        seconds = seconds_an_image(load, n_workers)
        alone = alone or seconds
        print(f"{n_workers:7d}  {seconds:10.4f}  {alone / seconds / n_workers:10.3f}", flush=True)
    plain = seconds_with_judge(load, given.judge_seconds, overlapped=False)
    print(f"judged, one after the other: {plain:.4f} s an image", flush=True)
    beside = seconds_with_judge(load, given.judge_seconds, overlapped=True)
    print(
        f"judged, overlapped:          {beside:.4f} s an image ({plain / beside:.2f} times faster)"
    )


if __name__ == "__main__":
    main()
