"""`alphabench run` with a tiny random Janus folder, from the outside."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from alphabench.runs.store import RunFolder
from tests.cli.conftest import Shell
from tests.support.tiny_janus import SIDE, save_janus

SETTINGS = ("--set", "dtype=float32", "--evaluator", "nano")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_janus(tmp_path_factory.mktemp("janus"))


def test_a_folder_is_benchmarked_and_a_larger_limit_keeps_its_images(
    alphabench: Shell, folder: Path
) -> None:
    words = ("run", "geneval:mini", "--ckpt", folder, *SETTINGS)
    few = alphabench(*words, "--limit", "1", "--out", "few", "--json").json
    more = alphabench(*words, "--limit", "2", "--out", "more", "--json").json
    assert (few["headline"]["n_scored"], more["headline"]["n_scored"]) == (4, 8)
    first = RunFolder.open(alphabench.folder / "few").images()
    second = RunFolder.open(alphabench.folder / "more").images()
    assert len({record.sha256 for record in second.values()}) == 8
    for name, record in first.items():
        assert second[name].sha256 == record.sha256
        with Image.open(alphabench.folder / "few" / record.path) as image:
            assert (image.size, image.mode) == ((SIDE, SIDE), "RGB")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("geneval:mini", "--set", "temprature=0"), "did you mean 'temperature'"),
        (("geneval:mini", "--think"), "does not think before it generates"),
        (("geneval:mini", "--lora", "./lora"), "there is no LoRA './lora'"),
    ],
)
def test_what_it_cannot_do_is_one_sentence_before_the_first_image(
    alphabench: Shell, folder: Path, words: tuple[str, ...], said: str
) -> None:
    benchmark, *options = words
    told = alphabench("run", benchmark, "--ckpt", folder, *SETTINGS, *options, code=2)
    assert said in told.err
    assert not (alphabench.folder / "runs").exists()
