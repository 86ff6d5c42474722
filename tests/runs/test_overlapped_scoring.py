"""A remote judge is asked while images are generated, and finds what it finds afterwards."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL.Image import Image

from alphabench.core.errors import AlphaBenchError
from alphabench.core.writing import UnwritableError
from alphabench.evaluators.judge_evaluator import JudgeEvaluator
from alphabench.interfaces import Generator
from alphabench.questions import Answer, Question
from alphabench.runs import overlapped_scoring
from alphabench.runs.generation import generate_images
from alphabench.runs.overlapped_scoring import Arrivals
from alphabench.runs.plan import CheckpointFactory, RunPlan, open_evaluation, plan_run
from alphabench.runs.progress import Lines, Progress, Silent
from alphabench.runs.run import Outcome, Work, execute_plan, score_run
from alphabench.runs.store import RunFolder
from alphabench.types import GeneratedImage, ImageRequest, NotGenerated, Verdict
from tests.support.fakes import Dots, Reds
from tests.support.remote_judge import SOON, Remote, about, rows, scored


def judged(judge: Remote, score: Callable[..., list[Verdict]] = scored) -> Reds:
    return Reds(examiner=JudgeEvaluator(judge=judge, questions_about=about, score=score))


def planned(out: Path, reds: Reds, dots: Dots | None = None) -> RunPlan:
    given = dots or Dots()

    def the_one(*, device: str) -> Generator:
        return given

    return plan_run(reds, CheckpointFactory(name="dots", open=the_one), out=out)


def ran(
    out: Path, reds: Reds, dots: Dots | None = None, *, progress: Progress | None = None
) -> Outcome:
    plan = planned(out, reds, dots)
    return execute_plan(
        plan, open_evaluation(reds, "brightness"), Work(progress=progress or Silent())
    )


def one_after_the_other(out: Path, judge: Remote) -> Outcome:
    reds = judged(judge)
    folder = generate_images(planned(out, reds), Work())
    return score_run(folder, reds, open_evaluation(reds, "brightness"), Work())


@dataclass
class Waiting(Dots):
    """Generates its second batch only when the judge was asked about the first."""

    was_asked: threading.Event = field(default_factory=threading.Event)
    waited: bool | None = None

    def generate(self, requests: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
        if self.made and self.waited is None:
            self.waited = self.was_asked.wait(SOON)
        return super().generate(requests)


def test_the_judge_is_asked_while_images_are_generated_and_finds_the_same(tmp_path: Path) -> None:
    dots, usual = Waiting(), Remote()
    judge = Remote(before=lambda _: dots.was_asked.set())
    overlapped = ran(tmp_path / "run", judged(judge), dots)
    assert dots.waited
    plain = one_after_the_other(tmp_path / "plain", usual)
    assert overlapped.report == plain.report
    assert overlapped.usage == plain.usage
    assert rows(overlapped) == rows(plain)
    assert sorted(judge.asked) == sorted(usual.asked)
    assert {n: r.sha256 for n, r in overlapped.folder.images().items()} == {
        n: r.sha256 for n, r in plain.folder.images().items()
    }


def test_a_judge_that_goes_away_loses_no_image_and_the_same_command_goes_on(
    tmp_path: Path,
) -> None:
    judge, notes = Remote(), list[str]()

    def goes_away(question: Question) -> None:
        if len(judge.asked) >= 7:
            raise AlphaBenchError("the judge is away", hint="start it")

    judge.before = goes_away
    dots = Dots()
    with pytest.raises(AlphaBenchError, match="the judge is away"):
        ran(tmp_path / "run", judged(judge), dots, progress=Lines(notes.append))
    assert len(dots.made) == 24
    assert sum("the judge is away; images are generated all the same" in one for one in notes) == 1
    (evaluation,) = RunFolder.open(tmp_path / "run").evaluations()
    assert len(RunFolder.open(tmp_path / "run").verdicts(evaluation)) == 7
    judge.before = lambda _: None
    again = ran(tmp_path / "run", judged(judge), dots)
    assert len(dots.made) == 24
    assert len(judge.asked) == len(set(judge.asked)) == 24
    assert again.report == one_after_the_other(tmp_path / "plain", Remote()).report


def test_a_judge_that_returns_is_asked_for_what_it_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([True, True])

    def fails_twice(question: Question) -> None:
        if next(failures, False):
            raise AlphaBenchError("away for a moment", hint="wait")

    # Once it is back while images are generated, once after that.
    for seconds in (0.0, 3600.0):
        failures = iter([True])
        monkeypatch.setattr(overlapped_scoring, "RETRY_SECONDS", seconds)
        judge = Remote(before=fails_twice)
        outcome = ran(tmp_path / f"run-{seconds:.0f}", judged(judge))
        assert outcome.report.coverage == 1.0
        assert len(judge.asked) == 24


def test_an_image_that_the_evaluator_cannot_score_fails_alone(tmp_path: Path) -> None:
    def breaks(image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
        if image.id == "1-1/1":
            raise ValueError("no such thing")
        return scored(image, answers)

    outcome = ran(tmp_path / "run", judged(Remote(), breaks))
    assert outcome.report.statuses == {"scored": 23, "failed": 1}
    assert outcome.reasons == ("1 failed: ValueError: no such thing",)


@dataclass
class Interrupted(Dots):
    """Ctrl-C at its fourth batch."""

    calls: int = 0

    def generate(self, requests: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
        self.calls += 1
        if self.calls == 4:
            raise KeyboardInterrupt
        return super().generate(requests)


def test_an_interrupted_run_goes_on_with_the_same_command(tmp_path: Path) -> None:
    dots, judge = Interrupted(), Remote()
    with pytest.raises(KeyboardInterrupt):
        ran(tmp_path / "run", judged(judge), dots)
    folder = RunFolder.open(tmp_path / "run")
    assert len(folder.images()) == 9
    again = ran(tmp_path / "run", judged(judge), dots)
    assert len(dots.made) == 24
    assert again.report == one_after_the_other(tmp_path / "plain", Remote()).report


def test_verdicts_that_cannot_be_written_stop_the_run_with_a_sentence(tmp_path: Path) -> None:
    reds = judged(Remote())
    generate_images(planned(tmp_path / "run", reds, Dots(crash=frozenset({"0-0/0"}))), Work())
    (tmp_path / "run" / "verdicts").write_text("no folder")
    with pytest.raises(UnwritableError, match="cannot be written"):
        ran(tmp_path / "run", reds)
    (tmp_path / "run" / "verdicts").unlink()
    assert ran(tmp_path / "run", reds).report.coverage == 1.0


def killed_once(flag: Path, *, device: str) -> Generator:
    return Lethal(flag=flag)


@dataclass
class Lethal(Dots):
    """Kills its process once, at its second batch."""

    flag: Path = Path()

    def generate(self, requests: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
        if self.made and not self.flag.exists():
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().generate(requests)


def test_two_workers_feed_one_judge_though_one_is_killed(tmp_path: Path) -> None:
    judge = Remote()
    checkpoint = CheckpointFactory(name="dots", open=partial(killed_once, tmp_path / "killed"))
    reds = judged(judge)
    plan = plan_run(reds, checkpoint, out=tmp_path / "two")
    both = execute_plan(plan, open_evaluation(reds, "brightness"), Work(devices=("cpu", "cpu")))
    plain = one_after_the_other(tmp_path / "plain", Remote())
    assert (tmp_path / "killed").exists()
    assert both.report == plain.report
    assert rows(both) == rows(plain)
    assert sorted(judge.asked) == sorted(set(judge.asked))


@dataclass
class Counted:
    """A display of one phase at a time."""

    seen: list[str] = field(default_factory=list)
    total: int = 0
    done: int = 0
    unscored: int = 0

    def begin(self, phase: str, *, total: int, done: int) -> None:
        self.seen.append(phase)
        self.total, self.done, self.unscored = total, done, 0

    def advance(self, count: int = 1, *, unscored: int = 0) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.done += count
        self.unscored += unscored

    def note(self, text: str) -> None:
        raise AssertionError(text)

    def end(self) -> None:
        assert self.done == self.total
        self.seen.append(f"{self.total}, {self.unscored} unscored")


def test_a_display_of_one_phase_shows_scoring_after_generation(tmp_path: Path) -> None:
    shown = Counted()
    ran(tmp_path / "run", judged(Remote()), Dots(fail=frozenset({"0-0/1"})), progress=shown)
    assert shown.seen == ["generating", "24, 1 unscored", "scoring", "24, 1 unscored"]


def test_lines_tell_of_both_phases_and_what_was_spent(tmp_path: Path) -> None:
    lines: list[str] = []
    ran(tmp_path / "run", judged(Remote()), progress=Lines(lines.append))
    assert {"generating: 24 images", "scoring: 24 images"} <= set(lines)
    (last,) = [line for line in lines if line.startswith("scoring: 24/24")]
    assert last.endswith("$0.024, 2,424 tokens")
    lines.clear()
    ran(tmp_path / "run", judged(Remote()), progress=Lines(lines.append))
    assert lines[-1] == "scoring: 24 images, 24 of them done before"


def test_images_that_wait_for_a_judge_that_failed_are_not_lost_and_keep_their_order() -> None:
    now = [0.0]
    arrivals = Arrivals(clock=lambda: now[0])
    images: list[Any] = ["a", "b", "c"]
    arrivals.put(images)
    taken = arrivals.take(2)
    first = [next(taken), next(taken)]
    arrivals.put_back(first, pause_seconds=10.0)
    now[0] = 11.0
    assert arrivals.wait()
    arrivals.close()
    assert list(arrivals.take(9)) == images
    assert not arrivals.wait()
    arrivals.put_back(images, pause_seconds=10.0)
    assert not arrivals.wait(), "nobody waits for the end of a pause once generation is over"
