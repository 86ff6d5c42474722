"""The packaged nano detector on images that it has never seen."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from PIL import Image

from alphabench.benchmarks.geneval.scoring import TAGS
from alphabench.core.errors import AlphaBenchError
from alphabench.detections.objects import DetectedObject, Thresholds
from alphabench.evaluators.detection.detector import (
    ColourQuery,
    ColourReader,
    Detector,
    LimitedVocabulary,
)
from alphabench.evaluators.detection.nano_detector import SELF_TEST, open_nano_detector
from alphabench.scenes.palette import TINTS
from alphabench.scenes.render import render
from alphabench.scenes.spec import Background, Scene, SceneObject
from tools.nano_detector.measure import (
    held_out_cases,
    held_out_small_cases,
    measure,
    verdict,
)

SCENE = Scene(
    background=Background(kind="stripes", first=(250, 250, 248), second=(226, 226, 224)),
    objects=(
        SceneObject(category="zebra", x=0.28, y=0.3, size=0.4, rotation_degrees=6.0),
        SceneObject(category="car", colour="blue", x=0.72, y=0.32, size=0.36),
        SceneObject(category="car", colour="orange", x=0.4, y=0.76, size=0.34, mirrored=True),
    ),
    seed=7,
)


@pytest.fixture(scope="module")
def nano() -> tuple[Detector, ColourReader]:
    return open_nano_detector({}, device="cpu")


def sure(detector: Detector, image: Image.Image) -> list[DetectedObject]:
    (found,) = detector.detect([image])
    return [item for item in found if item.score > detector.thresholds.score]


def answers(batches: Sequence[Sequence[DetectedObject]]) -> list[list[tuple[object, ...]]]:
    return [[(i.category, i.score, i.box, i.colour) for i in found] for found in batches]


@pytest.mark.parametrize(
    "size", [(64, 64), (96, 96), (128, 128), (192, 192), (256, 256), (200, 128)]
)
def test_objects_are_found_with_category_colour_box_and_mask(
    nano: tuple[Detector, ColourReader], size: tuple[int, int]
) -> None:
    detector, reader = nano
    image, truth = render(SCENE, *size)
    found = sure(detector, image)
    words = reader.read([ColourQuery(image=image, found=item) for item in found])
    seen = sorted(zip([item.category for item in found], words, strict=True))
    assert [category for category, _ in seen] == ["car", "car", "zebra"]
    assert [word for category, word in seen if category == "car"] == ["blue", "orange"]
    for true in truth.objects:
        near = [f for f in found if np.allclose(f.box, true.box, atol=0.06 * max(size))]
        assert len(near) == 1
        mask, true_mask = near[0].mask, true.mask
        assert mask is not None
        assert true_mask is not None
        assert mask.shape == (size[1], size[0])
        assert (mask & true_mask).sum() / (mask | true_mask).sum() > 0.6


def test_an_empty_ground_shows_nothing(nano: tuple[Detector, ColourReader]) -> None:
    detector, _ = nano
    for seed in range(4):
        image = render(Scene(background=Background(), objects=(), seed=seed), 128, 128).image
        assert sure(detector, image) == []


def test_batch_and_order_change_nothing(nano: tuple[Detector, ColourReader]) -> None:
    detector, _ = nano
    images = [render(scene, 96, 96).image for scene in (*SELF_TEST, SCENE)]
    together = answers(detector.detect(images))
    assert together == [answers(detector.detect([image]))[0] for image in images]
    assert together[::-1] == answers(detector.detect(images[::-1]))
    assert detector.detect([]) == []


def test_a_detector_that_has_not_looked_yet_travels_to_another_process() -> None:
    detector, reader = pickle.loads(pickle.dumps(open_nano_detector({}, device="cpu")))
    detector.self_test(reader)


def test_the_identity_changes_with_the_weights_alone_and_names_their_digest(
    nano: tuple[Detector, ColourReader],
) -> None:
    detector, reader = nano
    (digest,) = {part.identity["model"].split()[-1] for part in nano}
    assert len(digest) == 64
    assert detector.identity == open_nano_detector({}, device="cpu")[0].identity
    assert reader.identity == open_nano_detector({}, device="cpu")[1].identity


def test_the_self_test_passes_and_refuses_a_reader_that_calls_everything_red(
    nano: tuple[Detector, ColourReader],
) -> None:
    class Daltonist:
        """Sees one colour only."""

        @property
        def identity(self) -> Mapping[str, str]:
            return {"model": "red"}

        def read(self, queries: Sequence[ColourQuery]) -> list[str]:
            return ["red" for _ in queries]

    detector, reader = nano
    detector.self_test(reader)
    with pytest.raises(AlphaBenchError, match="self-test failed"):
        detector.self_test(Daltonist())


def test_thresholds_are_genevals_and_can_be_set() -> None:
    assert open_nano_detector({}, device="cpu")[0].thresholds == Thresholds()
    detector, _ = open_nano_detector({"score": "0.5", "counting": "0.6"}, device="cpu")
    assert (detector.thresholds.score, detector.thresholds.counting) == (0.5, 0.6)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [({"scoer": "0.3"}, "did you mean 'score'"), ({"score": "1.5"}, r"not in \[0, 1\)")],
)
def test_a_wrong_option_is_one_sentence(options: dict[str, str], complaint: str) -> None:
    with pytest.raises(AlphaBenchError, match=complaint):
        open_nano_detector(options, device="cpu")


@pytest.mark.parametrize("colour", sorted(TINTS))
def test_without_the_detectors_word_the_pixels_decide(
    nano: tuple[Detector, ColourReader], colour: str
) -> None:
    _, reader = nano
    ground = (112, 114, 118) if colour in ("black", "white") else (250, 250, 248)
    scene = Scene(
        background=Background(first=ground),
        objects=(SceneObject(category="umbrella", colour=colour, x=0.5, y=0.5, size=0.7),),
        seed=3,
    )
    image, truth = render(scene, 128, 128)
    true = truth.objects[0]
    nameless = DetectedObject(category="umbrella", score=1.0, box=true.box, mask=true.mask)
    assert reader.read([ColourQuery(image=image, found=nameless)]) == [colour]


def test_on_held_out_prompts_the_verdict_agrees_with_the_truth(
    nano: tuple[Detector, ColourReader],
) -> None:
    detector, reader = nano
    tally = measure(detector, reader, [64, 128], 8)
    assert sum(tally.cases.values()) == len(TAGS) * 2 * 2 * 8
    assert sum(tally.agreed.values()) >= 0.97 * sum(tally.cases.values())


def test_on_scenes_of_the_small_world_the_verdict_agrees_with_the_truth(
    nano: tuple[Detector, ColourReader],
) -> None:
    detector, reader = nano
    tally = measure(detector, reader, [64, 128], 8, cases=held_out_small_cases)
    assert sum(tally.cases.values()) == len(TAGS) * 2 * 2 * 8
    assert sum(tally.agreed.values()) >= 0.97 * sum(tally.cases.values())


def test_the_measurement_notices_a_detector_that_finds_nothing(
    nano: tuple[Detector, ColourReader],
) -> None:
    detector, reader = nano
    for case in held_out_cases("two_object", 2):
        image = render(case.scene, 64, 64).image
        assert verdict(case, image, [], reader, detector.thresholds) is False


def test_it_says_which_categories_it_knows() -> None:
    detector, _ = open_nano_detector({}, device="cpu")
    assert isinstance(detector, LimitedVocabulary)
    assert len(detector.categories) == 40
    assert {"pizza", "zebra"} <= detector.categories
    assert "person" not in detector.categories
