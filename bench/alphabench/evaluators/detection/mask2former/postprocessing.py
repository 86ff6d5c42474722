"""From the output of a Mask2Former to instances: scores, masks and boxes, as tensors on a batch.

The rule is mmdet's (MaskFormerFusionHead.instance_postprocess, mmdet 3.3.0): the `limit` best
(query, class) pairs, mask logits resized to the input, cropped to the image without padding and
resized to the image, mask = logit above 0, score = class probability x mean mask
probability inside the mask. Float32, no gradient.

Several images are computed one after another and their results fetched together, so that the host
waits for the device twice: for candidates, and for instances.

Shapes: B images of one size, Q queries, C classes (without no-object), K best pairs, N candidates
of all images together, h w size of the mask logits, H W size of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from alphabench.device_transfer import fetched, sent


class Candidates(NamedTuple):
    """(query, class) pairs that may become objects, image after image, best first; on the CPU."""

    image_N: Tensor
    query_N: Tensor
    label_N: Tensor
    score_N: Tensor
    """Probability of the class, a ceiling of the final score."""


class Segments(NamedTuple):
    """The masks of candidates, in their order; on the device of the logits."""

    mask_NHW: Tensor
    mean_N: Tensor
    """Mean probability inside the mask, 0 for an empty one."""
    box_N4: Tensor
    are_finite: Tensor
    """Whether all logits of the images are numbers, a scalar."""


class Instances(NamedTuple):
    """Objects, in the order of their candidates; on the CPU."""

    image_N: Tensor
    label_N: Tensor
    score_N: Tensor
    box_N4: Tensor
    """x1, y1, x2, y2 in pixels of the image; x2 and y2 lie one past the last pixel."""
    mask_NHW: Tensor


def best_candidates(
    class_logits: Sequence[Tensor], *, limit: int, min_score: float
) -> list[Candidates]:
    """The `limit` most probable (query, class) pairs of each image, above `min_score`.

    Args:
        class_logits: (B, Q, C + 1) of each batch; the last class is no-object, which takes part in
            the softmax only.
        limit: pairs an image; mmdet's max_per_image, 100.
        min_score: pairs at or below it are left out; it can be no score of interest, since the
            final score is the pair's probability times a mean of probabilities.

    Raises:
        RuntimeError: the logits are no numbers.
    """
    queued: list[Tensor] = []
    for logits_BQC1 in class_logits:
        probability_BQC = logits_BQC1.float().softmax(dim=-1)[..., :-1]
        flat_BP = probability_BQC.flatten(1)
        score_BK, pair_BK = flat_BP.topk(min(limit, flat_BP.shape[1]), dim=1)
        queued += [score_BK, pair_BK, logits_BQC1.isfinite().all()]
    host = iter(fetched(queued))
    found = []
    for logits_BQC1, score_BK, pair_BK, are_finite in zip(
        class_logits, host, host, host, strict=True
    ):
        if not are_finite:
            raise RuntimeError("the detector's class logits are not finite")
        n_classes = logits_BQC1.shape[-1] - 1
        image_N, rank_N = torch.nonzero(score_BK > min_score, as_tuple=True)
        pair_N = pair_BK[image_N, rank_N]
        found.append(
            Candidates(
                image_N=image_N,
                query_N=pair_N // n_classes,
                label_N=pair_N % n_classes,
                score_N=score_BK[image_N, rank_N],
            )
        )
    return found


def segments(
    candidates: Candidates,
    mask_logits_BQhw: Tensor,
    *,
    input_size: tuple[int, int],
    image_size: tuple[int, int],
    content_size: tuple[int, int] | None = None,
    pixels_at_once: int = 2**22,
) -> Segments:
    """Masks and boxes of the candidates at the size of the images; waits for nothing.

    Args:
        candidates: from the same outputs.
        mask_logits_BQhw: at the model's own resolution.
        input_size: (height, width) of what the model saw.
        image_size: (height, width) of the images.
        content_size: (height, width) of the image in the input, at its upper left; None
            where the input has no padding.
        pixels_at_once: masks are enlarged in chunks of about this many values (16 MiB of
            float32, which stays near a processor's cache); changes no result.
    """
    height, width = image_size
    device = mask_logits_BQhw.device
    at_N, query_N = sent(torch.stack([candidates.image_N, candidates.query_N]), device)
    chosen_Nhw = mask_logits_BQhw[at_N, query_N].float()
    sizes = (input_size, content_size or input_size, image_size)
    step = max(1, pixels_at_once // max(height * width, input_size[0] * input_size[1]))
    masks, means = [], []
    for part_nhw in torch.split(chosen_Nhw, step):
        mask_nHW, mean_n = _enlarged(part_nhw, *sizes)
        masks.append(mask_nHW)
        means.append(mean_n)
    mask_NHW = torch.cat(masks) if masks else chosen_Nhw.new_zeros((0, height, width)).bool()
    mean_N = torch.cat(means) if means else chosen_Nhw.new_zeros(0)
    are_finite = mask_logits_BQhw.isfinite().all()
    return Segments(mask_NHW, mean_N, boxes_of_masks(mask_NHW), are_finite)


def instances(candidates: Sequence[Candidates], parts: Sequence[Segments]) -> list[Instances]:
    """The objects of each batch from its candidates and their segments.

    Raises:
        RuntimeError: the mask logits are no numbers.
    """
    host = iter(fetched([tensor for part in parts for tensor in part]))
    found = []
    for these, mask_NHW, mean_N, box_N4, are_finite in zip(
        candidates, host, host, host, host, strict=True
    ):
        if not are_finite:
            raise RuntimeError("the detector's mask logits are not finite")
        score_N = these.score_N * mean_N
        found.append(Instances(these.image_N, these.label_N, score_N, box_N4, mask_NHW))
    return found


def _enlarged(
    logits_nhw: Tensor,
    input_size: tuple[int, int],
    content_size: tuple[int, int],
    image_size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Masks at the image's size, and the mean probability inside each (0 for an empty mask)."""
    logits_nhw = _resized(logits_nhw, input_size)[:, : content_size[0], : content_size[1]]
    logits_nhw = _resized(logits_nhw, image_size)
    mask_nHW = logits_nhw > 0
    inside_nHW = logits_nhw.sigmoid().mul_(mask_nHW)
    area_n = mask_nHW.flatten(1).sum(dim=1, dtype=torch.int32)
    return mask_nHW, inside_nHW.flatten(1).sum(dim=1) / (area_n + 1e-6)


def _resized(logits_nhw: Tensor, size: tuple[int, int]) -> Tensor:
    if logits_nhw.shape[-2:] == size:
        return logits_nhw
    return functional.interpolate(
        logits_nhw[:, None], size=size, mode="bilinear", align_corners=False
    )[:, 0]


def boxes_of_masks(mask_NHW: Tensor) -> Tensor:
    """The tight box of each mask, as float32 (N, 4); zeros for an empty mask.

    Corners as in mmdet's mask2bbox: the far ones lie one past the last pixel.
    """
    spans = []
    for used_NL in (mask_NHW.any(dim=1), mask_NHW.any(dim=2)):
        at_L = torch.arange(used_NL.shape[1], device=mask_NHW.device)
        first_N = torch.where(used_NL, at_L, used_NL.shape[1]).amin(dim=1)
        last_N = torch.where(used_NL, at_L + 1, 0).amax(dim=1)
        spans.append((torch.minimum(first_N, last_N), last_N))
    (left_N, right_N), (top_N, bottom_N) = spans
    return torch.stack([left_N, top_N, right_N, bottom_N], dim=1).float()
