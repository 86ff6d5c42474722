"""What a run would do: for `--dry-run`. Generates, scores and writes nothing.

Says which images exist, how the checkpoint would sample, how large its weights are, how many
questions a judge would get and what they may cost, and what is missing. Knows no model and no
prices but those given.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.judge_evaluator import JudgeEvaluator
from alphabench.interfaces import (
    CanBeRetired,
    CountsMemory,
    Generator,
    HasAddress,
    MeasuresWeights,
    ShowsSettings,
)
from alphabench.questions import EstimatesCost, Judge, most_tokens, remote_judge_of
from alphabench.remote import credentials
from alphabench.runs.earlier_runs import EarlierRuns, pace_of
from alphabench.runs.factories import check_writable
from alphabench.runs.plan import RUNS, Evaluation, RunPlan, licences_of, open_evaluation, unscorable
from alphabench.runs.progress import duration
from alphabench.runs.store import RunFolder
from alphabench.runs.stored_run import StoredRun
from alphabench.types import GeneratedImage
from alphabench.weights.memory import GIB, WeightSize, free_bytes

T = TypeVar("T")
_UNKNOWN: Final = "0" * 64
"""Stands for the sha256 of an image that does not exist yet."""
_MOST_WRAPPERS: Final = 4
_LEAST_COUNTED: Final = GIB
"""Bytes of the smallest weights for which the memory of a generation is counted: others fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a run would do."""

    facts: Mapping[str, str]
    """What -> in words."""
    numbers: Mapping[str, Any]
    """The same for programs, in `--json` under `plan`: images, images_existing, where it is
    known seconds_per_image with the run that it is of (pace_from), settings, changed_settings,
    weights (in bytes: stored, loaded, free; None where they are not on this machine); for a large
    BAGEL peak_bytes; with a judge judge_calls, judge_tries, judge_most_tokens and, for a remote
    one, judge_most_usd (None where its prices are not given)."""
    missing: tuple[str, ...]
    """What prevents the run, and which images cannot be generated or scored."""
    refused: bool = False
    """Whether the run would be refused."""

    def to_json(self) -> dict[str, Any]:
        return {
            **self.facts,
            "missing": list(self.missing),
            "plan": {**self.numbers, "refused": self.refused},
        }

    def lines(self, width: int | None = None) -> list[str]:
        """One fact a line, then what is missing.

        Args:
            width: columns at which long facts are continued in the next line; None is no limit.
        """
        longest = max(map(len, self.facts))
        rows = [(f"{key:<{longest}}  ", value) for key, value in self.facts.items()]
        rows += [("missing: ", piece) for piece in self.missing]
        lines: list[str] = []
        for head, text in rows:
            indent = " " * len(head)
            lines += (
                [head + text]
                if width is None
                else textwrap.wrap(head + text, max(width, 40), subsequent_indent=indent)
            )
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines())


def preview(
    plan: RunPlan,
    evaluator: str,
    *,
    judge: Judge | None = None,
    device: str,
    earlier: EarlierRuns | None = None,
) -> Preview:
    """What the plan amounts to, with every obstacle that can be seen from here.

    Args:
        plan: of the run.
        evaluator: its spec.
        judge: for benchmarks that need one.
        device: the one that would be used.
        earlier: runs by which the time is estimated; None takes those below `runs`.
    """
    obstacles = _Obstacles()
    if plan.refusals:
        example = next(iter(plan.refusals.values()))
        obstacles.partial.append(
            f"{len(plan.refusals)} images that the checkpoint cannot make: {example}"
        )
    obstacles.watch(partial(check_writable, plan.root))
    folder = obstacles.watch(partial(_existing, plan))
    stored = StoredRun.of(folder) if folder is not None else None
    evaluation = obstacles.watch(
        partial(open_evaluation, plan.benchmark, evaluator, judge=judge, device=device)
    )
    asked = None
    if evaluation is not None:
        reason = obstacles.watch(partial(unscorable, plan, evaluation, device=device))
        obstacles.partial += [reason] if reason else []
        asked = _questions(plan, evaluation, stored, device=device)
    for address in _addresses(plan.generator, judge):
        obstacles.refusals += _without_key(address)
    images = _images(plan, stored, earlier or EarlierRuns([RUNS]))
    if images.numbers["images"] - images.numbers["images_existing"] > len(plan.refusals):
        obstacles.watch(partial(_check_served, plan.generator))
    if asked is None or asked.numbers["judge_calls"]:
        obstacles.watch(partial(_check_served, remote_judge_of(judge)))
    weights = _weights(plan.generator, device=device)
    settings = _settings(plan.generator)
    facts = {
        **_what(plan),
        **images.facts,
        **settings.facts,
        **weights.facts,
        "evaluator": evaluation.id if evaluation is not None else "none",
        **(asked.facts if asked is not None else {}),
        **_licences(plan, evaluation),
        "run folder": str(plan.root),
    }
    numbers = {**images.numbers, **settings.numbers, **weights.numbers}
    return Preview(
        facts=facts,
        numbers={**numbers, **(asked.numbers if asked is not None else {})},
        missing=(*obstacles.refusals, *obstacles.partial),
        refused=bool(obstacles.refusals),
    )


class _Obstacles:
    """What stands in the way, gathered instead of stopping at the first."""

    def __init__(self) -> None:
        self.refusals: list[str] = []
        self.partial: list[str] = []
        """They leave images out and do not stop the run."""

    def watch(self, look: Callable[[], T]) -> T | None:
        """The result of `look`; None where it raises, which is noted."""
        try:
            return look()
        except AlphaBenchError as error:
            self.refusals.append(f"{error.message}; {error.hint}")
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One part of a preview, in words and numbers."""

    facts: Mapping[str, str]
    numbers: Mapping[str, Any]


def _what(plan: RunPlan) -> dict[str, str]:
    card = plan.benchmark.card
    n_all = len(plan.all_samples)
    part = f"{plan.manifest.shard}, " if plan.manifest.shard is not None else ""
    limited = f" (PARTIAL, {part}of {n_all})" if len(plan.samples) < n_all else ""
    return {
        "benchmark": f"{card.id}, protocol {card.protocol}",
        "samples": f"{len(plan.samples)}{limited}",
    }


def _existing(plan: RunPlan) -> RunFolder | None:
    """The run folder as it is.

    Raises:
        AlphaBenchError: it holds another run, or something else.
    """
    return RunFolder.create(plan.root, plan.manifest) if _is_begun(plan.root) else None


def _is_begun(root: Path) -> bool:
    return (root / "manifest.json").exists()


def _images(plan: RunPlan, stored: StoredRun | None, earlier: EarlierRuns) -> _Part:
    known = stored.images if stored is not None else {}
    made = [known[request.id] for request in plan.requests if request.id in known]
    n_left = len(plan.requests) - len(plan.refusals) - len(made)
    text = f"{len(plan.requests)} ({plan.benchmark.card.images_per_sample} per sample)"
    facts = {"images": f"{text}, {len(made)} of them exist already" if made else text}
    numbers: dict[str, Any] = {"images": len(plan.requests), "images_existing": len(made)}
    if n_left <= 0:
        return _Part(facts=facts, numbers=numbers)
    own = pace_of(made, plan.root)
    if (pace := own or earlier.pace(plan.manifest)) is None:
        facts["time"] = "not known before the first image: no run here has any of this checkpoint"
        return _Part(facts=facts, numbers=numbers)
    rest = "the rest " if made else ""
    source = "so far" if pace is own else f"as in {pace.folder}"
    facts["time"] = (
        f"about {duration(pace.seconds * n_left)} to generate {rest}on one device, at "
        f"{pace.seconds:.2g} s an image {source}"
    )
    numbers["seconds_per_image"] = pace.seconds
    numbers["pace_from"] = str(pace.folder)
    return _Part(facts=facts, numbers=numbers)


def _innermost(generator: object, kind: type) -> Any:
    """The generator, or what it wraps as `base` or `handle`, that is of a kind; None without."""
    for _ in range(_MOST_WRAPPERS):
        if generator is None or isinstance(generator, kind):
            return generator
        generator = getattr(generator, "handle", None) or getattr(generator, "base", None)
    return None


def _settings(generator: Generator) -> _Part:
    shows: ShowsSettings | None = _innermost(generator, ShowsSettings)
    if shows is None:
        return _Part(facts={}, numbers={"settings": {}, "changed_settings": {}})
    now, before = dict(shows.settings), shows.default_settings
    changed = {key: value for key, value in now.items() if before.get(key) != value}
    first = [*changed, *(key for key in now if key not in changed)]
    facts = {"settings": "; ".join(f"{key}={now[key]}" for key in first)}
    if changed:
        facts["changed"] = "; ".join(
            f"{key}={value} (default {before[key]})"
            for key, value in changed.items()
            if key in before
        )
    return _Part(facts=facts, numbers={"settings": now, "changed_settings": changed})


def _weights(generator: Generator, *, device: str) -> _Part:
    measures: MeasuresWeights | None = _innermost(generator, MeasuresWeights)
    if measures is None:
        return _Part(facts={}, numbers={})
    size: WeightSize | None = measures.weight_size()
    if size is None:
        return _Part(
            facts={"weights": "size not known before they are on this machine"},
            numbers={"weights": None},
        )
    free = free_bytes(device)
    has = "" if free is None else f"; {device} has {_bytes(free)} free"
    facts = {
        "weights": f"{_bytes(size.stored)} on disk, {_bytes(size.loaded)} in memory without "
        f"activations{has}"
    }
    numbers: dict[str, Any] = {"weights": {**asdict(size), "free": free}}
    counts: CountsMemory | None = _innermost(generator, CountsMemory)
    if counts is not None and size.loaded >= _LEAST_COUNTED:
        numbers["peak_bytes"] = peak = counts.peak_bytes()
        if peak is not None:
            facts["peak memory"] = f"{_bytes(peak)}, counted from the operators of one batch"
    return _Part(facts=facts, numbers=numbers)


def _bytes(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / 2**20:.0f} MiB"


def _questions(
    plan: RunPlan, evaluation: Evaluation, stored: StoredRun | None, *, device: str
) -> _Part | None:
    """How many questions a judge would get; None without a judge, or if it is not known."""
    evaluator = evaluation.open(device=device)
    if not isinstance(evaluator, JudgeEvaluator):
        return None
    done = _scored(plan, evaluation, stored)
    images = [
        GeneratedImage(request=request, path=Path(f"{request.id}.png"), sha256=_UNKNOWN, seconds=0)
        for request in plan.requests
        if request.id not in plan.refusals and request.id not in done
    ]
    try:
        questions = [one for image in images for one in evaluator.questions_about(image)]
    except (OSError, ValueError):  # questions that depend on the image itself
        return None
    tries = getattr(evaluator.judge, "tries", 1)
    counted = f"{len(questions):,} about {len(images):,} images"
    more = f", each up to {tries} times where the reply cannot be parsed" if tries > 1 else ""
    facts = {"judge calls": f"{counted}{more}; answers in the cache are not asked again"}
    numbers: dict[str, Any] = {
        "judge_calls": len(questions),
        "judge_tries": tries,
        "judge_most_tokens": round(sum(sum(most_tokens(one)) for one in questions)),
    }
    remote: object = remote_judge_of(evaluator)
    most: list[float | None] = []
    if isinstance(remote, EstimatesCost):
        most = [remote.most_usd(one) for one in questions]
    known = [one for one in most if one is not None]
    if known and len(known) == len(questions):
        numbers["judge_most_usd"] = sum(known)
        facts["judge cost"] = (
            f"at most about ${sum(known):,.2f} if each is asked once (assumes 2,000 tokens an "
            "image, 2 characters a token and replies of full length)"
        )
    elif remote is not None:
        numbers["judge_most_usd"] = None
        facts["judge cost"] = (
            "not known; give dollars per million tokens: ?price_in=..&price_out=.."
        )
    return _Part(facts=facts, numbers=numbers)


def _scored(plan: RunPlan, evaluation: Evaluation, stored: StoredRun | None) -> set[str]:
    if stored is None:
        return set()
    todo = {one.id for one in stored.unscored_images(plan.samples, evaluation.id)}
    return {one.id for one in stored.generated_images(plan.samples)} - todo


def _addresses(generator: Generator, judge: Judge | None) -> list[str]:
    remote = remote_judge_of(judge)
    addresses = [] if remote is None else [remote.address]
    return [*([generator.address] if isinstance(generator, HasAddress) else []), *addresses]


def _check_served(part: object) -> None:
    """By what is known here: a preview asks no host.

    Raises:
        AlphaBenchError: the model of a generator or judge is switched off.
    """
    if isinstance(part, CanBeRetired):
        part.check_retirement(asks_host=False)


def _without_key(address: str) -> list[str]:
    """A sentence where OpenAI's host would be asked without a key, which it refuses."""
    host = (urlsplit(address.partition(",")[0]).hostname or "").lower()
    if host not in credentials.OPENAI_HOSTS or credentials.api_key(host):
        return []
    return [f"no API key for {host}; set OPENAI_API_KEY or ALPHABENCH_API_KEY"]


def _licences(plan: RunPlan, evaluation: Evaluation | None) -> dict[str, str]:
    card = plan.benchmark.card
    judged: Mapping[str, str] = evaluation.licences if evaluation is not None else {}
    models: Sequence[str] = [
        f"{_short(name)}: {licence}"
        for name, licence in {**licences_of(plan.generator), **judged}.items()
    ]
    return {
        "data licence": f"{card.licence} ({card.source})",
        "model licences": ", ".join(models) or "none to report",
    }


def _short(name: str) -> str:
    """A model's name, or the end of its folder's."""
    path = Path(name)
    return "/".join(path.parts[-2:]) if path.is_absolute() else name
