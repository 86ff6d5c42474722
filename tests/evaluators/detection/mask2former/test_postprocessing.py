from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabench.evaluators.detection.mask2former.postprocessing import (
    Candidates,
    Instances,
    best_candidates,
    boxes_of_masks,
    instances,
    segments,
)

SEEDS = st.integers(0, 2**31 - 1)


def outputs(
    seed: int, *, batch: int = 2, queries: int = 7, classes: int = 5
) -> tuple[torch.Tensor, torch.Tensor]:
    """Class logits (B, Q, C + 1) and smooth mask logits (B, Q, h, w)."""
    draw = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(batch, queries, classes + 1, generator=draw)
    coarse = 4 * torch.randn(batch, queries, 4, 4, generator=draw)
    return logits, torch.nn.functional.interpolate(coarse, size=(24, 24), mode="bicubic")


def best(logits: torch.Tensor, *, limit: int, min_score: float) -> Candidates:
    (found,) = best_candidates([logits], limit=limit, min_score=min_score)
    return found


def objects(candidates: Candidates, masks: torch.Tensor, **sizes: Any) -> Instances:
    (found,) = instances([candidates], [segments(candidates, masks, **sizes)])
    return found


@given(SEEDS, st.integers(1, 9), st.integers(1, 9), st.floats(0, 0.6))
def test_boxes_enclose_their_masks_and_nothing_more(
    seed: int, height: int, width: int, share: float
) -> None:
    masks = np.random.default_rng(seed).random((5, height, width)) < share
    for mask, box in zip(masks, boxes_of_masks(torch.from_numpy(masks)).tolist(), strict=True):
        rows, columns = np.nonzero(mask)
        tight = (
            [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if rows.size else [0] * 4
        )
        assert box == tight


@given(SEEDS, st.integers(1, 40), st.floats(0.0, 0.9))
@settings(max_examples=30)
def test_candidates_are_the_most_probable_pairs_above_the_floor(
    seed: int, limit: int, floor: float
) -> None:
    logits, _ = outputs(seed)
    found = best(logits, limit=limit, min_score=floor)
    weights = np.exp(logits.double().numpy())
    probability = weights / weights.sum(-1, keepdims=True)
    for image in range(len(logits)):
        pairs = [
            (float(probability[image, q, c]), q, c) for q in range(7) for c in range(5)
        ]  # the sixth class is no-object
        wanted = [pair for pair in sorted(pairs, reverse=True)[:limit] if pair[0] > floor]
        here = found.image_N == image
        rows = zip(found.query_N[here].tolist(), found.label_N[here].tolist(), strict=True)
        assert list(rows) == [(q, c) for _, q, c in wanted]
        np.testing.assert_allclose(found.score_N[here], [p for p, _, _ in wanted], rtol=1e-5)


def test_scores_and_masks_are_those_of_transformers_where_both_work_at_one_size() -> None:
    from transformers import Mask2FormerImageProcessorPil

    logits, masks = outputs(11, queries=12)
    side = 384  # transformers compares masks at this size whatever the image's
    processor = Mask2FormerImageProcessorPil()
    theirs = processor.post_process_instance_segmentation(
        SimpleNamespace(class_queries_logits=logits, masks_queries_logits=masks),
        threshold=0.05,
        target_sizes=[(side, side)] * 2,
        return_binary_maps=True,
    )
    found = objects(
        best(logits, limit=12, min_score=0.0),
        masks,
        input_size=(side, side),
        image_size=(side, side),
    )
    for image, wanted in enumerate(theirs):
        keep = (found.image_N == image) & (found.score_N >= 0.05)
        ours = sorted(zip(found.label_N[keep].tolist(), found.score_N[keep].tolist(), strict=True))
        info = sorted((one["label_id"], one["score"]) for one in wanted["segments_info"])
        assert len(ours) > 3
        assert [label for label, _ in ours] == [label for label, _ in info]
        np.testing.assert_allclose([s for _, s in ours], [s for _, s in info], atol=2e-6)
        areas = sorted(found.mask_NHW[keep].sum(dim=(1, 2)).tolist())
        assert areas == sorted(int(mask.sum()) for mask in wanted["segmentation"])


@given(SEEDS, st.integers(0, 1))
@settings(max_examples=10)
def test_a_floor_a_neighbour_and_the_size_of_chunks_change_no_object_above_it(
    seed: int, image: int
) -> None:
    logits, masks = outputs(seed)
    seen, shown = (48, 32), (30, 40)
    everything = objects(
        best(logits, limit=100, min_score=0.0), masks, input_size=seen, image_size=shown
    )
    alone = objects(
        best(logits[image : image + 1], limit=100, min_score=0.2),
        masks[image : image + 1],
        input_size=seen,
        image_size=shown,
        pixels_at_once=1,
    )
    wanted = (everything.image_N == image) & (everything.score_N > 0.2)
    ours = alone.score_N > 0.2
    torch.testing.assert_close(alone.score_N[ours], everything.score_N[wanted])
    assert torch.equal(alone.mask_NHW[ours], everything.mask_NHW[wanted])
    assert torch.equal(alone.box_N4[ours], everything.box_N4[wanted])


def test_an_image_without_candidates_has_no_objects() -> None:
    logits, masks = outputs(1)
    found = objects(
        best(logits, limit=9, min_score=1.0), masks, input_size=(8, 8), image_size=(9, 7)
    )
    assert found.mask_NHW.shape == (0, 9, 7)
    assert found.score_N.shape == (0,)
    assert found.box_N4.shape == (0, 4)


def test_a_mask_score_is_the_mean_probability_inside_the_mask() -> None:
    logits = torch.tensor([[[9.0, -9.0]]])
    masks = torch.tensor([[[[1.0, 3.0], [-2.0, -5.0]]]])
    found = objects(
        best(logits, limit=1, min_score=0.0),
        masks,
        input_size=(2, 2),
        image_size=(2, 2),
    )
    mean = (torch.tensor(1.0).sigmoid() + torch.tensor(3.0).sigmoid()) / 2
    torch.testing.assert_close(found.score_N, mean[None] * torch.tensor(18.0).sigmoid())
    assert found.box_N4.tolist() == [[0, 0, 2, 1]]


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_outputs_that_are_no_numbers_are_an_error_and_no_objects(broken: float) -> None:
    logits, masks = outputs(3)
    with pytest.raises(RuntimeError, match="class logits are not finite"):
        best(torch.full_like(logits, broken), limit=9, min_score=0.05)
    candidates = best(logits, limit=9, min_score=0.05)
    masks[0, 0, 0, 0] = broken
    with pytest.raises(RuntimeError, match="mask logits are not finite"):
        objects(candidates, masks, input_size=(8, 8), image_size=(9, 7))
