"""What the nano judge is trained on is true, and the training's shortcuts change no number."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from alphabench.detections.geneval_rules import relations
from alphabench.judges.nano_judge import NanoImageProcessor, NanoProcessor, weights_folder
from alphabench.scenes import scene_edits
from alphabench.scenes.scene_questions import noun
from tools.nano_judge import claims, edits, scene_images, templates
from tools.nano_judge.documents import Document, DocumentWriter
from tools.nano_judge.network import Sight, answer_scores
from tools.nano_judge.packing import packed_rows, patches
from tools.nano_judge.questions import KINDS, question, questions
from tools.nano_judge.scene_images import Seen, Shown
from tools.nano_judge.view import NUMBERS, View, box_relations

SEEDS = st.integers(0, 10_000)


def shown(seed: int, kind: str = "small") -> tuple[scene_images.Pixels, Shown]:
    pixels, _, truth = scene_images.made_scene_image(kind, 901, seed)
    return pixels, truth


@pytest.fixture(scope="module")
def processor() -> NanoProcessor:
    return NanoProcessor.load(weights_folder())


def test_every_fixed_sentence_that_judges_are_told_is_one_token(processor: NanoProcessor) -> None:
    for sentence in templates.long_tokens():
        ids = processor.tokenizer.encode(sentence, add_special_tokens=False)
        assert len(ids) == 1, f"the wording changed; train the nano judge again: {sentence!r}"


def test_yes_and_no_are_one_token_each(processor: NanoProcessor) -> None:
    for word in ("yes", "no", "10"):
        assert len(processor.tokenizer.encode(word, add_special_tokens=False)) == 1


@given(SEEDS, st.sampled_from(["small", "common", "wide"]))
@settings(max_examples=15, deadline=None)
def test_relations_are_genevals(seed: int, kind: str) -> None:
    objects = shown(seed, kind)[1].objects
    for one in objects:
        for other in objects:
            if one is not other:
                assert box_relations(one, other) == relations(one.detected(), other.detected())


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_what_is_asked_with_answer_yes_holds_and_with_answer_no_does_not(seed: int) -> None:
    view = View(shown(seed)[1])
    rng = np.random.default_rng(seed)
    for asked in questions(view, 12, rng):
        told = _exact_count(asked.text, view.counts)
        if asked.kind == "count" and told is not None:
            assert asked.truth == told, asked.text
        if asked.kind == "colour" and (item := _only(asked.text, view)) is not None:
            assert asked.truth == (f" {item.colour}" in asked.text), asked.text


def _exact_count(text: str, counts: Mapping[str, int]) -> bool | None:
    for name, count in counts.items():
        for number, word in enumerate(NUMBERS):
            if f"exactly {word} {noun(name, number)} " in text.replace("?", " "):
                return number == count
    return None


def _only(text: str, view: View) -> Seen | None:
    found = [one for one in view.tinted if f" {noun(one.category)} " in text]
    return found[0] if len(found) == 1 else None


def test_every_kind_is_asked_with_both_answers() -> None:
    answers_of: Counter[tuple[str, bool]] = Counter()
    for seed in range(60):
        for world in ("small", "common"):
            view = View(shown(seed, world)[1])
            rng = np.random.default_rng([seed, 1])
            for kind in KINDS:
                for _ in range(4):
                    asked = question(kind, view, rng)
                    if asked is not None:
                        answers_of[asked.kind, asked.truth] += 1
    for kind in KINDS:
        assert answers_of[kind, True], kind
        assert answers_of[kind, False], kind


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_claims_hold_as_often_as_they_say(seed: int) -> None:
    view = View(shown(seed)[1])
    made = claims.text(view, np.random.default_rng(seed))
    assert made is None or (0 <= made.held <= made.made and made.made > 0)
    assert made is None or made.there or made.held == 0


@pytest.mark.parametrize("world", ["small", "common"])
def test_only_an_edit_that_was_made_has_full_marks_and_changes_what_it_names(world: str) -> None:
    seen = set()
    for index in range(25):
        made = edits.made_edit_pair(world, 901, index)
        pair, (before, after) = made.pair, made.cells
        seen.add(pair.outcome)
        assert all(text.endswith((".", "。")) for text in pair.instructions)
        assert (min(pair.success, pair.rest) == 10) == (pair.outcome == "done")
        assert made.pixels[0].shape == made.pixels[1].shape == (80, 80, 3)
        if pair.outcome == "unedited" and world == "common":  # small scenes are drawn anew
            np.testing.assert_array_equal(before, after)
    assert {"done", "half", "unedited"} <= seen


def test_half_of_an_edit_changes_the_named_thing_into_something_else() -> None:
    """Same place as in the edit done, neither as before nor as asked."""
    rng = np.random.default_rng(8)
    kinds: Counter[str] = Counter()
    while min(kinds[kind] for kind in ("colour", "replace", "add", "background")) < 3:
        change = scene_edits.edit(scene_images.random_things(rng), rng)
        half = edits.half_of(change, rng)
        if half is None:
            continue
        kinds[change.kind] += 1
        assert half not in (change.before, change.after)
        if change.kind == "background":
            assert half.objects == change.before.objects
            continue
        (asked,) = [one for one in change.after.objects if one not in change.before.objects]
        differ = [one for one in half.objects if one not in change.before.objects]
        assert [one.place for one in differ] == [asked.place]
        assert differ != [asked]
        assert half.tone == change.before.tone


def test_patches_are_those_that_the_judge_sees() -> None:
    pixels, _ = shown(3)
    expected, _ = NanoImageProcessor.load(weights_folder()).patches(Image.fromarray(pixels))
    np.testing.assert_allclose(patches(pixels[None])[0].numpy(), expected, atol=1e-6)


def test_questions_side_by_side_are_answered_as_alone(processor: NanoProcessor) -> None:
    """The packed rows of training against the library's own forward pass, one question each."""
    network = _network(processor)
    ids = processor.tokenizer.convert_tokens_to_ids
    picture_id, end_id = ids("<|image_pad|>"), ids("<|im_end|>")
    writer = DocumentWriter(processor.tokenizer, [f"word{n}" for n in range(40)])
    rng = np.random.default_rng(2)
    images = [shown(seed)[0] for seed in (11, 12, 13)]
    views = [View(shown(seed)[1]) for seed in (11, 12, 13)]
    documents = [writer.yes_no(views[0], 5, rng), writer.order(views[1], views[2], rng)]
    with torch.inference_mode():
        tokens = Sight(network.model.visual)(patches(np.stack(images)))
        batch = packed_rows(documents, picture_id, width=400, end_id=end_id)
        together = answer_scores(network, batch, tokens, picture_id).log_softmax(-1)
        alone = [
            *_alone(network, documents[0], images[:1], picture_id),
            *_alone(network, documents[1], images[1:], picture_id),
        ]
    assert len(alone) == len(together) > 8
    torch.testing.assert_close(together, torch.stack(alone), atol=2e-3, rtol=0)


def _network(processor: NanoProcessor) -> Any:
    from transformers import AutoModelForImageTextToText

    model: Any = AutoModelForImageTextToText
    return model.from_pretrained(
        weights_folder(), dtype=torch.float32, attn_implementation="eager"
    ).eval()


def _alone(
    network: Any, document: Document, images: list[scene_images.Pixels], picture_id: int
) -> list[torch.Tensor]:
    seen = patches(np.stack(images))
    found = []
    for branch in document.branches:
        ids = torch.tensor([[*document.beginning, *branch.ids]])
        scores = (
            network(
                input_ids=ids,
                pixel_values=seen.flatten(0, 1),
                image_grid_thw=torch.tensor([[1, 10, 10]] * len(images)),
                mm_token_type_ids=(ids == picture_id).int(),
            )
            .logits[0]
            .log_softmax(-1)
        )
        start = len(document.beginning)
        found += [scores[start + t - 1] for t in range(branch.asked, len(branch.ids))]
    return found


def test_truths_survive_being_written_down() -> None:
    from dataclasses import asdict

    truth = shown(7, "common")[1]
    assert Shown.from_json(json.loads(json.dumps(asdict(truth)))) == truth
