"""`alphabench.checkpoints.scene`."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL.Image import Image

from alphabench.checkpoints.scene import SceneCheckpoint, open_scene
from alphabench.core.errors import AlphaBenchError
from alphabench.detections.geneval_rules import decide, select
from alphabench.interfaces import Selective
from alphabench.types import ImageRequest, NotGenerated, Sample
from tests.support.truth import edited_right


def _samples() -> list[Sample]:
    text = (resources.files("alphabench.scenes") / "mini/geneval.jsonl").read_text()
    facts = [json.loads(line) for line in text.splitlines()]
    return [
        Sample(id=f"{i:05}", prompt=one["prompt"], group=one["tag"], facts=one)
        for i, one in enumerate(facts)
    ]


SAMPLES = _samples()
REQUESTS = [
    ImageRequest(sample=sample, index=index, seed=1000 * number + index)
    for number, sample in enumerate(SAMPLES)
    for index in range(4)
]


def _open(**options: str) -> SceneCheckpoint:
    return open_scene("", options=options)


def _pixels(made: Image | NotGenerated) -> bytes:
    assert not isinstance(made, NotGenerated)
    return made.tobytes()


def _is_correct(checkpoint: SceneCheckpoint, request: ImageRequest) -> bool:
    truth = checkpoint.render_request(request).truth
    selected = select(truth.objects, tag=request.sample.group)
    return decide(request.sample.facts, selected, lambda o: o.colour or "natural").correct


@pytest.mark.parametrize("error", [0.0, 0.2, 0.5, 1.0])
def test_the_true_score_is_one_minus_the_requested_share_of_errors(error: float) -> None:
    checkpoint = _open(error=str(error), size="64")
    groups: dict[str, list[bool]] = {}
    for request in REQUESTS:
        correct = _is_correct(checkpoint, request)
        assert correct == (checkpoint.planted_error(request) is None)
        groups.setdefault(request.sample.group, []).append(correct)
    means = [sum(of) / len(of) for of in groups.values()]
    assert sum(means) / len(means) == pytest.approx(1 - error, abs=0.02)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=5))
def test_batch_and_order_change_no_image(requests: list[ImageRequest]) -> None:
    checkpoint = _open(error="0.5", size="48")
    together = [_pixels(made) for made in checkpoint.generate(requests)]
    alone = [_pixels(checkpoint.generate([request])[0]) for request in requests]
    assert together == alone


def test_no_two_requests_get_the_same_image() -> None:
    images = [_pixels(made) for made in _open(size="32").generate(REQUESTS)]
    assert len(set(images)) == len(REQUESTS)


def test_the_four_images_of_a_prompt_differ_even_under_one_seed() -> None:
    requests = [ImageRequest(sample=SAMPLES[0], index=index, seed=42) for index in range(4)]
    assert len({_pixels(made) for made in _open().generate(requests)}) == 4


def test_another_seed_is_another_image_with_the_same_planted_errors() -> None:
    checkpoint = _open(error="0.3", kind="missing", size="32")
    moved = [ImageRequest(sample=r.sample, index=r.index, seed=r.seed + 1) for r in REQUESTS]
    for one, two in zip(REQUESTS, moved, strict=True):
        assert checkpoint.planted_error(one) == checkpoint.planted_error(two)
    assert _pixels(checkpoint.generate(REQUESTS[:1])[0]) != _pixels(
        checkpoint.generate(moved[:1])[0]
    )


def test_errors_are_spread_evenly_over_the_images_of_each_sample() -> None:
    checkpoint = _open(error="0.5")
    wrong = Counter(r.sample.id for r in REQUESTS if checkpoint.planted_error(r) is not None)
    assert all(1 <= wrong[sample.id] <= 3 for sample in SAMPLES)


def test_samples_whose_ids_are_text_get_their_share_of_errors_too() -> None:
    checkpoint = _open(error="0.25")
    named = [
        ImageRequest(
            sample=Sample(id=f"s-{i}", prompt="", group="", facts=SAMPLES[0].facts),
            index=index,
            seed=0,
        )
        for i in range(100)
        for index in range(4)
    ]
    share = sum(checkpoint.planted_error(request) is not None for request in named) / 400
    assert share == pytest.approx(0.25, abs=0.05)


def test_auto_samples_every_kind_and_a_named_kind_leaves_other_samples_clean() -> None:
    auto = _open(error="1")
    assert {auto.planted_error(request) for request in REQUESTS} == {
        "missing", "count", "colour", "position",
    }  # fmt: skip
    position = _open(error="1", kind="position")
    for request in REQUESTS:
        wanted = "position" if request.sample.group == "position" else None
        assert position.planted_error(request) == wanted


def test_the_size_comes_from_the_request_or_else_from_the_option() -> None:
    checkpoint = _open(size="96")
    sized = ImageRequest(sample=SAMPLES[0], index=0, seed=0, width=80, height=48)
    first, second = checkpoint.generate([REQUESTS[0], sized])
    assert not isinstance(first, NotGenerated)
    assert not isinstance(second, NotGenerated)
    assert (first.size, second.size) == ((96, 96), (80, 48))


def test_unsupported_requests_are_known_beforehand_and_refused_with_a_reason() -> None:
    facts: dict[str, Any] = {"tag": "single_object", "include": [{"class": "oven", "count": 1}]}
    oven = ImageRequest(
        sample=Sample(id="00007", prompt="an oven", group="single_object", facts=facts),
        index=0,
        seed=0,
    )
    tiny = ImageRequest(sample=SAMPLES[0], index=1, seed=0, width=4, height=4)
    checkpoint = _open()
    assert isinstance(checkpoint, Selective)
    refusals = checkpoint.refusals([oven, REQUESTS[0], tiny])
    assert set(refusals) == {"00007/0", tiny.id}
    assert "no 'oven'" in refusals["00007/0"]
    refused, made, too_small = checkpoint.generate([oven, REQUESTS[0], tiny])
    assert refused == NotGenerated(status="refused", reason=refusals["00007/0"])
    assert isinstance(made, Image)
    assert too_small == NotGenerated(status="refused", reason=refusals[tiny.id])


def test_a_checkpoint_travels_to_another_process() -> None:
    checkpoint = _open(error="0.2")
    again = pickle.loads(pickle.dumps(checkpoint))
    assert again == checkpoint
    assert _pixels(again.generate(REQUESTS[:1])[0]) == _pixels(checkpoint.generate(REQUESTS[:1])[0])


def test_every_option_is_part_of_the_identity() -> None:
    plain = _open().identity
    entries = {"error": "error", "kind": "error_kind", "size": "size"}
    for option, value in {"error": "0.1", "kind": "count", "size": "64"}.items():
        other = _open(**{option: value}).identity
        assert {key for key in plain if plain[key] != other[key]} == {entries[option]}


@pytest.mark.parametrize(
    ("location", "options", "lora", "words"),
    [
        ("", {"error": "1.5"}, None, "1.5"),
        ("", {"error": "often"}, None, "often"),
        ("", {"kind": "colours"}, None, "colour"),
        ("", {"sise": "64"}, None, "size"),
        ("", {"size": "8"}, None, "8"),
        ("somewhere", {}, None, "somewhere"),
        ("", {}, "adapter", "adapter"),
    ],
)
def test_bad_input_is_one_sentence_with_what_to_do(
    location: str, options: dict[str, str], lora: str | None, words: str
) -> None:
    with pytest.raises(AlphaBenchError) as caught:
        open_scene(location, options=options, lora=lora)
    assert words in str(caught.value)
    assert caught.value.hint


def _edits() -> list[ImageRequest]:
    text = (resources.files("alphabench.scenes") / "mini/gedit.jsonl").read_text("utf-8")
    facts = [json.loads(line) for line in text.splitlines()]
    return [
        ImageRequest(
            sample=Sample(
                id=f"{one['instruction_language']}-{one['key']}",
                prompt=one["instruction"],
                group=one["task_type"],
                facts=one,
                source_image=Path("drawn.png"),
            ),
            index=0,
            seed=number,
        )
        for number, one in enumerate(facts)
    ]


@pytest.mark.parametrize("error", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["auto", "unedited", "overedited"])
def test_an_edit_is_right_exactly_where_no_error_was_planted(error: float, kind: str) -> None:
    checkpoint = _open(error=str(error), kind=kind, size="64")
    requests = _edits()
    assert checkpoint.refusals(requests) == {}
    right = edited_right(checkpoint, requests)
    for request in requests:
        planted = checkpoint.planted_error(request)
        assert all(right[request.id]) == (planted is None)
        if planted == "overedited":
            assert right[request.id] == (True, False)
    share = sum(map(all, right.values())) / len(right)
    assert share == pytest.approx(1 - error, abs=0.12)


def test_an_error_of_another_kind_of_task_is_not_planted() -> None:
    assert {_open(error="1", kind="count").planted_error(r) for r in _edits()} == {None}
    assert {_open(error="1", kind="unedited").planted_error(r) for r in REQUESTS} == {None}


def test_a_source_image_that_was_not_rendered_is_refused() -> None:
    foreign = replace(REQUESTS[0].sample, source_image=Path("photo.png"))
    request = replace(REQUESTS[0], sample=foreign)
    (made,) = _open().generate([request])
    assert isinstance(made, NotGenerated)
    assert "another source image" in made.reason
    wide = replace(_edits()[0], width=64, height=32)
    assert "square images" in _open().refusals([wide])[wide.id]
    official = replace(_edits()[0].sample, facts={"task_type": "ps_human", "edit": None})
    (made,) = _open().generate([replace(_edits()[0], sample=official)])
    assert isinstance(made, NotGenerated)
