from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from alphabench.checkpoints import open_checkpoint, pick_checkpoint_kind
from alphabench.core.errors import AlphaBenchError


@pytest.mark.parametrize(
    ("name", "picked"),
    [
        ("scene:", ("scene", "")),
        ("images:some/dir", ("images", "some/dir")),
        ("python:my.module:make", ("python", "my.module:make")),
        ("https://host/v1#model", ("http", "https://host/v1#model")),
        ("http://localhost:8000/v1#m", ("http", "http://localhost:8000/v1#m")),
        ("stabilityai/sd-turbo", ("diffusers", "stabilityai/sd-turbo")),
        ("owner/name@v1.0", ("diffusers", "owner/name@v1.0")),
        ("diffusers:./anywhere", ("diffusers", "./anywhere")),
    ],
)
def test_the_form_of_a_name_picks_the_kind(name: str, picked: tuple[str, str]) -> None:
    assert pick_checkpoint_kind(name) == picked


def test_a_folder_is_a_pipeline_when_it_holds_an_index(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").touch()
    assert pick_checkpoint_kind(str(tmp_path)) == ("diffusers", str(tmp_path))


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("readme.txt", "save_pretrained"),
        ("0.png", "images:"),
        ("00000/samples/0000.png", "images:"),
        ("adapter_config.json", "--lora"),
    ],
)
def test_a_folder_of_another_kind_is_refused_with_a_hint(
    file: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
    with pytest.raises(AlphaBenchError, match=r"holds no model_index.json") as caught:
        open_checkpoint(str(tmp_path))
    assert words in caught.value.hint


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("scnee:", "did you mean 'scene'"),
        ("image:out", "did you mean 'images'"),
        ("scene", "did you mean 'scene:'"),
        ("no-such-thing", "it can be: a pipeline folder"),
        ("./missing/folder", "the path './missing/folder' does not exist"),
        ("a/b/c", "the path 'a/b/c' does not exist"),
        ("", "it can be: a pipeline folder"),
    ],
)
def test_a_name_that_fits_no_form_is_refused_with_the_forms_or_the_nearest(
    name: str, words: str
) -> None:
    with pytest.raises(AlphaBenchError, match=words):
        open_checkpoint(name)


def test_a_file_is_not_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(AlphaBenchError, match="is a file; a checkpoint is a folder"):
        open_checkpoint(str(tmp_path / "model.safetensors"))


def test_an_option_in_the_name_and_beside_it_is_refused() -> None:
    with pytest.raises(AlphaBenchError, match=r"'error' .* is given twice"):
        open_checkpoint("scene:?error=0.2", options={"error": "0.3"})


def test_options_in_the_name_and_beside_it_are_joined(tmp_path: Path) -> None:
    (tmp_path / "a_0.png").touch()
    opened = open_checkpoint(f"images:{tmp_path}?layout=flat", options={"gaps": "allow"})
    assert opened.identity["layout"] == "flat"


@pytest.mark.parametrize("name", ["images:.", "https://host/v1#m", "python:a:b"])
def test_a_kind_without_weights_refuses_a_lora(name: str) -> None:
    with pytest.raises(AlphaBenchError, match="takes no LoRA"):
        open_checkpoint(name, lora="owner/lora")


def test_opening_images_imports_no_model_library(tmp_path: Path) -> None:
    (tmp_path / "a_0.png").touch()
    program = (
        "import sys; from alphabench.checkpoints import open_checkpoint; "
        f"open_checkpoint({f'images:{tmp_path}?layout=flat'!r}); "
        "print(sorted({'torch', 'diffusers', 'transformers', 'httpx'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
