"""Every small recipe of the package makes a step, on a tiny random BAGEL in the place of nano."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alphabench.upstream import UpstreamData
from alphagrpo.assemble import assemble
from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.recipe import load_recipe
from alphatrainers.reporting.history import MetricsLine, read_steps
from alphatrainers.reporting.metric_names import METRIC_SECTIONS, matches, metric_of
from alphatrainers.trainer import Trainer
from tests.alphagrpo.test_assemble import OWN
from tests.support.tiny_bagel import save_bagel

SMALL = (
    "policy.options={}",
    "prompts.source='small:?count=4'",
    "validation=[]",
    "panel=1",
    "task.thought.max_tokens=4",
    "training.steps=1",
    "training.prompts_per_step=2",
    "training.group_size=2",
    "training.rollout_batch=2",
    "training.replay_batch=2",
    "training.lora={rank: 2, alpha: 4}",
    "training.advantage.noise_images=2",
    "training.logging.tensorboard=false",
    "training.validate_views=[train]",
)
BRIGHT = "python:tests.support.dvreward_judges:brightness"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_bagel(tmp_path_factory.mktemp("recipes") / "tiny")
    (folder / "alphabench.json").write_text(json.dumps(OWN))
    return folder


CASES = [
    ("nano-rt2i", "task.kind=rt2i"),
    ("nano-rt2i", "task.kind=t2i"),
    ("nano-srr", "task.refine.initial_images=2"),
    ("nano-srr", "task.refine.train_initial=true"),
    ("nano-awm", "task.kind=rt2i"),
    ("nano-nft", "task.kind=rt2i"),
    ("nano-mixed", "task.refine.initial_images=2"),
]
OTHERWISE = {
    "learning_rate/<expert>",
    "text/kl",
    "text/kl_old",
    "text/kl_ema",
    "image/kl_ema",
    "cost_usd",
    "memory/gpu_peak_gib",
    "forward_passes/<view>/token_images",
    "image/entropy",
}
"""Names that none of the recipes above logs: other settings, a judge with a price, images of
tokens, a GPU."""


class Trained:
    """The one step of each case, made when it is first asked for."""

    def __init__(self, base: Path, folder: Path) -> None:
        self._base, self._folder = base, folder
        self._lines: dict[tuple[str, str], MetricsLine] = {}

    def __call__(self, name: str, change: str) -> MetricsLine:
        if (name, change) not in self._lines:
            self._lines[name, change] = self._train(name, change)
        return self._lines[name, change]

    def _train(self, name: str, change: str) -> MetricsLine:
        dvreward = f"rewards.dvreward.judge='{BRIGHT}'"
        changes = [f"policy.checkpoint={self._base}", dvreward, change, *SMALL]
        if change.endswith("train_initial=true"):
            changes.append("task.refine.initial.window={kind: static, size: 1}")
        if change == "task.kind=t2i":
            changes.append("training.text.kind=none")
        recipe = load_recipe(name, changes)
        folder = self._folder / str(len(self._lines))
        data = UpstreamData(cache_dir=self._folder / "cache")
        place = AssemblyContext(folder=folder, data=data, device="cpu", report=print)
        outcome = Trainer(assemble(recipe, place), recipe.training, folder / "run").train()
        assert outcome.step == 1
        (line,) = read_steps(folder / "run")
        return line


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(base, tmp_path_factory.mktemp("trainings"))


@pytest.mark.parametrize(("name", "change"), CASES)
def test_a_step_is_made_and_every_part_of_it_learns(
    trained: Trained, name: str, change: str
) -> None:
    values = trained(name, change).values
    assert values["reward/unscored_share"] == 0.0
    assert values["grad_norm"] > 0.0
    assert values["image/groups"] == (4.0 if change.endswith("train_initial=true") else 2.0)
    if change != "task.kind=t2i":
        assert values["text/groups"] >= 2.0
    if "image/logprob_diff" in values:
        assert values["image/logprob_diff"] == 0.0


def test_the_table_of_metrics_has_the_names_that_trainings_log_and_no_others(
    trained: Trained,
) -> None:
    logged: set[str] = set()
    for case in CASES:
        line = trained(*case)
        logged |= {*line.values, *(f"seconds/{one}" for one in line.seconds)}
        logged |= {f"memory/{one}" for one in line.memory}
    assert {name for name in logged if metric_of(name) is None} == set()
    listed = {name for section in METRIC_SECTIONS for one in section.metrics for name in one.names}
    unseen = {name for name in listed if not any(matches(name, one) for one in logged)}
    assert unseen - OTHERWISE == set()
