"""The embedded judge: found by its name, needs no torchvision, and says what is in a picture."""

from __future__ import annotations

import cProfile
import hashlib
import importlib
import json
import math
import os
import pickle
import pstats
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from alphabench.core.errors import AlphaBenchError
from alphabench.judges import open_judge, pick_judge_kind
from alphabench.judges.handshake import shake_hands
from alphabench.judges.nano_judge import (
    DeduplicatedVision,
    NanoImageProcessor,
    open_nano_judge,
    weights_folder,
)
from alphabench.judges.yesno import YesNoProbability, yes_no_question
from alphabench.questions import Capabilities, ImagePart, Question
from alphabench.scenes.render import render
from alphabench.scenes.small_world import SmallObject, SmallScene, small_to_scene

ROOT = Path(__file__).parents[2]
VARIABLE = "ALPHABENCH_VLLM_PYTHON"


@pytest.fixture(scope="module")
def judge() -> Any:
    return open_nano_judge("", options={}, device="cpu")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> ImagePart:
    """A red car at the upper left and a blue dog at the lower right."""
    things = (
        SmallObject(category="car", colour="red", place="upper left"),
        SmallObject(category="dog", colour="blue", place="lower right"),
    )
    small = SmallScene(objects=things, tone="white")
    image = render(small_to_scene(small, np.random.default_rng(5)), 64, 64).image
    return saved(image, tmp_path_factory.mktemp("scene") / "scene.png")


def saved(image: Image.Image, path: Path) -> ImagePart:
    image.save(path)
    return ImagePart(path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def asked(text: str, *pictures: ImagePart) -> Question:
    answer_format = YesNoProbability()
    return yes_no_question(
        text, pictures, image_id="0", question_id=text, answer_format=answer_format
    )


def p_yes(judge: Any, questions: Sequence[Question]) -> list[float]:
    answers = list(judge.ask(questions))
    assert {answer.status for answer in answers} == {"scored"}, answers[0].reason
    return [answer.values[0] for answer in answers]


def test_its_name_alone_opens_it_and_it_takes_no_location() -> None:
    assert pick_judge_kind("nano") == ("nano", "")
    assert pick_judge_kind("nano:") == ("nano", "")
    assert open_judge("nano?batch_size=4").identity["kind"] == "nano"
    with pytest.raises(AlphaBenchError, match="takes no location"):
        open_judge("nano:folder")
    with pytest.raises(AlphaBenchError, match="batch_sise"):
        open_judge("nano?batch_sise=4")


def test_its_identity_names_its_weights_and_its_licence_is_stated(judge: Any) -> None:
    assert judge.identity["model"].startswith("sha256:")
    assert judge.licences == {str(weights_folder()): "apache-2.0"}
    assert pickle.loads(pickle.dumps(judge)).identity == judge.identity


def test_it_is_small_enough_to_ship() -> None:
    sizes = {path.name: path.stat().st_size for path in weights_folder().iterdir()}
    assert sum(sizes.values()) <= 8_000_000, sizes


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("Is there a car in the picture?", True),
        ("Is there a dog in the picture?", True),
        ("Is there a pizza in the picture?", False),
        ("Is the picture free of donuts?", True),
        ("Is the picture free of cars?", False),
    ],
)
def test_it_tells_what_is_in_a_picture(
    judge: Any, scene: ImagePart, text: str, truth: bool
) -> None:
    (value,) = p_yes(judge, [asked(text, scene)])
    assert value > 0.6 if truth else value < 0.4


@pytest.mark.parametrize("colour", ["red", "green", "blue", "purple"])
def test_it_tells_the_colour_of_one_thing(judge: Any, tmp_path: Path, colour: str) -> None:
    thing = SmallObject(category="umbrella", colour=colour, place="middle")
    small = SmallScene(objects=(thing,), tone="white")
    image = render(small_to_scene(small, np.random.default_rng(6)), 64, 64).image
    picture = saved(image, tmp_path / "umbrella.png")
    questions = [asked(f"Is the umbrella {one}?", picture) for one in (colour, "yellow")]
    right, wrong = p_yes(judge, questions)
    assert right > 0.6
    assert wrong < 0.4


def test_named_first_tokens_have_their_probability_in_the_whole_vocabulary(
    judge: Any, scene: ImagePart
) -> None:
    texts = ("yes", " yes", "no", "car", " yellow", "Consistency: ")
    question = asked("Is there a car in the picture?", scene)
    named = replace(question, sampling=replace(question.sampling, first_tokens=texts))
    (plain,), (answer,) = list(judge.ask([question])), list(judge.ask([named]))
    assert plain.reply.named_tokens == ()
    assert answer.reply.first_token == plain.reply.first_token
    assert [token.named for token in answer.reply.named_tokens] == list(texts)
    likeliest = {text: math.exp(logprob) for text, logprob in answer.reply.first_token}
    for token in answer.reply.named_tokens:
        assert token.named.startswith(token.text)
        if token.text in likeliest:
            assert token.probability == pytest.approx(likeliest[token.text], rel=1e-6)
        else:
            assert 0.0 <= token.probability <= min(likeliest.values())
    assert answer.reply.named_tokens[0].probability == pytest.approx(likeliest["yes"], rel=1e-6)
    assert judge.capabilities.named_tokens


def test_an_image_is_decoded_once_for_all_questions_about_it(judge: Any, tmp_path: Path) -> None:
    images = [
        saved(Image.new("RGB", (64, 64), colour), tmp_path / f"{colour}.png")
        for colour in ("tan", "tomato")
    ]
    questions = [asked(text, image) for image in images for text in ("Red?", "Blue?", "Empty?")]
    alone = [value for question in questions for value in p_yes(judge, [question])]
    others = [saved(Image.new("RGB", (64, 64), (n, n, n)), tmp_path / f"{n}.png") for n in range(8)]
    p_yes(judge, [asked("Red?", other) for other in others])  # now the first ones are forgotten
    profile = cProfile.Profile()
    together = profile.runcall(p_yes, judge, questions)
    calls = {name: number for (_, _, name), (number, *_) in profiled(profile).items()}
    assert calls["open_rgb"] == len(images)
    assert together == pytest.approx(alone, abs=1e-5)


def profiled(profile: cProfile.Profile) -> dict[tuple[str, int, str], tuple[int, ...]]:
    """By file, line and function: the number of calls first."""
    stats: Any = pstats.Stats(profile)
    return dict(stats.stats)


def test_a_batch_changes_nothing(judge: Any, scene: ImagePart) -> None:
    questions = [
        asked("Is there a car in the picture?", scene),
        asked("Is there a dog?", scene),
        asked("Is the picture free of smears and objects melting into each other?", scene),
        asked("Is there a car in the second?", scene, scene),
    ]
    together = p_yes(judge, questions)
    alone = [p_yes(judge, [one])[0] for one in questions]
    assert together == pytest.approx(alone, abs=1e-4)


class Tower(torch.nn.Module):
    """Adds up the patches of a token, and remembers how many it saw."""

    dtype = torch.float32
    spatial_merge_size = 2

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, patches_PF: torch.Tensor, grid_thw: torch.Tensor) -> SimpleNamespace:
        assert len(patches_PF) == int(grid_thw.prod(-1).sum())
        self.seen.append(len(patches_PF))
        tokens = patches_PF.reshape(-1, 4, 3).sum(1)
        return SimpleNamespace(
            last_hidden_state=2 * patches_PF, pooler_output=tokens, deepstack_features=[-tokens]
        )


def test_a_picture_that_several_questions_show_is_looked_at_once() -> None:
    one, other, wide = (torch.rand(count, 3) for count in (4, 4, 8))
    shown = torch.cat([one, other, one, wide, other])
    grids = torch.tensor([[1, 2, 2], [1, 2, 2], [1, 2, 2], [1, 2, 4], [1, 2, 2]])
    each, once = Tower(), DeduplicatedVision(tower := Tower())
    expected, found = each(shown, grids), once(shown, grid_thw=grids)
    assert (each.seen, tower.seen) == ([24], [16])
    torch.testing.assert_close(found.last_hidden_state, expected.last_hidden_state)
    torch.testing.assert_close(found.pooler_output, expected.pooler_output)
    torch.testing.assert_close(found.deepstack_features[0], expected.deepstack_features[0])
    # The same patches in another grid are another picture.
    once(torch.cat([wide, wide]), grid_thw=torch.tensor([[1, 2, 4], [1, 4, 2]]))
    assert tower.seen == [16, 16]


def test_it_answers_with_probabilities_about_two_pictures(judge: Any) -> None:
    """The handshake's pictures show things beyond its world: only the protocol is tested."""
    needs = Capabilities(images_per_question=2, logprobs=True)
    shake_hands(judge, needs, level="protocol")
    assert open_judge("nano").identity["self_test"] == "protocol"


@pytest.mark.parametrize("size", [(64, 64), (80, 80), (128, 128), (500, 500), (200, 90), (33, 70)])
def test_it_sees_what_the_librarys_processor_sees(size: tuple[int, int]) -> None:
    library: Any = importlib.import_module("transformers.models.qwen2_vl")
    values = json.loads((weights_folder() / "preprocessor_config.json").read_text())
    names = ("size", "patch_size", "temporal_patch_size", "merge_size", "image_mean", "image_std")
    theirs = library.Qwen2VLImageProcessorPil(**{name: values[name] for name in names})
    noise = np.random.default_rng(size[0]).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    expected = theirs([image], return_tensors="np")
    patches, grid = NanoImageProcessor.load(weights_folder()).patches(image)
    assert [grid] == [tuple(row) for row in expected["image_grid_thw"].tolist()]
    np.testing.assert_allclose(patches, expected["pixel_values"], atol=1e-6)


def test_square_pictures_are_seen_at_80_pixels_whatever_their_size() -> None:
    seeing = NanoImageProcessor.load(weights_folder())
    for side in range(16, 1025):
        assert seeing.resized_size(side, side) == (80, 80), side


WITHOUT_TORCHVISION = """
import sys
sys.modules["torchvision"] = None
import hashlib, json, pathlib
from alphabench.judges.nano_judge import open_nano_judge
from alphabench.questions import ImagePart
from alphabench.judges.yesno import YesNoProbability, yes_no_question
path = pathlib.Path(sys.argv[1])
image = ImagePart(path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
question = yes_no_question("Is the car red?", [image], image_id="0", question_id="0",
                           answer_format=YesNoProbability())
(answer,) = open_nano_judge("", options={}, device="cpu").ask([question])
assert not {"torchvision", "diffusers"} & {n for n, m in sys.modules.items() if m is not None}
print(answer.values[0])
"""


def test_it_needs_no_torchvision_and_loads_no_diffusers(judge: Any, scene: ImagePart) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCHVISION, str(scene.path)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with_it = p_yes(judge, [asked("Is the car red?", scene)])
    assert [float(done.stdout)] == pytest.approx(with_it, abs=1e-5)


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_vllm_takes_the_folder_and_says_the_same(tmp_path: Path) -> None:
    python = os.environ.get(VARIABLE)
    if not python:
        pytest.skip(f"{VARIABLE} names no interpreter with vLLM")
    from tests.support.vllm_server import SETTINGS
    from tools.nano_judge import agreement

    agreement.draw_questions(tmp_path, 60)
    agreement.ask(tmp_path, "nano")
    spec = f"vllm:{weights_folder()}?max_num_seqs=8&enforce_eager=true"
    done = subprocess.run(
        [python, "-m", "tools.nano_judge.agreement", "ask", str(tmp_path), spec],
        env={**os.environ, **SETTINGS, "PYTHONPATH": f"{ROOT}:{ROOT / 'bench'}"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ours, theirs = (
        json.loads((tmp_path / f"{name}.said.json").read_text()) for name in ("nano", "vllm")
    )
    apart = [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
    assert sum(apart) / len(apart) <= 0.02
