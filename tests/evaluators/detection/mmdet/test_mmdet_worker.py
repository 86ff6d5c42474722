from __future__ import annotations

import ast
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from alphabench.evaluators.detection.mmdet.child_process import WORKER
from alphabench.evaluators.detection.mmdet.mmdet_detector import unpack_mask
from alphabench.evaluators.detection.mmdet.mmdet_worker import (
    LIBRARIES,
    NotCompiled,
    answer,
    check_shapes,
    check_values,
    objects_of,
    rows_of,
    trust_checkpoints,
)


class Instances(SimpleNamespace):
    """What mmdet 3.x returns, as far as the worker looks at it."""

    def __contains__(self, name: str) -> bool:
        return name in vars(self)

    def cpu(self) -> Instances:
        return self

    def numpy(self) -> Instances:
        return self


BOXES = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], dtype=np.float32)
MASKS = np.random.default_rng(0).random((2, 9, 7)) < 0.5


def as_lists(rows: list[Any]) -> list[Any]:
    return [
        (int(label), float(score), [float(side) for side in box], mask is not None)
        for label, score, box, mask in rows
    ]


def test_both_generations_of_mmdet_give_the_same_rows() -> None:
    scores = np.array([0.9, 0.4], dtype=np.float32)
    new = SimpleNamespace(
        pred_instances=Instances(labels=np.array([0, 2]), scores=scores, bboxes=BOXES, masks=MASKS)
    )
    with_scores = np.concatenate([BOXES, scores[:, None]], axis=1)
    boxes = [with_scores[:1], np.zeros((0, 5), np.float32), with_scores[1:]]
    old = (boxes, [[MASKS[0]], [], [MASKS[1]]])
    assert as_lists(rows_of(new)) == as_lists(rows_of(old))
    assert as_lists(rows_of(new))[1] == (2, pytest.approx(0.4), [5.0, 6.0, 7.0, 8.0], True)
    for rows in (rows_of(new), rows_of(old)):
        assert all(np.array_equal(row[3], mask) for row, mask in zip(rows, MASKS, strict=True))


def test_detectors_without_masks_give_boxes_alone() -> None:
    scores = np.array([0.9], dtype=np.float32)
    new = SimpleNamespace(
        pred_instances=Instances(labels=np.array([1]), scores=scores, bboxes=BOXES[:1])
    )
    old = [np.zeros((0, 5), np.float32), np.append(BOXES[0], scores)[None]]
    assert as_lists(rows_of(new)) == as_lists(rows_of(old))
    assert rows_of(old)[0][3] is None


def test_objects_below_the_floor_are_not_sent_and_masks_come_back_whole() -> None:
    rows = [(0, 0.5, BOXES[0], MASKS[0]), (1, 0.05, BOXES[1], MASKS[1]), (2, 0.06, BOXES[1], None)]
    sent = objects_of(rows, min_score=0.05)
    assert [one["label"] for one in sent] == [0, 2]
    assert np.array_equal(unpack_mask(sent[0]["mask"], size=(7, 9)), MASKS[0])
    assert sent[1]["mask"] is None
    with pytest.raises(ValueError, match="a mask of 8 bytes"):
        unpack_mask(sent[0]["mask"], size=(8, 9))


def test_an_operator_that_was_not_compiled_says_so_when_it_is_called() -> None:
    operators = NotCompiled("mmcv._ext")
    with pytest.raises(NotImplementedError, match="'nms' is not compiled"):
        operators.nms(1, 2)


def test_the_worker_stays_readable_to_the_old_python_of_mmdet_2() -> None:
    tree = ast.parse(WORKER.read_text(), feature_version=(3, 8))
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name) or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert not any(name.startswith("alphabench") for name in imported)


@pytest.mark.parametrize(
    ("value", "words"), [(0.0, "'head.weight' is 0 throughout"), (math.nan, "not finite")]
)
def test_a_wiped_or_broken_layer_is_refused(value: float, words: str) -> None:
    sound = {"head.weight": torch.randn(3, 4), "head.bias": torch.zeros(3), "seen": torch.tensor(7)}
    check_values(sound)
    with pytest.raises(ValueError, match=words):
        check_values(sound | {"head.weight": torch.full((3, 4), value)})


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ({"head.weight": torch.ones(3, 4)}, "has no 'head.bias' and 0 more"),
        ({"head.weight": torch.ones(3, 4), "head.bias": torch.ones(4)}, r"\(4,\).*\(3,\)"),
    ],
)
def test_weights_that_mmdet_would_load_in_part_are_refused(
    kept: dict[str, torch.Tensor], words: str, tmp_path: Path
) -> None:
    model = torch.nn.ModuleDict({"head": torch.nn.Linear(4, 3)}).state_dict()
    whole = {f"module.{name}": tensor for name, tensor in model.items()}
    torch.save({"state_dict": whole}, tmp_path / "whole.pth")
    check_shapes(model, str(tmp_path / "whole.pth"))
    torch.save(kept, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=words):
        check_shapes(model, str(tmp_path / "part.pth"))


def test_a_norm_of_zeros_is_refused() -> None:
    norm = {"norm.weight": torch.ones(4), "norm.bias": torch.zeros(4)}
    check_values(norm)
    with pytest.raises(ValueError, match=r"'norm\.weight' is 0 throughout"):
        check_values(norm | {"norm.weight": torch.zeros(4)})


def test_a_request_for_a_file_hands_its_path_to_mmdet() -> None:
    asked: list[Any] = []

    def detect(image: Any) -> list[Any]:
        asked.append(image)
        return [(3, 0.5, BOXES[0], MASKS[0])]

    reply = answer(detect, {"file": "/images/a.png"}, min_score=0.05)
    assert asked == ["/images/a.png"]
    assert [one["label"] for one in reply["objects"]] == [3]


def test_onedls_packages_count_as_mmdet() -> None:
    assert {"mmdet", "onedl-mmdetection", "onedl-mmcv"} <= set(LIBRARIES)


def test_a_torch_that_knows_no_restricted_loading_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(f: str, map_location: str | None = None, **pickle_load_args: Any) -> Any:
        """As torch 1.12 has it: what it does not know goes to the unpickler, which refuses it."""
        return f, map_location, pickle_load_args

    monkeypatch.setattr(torch, "load", load)
    trust_checkpoints()
    assert torch.load("a.pth", map_location="cpu") == ("a.pth", "cpu", {})


def test_a_torch_that_restricts_loading_is_told_of_the_users_consent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch.save({"beside": Path("x")}, tmp_path / "a.pth")
    monkeypatch.setattr(torch, "load", torch.load)
    trust_checkpoints()
    assert torch.load(tmp_path / "a.pth") == {"beside": Path("x")}
