from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.detection.coco import COCO_NAMES
from alphabench.evaluators.detection.mmdet.weight_conversion import (
    architecture_of,
    convert,
    read_checkpoint,
)
from tests.support.mmdet_tiny import save_checkpoint, tensors

BLOCK = "backbone.stages.0.blocks.0.attn.w_msa"
SWIN = "model.pixel_level_module.encoder"


@pytest.mark.parametrize("release", [2, 3])
def test_both_releases_names_are_read_and_give_the_same_weights(
    release: int, tmp_path: Path
) -> None:
    found = read_checkpoint(save_checkpoint(tmp_path / "a.pth", release))
    assert found.generation == release
    assert found.classes == COCO_NAMES
    other = tensors(5 - release)
    converted = convert(found.tensors)
    again = convert(read_checkpoint(save_checkpoint(tmp_path / "b.pth", 5 - release)).tensors)
    assert len(found.tensors) == len(other)
    assert converted.keys() == again.keys()
    assert all(torch.equal(converted[name], again[name]) for name in converted)


def test_sizes_are_read_off_the_shapes() -> None:
    sizes = architecture_of(tensors(3))
    assert (sizes.width, sizes.depths, sizes.heads) == (8, (2, 2, 2, 2), (1, 2, 2, 4))
    assert (sizes.window, sizes.mlp_ratio, sizes.patch) == (4, 4.0, 4)
    assert (sizes.encoder_layers, sizes.decoder_layers) == (2, 3)
    assert (sizes.encoder_widening, sizes.decoder_widening) == (48, 40)
    assert (sizes.queries, sizes.classes, sizes.features) == (20, 80, 32)


def test_every_number_of_the_checkpoint_but_the_position_indices_is_in_the_result() -> None:
    ours, theirs = convert(tensors(3)), tensors(3)
    kept = [one for name, one in theirs.items() if not name.endswith("position_index")]
    assert sum(one.numel() for one in ours.values()) == sum(one.numel() for one in kept)
    total = sum(one.double().sum().item() for one in kept)
    assert sum(one.double().sum().item() for one in ours.values()) == pytest.approx(total)


def test_queries_keys_and_values_are_taken_apart_in_that_order() -> None:
    found, state = convert(tensors(3)), tensors(3)
    attention = f"{SWIN}.encoder.layers.0.blocks.0.attention.self"
    parts = [found[f"{attention}.{one}.weight"] for one in ("query", "key", "value")]
    assert torch.equal(torch.cat(parts), state[f"{BLOCK}.qkv.weight"])


def test_patch_merging_sees_the_same_neighbours() -> None:
    state = tensors(3)
    merged = torch.arange(32.0).reshape(1, 8, 2, 2)  # channel, y, x
    theirs = torch.nn.functional.unfold(merged, 2)[0, :, 0]
    ours = torch.cat([merged[0, :, y, x] for x in (0, 1) for y in (0, 1)])
    weight = state["backbone.stages.0.downsample.reduction.weight"]
    converted = convert(state)[f"{SWIN}.encoder.layers.0.downsample.reduction.weight"]
    torch.testing.assert_close(converted @ ours, weight @ theirs)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({f"{BLOCK}.qkv.bias": None}, rf"no tensor '{BLOCK}\.qkv\.bias'"),
        ({"panoptic_head.mask_embed.2.weight": None}, r"no tensor 'panoptic_head\.mask_embed\.2"),
        ({"panoptic_head.cls_embed.weight": None}, r"no tensor 'panoptic_head\.cls_embed\.weight'"),
        ({"roi_head.fc.weight": torch.zeros(2)}, r"a tensor 'roi_head\.fc\.weight' that"),
        ({f"{BLOCK}.proj.bias": torch.zeros(9)}, rf"'{BLOCK}\.proj\.bias' is \(9,\) .* \(8,\)"),
        ({f"{BLOCK}.qkv.weight": torch.zeros(24, 8)}, rf"'{BLOCK}\.qkv\.weight' is 0 throughout"),
        ({"backbone.norm0.weight": torch.zeros(8)}, r"'backbone\.norm0\.weight' is 0 throughout"),
        ({f"{BLOCK}.qkv.bias": torch.full((24,), torch.nan)}, r"qkv\.bias' .* not finite"),
        (
            {f"{BLOCK}.relative_position_index": torch.arange(256).reshape(16, 16)},
            rf"'{BLOCK}\.relative_position_index' orders a window otherwise",
        ),
    ],
)
def test_a_tensor_too_few_too_many_or_of_another_shape_is_refused_by_name(
    changed: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = save_checkpoint(tmp_path / "a.pth", 3, changed=changed)
    with pytest.raises(AlphaBenchError, match=words):
        convert(read_checkpoint(path).tensors)


def test_weights_saved_from_several_devices_and_without_a_wrapper_are_read(tmp_path: Path) -> None:
    state = {f"module.{name}": tensor for name, tensor in tensors(2).items()}
    torch.save(state, tmp_path / "bare.pth")
    found = read_checkpoint(tmp_path / "bare.pth")
    assert found.classes is None
    assert found.tensors.keys() == tensors(3).keys()


class Harmful:
    """Runs a program when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.target}",)


def test_a_pickle_that_would_run_a_program_is_refused_and_does_not(tmp_path: Path) -> None:
    content = {"state_dict": tensors(3), "meta": Harmful(tmp_path / "ran")}
    torch.save(content, tmp_path / "harmful.pth")
    with pytest.raises(AlphaBenchError, match=r"would build '(posix|nt)\.system'"):
        read_checkpoint(tmp_path / "harmful.pth")
    assert not (tmp_path / "ran").exists()


class Getter:
    """Calls getattr when it is unpickled, as mmengine's record of a run does."""

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (np.ndarray, "mean")


def test_what_a_training_run_recorded_is_passed_over_without_being_built(tmp_path: Path) -> None:
    record = {"losses": np.arange(5.0), "method": Getter(), "seed": np.int64(3)}
    torch.save({"state_dict": tensors(3), "message_hub": record}, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth").tensors.keys() == tensors(3).keys()
    with pytest.raises(pickle.UnpicklingError, match="Unsupported global"):
        torch.load(tmp_path / "a.pth", weights_only=True)  # and what was allowed is so no more


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no checkpoint of mmdet"),
        (b"no pickle at all", "is no checkpoint of mmdet"),
        ({"state_dict": {"a": 1}}, "no 'state_dict' of tensors"),
        ([torch.zeros(1)], "it holds a list"),
    ],
)
def test_files_that_are_no_checkpoint_are_refused(content: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(AlphaBenchError, match=words):
        read_checkpoint(path)
    with pytest.raises(AlphaBenchError, match=r"missing\.pth.* is no checkpoint"):
        read_checkpoint(tmp_path / "missing.pth")
