"""Checkpoints: complete or absent, read back equal, and never mixed with another training's."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from alphabench.core.errors import AlphaBenchError
from alphatrainers.checkpoint import (
    Counters,
    TrainingCheckpoint,
    TrainingFolder,
    WeightsFormat,
    append_line,
    keep_lines,
)
from alphatrainers.settings import LoraSettings

PLAIN = WeightsFormat(None, [])


def checkpoint(step: int, **weights: float) -> TrainingCheckpoint:
    counters = Counters(
        step=step,
        updates=step,
        position=2 * step,
        images=8 * step,
        flat_streaks={"image": 1},
        old_log_probs="sampled",
        cost_usd=0.5,
        recent_reward=None,
        queues=[["p1", "p2"], None],
        curves={"held out": {"best": None}},
    )
    values = {name: {"layer.weight": torch.full((2, 3), v)} for name, v in weights.items()}
    random = {"0.cpu": torch.get_rng_state()}
    return TrainingCheckpoint(counters, values, {"exp_avg.layer.weight": torch.ones(2, 3)}, random)


def same(one: TrainingCheckpoint, other: TrainingCheckpoint) -> bool:
    def equal(a: Any, b: Any) -> bool:
        return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)

    views = one.weights.keys() == other.weights.keys()
    return (
        one.counters == other.counters
        and views
        and all(equal(one.weights[view], other.weights[view]) for view in one.weights)
        and equal(one.optimiser, other.optimiser)
        and equal(one.random, other.random)
    )


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path)
    saved = checkpoint(3, train=1.0, old=2.0)
    folder.save(saved, PLAIN, keep=2)
    assert same(folder.load(3, PLAIN), saved)


def test_adapters_are_stored_as_peft_reads_them(tmp_path: Path) -> None:
    layout = WeightsFormat(LoraSettings(rank=2, alpha=4.0), ["painter.leave"])
    values = {f"painter.leave.lora_{side}.default.weight": torch.ones(2, 2) for side in "AB"}
    saved = checkpoint(1)._replace(weights={"train": values})
    path = TrainingFolder(tmp_path).save(saved, layout, keep=1)
    assert same(TrainingFolder(tmp_path).load(1, layout), saved)
    config = json.loads((path / "train" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (2, 4.0)
    assert config["target_modules"] == ["painter.leave"]


def test_only_the_newest_checkpoints_are_retained(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path)
    for step in (1, 2, 3):
        folder.save(checkpoint(step, train=1.0), PLAIN, keep=2)
    assert folder.steps() == [2, 3]
    folder.save(checkpoint(3, train=5.0), PLAIN, keep=2)
    assert folder.load(3, PLAIN).weights["train"]["layer.weight"][0, 0] == 5.0


def test_a_draft_of_a_killed_process_is_no_checkpoint(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path)
    folder.save(checkpoint(1, train=1.0), PLAIN, keep=2)
    (tmp_path / "checkpoints" / "draft-4711").mkdir()
    assert folder.steps() == [1]


def test_a_checkpoint_of_another_version_is_refused(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path)
    path = folder.save(checkpoint(1, train=1.0), PLAIN, keep=2) / "state.json"
    path.write_text(path.read_text().replace('"format": 2', '"format": 1'))
    with pytest.raises(AlphaBenchError, match="another version"):
        folder.load(1, PLAIN)


def test_best_is_a_folder_that_is_replaced_whole(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path)
    for step, value in ((0, 1.0), (20, 2.0)):
        folder.save_best(step, {"layer.weight": torch.full((2,), value)}, PLAIN, view="ema")
    best = tmp_path / "best"
    assert best.is_symlink()
    assert best.resolve().name == "best-000020"
    assert [path.name for path in tmp_path.glob("best-0*")] == ["best-000020"]


def test_whose_weights_are_best_is_recorded_and_unknown_in_older_folders(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path)
    assert folder.best_view() is None
    folder.save_best(20, {"layer.weight": torch.ones(2)}, PLAIN, view="ema")
    assert folder.best_view() == "ema"
    # A crash between the weights and the record: the record is of other weights.
    (tmp_path / "best.json").write_text('{"step": 10, "view": "ema"}')
    assert folder.best_view() is None
    (tmp_path / "best.json").unlink()
    assert folder.best_view() is None


def test_a_copy_in_which_best_became_a_folder_goes_on(tmp_path: Path) -> None:
    TrainingFolder(tmp_path / "run").save_best(
        20, {"layer.weight": torch.zeros(2)}, PLAIN, view="train"
    )
    shutil.copytree(tmp_path / "run", tmp_path / "copy")  # follows links
    folder = TrainingFolder(tmp_path / "copy")
    assert not (tmp_path / "copy" / "best").is_symlink()
    assert folder.best_step() == 20
    folder.save_best(40, {"layer.weight": torch.ones(2)}, PLAIN, view="train")
    assert folder.best_step() == 40
    assert (tmp_path / "copy" / "best").resolve().name == "best-000040"


def test_a_training_without_a_best_point_says_so(tmp_path: Path) -> None:
    assert TrainingFolder(tmp_path).best_step() is None


def test_a_folder_of_another_training_is_refused_with_the_keys_that_differ(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path)
    folder.begin("steps: 1\n", decisive={"settings": {"seed": 1, "lr": 0.1}, "prompts": "abc"})
    folder.begin("steps: 2\n", decisive={"settings": {"seed": 1, "lr": 0.1}, "prompts": "abc"})
    assert (tmp_path / "settings.yaml").read_text() == "steps: 2\n"
    with pytest.raises(AlphaBenchError, match=r"other values .*training\.seed: 1 -> 2"):
        folder.begin("steps: 1\n", decisive={"settings": {"seed": 2, "lr": 0.1}, "prompts": "abc"})


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with (
        TrainingFolder(tmp_path).locked(),
        pytest.raises(AlphaBenchError, match="in use"),
        TrainingFolder(tmp_path).locked(),
    ):
        pass


@pytest.mark.parametrize("cut", range(0, 90, 7))
def test_lines_after_the_checkpoint_and_a_torn_line_are_dropped(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "metrics.jsonl"
    for step in range(5):
        append_line(path, {"step": step, "values": {}})
    complete = path.read_bytes()
    path.write_bytes(complete[: len(complete) - cut])
    lines = len(path.read_bytes().splitlines())
    torn = 0 if path.read_bytes().endswith(b"\n") or not cut else 1
    keep_lines(path, below=3)
    steps = [json.loads(line)["step"] for line in path.read_text().splitlines()]
    assert steps == list(range(min(3, lines - torn)))
    keep_lines(tmp_path / "absent.jsonl", below=3)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


@pytest.mark.parametrize(
    "harm", [cut_short, lambda path: path.write_bytes(b""), lambda path: path.unlink()]
)
@pytest.mark.parametrize(
    "file", ["state.json", "optimizer.safetensors", "random.safetensors", "train/model.safetensors"]
)
def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(
    tmp_path: Path, harm: Callable[[Path], None], file: str
) -> None:
    folder, messages = TrainingFolder(tmp_path), list[str]()
    for step in (1, 2):
        folder.save(checkpoint(step, train=float(step)), PLAIN, keep=2)
    harm(tmp_path / "checkpoints" / "step-000002" / file)
    found = folder.go_back(PLAIN, messages.append)
    assert found is not None
    assert same(found, checkpoint(1, train=1.0))
    assert len(messages) == 1
    assert "step-000002' is damaged" in messages[0]
    assert "step 1 is used" in messages[0]
    assert folder.steps() == [1]
    assert (tmp_path / "checkpoints" / "damaged-step-000002").is_dir()


def test_a_checkpoint_without_its_trained_weights_is_damaged(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path)
    for step in (1, 2):
        folder.save(checkpoint(step, train=1.0, old=1.0), PLAIN, keep=2)
    shutil.rmtree(tmp_path / "checkpoints" / "step-000002" / "train")
    found = folder.go_back(PLAIN, print)
    assert found is not None
    assert found.counters.step == 1


def test_where_no_checkpoint_can_be_read_the_newest_is_named_and_stays(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path)
    assert folder.go_back(PLAIN, print) is None
    for step in (1, 2):
        cut_short(folder.save(checkpoint(step, train=1.0), PLAIN, keep=2) / "state.json")
    with pytest.raises(AlphaBenchError, match=r"step-000002' is damaged") as refused:
        folder.go_back(PLAIN, print)
    assert "begin anew" in refused.value.hint
    assert folder.steps() == [1, 2]


@pytest.mark.parametrize("spare", [0, 1, 2])
def test_a_checkpoint_that_cannot_be_read_now_is_not_set_aside(tmp_path: Path, spare: int) -> None:
    folder = TrainingFolder(tmp_path)
    for step in (1, 2):
        folder.save(checkpoint(step, train=1.0), PLAIN, keep=2)
    free = os.open(tmp_path, os.O_RDONLY)
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + spare, hard))
    try:
        with contextlib.suppress(AlphaBenchError, OSError):
            folder.go_back(PLAIN, print)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert folder.steps() == [1, 2]


def test_what_a_killed_process_had_half_written_is_removed(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path)
    folder.save(checkpoint(1, train=1.0), PLAIN, keep=2)
    for name in ("draft-7", "checkpoints/draft-7"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("x")
    (tmp_path / "identity.json.draft-7").write_text("{")
    (tmp_path / "best-link-7").symlink_to("nowhere")
    before = folder.steps()
    folder.begin("steps: 1\n", decisive={})
    assert folder.steps() == before
    assert sorted(path.name for path in tmp_path.rglob("*7*")) == []


def test_a_failed_write_is_a_sentence_and_leaves_the_old_files(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path)
    folder.save(checkpoint(1, train=1.0), PLAIN, keep=2)
    # A file where a folder must be made: refused whoever runs the test.
    blocked = checkpoint(2, **{"train/model.safetensors/x": 2.0, "train": 1.0})
    with pytest.raises(AlphaBenchError, match=r"step-000002' cannot be written") as refused:
        folder.save(
            blocked._replace(weights=dict(reversed(blocked.weights.items()))), PLAIN, keep=2
        )
    assert "--resume" in refused.value.hint
    assert folder.steps() == [1]
    assert list((tmp_path / "checkpoints").glob("draft-*")) == []
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(AlphaBenchError, match="cannot be written"),
        TrainingFolder(tmp_path / "file" / "run").locked(),
    ):
        pass


@pytest.mark.parametrize("line", ['{"step": "x"}', "{}", "[]", "no json"])
def test_a_damaged_line_of_the_record_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 0}}\n{line}\n{{"step": 1}}\n')
    with pytest.raises(AlphaBenchError, match=r"line 2 of .* is damaged"):
        keep_lines(path, below=3)


def test_a_damaged_identity_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "identity.json").write_text("{")
    with pytest.raises(AlphaBenchError, match=r"identity\.json'.* is damaged"):
        TrainingFolder(tmp_path).begin("steps: 1\n", decisive={})


def test_a_failure_while_shards_are_written_leaves_the_previous_checkpoint(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path)

    def write(shards: Path, *, fails: bool = False) -> None:
        shards.mkdir()
        save_file({"train/weight": torch.ones(2)}, shards / "shard-1.safetensors")
        if fails:
            raise AlphaBenchError("the disk is full", hint="free some")

    for step in (1, 2):
        kept = checkpoint(step)
        if step == 1:
            folder.save_shards(kept, write, keep=2)
        else:
            with pytest.raises(AlphaBenchError, match="the disk is full"):
                folder.save_shards(kept, partial(write, fails=True), keep=2)
    assert folder.steps() == [1]
    stored = folder.load(1, PLAIN)
    assert stored.shards == tmp_path / "checkpoints" / "step-000001" / "shards"
    assert not list((tmp_path / "checkpoints").glob("draft-*"))


def test_a_folder_that_another_machine_does_not_see_is_refused(tmp_path: Path) -> None:
    folder = TrainingFolder(tmp_path)
    with pytest.raises(AlphaBenchError, match="not the folder of the first process") as refused:
        folder.require_begun(patience_seconds=0.0)
    assert "all machines share" in refused.value.hint
    folder.begin("", decisive={})
    folder.require_begun()
