"""`--dry-run`: what a training takes, told without weights, judge or GPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from alphabench.tracing.ledger import PhaseCounts
from alphabench.weights.memory import GIB
from alphagrpo.cost_estimate import forecast
from alphagrpo.recipe import load_recipe
from alphagrpo.train_commands import train_command
from tests.alphagrpo.test_assemble import OWN
from tests.support.tiny_bagel import save_bagel


def plan_of(name: str, *changes: str, devices: int = 1) -> dict[str, str]:
    lines = forecast(load_recipe(name, changes), devices=devices).splitlines()
    return {line[:38].strip(): line[38:].strip() for line in lines}


@pytest.fixture
def dry_run(tmp_path: Path) -> Callable[..., Result]:
    app = typer.Typer()
    app.command("train")(train_command)
    app.command("other")(lambda: None)

    def run(*words: str) -> Result:
        command = ["train", *words, "--dry-run", "--cache", str(tmp_path)]
        return CliRunner().invoke(app, command, catch_exceptions=False)

    return run


@pytest.mark.whole
def test_the_released_recipe_is_planned_on_a_machine_without_its_weights(
    dry_run: Callable[..., Result],
) -> None:
    said = dry_run("bagel-rt2i")
    for words in ("448", "TFLOP", "GiB", "judge calls", "USD", "56 GPUs", "H100-hours"):
        assert words in said.output
    assert "Memory is counted from the operators of one update" in said.output
    assert said.exit_code == 2


def test_what_the_released_recipe_lacks_is_listed_with_what_to_do(
    dry_run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Counting the memory of such a model takes half a minute.
    monkeypatch.setattr("alphagrpo.cost_estimate.forecast", lambda recipe, **_: recipe.about.costs)
    said = dry_run("bagel-rt2i")
    assert "56 GPUs" in said.output
    assert said.exit_code == 2
    lines = [line for line in said.output.splitlines() if line.startswith("missing: ")]
    for words in (
        "policy: the hub repository 'ByteDance-Seed/BAGEL-7B-MoT'",
        "prompts: the file of prompts 'alphagrpo20k/train.jsonl' does not exist; set",
        "validation[0]: the official data 'geneval' is not on this machine",
    ):
        assert [line for line in lines if line.startswith(f"missing: {words}")], said.output


def test_fewer_steps_without_guidance_cost_less() -> None:
    released, lean = plan_of("bagel-rt2i"), plan_of("bagel-unigrpo-style")
    work = [float(one["work a trajectory"].split()[0].replace(",", "")) for one in (released, lean)]
    assert work[1] < 0.4 * work[0]


def test_devices_share_the_work_and_change_no_gpu_hours() -> None:
    one, eight = plan_of("bagel-rt2i"), plan_of("bagel-rt2i", devices=8)
    assert eight["prompts a device"] == "4 at most"
    assert eight["trajectories a step"] == "448 (56 a device at most)"
    for line in ("work a step", "judge calls a step", "H100-hours in all, at 35%"):
        assert eight[line] == one[line]
    hours = number(one["H100-hours in all, at 35%"])
    assert number(eight["hours on 8 H100"]) == pytest.approx(hours / 8, abs=0.6)
    assert not [line for line in one if "devices" in line or line.startswith("hours on")]


def test_a_device_waits_for_the_one_with_most_prompts() -> None:
    five, six = (plan_of("bagel-rt2i", devices=n) for n in (5, 6))
    assert (five["prompts a device"], six["prompts a device"]) == ("7 at most", "6 at most")
    ratio = number(five["hours on 5 H100"]) / number(six["hours on 6 H100"])
    assert ratio == pytest.approx(7 / 6, rel=0.03)


@pytest.mark.parametrize(("parallel", "parts"), [("shard", 8), ("replicate", 1)])
def test_shards_alone_divide_memory_among_devices(parallel: str, parts: int) -> None:
    full = ("training.lora=null", "policy.options.dtype=float32", f"training.parallel={parallel}")
    one, eight = (plan_of("bagel-rt2i", *full, devices=n) for n in (1, 8))
    line = "trained values, gradients, optimiser"
    assert number(one[line]) / number(eight[line]) == pytest.approx(parts, rel=0.01)
    assert one["activations"] == eight["activations"]


def test_devices_without_work_are_named_before_they_wait(
    dry_run: Callable[..., Result],
) -> None:
    said = dry_run("nano-srr", "--devices", "9")
    assert "missing: --devices: a step has 8 prompts, too few for 9 processes" in said.output
    assert said.exit_code == 2
    # Groups of the other tasks are split.
    assert "--devices" not in dry_run("nano-rt2i", "--devices", "17").output


def test_refinement_counts_its_initial_images() -> None:
    assert "224 initial images" in forecast(load_recipe("bagel-srr"))


def number(line: str) -> float:
    return float(line.partition(" ")[0].replace(",", ""))


def test_what_initial_images_cost_to_judge_is_in_the_sum() -> None:
    price = "rewards.dvreward.usd_per_million_tokens=1.0"
    refining, plain = plan_of("bagel-srr", price), plan_of("bagel-srr", price, "task.kind=rt2i")
    for line in ("judge calls a step", "judge calls in all", "judges' price in all"):
        # 224 initial images beside 448 refinements; rt2i generates none.
        assert number(refining[line]) == pytest.approx(1.5 * number(plain[line]), rel=1e-3)
    half = plan_of("bagel-srr", "task.kind=mixed", "task.mixed={rt2i: 1, srr: 1}")
    assert number(half["judge calls a step"]) == 1.25 * number(plain["judge calls a step"])
    assert "initial pictures" not in forecast(load_recipe("bagel-srr", ["task.kind=rt2i"]))


def test_the_checkpoint_s_own_options_count() -> None:
    free = ("task.draw.width=null", "task.draw.height=null")
    small, large = (
        plan_of("bagel-rt2i", *free, f"policy.options={{width: {side}, height: {side}}}")
        for side in (512, 1024)
    )
    assert number(large["sampling images"]) > 3.5 * number(small["sampling images"])
    assert small == plan_of("bagel-rt2i")
    wide = plan_of("bagel-rt2i", "policy.options.dtype=float32")
    for line in ("weights", "activations"):
        assert number(wide[line]) == pytest.approx(2.0 * number(small[line]), rel=0.1)
    inline = plan_of("nano-rt2i", "policy.checkpoint=nano?dtype=bfloat16&width=128&height=128")
    assert number(inline["sampling images"]) > 3.0 * number(plan_of("nano-rt2i")["sampling images"])


def test_a_folder_at_hand_is_measured_by_its_own_files(tmp_path: Path) -> None:
    folder = save_bagel(tmp_path / "tiny")
    (folder / "alphabench.json").write_text(json.dumps(OWN))
    found = plan_of("nano-rt2i", f"policy.checkpoint={folder}", "task.draw.width=32",
                    "task.draw.height=32", "training.prompts_per_step=8",
                    "training.group_size=12")  # fmt: skip
    assert float(found["memory a device"].split()[0]) < 0.1
    assert found["judge calls a step"] == "480"


def test_a_model_of_unknown_size_has_no_estimate_and_says_why() -> None:
    said = forecast(load_recipe("sd35-dvreward", ["policy.checkpoint=somebody/some-pipeline"]))
    assert "no estimate: the hub repository 'somebody/some-pipeline'" in said


def test_the_memory_of_a_training_is_counted_from_an_update_on_shapes(tmp_path: Path) -> None:
    folder = save_bagel(tmp_path / "tiny")
    (folder / "alphabench.json").write_text(json.dumps(OWN))
    changes = (f"policy.checkpoint={folder}", "task.draw.width=32", "task.draw.height=32",
               "task.thought.max_tokens=8", "training.replay_batch=1")  # fmt: skip
    recipe = load_recipe("nano-rt2i", changes)
    estimated, counted = forecast(recipe), forecast(recipe, counted_from=0)
    assert "Memory is counted from the operators of one update" in counted
    assert "Memory is counted" not in estimated
    assert counted.splitlines()[3:10] == estimated.splitlines()[3:10]


@pytest.mark.parametrize(("parallel", "processes"), [("shard", 4), ("replicate", 1)])
def test_counted_memory_is_that_of_one_of_the_devices_where_weights_are_sharded(
    parallel: str, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []

    def count(*_: object, processes: int, **more: object) -> dict[str, PhaseCounts]:
        counted.append(processes)
        peak = {"weights": 8 * GIB / processes}
        return {"image": PhaseCounts(flops=0, bytes_moved=0, operators=0, peak=peak)}

    monkeypatch.setattr("alphagrpo.policies.bagel_sizes.trace_update", count)
    recipe = load_recipe("nano-rt2i", [f"training.parallel={parallel}"])
    said = forecast(recipe, counted_from=0, devices=4)
    assert counted == [processes]
    assert f"{8 / processes:.1f} GiB" in said
