"""The model card of trained weights, README.md: what they are, how they load, what was measured.

Every number is read from the training's own records; what is not known is not stated. Everything
that a user wrote is escaped and freed of folders and addresses first. Its head is the hub client's
(`ModelCardData`). Writes nothing and asks no network.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from alphabench.core.options import option_text
from alphabench.core.public_texts import public_text
from alphabench.reports.markdown import NOTHING, Align, inline, markdown_table, number
from alphabench.reports.run_report import stamps
from alphagrpo.publishing.base_model import BaseModel
from alphagrpo.publishing.public_recipe import public_recipe
from alphagrpo.publishing.trained_weights import (
    TrainingRecord,
    ValidatedRun,
    ValidatedScore,
    section,
)
from alphagrpo.publishing.usage_examples import PublishedWeights, code_block, usage_section

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

CURVES_PLOT: Final = "curves.svg"
RECIPE_COPY: Final = "training_recipe.yaml"
"""Not the name that a training's folder has it under: the exported folder is none."""
_VIEWS: Final = {
    "train": "`train`: as the optimiser left them",
    "ema": "`ema`: the moving average of the trained weights",
    "old": "`old`: the slow copy that the algorithm compares with",
}
_NO_LICENCE: Final = "unknown: no card of it that names one was found"
_LEFT: Final[Align] = "left"
_RIGHT: Final[Align] = "right"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedWeights:
    """An exported folder, as far as its card describes it."""

    name: str
    """Of the model: the repository's, or the folder's."""
    place: str
    """What loads it: the hub id, or the folder's name."""
    on_hub: bool
    adapter: bool
    """A LoRA alone; otherwise complete weights."""
    unchanged: bool
    """As before the first training step."""
    base: BaseModel | None
    record: TrainingRecord


def model_card(exported: ExportedWeights) -> str:
    """The content of README.md."""
    from huggingface_hub import ModelCard

    parts = [f"# {inline(exported.name)}", *_introduction(exported), *_facts(exported)]
    parts += ["## Use", *usage_section(_published(exported))]
    if not exported.on_hub:
        parts.append(f"{inline(exported.place)} is this folder.")
    parts += ["## Scores", *_scores(exported.record), *_recipe(exported.record)]
    body = "\n\n".join(parts)
    return str(ModelCard(f"---\n{_head(exported).to_yaml()}\n---\n\n{body}\n"))


def _head(exported: ExportedWeights) -> ModelCardData:
    from huggingface_hub import ModelCardData

    base, record = exported.base, exported.record
    diffusers = base is not None and base.kind == "diffusers"
    library = "diffusers" if diffusers else "peft" if exported.adapter else "alphabench"
    pipeline = _pipeline_tag(record)
    kinds = [record.setting("training", part, "kind") for part in ("image", "text")]
    tags = ["alphabench", "alphagrpo", "reinforcement-learning", *(["lora"] * exported.adapter)]
    tags += [
        kind
        for kind in kinds
        if isinstance(kind, str) and kind.isidentifier() and kind not in ("none", *tags)
    ]
    rest: dict[str, Any] = dict(base.licence) if base is not None else {}
    if base is not None and base.repo is not None:
        rest["base_model"] = base.repo
        rest["base_model_relation"] = "adapter" if exported.adapter else "finetune"
    return ModelCardData(library_name=library, pipeline_tag=pipeline, tags=tags, **rest)


def _pipeline_tag(record: TrainingRecord) -> str:
    return "image-to-image" if record.setting("task", "kind") == "edit" else "text-to-image"


def _introduction(exported: ExportedWeights) -> Iterator[str]:
    what = "A LoRA adapter for" if exported.adapter else "Complete weights of"
    base = exported.base
    if base is None:
        named = "a base model that its training's records do not name"
    elif base.repo is not None:
        named = f"[{inline(base.name)}](https://huggingface.co/{base.repo})"
    else:
        named = inline(base.name)
    version = importlib.metadata.version("alphabench")
    yield (
        f"{what} {named}, trained by reinforcement learning with the method of "
        f"[AlphaGRPO](https://arxiv.org/abs/2605.12495). Exported by AlphaBench {version}."
    )
    if exported.unchanged:
        yield (
            "**These weights are those from before the first training step: no validation was "
            "better than the one before training.**"
        )


def _facts(exported: ExportedWeights) -> Iterator[str]:
    rows = [[what, value] for what, value in _fact_rows(exported) if value]
    yield markdown_table(["what", "value"], rows, [_LEFT, _LEFT])
    if rewards := list(_reward_rows(section(exported.record.recipe, "rewards"))):
        yield "Rewards:"
        header = ["reward", "kind", "weight", "trains", "judge or evaluator"]
        yield markdown_table(header, rewards, [_LEFT, _LEFT, _RIGHT, _LEFT, _LEFT])


def _fact_rows(exported: ExportedWeights) -> Iterator[tuple[str, str]]:
    record, base = exported.record, exported.base
    of = record.setting
    if base is not None:
        yield "base model", inline(base.name)
        stated = base.licence.get("license_name") or base.licence.get("license")
        yield "licence of the base model", inline(stated) if stated else _NO_LICENCE
    yield "weights", _VIEWS.get(record.weights.view or "", "")
    if record.weights.step is not None:
        chosen = ", the best of the first validation" if record.weights.best else ""
        done = f" of {record.steps}" if record.steps else ""
        yield "training step", f"{record.weights.step}{done}{chosen}"
    yield "task", _text(of("task", "kind"))
    yield "image algorithm", _algorithm(of("training", "image"))
    yield "text algorithm", _algorithm(of("training", "text"))
    rank, alpha = of("training", "lora", "rank"), of("training", "lora", "alpha")
    yield "LoRA", f"rank {_text(rank)}, alpha {_text(alpha)}" if rank is not None else ""
    prompts, group = of("training", "prompts_per_step"), of("training", "group_size")
    if prompts is not None and group is not None:
        yield "a training step", f"{_text(prompts)} prompts, {_text(group)} samples of each"
    yield "learning rate", _text(of("training", "optimiser", "lr"))
    yield "prompts", _text(of("prompts", "source"))
    yield "seed of the training", _text(of("training", "seed"))
    versions = {score.run.version for score in record.scores if score.run is not None}
    yield "trained with AlphaBench", ", ".join(sorted(map(inline, filter(None, versions))))


def _text(value: Any) -> str:
    """A value of a recipe as a table's cell; empty for one that is absent."""
    return "" if value is None else inline(public_text(option_text(value)))


def _algorithm(settings: Any) -> str:
    kind = settings.get("kind") if isinstance(settings, dict) else None
    return "" if kind in (None, "none") else _text(kind)


def _reward_rows(rewards: Mapping[str, Any], prefix: str = "") -> Iterator[list[str]]:
    for name, reward in rewards.items():
        if not isinstance(reward, dict):
            continue
        measured = [reward.get(key) for key in ("benchmark", "evaluator", "judge")]
        yield [
            inline(public_text(f"{prefix}{name}")),
            _text(reward.get("kind")) or NOTHING,
            _text(reward.get("weight")) or NOTHING,
            _text(reward.get("credits")) or NOTHING,
            ", ".join(_text(one) for one in measured if one is not None) or NOTHING,
        ]
        yield from _reward_rows(section(reward, "of"), prefix=f"{prefix}{name} / ")


def _scores(record: TrainingRecord) -> Iterator[str]:
    for note in record.notes:
        yield f"> {inline(public_text(note), 300)}"
    if record.scores:
        yield _score_table(record.scores)
        yield (
            "Intervals are at 95%. A difference is over the same prompts, with the same seeds; the "
            "weights before training are those of the base model."
        )
        for score in record.scores:
            yield from _remarks(score)
    elif not record.notes:
        yield "These weights were not validated, so no score is stated."
    if record.curves:
        yield (
            "The training's validations and rewards"
            + ("" if record.scores else ", at other steps or of other weights")
            + f":\n\n![Validations and rewards of the training]({CURVES_PLOT})"
        )


def _score_table(scores: Sequence[ValidatedScore]) -> str:
    header = ["benchmark", "before training", "these weights", "difference", "prompts"]
    align = [_LEFT, *[_RIGHT] * 4]
    return markdown_table(header, [_score_row(score) for score in scores], align)


def _score_row(score: ValidatedScore) -> list[str]:
    point, start, rise = score.point, score.start, score.point.from_start
    before = difference = NOTHING
    if start is not None:
        before = _estimate(start.value, start.low, start.high)
    if start is not None and rise is not None:
        difference = f"{rise.value:+.3f} [{rise.low:+.3f}, {rise.high:+.3f}]"
    measured = _estimate(point.value, point.low, point.high)
    prompts = str(point.samples) if point.value is not None else NOTHING
    return [inline(point.name), before, measured, difference, prompts]


def _estimate(value: float | None, low: float | None, high: float | None) -> str:
    """A missing value is a word of its own, never a number."""
    if value is None:
        return "not measured"
    return f"{number(value)} [{number(low)}, {number(high)}]"


def _remarks(score: ValidatedScore) -> Iterator[str]:
    name, run = inline(score.point.name), score.run
    if run is not None:
        for stamp, meaning in stamps(run.report, run.manifest, run.identity):
            yield f"> **{stamp}**, {name}: {_prose(meaning)}"
        yield f"{name} is {', '.join(_measurement(run))}."
    elif score.point.value is not None:
        yield f"{name}: how it was measured is unknown, as its run folder cannot be read."
    if score.decided:
        yield (
            f"The weights were chosen by the highest score on {name}, so that score is "
            "optimistic. Another benchmark, or other seeds, give a number to quote."
        )


def _measurement(run: ValidatedRun) -> Iterator[str]:
    yield inline(run.manifest.benchmark)
    yield f"{run.report.protocol} protocol"
    yield f"evaluator {inline(public_text(run.report.evaluator))}"
    if run.judge:
        yield f"judge {inline(public_text(run.judge))}"
    yield f"images of each prompt: {run.images_per_sample}"
    yield f"{run.report.coverage:.0%} of the verdicts scored"
    yield f"seed {inline(run.manifest.pixels['seed'])}"
    if run.began:
        yield f"began {inline(run.began)}"


def _prose(meaning: str) -> str:
    """The meaning of a stamp. It may contain data; its code marks do not come from data."""
    return inline(public_text(meaning), 400).replace("\\`", "`")


def _recipe(record: TrainingRecord) -> Iterator[str]:
    if not record.recipe:
        return
    yield "## Recipe"
    yield (
        f"[{RECIPE_COPY}]({RECIPE_COPY}) repeats the training with `alphabench train "
        f"{RECIPE_COPY}`. Folders and addresses of the machine it ran on are left out: give your "
        "own."
    )
    block = code_block(public_recipe(record.recipe), "yaml")
    yield f"<details>\n<summary>The whole recipe</summary>\n\n{block}\n\n</details>"


def _published(exported: ExportedWeights) -> PublishedWeights:
    options = section(section(exported.record.recipe, "policy"), "options")
    validations = exported.record.recipe.get("validation")
    names = [one.get("benchmark") for one in validations or [] if isinstance(one, dict)]
    benchmark = names[0] if names and isinstance(names[0], str) else "geneval:mini"
    return PublishedWeights(
        place=exported.place,
        adapter=exported.adapter,
        base=exported.base,
        options={str(key): option_text(value) for key, value in options.items()},
        benchmark=public_text(benchmark),
    )
