"""The packaged unified model: it has the released layout, and does what its card says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alphabench import evaluate
from alphabench.checkpoints import open_checkpoint
from alphabench.checkpoints.bagel import NANO
from alphabench.checkpoints.unified_checkpoint import UnifiedCheckpoint
from alphabench.models.unified_model import (
    AnswerTask,
    GenerationResult,
    GenerationTask,
    UnifiedModel,
)
from alphabench.scenes.descriptions import yes_no
from tools.nano_umm import pool


@pytest.fixture(scope="module")
def model() -> UnifiedModel:
    opened = open_checkpoint("nano")
    assert isinstance(opened, UnifiedCheckpoint)
    return opened.model()


def test_the_folder_is_small_and_complete() -> None:
    assert sum(path.stat().st_size for path in NANO.iterdir()) <= 16_000_000
    assert json.loads((NANO / "alphabench.json").read_text())["licence"] == "Apache-2.0"
    assert (NANO / "README.md").is_file()


def test_it_obeys_most_plain_prompts(tmp_path: Path) -> None:
    outcome = evaluate("geneval:mini", "nano", limit=6, out=tmp_path)
    assert outcome.report.headline.n_scored == outcome.report.headline.n_expected == 24
    assert (outcome.report.headline.value or 0.0) > 0.4


def test_a_plan_names_what_was_asked_for_and_decides_the_picture(model: UnifiedModel) -> None:
    task = GenerationTask(prompt="a photo of a red apple", seed=3)
    (thought,) = model.generate([task], think=True)
    assert isinstance(thought, GenerationResult)
    assert thought.thought is not None
    assert thought.thought.startswith("<think>a red apple")
    assert thought.thought.endswith("</think>")
    assert not thought.thought_cut
    assert thought.image.size == (64, 64)


def test_a_picture_depends_on_its_prompt_and_seed_alone(model: UnifiedModel) -> None:
    tasks = [
        GenerationTask(prompt=prompt, seed=7) for prompt in ("a dog", "three cars", "a red vase")
    ]
    together = model.generate(tasks)
    for task, drawn in zip(tasks, together, strict=True):
        (alone,) = model.generate([task])
        assert isinstance(alone, GenerationResult)
        assert isinstance(drawn, GenerationResult)
        apart = np.abs(np.asarray(alone.image, int) - np.asarray(drawn.image, int))
        assert apart.max() <= 1


def test_it_answers_most_questions_about_scenes_it_never_saw(model: UnifiedModel) -> None:
    tasks, truths = [], []
    for number in range(pool.HELD_OUT + 5000, pool.HELD_OUT + 5100):
        small = pool.scene(number)
        asked = yes_no(small, np.random.default_rng(number))
        picture = Image.fromarray(pool.scene_pixels(small, pool.SCENES, number))
        tasks.append(AnswerTask(text=asked.text, images=(picture,)))
        truths.append(asked.answer)
    answers = [answer.text for answer in model.answer(tasks)]
    assert set(answers) <= {"yes", "no"}
    assert np.mean([a == b for a, b in zip(answers, truths, strict=True)]) > 0.85
