"""Documents laid side by side into rows of tokens, with who sees whom and at which position.

Shapes: B rows, T tokens of a row, A learnt tokens of all rows, P pictures, N patches of a picture,
F numbers of a patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tools.nano_judge.design import MERGE, PATCH, TEMPORAL
from tools.nano_judge.documents import Document
from tools.nano_judge.scene_images import SIDE, Pixels

END_WEIGHT: Final = 0.1
"""Of the token that ends a reply, beside 1 for yes and no."""
_PER_SIDE: Final = SIDE // PATCH // MERGE
"""Picture tokens along a side."""


class PackedBatch(NamedTuple):
    """What the network needs of a batch, but for the pictures."""

    ids_BT: Tensor
    positions_3BT: Tensor
    sees_B1TT: Tensor
    """bool."""
    learnt_A: Tensor
    """Flat places of tokens whose successor is learnt."""
    targets_A: Tensor
    weights_A: Tensor


def packed_rows(
    documents: Sequence[Document], picture_id: int, *, width: int, end_id: int
) -> PackedBatch:
    """Rows of at most `width` tokens, filled in the order given."""
    rows: list[list[Document]] = [[]]
    used = 0
    for document in documents:
        if used + len(document) > width:
            rows.append([])
            used = 0
        rows[-1].append(document)
        used += len(document)
    width = max(sum(map(len, row)) for row in rows)
    ids_BT = np.zeros((len(rows), width), np.int64)
    positions_3BT = np.zeros((3, len(rows), width), np.int64)
    sees_BTT = np.zeros((len(rows), width, width), np.bool_)
    sees_BTT[:, np.arange(width), np.arange(width)] = True
    learnt: list[tuple[int, int, float]] = []
    for b, row in enumerate(rows):
        at = 0
        for document in row:
            end = at + len(document)
            ids, places_3T, sees_TT = laid(document, picture_id)
            ids_BT[b, at:end] = ids
            positions_3BT[:, b, at:end] = places_3T
            sees_BTT[b, at:end, at:end] = sees_TT
            offset = b * width + at + len(document.beginning)
            for branch in document.branches:
                for t in range(branch.asked, len(branch.ids)):
                    weight = END_WEIGHT if branch.ids[t] == end_id else branch.weight
                    learnt.append((offset + t - 1, branch.ids[t], weight))
                offset += len(branch.ids)
            at = end
    places, targets, weights = zip(*learnt, strict=True)
    return PackedBatch(
        ids_BT=torch.from_numpy(ids_BT),
        positions_3BT=torch.from_numpy(positions_3BT),
        sees_B1TT=torch.from_numpy(sees_BTT)[:, None],
        learnt_A=torch.tensor(places),
        targets_A=torch.tensor(targets),
        weights_A=torch.tensor(weights),
    )


def laid(
    document: Document, picture_id: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Ids [T], positions [3, T] and sight [T, T] of one document."""
    length, start = len(document), len(document.beginning)
    ids = [*document.beginning, *(token for one in document.branches for token in one.ids)]
    places_3S = positions(document.beginning, picture_id)
    sees_TT = np.zeros((length, length), np.bool_)
    sees_TT[:start, :start] = np.tri(start, dtype=np.bool_)
    sees_TT[start:, :start] = True
    places = [places_3S]
    at, follows = start, int(places_3S.max()) + 1
    for branch in document.branches:
        end = at + len(branch.ids)
        sees_TT[at:end, at:end] = np.tri(end - at, dtype=np.bool_)
        places.append(np.broadcast_to(np.arange(follows, follows + end - at), (3, end - at)))
        at = end
    return np.asarray(ids, np.int64), np.concatenate(places, axis=1), sees_TT


def positions(ids: Sequence[int], picture_id: int) -> NDArray[np.int64]:
    """[3, T] time, row and column, as Qwen3-VL counts them (`get_rope_index`)."""
    found: list[tuple[int, int, int]] = []
    now, t = 0, 0
    while t < len(ids):
        if ids[t] != picture_id:
            found.append((now, now, now))
            now, t = now + 1, t + 1
            continue
        cells = [(now, now + y, now + x) for y in range(_PER_SIDE) for x in range(_PER_SIDE)]
        found += cells
        now, t = now + _PER_SIDE, t + len(cells)
    return np.asarray(found, np.int64).T


def patches(pixels_PYX3: Pixels) -> Tensor:
    """[P, N, F] in [-1, 1], in the order of the image processor: merged patches together."""
    values = torch.from_numpy(np.array(pixels_PYX3)).float() / 127.5 - 1.0
    count = len(values)
    split = values.view(count, _PER_SIDE, MERGE, PATCH, _PER_SIDE, MERGE, PATCH, 3)
    ordered = split.permute(0, 1, 4, 2, 5, 7, 3, 6)
    repeated = ordered[..., None, :, :].expand(*ordered.shape[:6], TEMPORAL, PATCH, PATCH)
    return repeated.reshape(count, _PER_SIDE**2 * MERGE**2, -1)
