"""The evaluator that asks a detector, with detectors and colour readers made of tables."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alphabench.core.errors import AlphaBenchError
from alphabench.detections.objects import DetectedObject, Thresholds
from alphabench.evaluators.detection.detection_evaluator import ObjectEvaluator, Selection
from alphabench.evaluators.detection.detector import ColourQuery, ColourReader
from alphabench.types import GeneratedImage, ImageRequest, Sample, Verdict

RED_DOG: Mapping[str, Any] = {
    "tag": "colors",
    "prompt": "a photo of a red dog",
    "include": [{"class": "dog", "count": 1, "color": "red"}],
}
COLOURS = {10: "red", 11: "blue"}


@dataclass
class WidthDetector:
    """Sees one dog in each image; raises on widths it is told to dislike."""

    disliked: tuple[int, ...] = ()
    wrong: bool = False
    calls: list[int] = field(default_factory=list)

    @property
    def identity(self) -> Mapping[str, str]:
        return {"model": "widths", "self_test": "on"}

    @property
    def licences(self) -> Mapping[str, str]:
        return {"widths": "Apache-2.0"}

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(score=0.25)

    def detect(self, images: Sequence[Image.Image]) -> list[list[DetectedObject]]:
        self.calls.append(len(images))
        if any(image.width in self.disliked for image in images):
            raise RuntimeError("out of memory")
        return [
            [DetectedObject(category="dog", score=0.5, box=(0, 0, image.width, 5))]
            for image in images
        ]

    def self_test(self, colours: ColourReader) -> None:
        if self.wrong:
            raise AlphaBenchError(f"{colours.identity['model']} fails", hint="another build")


@dataclass
class WidthColours:
    """Reads the colour from the width of the image."""

    calls: list[int] = field(default_factory=list)

    @property
    def identity(self) -> Mapping[str, str]:
        return {"model": "colour table"}

    def read(self, queries: Sequence[ColourQuery]) -> list[str]:
        self.calls.append(len(queries))
        return [COLOURS[query.image.width] for query in queries]


def stored_image(
    folder: Path, n: int, width: int, facts: Mapping[str, Any] = RED_DOG
) -> GeneratedImage:
    path = folder / f"{n}.png"
    Image.new("RGB", (width, 8)).save(path)
    sample = Sample(id=f"{n:05}", prompt=facts["prompt"], group=facts["tag"], facts=facts)
    request = ImageRequest(sample=sample, index=0, seed=0)
    return GeneratedImage(request=request, path=path, sha256="", seconds=0.0)


def evaluator(detector: WidthDetector, batch_size: int = 8) -> ObjectEvaluator:
    return ObjectEvaluator(
        detector=detector, colours=WidthColours(), selection=Selection(batch_size=batch_size)
    )


def summary(verdicts: Sequence[Verdict]) -> list[tuple[str, float | None, str]]:
    return [(v.image_id, v.value, v.detail["reason"]) for v in verdicts]


WRONG = "expected red dog>=1, found 0 red; and 1 blue"


def test_each_image_gets_one_verdict_with_its_evidence(tmp_path: Path) -> None:
    images = [stored_image(tmp_path, 0, 10), stored_image(tmp_path, 1, 11)]
    verdicts = list(evaluator(WidthDetector()).evaluate(images))
    assert summary(verdicts) == [("00000/0", 1.0, ""), ("00001/0", 0.0, WRONG)]
    assert verdicts[1].detail["objects"] == {"dog": [[0.0, 0.0, 11.0, 5.0, 0.5]]}
    assert {verdict.question_id for verdict in verdicts} == {"correct"}


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_the_batch_size_changes_no_verdict(tmp_path: Path, batch_size: int) -> None:
    images = [stored_image(tmp_path, n, 10 + n % 2) for n in range(5)]
    expected = list(evaluator(WidthDetector(), 1).evaluate(images))
    assert list(evaluator(WidthDetector(), batch_size).evaluate(images)) == expected
    backwards = list(evaluator(WidthDetector(), batch_size).evaluate(images[::-1]))
    assert backwards[::-1] == expected


def test_all_colours_of_a_batch_are_read_in_one_call(tmp_path: Path) -> None:
    colours = WidthColours()
    asks = ObjectEvaluator(detector=WidthDetector(), colours=colours)
    list(asks.evaluate([stored_image(tmp_path, n, 10) for n in range(4)]))
    assert colours.calls == [4]


def test_no_colour_is_read_when_no_prompt_asks_for_one(tmp_path: Path) -> None:
    plain = {"tag": "single_object", "prompt": "dog", "include": [{"class": "dog", "count": 1}]}
    colours = WidthColours()
    asks = ObjectEvaluator(detector=WidthDetector(), colours=colours)
    (verdict,) = asks.evaluate([stored_image(tmp_path, 0, 999, plain)])
    assert verdict.value == 1.0
    assert colours.calls == []


def test_an_image_that_cannot_be_opened_fails_and_costs_no_other(tmp_path: Path) -> None:
    images = [stored_image(tmp_path, n, 10) for n in range(4)]
    images[0].path.unlink()
    images[1].path.write_bytes(b"no image")
    images[2].path.write_bytes(images[2].path.read_bytes()[:40])
    verdicts = list(evaluator(WidthDetector()).evaluate(images))
    assert [v.status for v in verdicts] == ["failed", "failed", "failed", "scored"]
    assert all(v.detail["reason"] for v in verdicts[:3])


def test_an_image_on_which_the_detector_breaks_fails_alone(tmp_path: Path) -> None:
    detector = WidthDetector(disliked=(12,))
    images = [stored_image(tmp_path, n, width) for n, width in enumerate((10, 12, 11))]
    verdicts = list(evaluator(detector).evaluate(images))
    assert [v.value for v in verdicts] == [1.0, None, 0.0]
    assert verdicts[1].detail["reason"] == "RuntimeError: out of memory"
    assert detector.calls == [3, 1, 1, 1]


def test_what_the_user_must_mend_stops_the_run(tmp_path: Path) -> None:
    class Unmade(WidthDetector):
        def detect(self, images: Sequence[Image.Image]) -> list[list[DetectedObject]]:
            raise AlphaBenchError("no weights", hint="fetch them")

    with pytest.raises(AlphaBenchError, match="no weights"):
        list(evaluator(Unmade()).evaluate([stored_image(tmp_path, 0, 10)]))


def test_an_image_is_examined_upright_and_in_colour(tmp_path: Path) -> None:
    image = stored_image(tmp_path, 0, 10)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter: stored 8 wide, shown 10 wide
    Image.new("L", (8, 10)).save(image.path, exif=exif)
    (verdict,) = evaluator(WidthDetector()).evaluate([image])
    assert verdict.value == 1.0


def test_the_identity_names_models_thresholds_and_selection() -> None:
    asks = ObjectEvaluator(
        detector=WidthDetector(), colours=WidthColours(), selection=Selection(max_overlap=0.9)
    )
    assert asks.identity == {
        "self_test": "on",
        "detector.model": "widths",
        "colours.model": "colour table",
        "threshold.score": "0.25",
        "threshold.counting": "0.9",
        "cap": "16",
        "max_overlap": "0.9",
    }
    assert asks.licences == {"widths": "Apache-2.0"}


def test_the_batch_size_is_no_part_of_the_identity() -> None:
    assert evaluator(WidthDetector(), 1).identity == evaluator(WidthDetector(), 9).identity


def test_a_failed_self_test_of_the_detector_is_handed_on() -> None:
    evaluator(WidthDetector()).self_test()
    with pytest.raises(AlphaBenchError, match="colour table fails"):
        evaluator(WidthDetector(wrong=True)).self_test()


def test_it_survives_the_trip_to_a_worker() -> None:
    asks = evaluator(WidthDetector(), 3)
    assert pickle.loads(pickle.dumps(asks)).identity == asks.identity


@pytest.mark.parametrize("options", [{"cap": 0}, {"batch_size": 0}, {"max_overlap": 1.5}])
def test_a_selection_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Selection(**options)


@dataclass
class OnlyDogs(WidthDetector):
    """Knows one word."""

    categories: frozenset[str] = frozenset({"dog"})


def demand(category: str, **others: Any) -> dict[str, Any]:
    clause = {"class": category, "count": 1, **others}
    return {"tag": "single_object", "prompt": category, "include": [clause]}


@pytest.mark.parametrize(
    ("facts", "unknown"),
    [
        (demand("cat"), "'cat'"),
        ({**demand("dog"), "exclude": [{"class": "cat", "count": 2}]}, "'cat'"),
        ({**demand("dog"), "include": [*demand("dog", count=9)["include"],
                                       *demand("cat")["include"]]}, "'cat'"),
        (demand("dog", color="teal"), "'teal'"),
    ],
)  # fmt: skip
def test_what_a_detector_cannot_know_has_no_score_and_never_a_zero(
    tmp_path: Path, facts: dict[str, Any], unknown: str
) -> None:
    images = [stored_image(tmp_path, 0, 10, facts), stored_image(tmp_path, 1, 10, demand("dog"))]
    strange, known = evaluator(OnlyDogs()).evaluate(images)
    assert (strange.value, strange.status) == (None, "failed")
    assert strange.detail["reason"] == f"the detector does not know {unknown}"
    assert known.value == 1.0
    refusals = evaluator(OnlyDogs()).refusals([image.request for image in images])
    assert list(refusals) == ["00000/0"]


def test_a_detector_without_a_list_of_its_own_knows_the_eighty_of_coco(tmp_path: Path) -> None:
    images = [stored_image(tmp_path, n, 10, demand(c)) for n, c in enumerate(("zebra", "dragon"))]
    assert [v.value for v in evaluator(WidthDetector()).evaluate(images)] == [0.0, None]
