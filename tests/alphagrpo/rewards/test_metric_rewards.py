"""Plain metrics as rewards on any prompts, and as monitors on prompts that are held out."""

from __future__ import annotations

from pathlib import Path

import pytest

from alphabench.benchmarks import open_benchmark
from alphabench.core.errors import AlphaBenchError
from alphabench.runs.plan import open_evaluation
from alphabench.upstream import UpstreamData
from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.rewards.evaluator_rewards import EvaluatorReward
from alphagrpo.rewards.reward_kinds import RewardSettings, open_reward
from alphagrpo.validation import refuse_rewarded
from tests.support.made_recipes import about_a_dog
from tests.support.tiny_models import save_clip


def test_a_metric_rewards_any_prompt_and_another_one_watches(tmp_path: Path) -> None:
    folder, data = save_clip(tmp_path / "clip"), UpstreamData(cache_dir=tmp_path)
    context = AssemblyContext(folder=tmp_path, data=data, device="cpu", report=lambda _: None)
    settings = RewardSettings(
        kind="evaluator",
        benchmark="metrics",
        evaluator="pickscore",
        options={"clip": str(folder), "self_test": "off"},
    )
    reward = open_reward(settings, context)
    assert isinstance(reward, EvaluatorReward)
    trajectories = about_a_dog(0, 255)
    assert reward.missing_facts(trajectories[0].program.prompt) is None
    dark, bright = (score.value for score in reward.score(trajectories))
    assert dark is not None
    assert bright is not None
    assert dark != bright

    (tmp_path / "held_out.txt").write_text("a photo of a cat\na photo of a cup\n")
    monitor = open_benchmark(f"metrics:{tmp_path / 'held_out.txt'}", data=data)
    assert len(monitor.samples()) == 2
    options = f"clip={folder}&self_test=off"
    other = open_evaluation(monitor, f"clipscore?{options}").identity
    refuse_rewarded("watch", other, {"taste": reward})
    same = open_evaluation(monitor, f"pickscore?{options}").identity
    with pytest.raises(AlphaBenchError, match="measured by the reward 'taste' itself"):
        refuse_rewarded("watch", same, {"taste": reward})
