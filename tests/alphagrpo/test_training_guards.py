"""Faults that are planted in a training of a tiny BAGEL, and the sentence that each stops with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alphabench.benchmarks import open_benchmark
from alphabench.core.errors import AlphaBenchError, TrainingStoppedError
from alphabench.upstream import UpstreamData
from alphagrpo.assemble import assemble
from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.policies.unified_policy import UMMPolicy
from alphagrpo.recipe import TrainingRecipe
from alphatrainers import strict_yaml
from alphatrainers.protocols import ReplayAnswer, ReplaySpec, VelocityQuery
from alphatrainers.trainer import Trainer
from alphatrainers.trainer_components import TrainerComponents
from alphatrainers.trajectory import Trajectory
from tests.alphagrpo.test_assemble import OWN, recipe_for
from tests.support.tiny_bagel import save_bagel


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = save_bagel(tmp_path_factory.mktemp("guards") / "tiny")
    (folder / "alphabench.json").write_text(json.dumps(OWN))
    found = recipe_for(folder)
    found["validation"], found["panel"] = [], 0
    return found


def place(folder: Path) -> AssemblyContext:
    return AssemblyContext(
        folder=folder, data=UpstreamData(cache_dir=folder / "cache"), device="cpu", report=print
    )


def made(tree: dict[str, Any], *changes: str) -> TrainingRecipe:
    return strict_yaml.build_settings(TrainingRecipe, strict_yaml.override(tree, changes))


def parts(recipe: TrainingRecipe, folder: Path) -> TrainerComponents:
    return assemble(recipe, place(folder))


def test_a_constant_reward_stops_the_run(tree: dict[str, Any], tmp_path: Path) -> None:
    recipe = made(tree, "rewards.dv.judge='scripted:?answer=0.5'", "training.guards.flat_steps=1")
    with pytest.raises(TrainingStoppedError, match="all image rewards of each group were equal"):
        Trainer(parts(recipe, tmp_path), recipe.training, tmp_path / "run").train()
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_judge_that_is_down_stops_the_run_with_its_reason(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    recipe = made(
        tree,
        "rewards.dv.judge='scripted:?fail=1&mishaps=server_error'",
        "training.guards.judge_patience_seconds=0",
    )
    with pytest.raises(TrainingStoppedError, match="HTTP 500"):
        Trainer(parts(recipe, tmp_path), recipe.training, tmp_path / "run").train()


def test_images_that_nobody_can_judge_stop_the_run(tree: dict[str, Any], tmp_path: Path) -> None:
    recipe = made(tree, "rewards.dv.judge='scripted:?fail=0.9&mishaps=refusal'")
    with pytest.raises(TrainingStoppedError, match="could not be scored"):
        Trainer(parts(recipe, tmp_path), recipe.training, tmp_path / "run").train()


class WrongLevels(UMMPolicy):
    """Replays at other noise levels than it sampled at."""

    def replay(
        self,
        trajectories: Sequence[Trajectory],
        *,
        texts: Sequence[int],
        queries: Sequence[VelocityQuery],
        how: ReplaySpec,
    ) -> Iterator[ReplayAnswer]:
        moved = [replace(query, sigma_B=query.sigma_B * 0.8, sigma=None) for query in queries]
        return super().replay(trajectories, texts=texts, queries=moved, how=how)


class WrongIds(UMMPolicy):
    """Scores other words than those that were generated."""

    def replay(
        self,
        trajectories: Sequence[Trajectory],
        *,
        texts: Sequence[int],
        queries: Sequence[VelocityQuery],
        how: ReplaySpec,
    ) -> Iterator[ReplayAnswer]:
        others = [_with_other_ids(one) for one in trajectories]
        return super().replay(others, texts=texts, queries=queries, how=how)


def _with_other_ids(trajectory: Trajectory) -> Trajectory:
    text = trajectory.texts[0]
    changed = replace(text, ids=tuple((one + 7) % 250 for one in text.ids))
    segments = tuple(changed if part is text else part for part in trajectory.segments)
    return replace(trajectory, segments=segments)


class Unbound(UMMPolicy):
    """Names modules that it does not have."""

    @property
    def experts(self) -> Mapping[str, str]:
        return {"gen": r"model\.layers\.\d+\.q_proj"}


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (WrongLevels, "mismatch: .* for the image part"),
        (WrongIds, "mismatch: .* for the text part"),
        (Unbound, "matches no module"),
    ],
)
def test_a_policy_that_is_not_what_it_says_is_stopped_before_it_learns(
    tree: dict[str, Any], tmp_path: Path, policy: type[UMMPolicy], words: str
) -> None:
    # A model that has learnt nothing hardly looks at its noise level; a sound replay is off by 0.
    limits = ("training.guards.text_mismatch=0.001", "training.guards.image_mismatch=1e-7")
    recipe = made(tree, *limits)
    found = parts(recipe, tmp_path)
    sound = found.policy
    assert isinstance(sound, UMMPolicy)
    faulty = policy(sound.umm, identity=sound.identity)
    with pytest.raises(AlphaBenchError, match=words):
        Trainer(replace(found, policy=faulty), recipe.training, tmp_path / "run").train()
    assert not (tmp_path / "run" / "checkpoints").exists()


TAGS: Mapping[str, Any] = {"kind": "think_tags"}
BRIGHT: Mapping[str, Any] = {
    "kind": "dvreward", "judge": "python:tests.support.dvreward_judges:brightness"
}  # fmt: skip


@pytest.mark.parametrize(
    "reward", [TAGS, {"kind": "sum", "of": {"dv": BRIGHT, "tags": TAGS}}, {"kind": "reflection"}]
)
def test_a_reward_of_words_cannot_say_whether_a_image_was_improved(
    tree: dict[str, Any], tmp_path: Path, reward: Mapping[str, Any]
) -> None:
    draw = tree["task"]["draw"]
    task = {"kind": "srr", "draw": draw, "refine": {"initial": draw}}
    refining = {**tree, "task": task, "rewards": {"dv": BRIGHT, "words": dict(reward)}}
    with pytest.raises(AlphaBenchError, match="'words' judges text, and an initial image has none"):
        parts(made(refining), tmp_path)
    assert parts(made(refining, "rewards.words.credits=text"), tmp_path)


def test_a_prompt_that_is_validated_is_not_trained_on(tree: dict[str, Any], tmp_path: Path) -> None:
    sample = open_benchmark("geneval:mini").samples()[0]
    rows = [{"prompt": f"  {sample.prompt.upper()} ", "include": [], "exclude": []}]
    rows += [{"prompt": f"a boat number {n}", "include": [], "exclude": []} for n in range(5)]
    file = tmp_path / "p.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    leaking = {**tree, "validation": [{"benchmark": "geneval:mini"}]}
    with pytest.raises(AlphaBenchError, match="also occur in a validation"):
        parts(made(leaking, f"prompts.source={file}"), tmp_path)


def test_a_validation_by_the_reward_itself_is_refused_unless_wanted(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    validation = {"benchmark": "geneval:mini", "evaluator": "nano", "limit": 3}
    rewards = {"det": {"kind": "evaluator", "benchmark": "geneval:mini", "evaluator": "nano"}}
    same = {**tree, "rewards": rewards, "validation": [validation]}
    with pytest.raises(AlphaBenchError, match="'det' itself"):
        parts(made(same), tmp_path)
    summed = {"both": {"kind": "sum", "of": rewards}}
    with pytest.raises(AlphaBenchError, match=r"'both\.det' itself"):
        parts(made({**same, "rewards": summed}), tmp_path)
    wanted = {**same, "validation": [{**validation, "same_as_reward": True}]}
    assert len(parts(made(wanted), tmp_path).validations) == 1
