"""The names of a training's metrics: what each means, in which unit, and what is healthy.

`docs/training/metrics.md` shows this table, and a test holds the names that trainings log to it. An
image algorithm of one's own may log more (`ImageLossValues.monitored`). Knows no values.

In names, `<reward>` stands for the name of a reward in the recipe, `<part>` for a finer number of
it, `<view>` for weights (train, old, reference, ema, or before and probe: see `forward_passes`),
and `<expert>` for a group of trained modules.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

METRICS_VERSION: Final = 2
"""Of the names in a line of metrics.jsonl (key `version`); a line without it has those of 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One row of the table; several names that differ in the part alone share one."""

    names: tuple[str, ...]
    meaning: str
    unit: str
    healthy: str
    unhealthy: str
    """What it looks like when something is wrong, and what to do."""
    condition: str = ""
    """When it is logged; empty: always."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSection:
    """Rows under one heading."""

    title: str
    metrics: tuple[Metric, ...]


def metric_of(name: str) -> Metric | None:
    """The row of a logged name; None for a name that no row has."""
    for section in METRIC_SECTIONS:
        for metric in section.metrics:
            if any(matches(one, name) for one in metric.names):
                return metric
    return None


def matches(pattern: str, name: str) -> bool:
    """Whether a logged name is one of those that a name of the table stands for."""
    parts = re.split(r"(<[a-z]+>)", pattern)
    expression = "".join("[^/]+" if one[:1] == "<" else re.escape(one) for one in parts)
    return bool(re.fullmatch(expression, name))


def metrics_page_tables() -> str:
    """All sections as markdown, as they stand in `docs/training/metrics.md`."""
    parts = []
    for section in METRIC_SECTIONS:
        rows = ["| " + " | ".join(_cells(metric)) + " |" for metric in section.metrics]
        head = "| metric | meaning | healthy, and what to do otherwise |"
        parts.append("\n".join([f"### {section.title}", "", head, "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _cells(metric: Metric) -> tuple[str, str, str]:
    names = "<br>".join(f"`{name}`" for name in metric.names)
    unit = "" if metric.unit == "none" else f" Unit: {metric.unit}."
    when = f" Logged {metric.condition}." if metric.condition else ""
    state = f"**Healthy:** {metric.healthy}.<br>**Otherwise:** {metric.unhealthy}."
    return names, f"{metric.meaning}{unit}{when}", state


def _both(name: str) -> tuple[str, str]:
    return f"text/{name}", f"image/{name}"


_REWARDS: Final = (
    Metric(
        names=("reward/mean",),
        meaning="Weighted sum of the rewards, mean over the scored trajectories of the step.",
        unit="reward",
        healthy="rises over tens of steps, with noise from step to step",
        unhealthy="flat: see `zero_std_groups`, `grad_norm`, the learning rate. Rises while the"
        " held-out score falls: reward hacking; use `best/` and change the reward",
    ),
    Metric(
        names=("reward/std",),
        meaning="Standard deviation of the weighted sum over all trajectories of the step.",
        unit="reward",
        healthy="clearly above 0",
        unhealthy="near 0: all trajectories score alike and nothing is learned; use harder prompts,"
        " a finer reward or more sampling noise",
    ),
    Metric(
        names=("reward/<reward>/mean", "reward/<reward>/std"),
        meaning="The same of one reward, before its weight.",
        unit="reward",
        healthy="the reward that you care about carries the rise",
        unhealthy="one rises while another falls: change their weights, or"
        " `training.advantage.combine=separate`",
    ),
    Metric(
        names=("reward/<reward>/<part>/mean",),
        meaning="A finer number of a reward, such as `semantic`, `quality` or `questions` (judge"
        " questions per trajectory) of DVReward; mean over the trajectories that have it.",
        unit="as the reward says",
        healthy="all parts hold or rise",
        unhealthy="one part pays for another, such as `quality` for `semantic`",
        condition="if the reward reports parts",
    ),
    Metric(
        names=("task/<part>/reward/mean", "task/<part>/groups"),
        meaning="`reward/mean` of the groups of one task, such as `task/srr/reward/mean`, and their"
        " number.",
        unit="reward; groups",
        healthy="each rises; groups follow the weights of `task.mixed`",
        unhealthy="one falls while another rises: change their weights",
        condition="by mixed tasks",
    ),
    Metric(
        names=("reward/unscored_share",),
        meaning="Trajectories that a reward could not score. They are excluded from their group.",
        unit="0 to 1",
        healthy="0, or a few in a hundred",
        unhealthy="above 0.1: look at the judge's log; above `guards.unscored_share` the training"
        " stops",
    ),
)
_REFINEMENTS: Final = (
    Metric(
        names=("refinement/refined/mean", "refinement/initial/mean"),
        meaning="Reward of the refined images themselves, and of the images that they started from:"
        " weighted sum of the image rewards, before rectification.",
        unit="reward",
        healthy="their distance grows from its value at the first step, which is above 0 in any"
        " case where the worst of several images is refined (`choose: worst`)",
        unhealthy="`refined` falls below `initial`: refining makes images worse. Both rise alike:"
        " the model got better in one pass, and their distance cannot show whether it refines"
        " better;"
        " refine the same images at every point (`refine_from: start`)",
        condition="by the task srr",
    ),
    Metric(
        names=("refinement/improved_share",),
        meaning="Refinements that scored higher than the image that they started from.",
        unit="0 to 1",
        healthy="rises",
        unhealthy="near 0: with `rectify: init` no refinement earns more than its initial image,"
        " and groups have no variance",
        condition="by the task srr",
    ),
)
_GROUPS: Final = (
    Metric(
        names=_both("groups"),
        meaning="Groups (prompts) of the step.",
        unit="groups",
        healthy="`prompts_per_step`",
        unhealthy="fewer: the task did not make a trajectory for each prompt",
    ),
    Metric(
        names=_both("zero_std_groups"),
        meaning="Groups whose rewards are all equal, or no further apart than `zero_std_floor`: no"
        " gradient.",
        unit="groups",
        healthy="well below half of `groups`",
        unhealthy="most groups: the sampling is paid for and nothing is learned; use harder"
        " prompts, larger groups or a finer reward. `guards.flat_steps` steps in a row with all"
        " groups stop the training",
    ),
    Metric(
        names=(*_both("zero_std_share"), *_both("zero_std_floor")),
        meaning="The share of these among the groups with two scored trajectories, and the spread"
        " (sample standard deviation) up to which a group is one of them.",
        unit="0 to 1; reward",
        healthy="the share as `zero_std_groups`, the floor far below `reward/std`",
        unhealthy="most groups lie within the judge's noise: use a finer reward or a steadier"
        " judge, or lower `training.advantage.flat_below`",
        condition="with `training.advantage.flat_below` or `noise_images`",
    ),
    Metric(
        names=_both("small_groups"),
        meaning="Groups with fewer than two scored trajectories; they are not trained.",
        unit="groups",
        healthy="0",
        unhealthy="above 0: too many unscored trajectories",
    ),
    Metric(
        names=_both("trained_trajectories"),
        meaning="Trajectories with an advantage, which the updates use.",
        unit="trajectories",
        healthy="near `groups` × `group_size`",
        unhealthy="few: see `zero_std_groups` and `reward/unscored_share`",
    ),
    Metric(
        names=_both("advantage/abs_max"),
        meaning="Largest absolute advantage of the step, before clipping.",
        unit="standard deviations",
        healthy="1 to 5",
        unhealthy="far above 5: one outlier dominates; raise `advantage.eps` or `advantage.floor`",
    ),
)
_POLICY: Final = (
    Metric(
        names=_both("ratio/mean"),
        meaning="Mean probability ratio of the trained to the sampling weights.",
        unit="ratio",
        healthy="1 at the first update of a step (exactly, on policy), near 1 later",
        unhealthy="away from 1 at the first update: see `logprob_diff`",
        condition="by losses with a clipped ratio: text, flow_grpo, guard, awm",
    ),
    Metric(
        names=_both("clip_fraction"),
        meaning="Share of ratios outside of the clip range.",
        unit="0 to 1",
        healthy="0 with one update a step; below 0.3 with several",
        unhealthy="above 0.5: lower the learning rate or `updates_per_step`, or widen the clip",
        condition="with `ratio/mean`",
    ),
    Metric(
        names=(*_both("clip_fraction_high"), *_both("clip_fraction_low")),
        meaning="The same above and below the range.",
        unit="0 to 1",
        healthy="of similar size",
        unhealthy="one-sided from the first update on: the ratio is biased; try `image.kind=guard`",
        condition="with `ratio/mean`",
    ),
    Metric(
        names=_both("approx_kl"),
        meaning="Half the mean squared log-ratio: distance from the sampling weights.",
        unit="nats",
        healthy="small, and steady over steps",
        unhealthy="grows from step to step: lower the learning rate",
        condition="with `ratio/mean`",
    ),
    Metric(
        names=_both("kl"),
        meaning="Distance from the reference weights (those before training): KL of the tokens, or"
        " what `image.kl` names (default: mean squared difference of velocities).",
        unit="nats; velocity²",
        healthy="rises slowly, then levels off",
        unhealthy="rises ever faster while the held-out score falls: raise `kl_weights.reference`"
        " or lower the learning rate",
        condition="with `kl_weights.reference` above 0 in each step; else with LoRA every"
        " `training.logging.kl_every` steps, estimated on one batch of each process",
    ),
    Metric(
        names=(*_both("kl_old"), *_both("kl_ema")),
        meaning="The same from the old and from the EMA weights.",
        unit="as `kl`",
        healthy="far below `kl`",
        unhealthy="as large as `kl`: the copy follows too slowly; lower its decay",
        condition="with `kl_weights.old`, `kl_weights.ema`",
    ),
    Metric(
        names=_both("logprob_diff"),
        meaning="Rollout/training log-probability mismatch before the first update: of images the"
        " largest of a step, of text and of images of tokens the mean over tokens.",
        unit="nats",
        healthy="image: 0 on a CPU, far below the clip range on a GPU; text: below 1e-3",
        unhealthy="beyond `guards.image_mismatch` or `guards.text_mismatch` the training stops:"
        " compare noise levels, guidance, dtype and batch sizes of sampling and replay",
        condition="on policy; for images with stored steps alone",
    ),
    Metric(
        names=("image/logprob_diff_over_clip",),
        meaning="`image/logprob_diff` divided by the clip range.",
        unit="ratio",
        healthy="below 0.1",
        unhealthy="above 0.1 the clip acts on rounding; at the first step the trainer then replays"
        " old log-probabilities (`old_log_probs=replayed`)",
        condition="with `image/logprob_diff`",
    ),
    Metric(
        names=_both("entropy"),
        meaning="Entropy of a token under the sampled distribution, estimated as minus the mean"
        " log-probability of the sampled tokens.",
        unit="nats per token",
        healthy="falls slowly",
        unhealthy="near 0 early: texts collapse to one; raise the temperature or the KL weight."
        " Rising steadily: texts dissolve; lower the learning rate",
        condition="if the task samples text, or images token by token",
    ),
    Metric(
        names=("text/completion_length",),
        meaning="Mean length of the sampled texts.",
        unit="tokens",
        healthy="steady, or drifting slowly",
        unhealthy="runs to `max_tokens` or to a few tokens: reward the format, or change"
        " `text.kind`",
        condition="if the task samples text",
    ),
    Metric(
        names=("text/finished",),
        meaning="Share of texts that ended before `max_tokens`.",
        unit="0 to 1",
        healthy="1",
        unhealthy="below 0.9: raise `max_tokens`, or mask such texts with `text.cut_off=left_out`",
        condition="if the task samples text",
    ),
)
_IMAGES: Final = (
    Metric(
        names=("image/nft_positive", "image/nft_negative"),
        meaning="The two halves of the loss of DiffusionNFT: error of the implicit positive and"
        " negative policies, relative to its own size.",
        unit="none",
        healthy="equal at first, then a little apart",
        unhealthy="the negative half grows without limit: lower the learning rate or raise"
        " `image.beta`",
        condition="by nft",
    ),
    Metric(
        names=("image/diversity",),
        meaning="Mean absolute difference of two images of one group, as thumbnails.",
        unit="0 to 1",
        healthy="falls a little",
        unhealthy="falls to a fraction of its first value: mode collapse; raise the KL weight, stop"
        " earlier",
        condition="if the task makes images",
    ),
    Metric(
        names=("image/brightness", "image/contrast", "image/saturation"),
        meaning="Mean brightness, its standard deviation within an image, and mean saturation.",
        unit="0 to 1",
        healthy="steady",
        unhealthy="a steady drift: the reward pays for a style; look at the panels",
        condition="if the task makes images",
    ),
)
_OPTIMISATION: Final = (
    Metric(
        names=("loss",),
        meaning="Loss of an update, mean over the updates of the step.",
        unit="none",
        healthy="near 0, of either sign; it is no measure of progress",
        unhealthy="grows by orders of magnitude: lower the learning rate",
        condition="unless all updates were skipped",
    ),
    Metric(
        names=("grad_norm",),
        meaning="Norm of the gradient before clipping, mean over the updates of the step.",
        unit="none",
        healthy="of one order of magnitude over the training",
        unhealthy="exactly 0: nothing is trained. Always above `optimiser.gradient_norm`: every"
        " update is clipped; lower the learning rate or raise the limit",
        condition="unless all updates were skipped",
    ),
    Metric(
        names=("learning_rate", "learning_rate/<expert>"),
        meaning="Learning rate of the last update of the step: the largest, and that of each"
        " expert if they differ.",
        unit="none",
        healthy="follows the schedule",
        unhealthy="0 before the end: `training.steps` is smaller than you think",
        condition="unless all updates were skipped",
    ),
    Metric(
        names=("updates_skipped",),
        meaning="Updates without any trajectory to train.",
        unit="updates",
        healthy="0",
        unhealthy="above 0: see `zero_std_groups`",
    ),
)
_WORK: Final = (
    Metric(
        names=("images",),
        meaning="Trajectories sampled for training so far, over all processes.",
        unit="trajectories",
        healthy="the axis to compare trainings by",
        unhealthy="grows by another number from step to step: trajectories are lost",
    ),
    Metric(
        names=(
            "forward_passes/<view>/trajectories",
            "forward_passes/<view>/texts",
            "forward_passes/<view>/token_images",
            "forward_passes/<view>/velocities",
        ),
        meaning="Replays of the step under each set of weights: trajectories whose contexts were"
        " read, texts scored and velocities computed. `probe` is the first mismatch check,"
        " `kl_estimate` a batch that estimates a KL without weight,"
        " `before` a replay under the weights that sampled.",
        unit="passes",
        healthy="the same in each step",
        unhealthy="`reference` or `before` as large as `train` doubles the cost of an update: do"
        " you need that KL?",
    ),
    Metric(
        names=("cost_usd",),
        meaning="Cost of all judge calls so far.",
        unit="US dollars",
        healthy="as planned",
        unhealthy="faster than planned: fewer questions or prompts",
        condition="if a reward reports it",
    ),
    Metric(
        names=("seconds/step",),
        meaning="Duration of the step; validations and checkpoints not counted.",
        unit="seconds",
        healthy="steady",
        unhealthy="grows: texts get longer, or the judge slower",
    ),
    Metric(
        names=("seconds/rollout", "seconds/update"),
        meaning="Sampling, and all updates.",
        unit="seconds",
        healthy="together nearly `seconds/step`",
        unhealthy="rollout far above update: raise `rollout_batch`, or use fewer denoising points",
    ),
    Metric(
        names=("seconds/reward_wait",),
        meaning="Waiting for rewards after the last batch was sampled; scoring and sampling"
        " overlap.",
        unit="seconds",
        healthy="below a tenth of `seconds/step`",
        unhealthy="more: the judge is the bottleneck; add a server, or ask fewer questions",
    ),
    Metric(
        names=("seconds/judge_unavailable",),
        meaning="Waiting for a judge that could not be reached.",
        unit="seconds",
        healthy="0",
        unhealthy="above 0: look after the server; `guards.judge_patience_seconds` limits it",
    ),
    Metric(
        names=("seconds/cpu",),
        meaning="CPU time of this process, all threads.",
        unit="seconds",
        healthy="on a GPU below `seconds/step`",
        unhealthy="many times `seconds/step` on a GPU: data loading or judging works on the CPU",
    ),
    Metric(
        names=("memory/gpu_peak_gib",),
        meaning="Largest GPU memory of the first process so far.",
        unit="GiB",
        healthy="below 0.9 of the GPU's memory",
        unhealthy="near the limit: lower `replay_batch`, set `recompute=true`",
        condition="on a GPU",
    ),
    Metric(
        names=("memory/process_peak_gib",),
        meaning="Largest resident memory of the first process so far.",
        unit="GiB",
        healthy="steady after the first steps",
        unhealthy="grows from step to step: report a bug",
        condition="except on Windows",
    ),
)

METRIC_SECTIONS: Final = (
    MetricSection(title="Rewards", metrics=_REWARDS),
    MetricSection(title="Refinements", metrics=_REFINEMENTS),
    MetricSection(title="Groups and advantages", metrics=_GROUPS),
    MetricSection(title="Policy, text and image parts", metrics=_POLICY),
    MetricSection(title="Images", metrics=_IMAGES),
    MetricSection(title="Optimisation", metrics=_OPTIMISATION),
    MetricSection(title="Work, time and memory", metrics=_WORK),
)
