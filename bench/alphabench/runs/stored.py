"""What a run folder holds, in the terms of its benchmark: samples, images, verdicts, absences.

Reads only. Whatever was expected and is not there has a reason. Knows no model and no file name.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence

from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.runs.plan import choose
from alphabench.runs.store import ImageRecord, RunFolder
from alphabench.types import (
    Benchmark,
    GeneratedImage,
    ImageRequest,
    NotMade,
    ProtocolName,
    Sample,
    Verdict,
    image_id,
)


def protocol_of(folder: RunFolder, evaluation: str) -> ProtocolName:
    """Under which protocol an evaluation was begun.

    Raises:
        AlphaBenchError: the folder has no such evaluation.
    """
    identity = folder.evaluation_identity(evaluation)
    if not identity:
        raise unknown_name("evaluation in this run", evaluation, folder.evaluations())
    return "strict" if identity.get("protocol") == "strict" else "official"


def complete_verdicts(
    folder: RunFolder,
    benchmark: Benchmark,
    evaluation: str,
    *,
    samples: Sequence[Sample] | None = None,
) -> list[Verdict]:
    """One verdict for each question about each image that the run was asked for, in order.

    Args:
        samples: from `samples_of`, when that was called already.
    """
    records = folder.images()
    damage = folder.damage(records.values())
    stored = {
        (one.verdict.image_id, one.verdict.question_id): one.verdict
        for one in folder.verdicts(evaluation)
        if one.verdict.image_id in records
        and records[one.verdict.image_id].sha256 == one.image_sha256
        and one.verdict.image_id not in damage
    }
    absent = _absences(folder, damage)
    found = []
    n_images = benchmark.card.images_per_sample
    for sample in samples_of(folder, benchmark) if samples is None else samples:
        for index in range(n_images):
            image = image_id(sample.id, index)
            for question in benchmark.questions(sample):
                verdict = stored.get((image, question))
                found.append(verdict or _absent(image, question, absent.get(image)))
    return found


def _absences(folder: RunFolder, damage: Mapping[str, str]) -> dict[str, NotMade]:
    broken = {
        name: NotMade(status="failed", reason=f"the image was {what} since it was made")
        for name, what in damage.items()
    }
    return {**folder.not_made(), **broken}


def _absent(image: str, question: str, why: NotMade | None) -> Verdict:
    return Verdict(
        image_id=image,
        question_id=question,
        value=None,
        status=why.status if why else "missing",
        detail={"reason": why.reason if why else "no image or no verdict yet"},
    )


def stored_images(
    folder: RunFolder, benchmark: Benchmark, *, samples: Sequence[Sample] | None = None
) -> Iterator[GeneratedImage]:
    """The images of the run that were made, in the benchmark's order, damaged ones too.

    Args:
        samples: from `samples_of`, when that was called already.
    """
    records = folder.images()
    n_images = benchmark.card.images_per_sample
    for sample in samples_of(folder, benchmark) if samples is None else samples:
        for index in range(n_images):
            if record := records.get(image_id(sample.id, index)):
                yield _stored_image(folder, sample, index, record)


def unasked(
    folder: RunFolder,
    benchmark: Benchmark,
    evaluation: str,
    *,
    samples: Sequence[Sample],
    without: Container[str] = (),
) -> list[GeneratedImage]:
    """The images whose questions are not all scored on their present content.

    Args:
        samples: from `samples_of`.
        without: images that are left out.
    """
    scored: set[tuple[str, str]] = set()
    unscored: set[tuple[str, str]] = set()
    for stored in folder.verdicts(evaluation):
        about = (stored.verdict.image_id, stored.image_sha256)
        (scored if stored.verdict.status == "scored" else unscored).add(about)
    done = scored - unscored
    return [
        image
        for image in stored_images(folder, benchmark, samples=samples)
        if (image.id, image.sha256) not in done and image.id not in without
    ]


def _stored_image(
    folder: RunFolder, sample: Sample, index: int, record: ImageRecord
) -> GeneratedImage:
    return GeneratedImage(
        request=ImageRequest(sample=sample, index=index, seed=record.seed),
        path=folder.root / record.path,
        sha256=record.sha256,
        seconds=record.seconds,
    )


def samples_of(folder: RunFolder, benchmark: Benchmark) -> list[Sample]:
    """The samples that the run was asked for."""
    seed = int(folder.manifest.pixels["seed"])
    return choose(benchmark.samples(), folder.manifest.limit, seed=seed)


def check_same_data(folder: RunFolder, benchmark: Benchmark) -> None:
    """Refuse to read a run by other data than it was made for.

    Raises:
        AlphaBenchError: the digests differ.
    """
    ours, theirs = folder.manifest.pixels["benchmark.data_digest"], benchmark.card.data_digest
    if ours != theirs:
        raise AlphaBenchError(
            f"{str(folder.root)!r} was made for other data of {folder.manifest.benchmark!r} "
            f"({ours[:12]}, not {theirs[:12]})",
            hint="use the version of alphabench that made it, or start a new run",
        )
