"""A checkpoint that several processes wrote in parts is exported as complete weights."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn

from alphabench.checkpoints import open_checkpoint
from alphabench.core.errors import AlphaBenchError, DamagedError
from alphagrpo.export import ExportTarget, export_run
from alphagrpo.policies.factory import training_adapter
from alphagrpo.policies.policy_protocols import ExportableCheckpoint
from alphatrainers.checkpoint import Counters, TrainingCheckpoint, TrainingFolder
from alphatrainers.distributed import Processes, leave, require_group
from alphatrainers.sharded_files import shard_name
from alphatrainers.shards import write_shards
from tests.support.page_commands import ROOT

RECORDED = ROOT / "tests" / "compatibility" / "training_folder"
"""Two steps of nano-awm by version 0.1; a checkpoint in parts is put beside its own."""
SHIFT = {"train": 1.0, "ema": 2.0}
"""What each view adds to the base."""


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts") / "training"
    shutil.copytree(RECORDED, folder, symlinks=True)
    require_group(torch.device("cpu"))
    write_checkpoint(folder, values_of("nano"))
    leave(Processes())
    return folder


def values_of(spec: str) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in module_of(spec).named_parameters()}


def module_of(spec: str) -> nn.Module:
    checkpoint = training_adapter(open_checkpoint(spec, options={}, lora=None))
    assert isinstance(checkpoint, ExportableCheckpoint)
    return checkpoint.open_weights(device="cpu").module


def trained(base: Mapping[str, Tensor]) -> list[str]:
    """Some parameters of the base; the last one is not in parts."""
    return [*[name for name, value in base.items() if value.ndim == 2][:3], last(base)]


def last(base: Mapping[str, Tensor]) -> str:
    return next(name for name, value in base.items() if value.ndim == 1)


def write_checkpoint(folder: Path, base: Mapping[str, Tensor]) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Shard

    mesh = init_device_mesh("cpu", (1,))
    values = {
        view: {name: base[name].float() + shift for name in trained(base)}
        for view, shift in SHIFT.items()
    }
    values["optimizer"] = {f"exp_avg.{name}": base[name] for name in trained(base)}
    parts: dict[str, Tensor] = {
        shard_name(what, name): DTensor.from_local(value, mesh, [Shard(0)], run_check=False)
        for what, some in values.items()
        for name, value in some.items()
        if not name.endswith(last(base))
    }
    same = {
        view: {name: value for name, value in values[view].items() if name == last(base)}
        for view in SHIFT
    }
    counters = Counters(
        step=4,
        updates=4,
        position=0,
        images=0,
        flat_streaks={},
        old_log_probs=None,
        cost_usd=None,
        recent_reward=None,
        queues=[None],
    )
    TrainingFolder(folder).save_shards(
        TrainingCheckpoint(counters, same, {}, {"0.cpu": torch.get_rng_state()}),
        lambda shards: write_shards(shards, parts),
        keep=5,
    )


def exported(run: Path, out: Path) -> list[str]:
    return export_run(run, ExportTarget(out=out), base="nano")


@pytest.mark.parametrize(("named", "view"), [("", "train"), ("train", "train"), ("ema", "ema")])
def test_its_values_are_put_into_the_base(
    named: str, view: str, training: Path, tmp_path: Path
) -> None:
    said = exported(training / "checkpoints/step-000004" / named, tmp_path / "out")
    assert said[0].startswith("wrote 4 trained tensors and their base into")
    base, found = values_of("nano"), values_of(str(tmp_path / "out"))
    assert found.keys() == base.keys()
    for name, value in base.items():
        shift = SHIFT[view] if name in trained(base) else 0.0
        assert torch.equal(found[name], (value.float() + shift).to(value.dtype)), name
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"`{view}`" in card
    assert "| training step | 4" in re.sub(" +", " ", card)


def test_a_view_that_it_does_not_have_is_refused_with_those_that_it_has(
    training: Path, tmp_path: Path
) -> None:
    step = training / "checkpoints/step-000004"
    with pytest.raises(AlphaBenchError, match="holds no 'old' weights") as refused:
        exported(step / "old", tmp_path / "out")
    assert refused.value.hint == f"name one of {step / 'ema'}, {step / 'train'}"
    with pytest.raises(AlphaBenchError, match="holds no adapter and no trained values"):
        exported(step / "shards", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def cut_off(step: Path) -> None:
    (shard,) = (step / "shards").iterdir()
    shard.write_bytes(shard.read_bytes()[:-8])


def lose_state(step: Path) -> None:
    (step / "state.json").unlink()


def lose_a_shard(step: Path) -> None:
    (shard,) = (step / "shards").iterdir()
    shard.unlink()


def garble_values(step: Path) -> None:
    (step / "replicated.safetensors").write_bytes(b"no header")


@pytest.mark.parametrize("damage", [cut_off, lose_state, lose_a_shard, garble_values])
def test_a_damaged_one_is_refused_in_one_sentence(
    damage: Any, training: Path, tmp_path: Path
) -> None:
    shutil.copytree(training, tmp_path / "copy", symlinks=True)
    step = tmp_path / "copy/checkpoints/step-000004"
    damage(step)
    with pytest.raises(DamagedError, match=r"step-000004' is damaged"):
        exported(step, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_values_that_do_not_fit_the_base_are_refused(training: Path, tmp_path: Path) -> None:
    shutil.copytree(training, tmp_path / "copy", symlinks=True)
    step = tmp_path / "copy/checkpoints/step-000004"
    (step / "shards").rename(step / "away")
    require_group(torch.device("cpu"))
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Shard

    mesh = init_device_mesh("cpu", (1,))
    strange = DTensor.from_local(torch.ones(2, 2), mesh, [Shard(0)], run_check=False)
    write_shards(step / "shards", {"train/strange.weight": strange})
    leave(Processes())
    state = json.loads((step / "state.json").read_text())
    state["shards"] = {one.name: one.stat().st_size for one in (step / "shards").iterdir()}
    (step / "state.json").write_text(json.dumps(state))
    with pytest.raises(AlphaBenchError, match=r"'strange\.weight' of .* does not fit this model"):
        exported(step, tmp_path / "out")
    assert not distributed.is_initialized()
