"""Which models can refine: every one that implements the protocol, wherever it is defined."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from alphabench.core.errors import AlphaBenchError
from alphabench.judges.scripted import ScriptedJudge
from alphabench.runs.plan import checkpoint_factory
from alphabench.runs.refinement import judge_evaluator_factory, read_refinement, refined_checkpoint
from alphabench.types import NOTES, ImageRequest, NotGenerated, Sample
from alphagrpo.dvreward.any_benchmark import open_for_any_benchmark
from tests.support.outside_unified import STEP, level
from tests.support.tiny_janus import save_janus

OUTSIDE = "python:tests.support.outside_unified:open_it"
REQUEST = ImageRequest(sample=Sample(id="s", prompt="a red dog", group="g"), index=0, seed=7)


def generate(spec: str, mode: str, judge: ScriptedJudge | None = None) -> Image.Image:
    examiner = None if mode == "always" else judge_evaluator_factory(judge, open_for_any_benchmark)
    generator = refined_checkpoint(checkpoint_factory(spec), read_refinement(mode), examiner).open(
        device="cpu"
    )
    (made,) = generator.generate([REQUEST])
    assert not isinstance(made, NotGenerated)
    return made


def test_a_unified_model_from_outside_the_package_is_refined() -> None:
    image = generate(OUTSIDE, "always:2")
    assert level(image) == 7 + 2 * STEP
    thoughts = [entry["thought"] for entry in image.info[NOTES]["refinement"]]
    assert thoughts == ["lighter: a red dog"] * 2


def test_its_settings_of_refinement_are_part_of_the_identity() -> None:
    generator = refined_checkpoint(
        checkpoint_factory(OUTSIDE), read_refinement("always"), None
    ).open(device="cpu")
    assert generator.identity["refine.step"] == str(STEP)
    assert generator.identity["refine"] == "always:1"


def test_a_judge_decides_whether_its_images_are_refined() -> None:
    assert level(generate(OUTSIDE, "self", ScriptedJudge(1.0))) == 7


def test_a_model_that_answers_nothing_cannot_score_its_own_images() -> None:
    with pytest.raises(AlphaBenchError, match="answers no questions about images"):
        generate(f"{OUTSIDE}?answers=false", "self")


def test_janus_answers_about_its_image_and_generates_anew(tmp_path: Path) -> None:
    folder = save_janus(tmp_path / "janus")
    plain = checkpoint_factory(str(folder)).open(device="cpu").generate([REQUEST])[0]
    assert isinstance(plain, Image.Image)
    spec = f"{folder}?answer_tokens=4&dtype=float32"
    image = generate(spec, "always")
    (entry,) = image.info[NOTES]["refinement"]
    assert entry["kept"]
    assert isinstance(entry["thought"], str)
    assert image.size == plain.size
    generator = refined_checkpoint(checkpoint_factory(spec), read_refinement("always"), None).open(
        device="cpu"
    )
    assert generator.identity["refine.answer_tokens"] == "4"
