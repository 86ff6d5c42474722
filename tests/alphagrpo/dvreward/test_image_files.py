"""Images outside a run, and a verdict as lines for people."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from alphabench.core.errors import AlphaBenchError
from alphabench.judges.scripted import Mishap, ScriptedJudge
from alphagrpo.dvreward.evaluators import open_evaluator
from alphagrpo.dvreward.image_files import images_with_questions
from alphagrpo.dvreward.prompt_sources import questions_of
from alphagrpo.dvreward.question_files import from_row
from alphagrpo.dvreward.text_report import verdict_text
from tests.alphagrpo.dvreward.test_question_files import RELEASED

KITE = from_row(RELEASED, where="here")
BOAT = from_row({**RELEASED, "prompt": "a boat"}, where="here")


def picture(folder: Path, name: str = "one.png", *, prompt: str | None = None) -> Path:
    about = PngInfo()
    if prompt is not None:
        about.add_itxt("prompt", prompt)
    path = folder / name
    Image.new("RGB", (8, 8)).save(path, pnginfo=about)
    return path


def test_a_image_is_about_the_prompt_that_is_written_in_it(tmp_path: Path) -> None:
    path = picture(tmp_path, prompt="a boat")
    (image,) = images_with_questions([path], [KITE, BOAT])
    assert image.request.sample.prompt == "a boat"
    assert questions_of(image.request.sample).semantic == BOAT.semantic


def test_a_bare_image_needs_a_line_unless_there_is_only_one(tmp_path: Path) -> None:
    path = picture(tmp_path)
    (image,) = images_with_questions([path], [KITE])
    assert image.request.sample.prompt == KITE.prompt
    (image,) = images_with_questions([path], [KITE, BOAT], line=2)
    assert image.request.sample.prompt == "a boat"
    with pytest.raises(AlphaBenchError, match="does not store its prompt") as caught:
        images_with_questions([path], [KITE, BOAT])
    assert "--line" in caught.value.hint


def test_a_image_of_another_prompt_is_refused(tmp_path: Path) -> None:
    path = picture(tmp_path, prompt="a bicycle")
    with pytest.raises(AlphaBenchError, match="was made for 'a bicycle'"):
        images_with_questions([path], [KITE])
    with pytest.raises(AlphaBenchError, match="no line 3"):
        images_with_questions([path], [KITE, BOAT], line=3)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "words.png"
    path.write_text("not a picture")
    with pytest.raises(AlphaBenchError, match="cannot be opened as an image"):
        images_with_questions([path, tmp_path / "absent.png"], [KITE])


def test_two_images_of_one_prompt_are_told_apart(tmp_path: Path) -> None:
    paths = [picture(tmp_path, name) for name in ("one.png", "two.png")]
    images = images_with_questions(paths, [KITE])
    assert len({image.id for image in images}) == 2


def test_the_lines_for_people_show_every_question(tmp_path: Path) -> None:
    images = images_with_questions([picture(tmp_path)], [KITE])
    judge = ScriptedJudge({"s0": 1.0, "s1": 0.0, "q0": 0.5})
    (verdict,) = open_evaluator("dvreward", judge, protocol="official").evaluate(images)
    head, *lines = verdict_text(verdict).splitlines()
    assert head == "0.500 (semantic 0.500, quality 0.500)"
    assert ["Is there a kite?" in lines[0], "0.000" in lines[1], "Geometry" in lines[2]] == [
        True
    ] * 3


def test_a_missing_reward_is_said_in_words(tmp_path: Path) -> None:
    images = images_with_questions([picture(tmp_path)], [KITE])
    judge = ScriptedJudge({"s0": 1.0, "s1": Mishap(kind="refusal"), "q0": 0.5})
    (verdict,) = open_evaluator("dvreward", judge, protocol="official").evaluate(images)
    text = verdict_text(verdict)
    assert text.startswith("no reward, refused: 2 of 3 questions answered (1 refused)")
    assert "refused   s1 Attribute" in text


def test_the_baselines_lines_show_the_grades(tmp_path: Path) -> None:
    images = images_with_questions([picture(tmp_path)], [KITE])
    judge = ScriptedJudge({"consistency": '{"grades": [4]}', "quality": '{"grades": [9, 10]}'})
    (verdict,) = open_evaluator("holistic", judge, protocol="official").evaluate(images)
    assert verdict_text(verdict).splitlines() == [
        "0.600", "  consistency: 4.000", "  quality: 9.000, 10.00"
    ]  # fmt: skip
