from __future__ import annotations

from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.detection.coco import COCO_NAMES, GENEVAL_NAMES, geneval_names


def test_the_names_are_those_of_genevals_own_list_in_its_order(shared: Path) -> None:
    listed = shared / "upstream/djghosh13/geneval/prompts/object_names.txt"
    assert list(GENEVAL_NAMES) == listed.read_text().split("\n")[:80]


def test_three_classes_have_another_word_in_geneval() -> None:
    differing = [pair for pair in zip(COCO_NAMES, GENEVAL_NAMES, strict=True) if len(set(pair)) > 1]
    assert differing == [
        ("mouse", "computer mouse"),
        ("remote", "tv remote"),
        ("keyboard", "computer keyboard"),
    ]


def test_labels_keep_the_checkpoints_order_and_may_be_spelled_as_published_checkpoints_do() -> None:
    spelled = [
        {"couch": "sofa", "tv": "tvmonitor", "hot dog": "hot_dog"}.get(name, name)
        for name in COCO_NAMES
    ]
    assert geneval_names(spelled[::-1], source="x") == GENEVAL_NAMES[::-1]
    assert geneval_names(GENEVAL_NAMES, source="x") == GENEVAL_NAMES


@pytest.mark.parametrize(
    "labels",
    [
        ("LABEL_0",) * 80,
        COCO_NAMES[:79],
        (*COCO_NAMES[:79], "person"),
        (*COCO_NAMES, "wall"),
    ],
    ids=["placeholders", "one lacking", "one twice", "panoptic"],
)
def test_labels_that_are_not_coco_instances_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(AlphaBenchError, match=r"'here' knows .* no COCO instance checkpoint"):
        geneval_names(labels, source="here")
