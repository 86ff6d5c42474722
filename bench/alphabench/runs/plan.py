"""What a run will do: samples, seeds, run folder and evaluator, decided before the first image.

Knows no benchmark's rules and no model; generates and writes nothing.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import (
    AdaptsToBenchmark,
    Benchmark,
    Evaluator,
    Generator,
    Licensed,
    Selective,
    SuggestsEvaluator,
)
from alphabench.questions import Judge, judge_on_device
from alphabench.runs.sharding import RunShard, deal, shard_folder
from alphabench.runs.store import Manifest, RunFolder, fingerprint
from alphabench.types import ImageRequest, Sample
from alphabench.weights.memory import device_title

RUNS: Final = Path("runs")
"""The default location of run folders."""
LONGEST_LABEL: Final = 64
"""The maximum length of a label, and of a folder's name without its digest."""
PACKAGES: Final = ("alphabench", "torch", "transformers", "diffusers", "open-clip-torch", "pillow")
"""Those whose versions may change an image or a score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFactory:
    """A named checkpoint that can be opened on any device."""

    name: str
    open: Callable[..., Generator]
    """Called with `device=`; picklable when several devices are used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What a run will do."""

    benchmark: Benchmark
    checkpoint: CheckpointFactory
    all_samples: Sequence[Sample]
    """All samples of the benchmark, read once a run."""
    samples: Sequence[Sample]
    """Those of the run."""
    requests: Sequence[ImageRequest]
    refusals: Mapping[str, str]
    """Image id -> why the checkpoint cannot make it."""
    generator: Generator
    """The opened checkpoint; its weights are not loaded yet."""
    manifest: Manifest
    root: Path

    @property
    def evaluator(self) -> str:
        """The default evaluator for this benchmark and checkpoint."""
        return suggested_evaluator(self.generator, self.benchmark)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A named evaluator with its identity, which can be opened on any device."""

    name: str
    """As in reports: `nano`, `mask2former`."""
    open: Callable[..., Evaluator]
    """Called with `device=`; picklable when several devices are used."""
    identity: Mapping[str, str]
    licences: Mapping[str, str]
    """Of its models: model -> licence."""

    @property
    def id(self) -> str:
        """The name of this evaluation's files: evaluator, protocol and a digest of the identity."""
        return f"{self.name}-{self.identity['protocol']}-{fingerprint(self.identity)[:6]}"


def checkpoint_factory(
    spec: str, *, options: Mapping[str, str] | None = None, lora: str | None = None
) -> CheckpointFactory:
    """A checkpoint by spec, opened separately on each device; see `open_checkpoint`."""
    from alphabench.checkpoints import open_checkpoint

    described = "&".join(f"{key}={value}" for key, value in sorted((options or {}).items()))
    name = "".join([spec, f" {described}" if described else "", f" +{lora}" if lora else ""])
    return CheckpointFactory(
        name=name, open=partial(open_checkpoint, spec, options=options or {}, lora=lora)
    )


def seed_of(run_seed: int, sample_id: str, index: int) -> int:
    """The seed of one image, 0 <= seed < 2**31, from the run's seed, the sample and the index."""
    digest = hashlib.sha256(f"{run_seed}/{sample_id}/{index}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def choose_samples(
    samples: Sequence[Sample], limit: int | None, *, seed: int, shard: RunShard | None = None
) -> list[Sample]:
    """A subset with all groups in proportion, in the order of `samples`; None takes all.

    Seeded and nested: a larger limit includes all samples of a smaller one, and moves none to
    another shard.

    Args:
        samples: all of them.
        limit: how many, of all shards together.
        seed: of the run.
        shard: of those that the limit leaves, the part that is taken; see `deal`.

    Raises:
        AlphaBenchError: a limit below 1.
    """
    if limit is None and shard is None:
        return list(samples)
    if limit is not None and limit < 1:
        raise AlphaBenchError(
            f"--limit cannot be {limit}", hint="give a whole number of at least 1"
        )
    ranked = ranked_samples(samples, seed=seed)[:limit]
    chosen = {sample.id for sample in ranked}
    if shard is not None:
        shards = deal(ranked, shard.of)
        chosen = shards[shard.number - 1] if shard.number <= len(shards) else set()
    return [sample for sample in samples if sample.id in chosen]


def ranked_samples(samples: Sequence[Sample], *, seed: int) -> list[Sample]:
    """All samples in the order in which a larger limit adds them."""
    groups: dict[str, list[Sample]] = {}
    for sample in sorted(samples, key=lambda s: seed_of(seed, s.id, -1)):
        groups.setdefault(sample.group, []).append(sample)
    places = {
        sample.id: ((rank + 0.5) / len(members), group, sample.id)
        for group, members in groups.items()
        for rank, sample in enumerate(members)
    }
    return sorted(samples, key=lambda sample: places[sample.id])


def plan_run(
    benchmark: Benchmark,
    checkpoint: CheckpointFactory,
    *,
    out: Path | None = None,
    label: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    shard: RunShard | None = None,
    device: str = "cpu",
) -> RunPlan:
    """Open the checkpoint (without weights) and check all that can be checked before generating.

    Args:
        out: the run folder; None names one below `runs` in the working directory.
        label: what tables call the run instead of its checkpoint, and the name of its folder
            unless `out` names another; decides no image.
        shard: the part of the samples that this run generates, in a folder beside `out`.

    Raises:
        AlphaBenchError: whatever makes the run impossible.
    """
    card = benchmark.card
    folder_name = "" if label is None else _folder_of_label(label)
    checkpoint = replace(checkpoint, open=partial(_open_suited, checkpoint.open, card.name))
    generator = checkpoint.open(device=device)
    all_samples = benchmark.samples()
    n_samples = len(all_samples) if limit is None else min(limit, len(all_samples))
    samples = choose_samples(all_samples, limit, seed=seed, shard=shard)
    if shard is not None and not samples:
        raise AlphaBenchError(
            f"{shard} has no sample: the run has {n_samples}",
            hint=f"divide it into at most {n_samples} shards",
        )
    _refuse_lookalikes(samples)
    requests = requests_for(samples, card.images_per_sample, seed=seed)
    pixels = {
        "benchmark": card.id,
        "benchmark.data_digest": card.data_digest,
        "benchmark.images_per_sample": str(card.images_per_sample),
        "benchmark.prompt_style": card.prompt_style,
        "seed": str(seed),
        **{f"checkpoint.{key}": value for key, value in generator.identity.items()},
    }
    manifest = Manifest(
        benchmark=card.id,
        checkpoint=checkpoint.name,
        pixels=pixels,
        limit=None if n_samples == len(all_samples) else n_samples,
        circumstances={
            **_circumstances(),
            "evaluator": suggested_evaluator(generator, benchmark),
            **({} if label is None else {"label": label}),
            **({} if shard is None else _where(device)),
        },
        shard=shard,
    )
    root = out or RUNS / _slug(card.name) / (folder_name or _default_name(manifest))
    refusals = generator.refusals(requests) if isinstance(generator, Selective) else {}
    if refusals and len(refusals) == len(requests):
        raise AlphaBenchError(
            f"{checkpoint.name!r} can make none of these images: {next(iter(refusals.values()))}",
            hint="choose another benchmark or checkpoint",
        )
    return RunPlan(
        benchmark=benchmark,
        checkpoint=checkpoint,
        all_samples=all_samples,
        samples=samples,
        requests=requests,
        refusals=refusals,
        generator=generator,
        manifest=manifest,
        root=root if shard is None else shard_folder(root, shard),
    )


def _default_name(manifest: Manifest) -> str:
    return f"{_slug(manifest.checkpoint)}-{manifest.fingerprint[:6]}"


def _folder_of_label(label: str) -> str:
    """The label as the name of a folder.

    Raises:
        AlphaBenchError: it has no letter and no digit, or is longer than a folder's name.
    """
    name = re.sub(r"[^A-Za-z0-9._+-]+", "-", label).strip("-.")
    if not name or len(label) > LONGEST_LABEL or not label.isprintable():
        raise AlphaBenchError(
            f"--name cannot be {label!r}",
            hint=f"give at most {LONGEST_LABEL} characters, with letters or digits: "
            "--name sd35-step-800",
        )
    return name


def _refuse_lookalikes(samples: Iterable[Sample]) -> None:
    """Each sample has a folder, and many file systems ignore the case of names.

    Raises:
        AlphaBenchError: two samples would share one.
    """
    known: dict[str, str] = {}
    for sample in samples:
        if (other := known.setdefault(sample.id.casefold(), sample.id)) != sample.id:
            raise AlphaBenchError(
                f"the samples {other!r} and {sample.id!r} differ in capitals alone and would share "
                "a folder on some file systems",
                hint="rename one of them in the benchmark's data",
            )


def _open_suited(
    open_generator: Callable[..., Generator], benchmark: str, *, device: str
) -> Generator:
    generator = open_generator(device=device)
    return (
        generator.for_benchmark(benchmark)
        if isinstance(generator, AdaptsToBenchmark)
        else generator
    )


def suggested_evaluator(generator: Generator, benchmark: Benchmark) -> str:
    """The evaluator that the generator suggests, or else the benchmark's default."""
    known = benchmark.card.evaluators
    suits = generator.suggested_evaluator if isinstance(generator, SuggestsEvaluator) else None
    return suits if suits in known else known[0]


def usual_evaluator(folder: RunFolder, benchmark: Benchmark) -> str:
    """The default evaluator for a run folder: the one that scored it before, or the suggested one.

    The folder may be untrusted: it can name an evaluator, but set no option of one.
    """
    known = benchmark.card.evaluators
    recorded = folder.manifest.circumstances.get("evaluator")
    suits = recorded if recorded in known else known[0]
    before = {evaluation.partition("-")[0] for evaluation in folder.evaluations()}
    if len(before) == 1 and suits not in before and before <= set(known):
        return before.pop()
    return suits


def licences_of(part: Generator | Evaluator) -> Mapping[str, str]:
    """Model -> licence, as far as the part knows."""
    return part.licences if isinstance(part, Licensed) else {}


def requests_for(
    samples: Sequence[Sample], images_per_sample: int, *, seed: int
) -> list[ImageRequest]:
    """One request for each image of each sample, in order.

    Args:
        samples: what to generate images for.
        images_per_sample: as the benchmark's card says.
        seed: of the run; each image's seed follows from it.
    """
    return [
        ImageRequest(sample=sample, index=index, seed=seed_of(seed, sample.id, index))
        for sample in samples
        for index in range(images_per_sample)
    ]


def open_evaluation(
    benchmark: Benchmark,
    spec: str,
    *,
    judge: Judge | None = None,
    device: str = "cpu",
    moves_judge: bool = False,
) -> Evaluation:
    """Choose the evaluator, without loading its models.

    Args:
        benchmark: that is scored.
        spec: `name?key=value&...`.
        judge: for benchmarks that need one.
        device: of the evaluator that is asked for its identity.
        moves_judge: each worker puts the judge on its own device, as if it had been opened there;
            otherwise it stays where its owner put it.

    Raises:
        AlphaBenchError: unknown name or option, or a judge is missing.
    """
    open_evaluator = partial(evaluator_on_device, benchmark, spec, judge, moves_judge)
    evaluator = open_evaluator(device=device)
    return Evaluation(
        name=spec.partition("?")[0],
        open=open_evaluator,
        identity={**evaluator.identity, "protocol": benchmark.card.protocol},
        licences=licences_of(evaluator),
    )


def evaluator_on_device(
    benchmark: Benchmark, spec: str, judge: Judge | None, moves_judge: bool, *, device: str
) -> Evaluator:
    """The evaluator for a device; see `open_evaluation`."""
    if judge is not None and moves_judge:
        judge = judge_on_device(judge, device)
    return benchmark.evaluator(spec, judge=judge, device=device)


def unscorable(plan: RunPlan, evaluation: Evaluation, *, device: str) -> str:
    """How many images the evaluator cannot score, and why; empty if none.

    Raises:
        AlphaBenchError: more than half of those that the checkpoint can make.
    """
    evaluator = evaluation.open(device=device)
    able = [request for request in plan.requests if request.id not in plan.refusals]
    refusals = evaluator.refusals(able) if isinstance(evaluator, Selective) else {}
    if not refusals:
        return ""
    reason = (
        f"{evaluation.name!r} cannot score {len(refusals)} of these {len(able)} images: "
        f"{next(iter(refusals.values()))}"
    )
    if 2 * len(refusals) > len(able):
        others = [name for name in plan.benchmark.card.evaluators if name != evaluation.name]
        raise AlphaBenchError(
            reason, hint=f"choose another evaluator: --evaluator {' or '.join(others)}"
        )
    return reason


def _slug(name: str) -> str:
    words = re.sub(r"[^a-z0-9.]+", "-", name.casefold()).strip("-.")
    if len(words) > LONGEST_LABEL:
        # What was done to a checkpoint stands at the beginning, which checkpoint it is at the end.
        half = LONGEST_LABEL // 2
        words = f"{words[:half].strip('-.')}-{words[-half:].strip('-.')}"
    return words or "run"


def _circumstances() -> dict[str, Any]:
    return {
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": dict(package_versions(PACKAGES)),
        "git": _git_state(),
    }


def _where(device: str) -> dict[str, str]:
    """The machine and its first device: the shards of a run may have different ones."""
    return {"host": platform.node(), "device": device_title(device)}


def package_versions(packages: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Name and version of those that are installed."""
    versions = ((package, _version_of(package)) for package in packages)
    return [(package, version) for package, version in versions if version is not None]


@cache
def _version_of(package: str) -> str | None:
    """Read once: a process may plan many runs."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_state() -> str | None:
    """Commit of the working directory, `-dirty` with local changes; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            command, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
