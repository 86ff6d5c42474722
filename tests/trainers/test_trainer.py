"""A complete training of the toy policy: on policy, learning, guarded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from alphabench.core.errors import AlphaBenchError, TrainingStoppedError
from alphatrainers import strict_yaml
from alphatrainers.protocols import (
    Score,
    ScoredTrajectory,
    StepInfo,
    TrajectoryCollector,
)
from alphatrainers.reward_scoring import RewardUse, ScoringClock
from alphatrainers.settings import TrainingSettings
from alphatrainers.trainer import Trainer
from alphatrainers.trainer_components import RuntimeContext, TrainerComponents
from alphatrainers.trajectory import Program, ProgramStep, TrainingPrompt, Trajectory
from tests.support.toy_policy import (
    IMAGE,
    PLAIN_IMAGE,
    PROMPTS,
    TEXT,
    Brightness,
    Threes,
    ToyPolicy,
    ToyTask,
)
from tests.support.toy_trainer import SMALL, build, lines, values


def counters(folder: Path, step: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (folder / "checkpoints" / f"step-{step:06d}" / "state.json").read_text()
    )
    return found


BOTH = ("text.kind=dapo", "image.kl_weights.reference=0.01", "text.kl_weights.reference=0.01")


@pytest.mark.parametrize("batch", [4, 8])
def test_every_ratio_is_exactly_1_on_policy(tmp_path: Path, batch: int) -> None:
    both = (*BOTH, f"rollout_batch={batch}", f"replay_batch={batch}", "steps=3")
    build(tmp_path, *both, steps=(TEXT, IMAGE, TEXT, IMAGE)).train()
    for name, wanted in (("ratio/mean", 1.0), ("clip_fraction", 0.0), ("clip_fraction_high", 0.0)):
        assert values(tmp_path, f"image/{name}") == [wanted] * 3
        assert values(tmp_path, f"text/{name}") == [wanted] * 3
    assert values(tmp_path, "image/logprob_diff") == [0.0] * 3
    assert values(tmp_path, "text/logprob_diff") == [0.0] * 3


def test_replaying_in_other_batches_than_sampled_stays_within_rounding(tmp_path: Path) -> None:
    build(tmp_path, *BOTH, "replay_batch=3", steps=(TEXT, IMAGE)).train()
    assert max(values(tmp_path, "image/logprob_diff")) < 1e-5
    assert max(values(tmp_path, "text/logprob_diff")) < 1e-5


LOSSES = {
    "flow_grpo": ("image.clip_low=0.1", "image.clip_high=0.1"),
    "guard": ("image.clip_low=0.1", "image.clip_high=0.1"),
    "awm": ("image.clip_low=1.0", "image.clip_high=1.0", "image.levels=4"),
    "nft": ("image.levels=4", "old_decay=early"),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_the_reward_rises_with_every_image_loss(tmp_path: Path, kind: str) -> None:
    common = (f"image.kind={kind}", "steps=25", "optimiser.lr=0.02", "prompts_per_step=4")
    steps: tuple[ProgramStep, ...] = (IMAGE,) if kind in {"flow_grpo", "guard"} else (PLAIN_IMAGE,)
    build(tmp_path, *common, *LOSSES[kind], steps=steps).train()
    rewards = values(tmp_path, "reward/brightness/mean")
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.3


@pytest.mark.parametrize("kind", ["grpo", "dapo", "dr_grpo", "gspo", "cispo"])
def test_the_reward_rises_with_every_text_loss(tmp_path: Path, kind: str) -> None:
    settings = (f"text.kind={kind}", "image.kind=none", "steps=20", "optimiser.lr=0.05")
    build(tmp_path, *settings, "prompts_per_step=4", steps=(TEXT, PLAIN_IMAGE)).train()
    rewards = values(tmp_path, "reward/threes/mean")
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.5


def test_a_policy_that_replays_with_other_noise_levels_never_trains(tmp_path: Path) -> None:
    run = build(tmp_path, policy=ToyPolicy(wrong_sigmas=True))
    before = run.weights.values("train")
    with pytest.raises(TrainingStoppedError, match=r"mismatch: .* for the image part"):
        run.train()
    after = run.weights.values("train")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_constant_reward_stops_the_training_and_trains_nothing(tmp_path: Path) -> None:
    run = build(tmp_path, "steps=10", reward=Brightness(constant=0.5))
    before = run.weights.values("train")
    with pytest.raises(TrainingStoppedError, match="equal in 3 steps in a row"):
        run.train()
    assert values(tmp_path, "image/zero_std_groups") == [2.0, 2.0]
    assert values(tmp_path, "updates_skipped") == [1.0, 1.0]
    after = run.weights.values("train")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_constant_image_reward_stops_the_training_though_the_text_still_learns(
    tmp_path: Path,
) -> None:
    settings = ("text.kind=dapo", "steps=10", "save_every=1")
    run = build(tmp_path, *settings, steps=(TEXT, IMAGE), reward=Brightness(constant=0.5))
    with pytest.raises(TrainingStoppedError, match=r"all image rewards .* 3 steps in a row"):
        run.train()
    assert min(values(tmp_path, "text/trained_trajectories")) > 0.0
    assert counters(tmp_path, 2)["flat_streaks"] == {"image": 2, "text": 0}


def test_an_unscored_member_leaves_its_group_and_the_means(tmp_path: Path) -> None:
    build(tmp_path, "steps=1", reward=Brightness(unscored=frozenset({2}))).train()
    (line,) = lines(tmp_path)
    assert line["values"]["image/trained_trajectories"] == 6.0
    assert line["values"]["reward/unscored_share"] == 0.25


def test_a_run_whose_rewards_mostly_fail_stops_with_the_reason(tmp_path: Path) -> None:
    run = build(tmp_path, reward=Brightness(unscored=frozenset({0, 1, 2})))
    with pytest.raises(TrainingStoppedError, match=r"6 of 8 .*could not be read"):
        run.train()


class Wordless(ToyTask):
    """Writes in every third step alone; the words are all alike then."""

    def programs(self, prompts: Sequence[TrainingPrompt], step_info: StepInfo) -> list[Program]:
        steps: tuple[ProgramStep, ...] = (IMAGE,) if step_info.step % 3 else (TEXT, IMAGE)
        return ToyTask(steps).programs(prompts, step_info)


class Same(Threes):
    """The same for all."""

    def score(self, trajectories: Sequence[Trajectory]) -> Sequence[Score]:
        return [Score(value=1.0, cost_usd=0.25)] * len(trajectories)


def test_steps_without_text_do_not_count_as_constant_text_rewards(tmp_path: Path) -> None:
    settings = ("text.kind=dapo", "steps=6", "save_every=6", "guards.flat_steps=3")
    parts = TrainerComponents(
        policy=ToyPolicy(),
        task=Wordless(),
        rewards={
            "b": RewardUse(reward=Brightness(), applies_to="image"),
            "s": RewardUse(reward=Same(), applies_to="text"),
        },
        prompts=PROMPTS,
    )
    Trainer(
        parts,
        strict_yaml.build_settings(TrainingSettings, strict_yaml.override(SMALL, settings)),
        tmp_path,
    ).train()
    assert counters(tmp_path, 6)["flat_streaks"] == {"image": 0, "text": 2}
    # Eight trajectories a step.
    assert values(tmp_path, "cost_usd") == [2.0 * step for step in range(1, 7)]


def test_a_folder_resumes_only_with_equal_decisive_values_and_is_claimed_after_that_check(
    tmp_path: Path,
) -> None:
    begun: list[str] = []

    def once(eta: float) -> Trainer:
        context = RuntimeContext(on_begin=lambda: begun.append(f"eta {eta}"))
        return build(tmp_path, "steps=1", context=context, decisive={"task": {"eta": eta}})

    once(0.7).train()
    with pytest.raises(AlphaBenchError, match=r"another training, .*task\.eta: "):
        once(0.3).train()
    once(0.7).train()
    assert begun == ["eta 0.7"] * 2
    assert "cost_usd" not in lines(tmp_path)[0]["values"]


class Vanishing(ToyTask):
    """Of two stages, whose first leaves nothing for the second."""

    def collect(
        self, prompts: Sequence[TrainingPrompt], collector: TrajectoryCollector, step_info: StepInfo
    ) -> list[ScoredTrajectory]:
        super().collect(prompts, collector, step_info)
        return collector.collect([])


def test_a_first_stage_that_cannot_be_scored_stops_the_training_with_the_reason(
    tmp_path: Path,
) -> None:
    run = build(tmp_path, task=Vanishing((IMAGE,)), reward=Brightness(unscored=frozenset(range(4))))
    with pytest.raises(TrainingStoppedError, match=r"8 of 8 .*could not be read"):
        run.train()


def test_a_step_without_any_trajectory_stops_the_training(tmp_path: Path) -> None:
    with pytest.raises(TrainingStoppedError, match="no trajectory"):
        build(tmp_path, "guards.unscored_share=1.0", task=Vanishing((IMAGE,))).train()


def test_a_judge_outage_in_mid_training_stalls_and_changes_no_number(tmp_path: Path) -> None:
    slept: list[float] = []
    calm = RuntimeContext(clock=ScoringClock(now=lambda: sum(slept), sleep=slept.append))
    build(tmp_path / "calm").train()
    build(tmp_path / "away", reward=Brightness(away=2), context=calm).train()
    assert slept == [1.0, 2.0]
    calm_lines, away_lines = lines(tmp_path / "calm"), lines(tmp_path / "away")
    assert [line["values"] for line in calm_lines] == [line["values"] for line in away_lines]
    assert away_lines[0]["seconds"]["judge_unavailable"] == 3.0


def test_a_judge_that_stays_away_stops_the_training_and_leaves_it_resumable(tmp_path: Path) -> None:
    class Dying(Brightness):
        def score(self, trajectories: Any) -> Any:
            self.away = 10**6 if self.calls >= 4 else 0
            return super().score(trajectories)

    slept: list[float] = []
    context = RuntimeContext(clock=ScoringClock(now=lambda: sum(slept), sleep=slept.append))
    settings = ("steps=4", "save_every=1", "guards.judge_patience_seconds=30")
    with pytest.raises(TrainingStoppedError, match="no judge answers"):
        build(tmp_path, *settings, reward=Dying(), context=context).train()
    assert len(lines(tmp_path)) == 2
    outcome = build(tmp_path, *settings).train()
    assert (outcome.step, len(lines(tmp_path))) == (4, 4)


def test_each_set_of_weights_has_one_forward_pass(tmp_path: Path) -> None:
    policy = ToyPolicy()
    build(tmp_path, *BOTH, "steps=1", policy=policy, steps=(TEXT, IMAGE)).train()
    found = {
        k: v for k, v in lines(tmp_path)[0]["values"].items() if k.startswith("forward_passes/")
    }
    once = {"trajectories": 8.0, "texts": 8.0, "velocities": 24.0}
    # Before the first update the reference is the trained policy: it needs no walk of its own.
    probe = {f"forward_passes/probe/{kind}": number / 2 for kind, number in once.items()}
    assert (
        found == {f"forward_passes/train/{kind}": number for kind, number in once.items()} | probe
    )
    # Two batches: 5 steps each in the rollout, 3 stored ones each in a walk, and the probe's.
    assert policy.counts["rollout painter"] == 2 * 5
    assert policy.counts["replay painter"] == 2 * 3 + 3


def test_later_updates_of_a_step_are_off_policy_and_use_the_samplers_numbers(
    tmp_path: Path,
) -> None:
    settings = (*BOTH, "updates_per_step=2", "steps=1", "optimiser.lr=0.05")
    for mode in ("sampled", "replayed"):
        folder = tmp_path / mode
        build(folder, *settings, f"old_log_probs={mode}", steps=(TEXT, IMAGE)).train()
        (line,) = lines(folder)
        assert line["values"]["image/ratio/mean"] != 1.0
        assert line["values"]["text/ratio/mean"] != 1.0
    sampled, replayed = (lines(tmp_path / mode)[0]["values"] for mode in ("sampled", "replayed"))
    assert sampled["image/ratio/mean"] == pytest.approx(replayed["image/ratio/mean"], abs=1e-6)
    assert sampled["loss"] == pytest.approx(replayed["loss"], abs=1e-6)
    assert replayed["forward_passes/before/trajectories"] == 4.0


class Late(Brightness):
    """Constant in the first step."""

    def score(self, trajectories: Any) -> Any:
        self.constant = 0.5 if trajectories[0].program.id.startswith("0/") else None
        return super().score(trajectories)


def test_a_step_without_a_trained_batch_does_not_choose_the_old_log_probabilities(
    tmp_path: Path,
) -> None:
    # A clip so narrow that the rounding of another batch is wider.
    tight = ("replay_batch=3", "image.clip_low=1e-9", "image.clip_high=1e-9", "save_every=1")
    build(tmp_path, *tight, reward=Late()).train()
    found = [counters(tmp_path, step)["old_log_probs"] for step in (1, 2)]
    assert found == [None, "replayed"]


def test_every_update_of_a_step_that_other_weights_sampled_is_compared_with_these(
    tmp_path: Path,
) -> None:
    settings = (*BOTH, "rollout_view=ema", "ema.decay=0.9", "updates_per_step=2", "steps=2")
    for mode in ("sampled", "replayed"):
        more = (*settings, "optimiser.lr=0.05", f"old_log_probs={mode}")
        build(tmp_path / mode, *more, steps=(TEXT, IMAGE)).train()
    sampled, replayed = (lines(tmp_path / mode)[1]["values"] for mode in ("sampled", "replayed"))
    assert abs(sampled["image/ratio/mean"] - 1.0) > 1e-3
    for name in ("image/ratio/mean", "text/ratio/mean", "loss"):
        assert sampled[name] == pytest.approx(replayed[name], abs=1e-5)
    # Both updates: four trajectories each.
    assert replayed["forward_passes/before/trajectories"] == 8.0


def test_the_size_of_a_batch_changes_no_loss(tmp_path: Path) -> None:
    for batch in (1, 3, 8):
        build(tmp_path / str(batch), *BOTH, f"replay_batch={batch}", steps=(TEXT, IMAGE)).train()
    losses = [values(tmp_path / str(batch), "loss") for batch in (1, 3, 8)]
    norms = [values(tmp_path / str(batch), "grad_norm") for batch in (1, 3, 8)]
    for other in (1, 2):
        assert losses[other] == pytest.approx(losses[0], abs=1e-6)
        assert norms[other] == pytest.approx(norms[0], rel=1e-5)


def test_a_kl_without_weight_is_estimated_and_changes_nothing_else(tmp_path: Path) -> None:
    lora = ("lora={rank: 2, alpha: 4}", "steps=4", "text.kind=grpo", "optimiser.lr=0.05")
    found = {}
    for name, settings in {
        "never": ("logging.kl_every=null",),
        "estimated": ("logging.kl_every=2",),
        # Too small a weight to change a gradient: its KL is measured in every step.
        "weighted": ("image.kl_weights={reference: 1e-30}", "text.kl_weights={reference: 1e-30}"),
    }.items():
        one_batch = ("prompts_per_step=1", "group_size=4")
        build(tmp_path / name, *lora, *one_batch, *settings, steps=(TEXT, IMAGE)).train()
        found[name] = [line["values"] for line in lines(tmp_path / name)]
    for part in ("image/kl", "text/kl"):
        estimated = [values.get(part) for values in found["estimated"]]
        assert estimated[0] is estimated[2] is None, "every second step"
        expected = [values[part] for values in found["weighted"]]
        assert expected[3] > 0.0
        assert [estimated[1], estimated[3]] == pytest.approx([expected[1], expected[3]])
    extra = ("image/kl", "text/kl", "forward_passes/kl_estimate/")
    without = [
        {name: value for name, value in values.items() if not name.startswith(extra)}
        for values in found["estimated"]
    ]
    assert without == found["never"]
    assert found["estimated"][1]["forward_passes/kl_estimate/trajectories"] == 4


def test_without_lora_there_is_no_reference_to_estimate_a_kl_from(tmp_path: Path) -> None:
    build(tmp_path, "logging.kl_every=1").train()
    assert not any(name.endswith("/kl") for line in lines(tmp_path) for name in line["values"])


def test_a_part_that_no_reward_applies_to_is_refused_early(tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="no reward applies to the image part"):
        Trainer(
            TrainerComponents(
                policy=ToyPolicy(),
                task=ToyTask(),
                rewards={"t": RewardUse(reward=Threes(), applies_to="text")},
                prompts=PROMPTS,
            ),
            strict_yaml.build_settings(TrainingSettings, SMALL),
            tmp_path,
        )
