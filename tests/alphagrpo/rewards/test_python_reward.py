"""A reward from outside the package: a function, a factory with options, and what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alphabench.core.errors import AlphaBenchError, JudgeUnavailableError
from alphabench.upstream import UpstreamData
from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.rewards.reward_kinds import RewardSettings, open_reward
from alphatrainers.protocols import RewardFunction, Score
from alphatrainers.trajectory import Trajectory
from tests.cli.conftest import Shell
from tests.support.made_recipes import wrote

HERE = "tests.alphagrpo.rewards.test_python_reward"
NANO = "nano?timesteps=5&max_think_tokens=8&think=true"
QUICK = (
    f"policy.checkpoint='{NANO}'", "policy.options={think_prompt: Plan it.}", "panel=0",
    "task.draw.points=5", "task.draw.window={kind: random, size: 2, low: 0, high: 3}",
    "task.thought.max_tokens=8", "prompts.source='small:?count=2'", "validation=[]",
    "training.steps=1", "training.prompts_per_step=2", "training.group_size=3",
    "training.logging.tensorboard=false", "training.lora={rank: 2, alpha: 4}",
)  # fmt: skip


def brightness(prompts: list[str], images: list[Image.Image]) -> list[float | None]:
    assert all(isinstance(prompt, str) for prompt in prompts)
    return [grey(image) for image in images]


def scaled(
    prompts: list[str], images: list[Image.Image], *, factor: float, skip: bool = False
) -> list[float | None]:
    return [None if skip else factor * grey(image) for image in images]


def with_option(scale: float = 1.0) -> Any:
    def reward(prompts: list[str], images: list[Image.Image]) -> list[float | None]:
        return [scale * grey(image) for image in images]

    return reward


class Lengths:
    """A whole reward: it sees texts too."""

    @property
    def identity(self) -> dict[str, str]:
        return {"kind": "lengths"}

    def score(self, trajectories: Sequence[Trajectory]) -> list[Score]:
        return [Score(value=float(len(one.texts[-1].text))) for one in trajectories]


def odd(prompts: list[str], images: list[Image.Image]) -> list[Any]:
    return [float("nan"), float("inf"), "0.5", None][: len(images)]


def short(prompts: list[str], images: list[Image.Image]) -> list[float]:
    return [1.0]


def broken(prompts: list[str], images: list[Image.Image]) -> list[float]:
    raise RuntimeError("no such layer")


def away(prompts: list[str], images: list[Image.Image]) -> list[float]:
    raise JudgeUnavailableError("the scorer restarts")


def nothing() -> int:
    return 3


def grey(image: Image.Image) -> float:
    assert image.mode == "RGB"
    return image.getpixel((0, 0))[0] / 255.0  # type: ignore[index]


def made(name: str, **options: object) -> RewardFunction:
    settings = RewardSettings(kind="python", factory=f"{HERE}:{name}", options=options)
    context = AssemblyContext(
        folder=Path(), data=UpstreamData(cache_dir=Path()), device="cpu", report=print
    )
    return open_reward(settings, context)


def values(reward: RewardFunction, *greys: int) -> list[float | None]:
    return [one.value for one in reward.score([wrote("text", grey=level) for level in greys])]


def test_a_plain_function_of_prompts_and_images_is_a_reward() -> None:
    reward = made("brightness")
    assert values(reward, 0, 51, 255) == pytest.approx([0.0, 0.2, 1.0])
    assert reward.identity == {"kind": "python", "factory": f"{HERE}:brightness"}


def test_its_further_parameters_are_options_of_the_recipe() -> None:
    reward = made("scaled", factor=2)
    assert values(reward, 51) == pytest.approx([0.4])
    assert reward.identity["options.factor"] == "2"
    assert values(made("scaled", factor=2, skip=True), 51) == [None]
    with pytest.raises(AlphaBenchError, match=r"needs the option 'factor'.*{factor: VALUE}"):
        made("scaled")
    with pytest.raises(AlphaBenchError, match="'factor'"):
        made("scaled", factr=2)


def test_a_factory_returns_the_function_or_a_complete_reward() -> None:
    assert values(made("with_option", scale=0.5), 255) == [0.5]
    assert values(made("Lengths"), 0) == [4.0]
    with pytest.raises(AlphaBenchError, match="is a int and no reward"):
        made("nothing")


def test_what_is_no_finite_number_is_unscored_and_never_zero() -> None:
    scores = made("odd").score([wrote("a")] * 4)
    assert [one.value for one in scores] == [None] * 4
    for word, one in zip(("nan", "inf", "'0.5'", "None"), scores, strict=True):
        assert word in one.reason


def test_a_result_of_another_length_and_an_exception_leave_all_unscored_with_the_reason() -> None:
    scores = made("short").score([wrote("a")] * 2)
    assert {one.reason for one in scores} == {f"'{HERE}:short' returned 1 scores for 2 images"}
    scores = made("broken").score([wrote("a")] * 2)
    assert [one.value for one in scores] == [None, None]
    assert "RuntimeError: no such layer (test_python_reward.py, line" in scores[0].reason


def test_a_scorer_that_is_away_is_waited_for() -> None:
    with pytest.raises(JudgeUnavailableError, match="restarts"):
        made("away").score([wrote("a")])


def test_a_key_of_another_kind_or_a_missing_one_is_named() -> None:
    with pytest.raises(ValueError, match="judge is no key of kind python, which takes factory"):
        RewardSettings(kind="python", factory="a:b", judge="nano")
    with pytest.raises(ValueError, match="python needs factory"):
        RewardSettings(kind="python")
    with pytest.raises(ValueError, match="did you mean 'dvreward'"):
        RewardSettings(kind="dvrewad")


def test_a_reward_in_a_file_of_the_user_trains_a_recipe_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "redness.py").write_text(
        "def redness(prompts, images, *, scale=1.0):\n"
        "    means = [image.resize((1, 1)).getpixel((0, 0)) for image in images]\n"
        "    return [scale * (red - (green + blue) / 2) / 255 for red, green, blue in means]\n"
    )
    shell = Shell(folder=tmp_path, cache=tmp_path / "cache")
    reward = "rewards={red: {kind: python, factory: 'redness:redness', options: {scale: 2.0}}}"
    planned = shell("train", "nano-rt2i", *QUICK, reward, "--dry-run")
    assert "judge calls a step                      0" in planned.out
    shell("train", "nano-rt2i", *QUICK, reward, "--out", "out", "--device", "cpu")
    (row,) = map(json.loads, (tmp_path / "out" / "metrics.jsonl").read_text().splitlines())
    measured = {key: value for key, value in row["values"].items() if "red" in key}
    assert measured
    identity = json.loads((tmp_path / "out" / "identity.json").read_text())
    assert "redness:redness" in json.dumps(identity)
