"""Run folders made through the store, with the answers that a test asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from alphabench import statistics
from alphabench.runs.store import Manifest, RunFolder, StoredVerdict, fingerprint, save_image
from alphabench.runs.stored_run import StoredEvaluation, StoredRun
from alphabench.types import (
    GeneratedImage,
    ImageRequest,
    NotGenerated,
    ProtocolName,
    Report,
    Sample,
    Status,
    Verdict,
)

Answer = float | tuple[Status, str] | NotGenerated | None
"""A value; a status with its reason; no image and why; or nothing done yet."""
IMAGES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A run folder and what it was made from."""

    folder: RunFolder
    evaluation: str
    samples: Sequence[Sample]

    @property
    def run(self) -> StoredRun:
        """As it is on disk now."""
        return StoredRun.of(self.folder)

    @property
    def scored(self) -> StoredEvaluation:
        return self.run.evaluation(self.evaluation)

    @property
    def report(self) -> Report:
        return self.folder.reports()[self.evaluation]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMaker:
    """Makes run folders below `root`."""

    root: Path
    samples: Sequence[Sample] = field(
        default_factory=lambda: [
            Sample(id=f"{i:05}", prompt=f"a picture of {i} cats", group=("one", "two")[i % 2])
            for i in range(12)
        ]
    )

    def __call__(
        self,
        checkpoint: str = "scene:",
        *,
        answer: Callable[[ImageRequest], Answer] = lambda _: 1.0,
        pixels: Mapping[str, str] | None = None,
        identity: Mapping[str, str] | None = None,
        samples: Sequence[Sample] | None = None,
        limit: int | None = None,
        split: str = "mini",
        evaluator: str = "nano",
    ) -> Made:
        of = list(samples or self.samples)[:limit]
        manifest = _manifest(checkpoint, split, limit, pixels or {})
        root = self.root / f"run-{len(list(self.root.iterdir()))}"
        folder = RunFolder.create(root, manifest)
        examined = {
            "detector": "tiny",
            "self_test": "on",
            "protocol": "official",
            **(identity or {}),
        }
        evaluation = f"{evaluator}-{examined['protocol']}-{fingerprint(examined)[:6]}"
        folder.write_evaluation(evaluation, examined)
        for sample in of:
            for index in range(IMAGES):
                _record(
                    folder, evaluation, ImageRequest(sample=sample, index=index, seed=7), answer
                )
        protocol: ProtocolName = "strict" if examined["protocol"] == "strict" else "official"
        report = _report(folder, evaluation, of, (split, protocol, evaluator, limit is not None))
        folder.write_report(evaluation, report)
        return Made(folder=folder, evaluation=evaluation, samples=of)


def _manifest(
    checkpoint: str, split: str, limit: int | None, pixels: Mapping[str, str]
) -> Manifest:
    benchmark = f"geneval@1:{split}" if split else "geneval@1"
    return Manifest(
        benchmark=benchmark,
        checkpoint=checkpoint,
        pixels={
            "benchmark": benchmark,
            "benchmark.data_digest": "5ab2abe224af3408",
            "benchmark.images_per_sample": str(IMAGES),
            "benchmark.prompt_style": "original",
            "checkpoint.name": checkpoint,
            "seed": "0",
            **pixels,
        },
        limit=limit,
        circumstances={
            "began": "2026-11-21T21:40:00+00:00",
            "command": ["/somewhere/bin/alphabench", "run", "geneval:mini", "--ckpt", checkpoint],
            "packages": {"pillow": "11.0"},
            "git": None,
        },
    )


def _record(
    folder: RunFolder,
    evaluation: str,
    request: ImageRequest,
    answer: Callable[[ImageRequest], Answer],
) -> None:
    said = answer(request)
    if said is None:
        return
    if isinstance(said, NotGenerated):
        folder.append_not_made(request.id, said)
        return
    image = Image.new("RGB", (24, 16), (request.index * 90, 120, int(request.sample.id) % 256))
    path, sha256 = save_image(folder.root, request, image, run="test")
    folder.append_image(GeneratedImage(request=request, path=path, sha256=sha256, seconds=0.1))
    value, status, reason = (said, "scored", "") if isinstance(said, float) else (None, *said)
    verdict = Verdict(
        image_id=request.id,
        question_id="correct",
        value=value,
        status=status,  # type: ignore[arg-type]
        detail={"reason": reason or ("" if value else "expected cat>=1, found 0")},
    )
    folder.append_verdicts(evaluation, [StoredVerdict(image_sha256=sha256, verdict=verdict)])


def _report(
    folder: RunFolder,
    evaluation: str,
    samples: Sequence[Sample],
    about: tuple[str, ProtocolName, str, bool],
) -> Report:
    verdicts = [stored.verdict for stored in folder.verdicts(evaluation)]
    clusters = statistics.gather(samples, verdicts, n_expected=IMAGES)
    headline = statistics.estimate(clusters, statistics.mean_of_groups)
    split, protocol, evaluator, partial = about
    return Report(
        benchmark="geneval",
        split=split,
        protocol=protocol,
        evaluator=evaluator,
        headline=headline,
        groups=statistics.group_estimates(clusters),
        coverage=headline.n_scored / headline.n_expected,
        partial=partial,
        bounds=statistics.bounds(clusters, statistics.mean_of_groups),
        statuses=statistics.count_statuses(samples, verdicts, n_expected=IMAGES),
    )
