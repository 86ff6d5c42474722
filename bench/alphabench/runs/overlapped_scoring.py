"""Scores images in a thread while further ones are generated: for evaluators that ask a judge.

A remote judge needs no device of this machine, so its questions are asked as images arrive. What
could not be scored this way (the judge was away, an image made the evaluator fail) is left to the
scoring after generation, which says why. Of several runs that ask one judge, one asks it at a time.
Knows no benchmark's rules and no judge.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final, Protocol

from alphabench.core.errors import AlphaBenchError
from alphabench.core.writing import UnwritableError
from alphabench.interfaces import Benchmark, Evaluator, ScoresStreams
from alphabench.questions import remote_judge_of
from alphabench.runs.judge_usage import UsageMeter
from alphabench.runs.plan import Evaluation
from alphabench.runs.progress import Progress, begin_phase, display_beside
from alphabench.runs.store import RunFolder, StoredVerdict
from alphabench.runs.stored_run import StoredRun
from alphabench.types import GeneratedImage, Sample, Verdict

LINGER_SECONDS: Final = 2.0
"""How long a stream of questions waits for the next image before its answers are collected."""
RETRY_SECONDS: Final = 120.0
"""After the judge failed, images gather for so long before it is asked again."""
_BATCHES: Final = 4
"""Images of one stream at most, in multiples of the evaluator's batch size."""
_ABANDON_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.2


class ImageSink(Protocol):
    """What is told of each image as soon as it is recorded."""

    def receiving(
        self, folder: RunFolder, missing: Collection[str]
    ) -> contextlib.AbstractContextManager[None]:
        """Around the generation of the `missing` images; the folder is locked."""
        ...

    def add(self, image: GeneratedImage | None) -> None:
        """The next image; None: one that could not be generated."""
        ...


class NoSink:
    """Takes no notice of images."""

    def receiving(
        self, folder: RunFolder, missing: Collection[str]
    ) -> contextlib.AbstractContextManager[None]:
        del folder, missing
        return contextlib.nullcontext()

    def add(self, image: GeneratedImage | None) -> None:
        pass


class Arrivals:
    """Images that wait to be scored, in order of arrival."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._images: deque[GeneratedImage] = deque()
        self._changed = threading.Condition()
        self._is_closed = self._is_abandoned = False
        self._paused_until = -math.inf

    @property
    def is_abandoned(self) -> bool:
        return self._is_abandoned

    def put(self, images: Iterable[GeneratedImage]) -> None:
        with self._changed:
            self._images.extend(images)
            self._changed.notify_all()

    def put_back(self, images: Sequence[GeneratedImage], *, pause_seconds: float) -> None:
        """To the front; nobody is to take them for a while."""
        with self._changed:
            self._images.extendleft(reversed(images))
            self._paused_until = self._clock() + pause_seconds

    def close(self) -> None:
        """No more images come; a pause does not end any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Nobody is to take any more."""
        with self._changed:
            self._is_abandoned = True
            self._changed.notify_all()

    def wait(self) -> bool:
        """Until there are images to take; False where none will be."""
        with self._changed:
            while not self._is_abandoned:
                left = self._paused_until - self._clock()
                if self._images and left <= 0:
                    return True
                if self._is_closed:
                    return False
                self._changed.wait(left if self._images else None)
        return False

    def take(self, most: int) -> Iterator[GeneratedImage]:
        """Images as they arrive, until none has come for a while."""
        for _ in range(most):
            with self._changed:
                self._changed.wait_for(
                    lambda: self._images or self._is_closed or self._is_abandoned, LINGER_SECONDS
                )
                if self._is_abandoned or not self._images:
                    return
                image = self._images.popleft()
            yield image


class JudgeTurns:
    """Lets one run at a time ask a judge, which may be used by one thread only."""

    def __init__(self) -> None:
        self._turns: dict[int, tuple[object, threading.Lock]] = {}

    def of(self, judge: object) -> threading.Lock:
        """The lock of a judge; the same for the same object."""
        return self._turns.setdefault(id(judge), (judge, threading.Lock()))[1]


class OverlappedScoring:
    """Scores what it is told of, in a thread of its own. For one run.

    Attributes:
        scored: the images that have their verdicts, whatever these are.
        turn: held while the judge is asked.
    """

    def __init__(
        self,
        evaluator: ScoresStreams,
        evaluation: Evaluation,
        benchmark: Benchmark,
        *,
        all_samples: Sequence[Sample],
        most_images: int,
        progress: Progress,
        phase: str,
        turn: threading.Lock,
    ) -> None:
        self._evaluator, self._evaluation, self._benchmark = evaluator, evaluation, benchmark
        self._all_samples, self._most_images = all_samples, most_images
        self._progress, self._phase = progress, phase
        self._display: Progress | None = None
        self._meter = UsageMeter(evaluator)
        self._arrivals = Arrivals()
        self.scored: set[str] = set()
        self.turn = turn
        self._thread = threading.Thread(target=self._run, name="scoring", daemon=True)
        self._folder: RunFolder | None = None
        self._fatal: BaseException | None = None
        self._has_failed = self._has_begun = False
        self._counting = threading.Lock()
        self._total = self._earlier = self._done = self._unscored = 0

    @contextlib.contextmanager
    def receiving(self, folder: RunFolder, missing: Collection[str]) -> Iterator[None]:
        """See `ImageSink`; scores what earlier runs left unscored, too. `wait` for the last."""
        self._folder = folder
        stored = StoredRun.of(folder, verify_images=True)
        samples = stored.samples(self._all_samples)
        todo = stored.unscored_images(samples, self._evaluation.id)
        expected = {image.id for image in stored.generated_images(samples)}.union(missing)
        self._total = len(expected)
        self._earlier = self._total - len({image.id for image in todo}.union(missing))
        self._done = self._earlier
        self._arrivals.put(todo)
        self._thread.start()
        try:
            yield
            self._arrivals.close()
        except BaseException:
            self.stop()
            raise

    @property
    def is_complete(self) -> bool:
        """Whether it has ended and left no image to be asked about."""
        return not self._thread.is_alive() and self._fatal is None and self._done == self._total

    def wait(self) -> None:
        """Until the last image that can be scored now is scored; the folder stays locked.

        A display that can show one phase at a time shows the rest of the scoring.

        Raises:
            UnwritableError: verdicts cannot be written.
        """
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def abandon(self) -> None:
        """Nothing more is recorded."""
        self._arrivals.abandon()

    def stop(self) -> None:
        """As `abandon`, and wait a moment for the thread."""
        self.abandon()
        self._thread.join(_ABANDON_SECONDS)

    def add(self, image: GeneratedImage | None) -> None:
        """See `ImageSink`.

        Raises:
            UnwritableError: verdicts cannot be written.
        """
        if self._fatal is not None:
            raise self._fatal
        if image is not None:
            self._arrivals.put([image])
        else:
            self._advance(unscored=True)

    def _begin(self, display: Progress) -> None:
        begin_phase(
            display,
            self._phase,
            total=self._total,
            done=self._earlier,
            first="first images",
            cost=self._meter.words,
        )

    def _wait(self) -> None:
        shown, unscored = self._earlier, 0
        is_shown = False
        while True:
            is_over = not self._thread.is_alive()
            if self._fatal is not None:
                raise self._fatal
            with self._counting:
                count, new = self._done - shown, self._unscored - unscored
                is_here = self._display is None
            if is_here and not is_shown:
                self._begin(self._progress)
                is_shown = True
            if is_shown and (count or new):
                self._progress.advance(count, unscored=new)
                shown, unscored = shown + count, unscored + new
            if is_over:
                break
            self._thread.join(_LOOK_SECONDS)
        if is_shown:
            self._progress.end()

    def _advance(self, *, unscored: bool) -> None:
        with self._counting:
            self._unscored += unscored
            self._done += 1
            if self._display is not None:
                self._display.advance(unscored=unscored)

    def _run(self) -> None:
        try:
            with self.turn, self._displayed():
                while self._arrivals.wait():
                    self._score_stream()
        except BaseException as error:  # noqa: BLE001 - a boundary: the main thread raises it
            self._fatal = error

    @contextlib.contextmanager
    def _displayed(self) -> Iterator[None]:
        """Shows the scoring beside other phases, on a display that can."""
        display = None if self._arrivals.is_abandoned else display_beside(self._progress)
        if display is None:
            yield
            return
        with self._counting:
            self._begin(display)
            if self._done > self._earlier:
                display.advance(self._done - self._earlier, unscored=self._unscored)
            self._display = display
        try:
            yield
        finally:
            display.end()

    def _score_stream(self) -> None:
        """Score the images that arrive, until there is a gap."""
        unfinished: dict[str, GeneratedImage] = {}

        def taken() -> Iterator[GeneratedImage]:
            for image in self._arrivals.take(self._most_images):
                unfinished[image.id] = image
                yield image

        try:
            for name, verdicts in self._by_image(self._evaluator.evaluate_stream(taken())):
                if self._arrivals.is_abandoned:
                    return
                self._record(unfinished.pop(name), verdicts)
        except UnwritableError:
            raise
        except AlphaBenchError as error:
            self._arrivals.put_back(list(unfinished.values()), pause_seconds=RETRY_SECONDS)
            if not self._has_failed:
                self._has_failed = True
                self._progress.note(
                    f"{error.message}; images are generated all the same, and what is not scored "
                    "by then is scored at the end"
                )
        except Exception:  # noqa: BLE001 - the scoring at the end tries these images one by one
            return

    def _by_image(self, verdicts: Iterator[Verdict]) -> Iterator[tuple[str, list[Verdict]]]:
        """All verdicts on an image at a time; an error comes after those that were complete."""
        found: list[Verdict] = []
        stopped_by: AlphaBenchError | None = None
        while True:
            try:
                verdict = next(verdicts, None)
            except AlphaBenchError as error:
                verdict, stopped_by = None, error
            if found and (verdict is None or verdict.image_id != found[0].image_id):
                yield found[0].image_id, found
                found = []
            if verdict is None:
                break
            found.append(verdict)
        if stopped_by is not None:
            raise stopped_by

    def _record(self, image: GeneratedImage, verdicts: Sequence[Verdict]) -> None:
        assert self._folder is not None
        if not self._has_begun:
            self._folder.write_evaluation(self._evaluation.id, self._evaluation.identity)
            self._has_begun = True
        self._folder.append_verdicts(
            self._evaluation.id,
            [StoredVerdict(image_sha256=image.sha256, verdict=one) for one in verdicts],
        )
        self.scored.add(image.id)
        self._advance(unscored=any(one.status != "scored" for one in verdicts))


def overlapped_scoring(
    evaluation: Evaluation,
    benchmark: Benchmark,
    *,
    device: str,
    all_samples: Sequence[Sample],
    progress: Progress,
    phase: str,
    turns: JudgeTurns,
) -> OverlappedScoring | None:
    """Scoring beside generation, for evaluators that ask a remote judge; None for all others.

    Others compute on the devices that generate, or may not be used in another thread.
    """
    evaluator: Evaluator = evaluation.open(device=device)
    judge = remote_judge_of(evaluator)
    if judge is None or not isinstance(evaluator, ScoresStreams):
        return None
    return OverlappedScoring(
        evaluator,
        evaluation,
        benchmark,
        all_samples=all_samples,
        most_images=_BATCHES * evaluator.batch_size,
        progress=progress,
        phase=phase,
        turn=turns.of(judge),
    )
