"""Training of the nano detector: targets agree with decoding, and an interruption costs nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from alphabench.nano.decoding import ImageMaps, find_groups
from alphabench.nano.detector_network import CELLS, Maps, squares_to_pixels
from alphabench.scenes.scene_sampling import random_scene
from tools.nano_detector.batches import plain_batch, rough_batch
from tools.nano_detector.losses import Labels, cell_geometry, centre_target, losses
from tools.nano_detector.pool import COLOUR_NAMES, SLOTS, Shard, draw_shard
from tools.nano_detector.train import DetectorTraining, Training

PLAN = DetectorTraining(steps=4, seed=3, batch=4, shards=1, rate=1e-3)


@pytest.fixture(scope="module")
def shard() -> Shard:
    return draw_shard(5, 0, (random_scene,), count=12)


def maps_of(labels: Labels) -> Maps:
    """What a network would say that knows the labels."""
    owner, used = labels.owner_BHW, labels.category_BN >= 0
    on, slot = owner > 0, (owner - 1).clamp(min=0)
    batch = torch.arange(len(owner))[:, None, None]
    heat, _ = centre_target(labels.box_BN4, used)
    offset, reach = cell_geometry(labels.box_BN4[batch, slot].permute(0, 3, 1, 2) / 4)
    category = (labels.category_BN[batch, slot] + 1) * on
    colour = labels.colour_BN[batch, slot].clamp(min=0)
    return Maps(
        torch.logit(heat.clamp(1e-4, 1 - 1e-4))[:, None],
        12.0 * torch.nn.functional.one_hot(category, 41).permute(0, 3, 1, 2).float(),
        12.0 * torch.nn.functional.one_hot(colour, len(COLOUR_NAMES)).permute(0, 3, 1, 2).float(),
        offset,
        reach,
    )


def test_maps_that_equal_the_truth_have_nearly_no_loss_and_any_change_costs(shard: Shard) -> None:
    _, labels = plain_batch(shard)
    true = maps_of(labels)
    at_truth = losses(true, labels)
    assert at_truth["offset"] == at_truth["box"] == 0.0
    assert at_truth["category"] < 1e-2
    assert at_truth["colour"] < 1e-2
    off = losses(Maps(*(field.roll(3, dims=-1) for field in true)), labels)
    assert all(off[name] > 2 * at_truth[name] for name in at_truth)


def test_what_the_targets_say_is_what_decoding_reads(shard: Shard) -> None:
    _, labels = plain_batch(shard)
    maps = maps_of(labels)
    for row in range(len(shard.picture_RSS3)):
        fields = [field[row].numpy() for field in maps]
        groups = find_groups(ImageMaps(fields[0][0], *fields[1:]))
        used = shard.category_RN[row] != 255
        seen = sorted((g.category, g.colour) for g in groups)
        true = zip(shard.category_RN[row][used], shard.colour_RN[row][used], strict=True)
        assert seen == sorted((int(category), int(colour)) for category, colour in true)


def test_a_shard_and_a_rough_batch_depend_on_their_seeds_alone(shard: Shard) -> None:
    again = draw_shard(5, 0, (random_scene,), count=12)
    for a, b in zip(shard, again, strict=True):
        np.testing.assert_array_equal(a, b)
    one, two = (rough_batch(shard, np.random.default_rng(1)) for _ in range(2))
    assert torch.equal(one[0], two[0])
    assert one[0].shape == squares_to_pixels(shard.picture_RSS3).shape
    assert one[0].abs().max() <= 1.0


def test_mirroring_moves_boxes_with_their_cells(shard: Shard) -> None:
    for seed in range(3):
        _, labels = rough_batch(shard, np.random.default_rng(seed))
        middle = torch.arange(CELLS) * 4 + 2
        for owner, box in zip(labels.owner_BHW, labels.box_BN4, strict=True):
            for slot in range(SLOTS):
                mine = owner == slot + 1
                if mine.any():
                    x1, y1, x2, y2 = box[slot]
                    columns, rows = middle[mine.any(0)], middle[mine.any(1)]
                    assert columns.min() > x1 - 4
                    assert columns.max() < x2 + 4
                    assert rows.min() > y1 - 4
                    assert rows.max() < y2 + 4


def test_training_that_was_interrupted_ends_with_the_same_weights(
    shard: Shard, tmp_path: Path
) -> None:
    def rows(step: int) -> Shard:
        return shard.rows(slice(4 * (step % 3), 4 * (step % 3) + 4))

    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = Training(PLAN, tmp_path / "whole", threads=2)
    for step in range(4):
        whole.advance(rows(step))
    first = Training(PLAN, tmp_path / "cut", threads=2)
    for step in range(2):
        first.advance(rows(step))
    first.save()
    second = Training(PLAN, tmp_path / "cut", threads=2)
    for step in range(second.step, 4):
        second.advance(rows(step))
    for name, tensor in whole.average.state_dict().items():
        assert torch.equal(tensor, second.average.state_dict()[name]), name


def test_a_checkpoint_of_another_plan_is_refused(tmp_path: Path) -> None:
    Training(PLAN, tmp_path, threads=1).save()
    other = DetectorTraining(steps=5, seed=3, batch=4, shards=1, rate=1e-3)
    with pytest.raises(SystemExit, match="another plan"):
        Training(other, tmp_path, threads=1)
