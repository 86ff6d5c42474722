"""Generates the images that are missing from a run folder.

What was generated before is kept, unless it was deleted or altered. Knows no benchmark's rules, no
model and no evaluator.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Final

from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Benchmark, HasAddress, PortableBenchmark
from alphabench.runs.engines import RemoteEngine
from alphabench.runs.evaluator_loading import ExecutionPlace
from alphabench.runs.job_handlers import open_generation
from alphabench.runs.overlapped_scoring import ImageSink, NoSink
from alphabench.runs.plan import RunPlan
from alphabench.runs.progress import Progress, begin_phase
from alphabench.runs.reasons import frequent_reasons
from alphabench.runs.sharding import unmerged_shards
from alphabench.runs.store import BENCHMARK_FILE, RunFolder
from alphabench.runs.workers import LostJob, Opener, run_jobs
from alphabench.types import GeneratedImage, ImageRequest, NotGenerated

_HOPELESS_AFTER: Final = 16


def generate_images(plan: RunPlan, work: ExecutionPlace) -> RunFolder:
    """Generate the images that are missing from the run folder.

    An image that was deleted or altered since it was generated is generated again; an altered one
    is renamed, not overwritten.
    """
    with ExitStack() as held:
        return generate_into(plan, work, held)


def generate_into(
    plan: RunPlan,
    work: ExecutionPlace,
    held: ExitStack,
    *,
    folder: RunFolder | None = None,
    sink: ImageSink | None = None,
) -> RunFolder:
    """`generate_images`, with the folder's lock in `held`.

    Args:
        plan: which images, and from which checkpoint.
        work: devices and progress.
        held: gets the lock.
        folder: the plan's run folder, if it is open already.
        sink: is told of each image as soon as it is recorded.
    """
    if remark := unmerged_shards(plan.root, plan.manifest.shard):
        work.progress.note(remark)
    folder, sink = folder or RunFolder.create(plan.root, plan.manifest), sink or NoSink()
    held.enter_context(folder.locked())
    with ExitStack() as stack:
        _keep_benchmark(plan.benchmark, folder)
        missing = _missing_requests(plan, folder, work.progress)
        share_folder(folder.root, work)
        known = folder.not_made()
        for request in plan.requests:
            if (reason := plan.refusals.get(request.id)) and request.id not in known:
                folder.append_not_made(request.id, NotGenerated(status="refused", reason=reason))
        able = len(plan.requests) - len(plan.refusals)
        where = plan.generator.address if isinstance(plan.generator, HasAddress) else ""
        first = f"waiting for {where}" if where else "loading weights, then the first images"
        phase = work.phase("generating")
        begin_phase(work.progress, phase, total=able, done=able - len(missing), first=first)

        def record(image: GeneratedImage) -> None:
            folder.append_image(image)
            sink.add(image)

        is_here = work.engine is None and len(work.devices) == 1
        opener: Opener[ImageRequest, GeneratedImage | NotGenerated] = partial(
            open_generation,
            plan.checkpoint.open,
            plan.root,
            plan.manifest.fingerprint,
            record=record if is_here else None,
        )
        outcomes = run_jobs(
            opener,
            missing,
            devices=work.devices,
            batch_size=plan.generator.batch_size,
            note=work.progress.note,
            engine=work.engine,
        )
        stack.enter_context(sink.receiving(folder, {request.id for request in missing}))
        failures: list[str] = []
        n_done = n_made = 0
        enough = _hopeless_after(plan.generator.batch_size, len(work.devices))
        with closing(outcomes):
            for outcome in outcomes:
                made = (
                    NotGenerated(status="failed", reason=outcome.reason)
                    if isinstance(outcome, LostJob)
                    else outcome.result
                )
                n_done += 1
                if isinstance(made, GeneratedImage):
                    if not is_here:
                        record(made)
                    n_made += 1
                else:
                    folder.append_not_made(outcome.job.id, made)
                    sink.add(None)
                    failures += [made.reason] if made.status == "failed" else []
                work.progress.advance(unscored=isinstance(made, NotGenerated))
                if not n_made and len(failures) >= enough:
                    break
        work.progress.end()
        if failures and not n_made and len(failures) in (n_done, enough):
            _give_up(folder, failures, work.progress, n_left=len(missing) - n_done)
    return folder


def _hopeless_after(batch_size: int, n_workers: int) -> int:
    """The number of failures without any image after which generation stops.

    A multiple of the batch size, so that all results of a batch are recorded first.
    """
    return batch_size * -(-_HOPELESS_AFTER // batch_size) * n_workers


def _give_up(
    folder: RunFolder, failures: Sequence[str], progress: Progress, *, n_left: int
) -> None:
    """Stop if the folder has no image; else continue with the images of earlier runs.

    Raises:
        AlphaBenchError: there is nothing to score.
    """
    ((reason, count),) = frequent_reasons(failures, 1)
    often = "all" if count == len(failures) else str(count)
    what = f"the first {len(failures)} images all failed, {often} of them with: {reason}"
    if not folder.images():
        raise AlphaBenchError(
            what, hint="correct that and give the same command again; failed images are retried"
        )
    progress.note(f"{what}; {n_left} images were not tried any more")


def _missing_requests(plan: RunPlan, folder: RunFolder, progress: Progress) -> list[ImageRequest]:
    records = folder.images()
    damage = folder.damage(records[r.id] for r in plan.requests if r.id in records)
    for name, what in damage.items():
        saved = f", saved as {folder.set_aside(records[name]).name}" if what == "altered" else ""
        progress.note(f"image {name} was {what} since it was made{saved}; it is made again")
    missing = [
        request
        for request in plan.requests
        if (request.id not in records or request.id in damage) and request.id not in plan.refusals
    ]
    # Requests that failed before come last: those that always fail then delay no others.
    tried = folder.not_made()
    return sorted(missing, key=lambda request: request.id in tried)


def share_folder(root: Path, work: ExecutionPlace) -> None:
    """Let workers on other machines read and write a run folder."""
    if isinstance(work.engine, RemoteEngine):
        work.engine.share(root)


def _keep_benchmark(benchmark: Benchmark, folder: RunFolder) -> None:
    """A run of a benchmark that is data alone can be scored without its file."""
    if isinstance(benchmark, PortableBenchmark) and folder.read_page(BENCHMARK_FILE) is None:
        folder.write_page(BENCHMARK_FILE, benchmark.portable)
