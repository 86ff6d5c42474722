"""Janus as a checkpoint: identity, options, and folders that are incomplete or damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from alphabench.checkpoints import open_checkpoint, pick_checkpoint_kind
from alphabench.checkpoints.unified_checkpoint import UnifiedCheckpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.types import ImageRequest, Sample
from tests.support.tiny_janus import save_janus

FAST = {"dtype": "float32", "answer_tokens": "12"}

pytestmark = pytest.mark.filterwarnings(
    # Libraries warn of their own next releases while they load or sample.
    "ignore::FutureWarning",
    "ignore::DeprecationWarning",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Must not be changed."""
    return save_janus(tmp_path_factory.mktemp("janus"))


@pytest.fixture
def spoiled(folder: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(folder, tmp_path / "spoiled"))


def opened(folder: Path | str, **options: str) -> UnifiedCheckpoint:
    checkpoint = open_checkpoint(str(folder), options={**FAST, **options})
    assert isinstance(checkpoint, UnifiedCheckpoint)
    return checkpoint


def edit_request(source: Path) -> ImageRequest:
    sample = Sample(id="0", prompt="a red cat", group="colors", source_image=source)
    return ImageRequest(sample=sample, index=0, seed=3)


def test_the_identity_names_weights_and_settings(folder: Path, spoiled: Path) -> None:
    plain = opened(folder).identity
    assert plain == opened(spoiled).identity
    for change in ({"guidance": "2"}, {"temperature": "0"}, {"top_k": "9"}, {"batch_size": "2"}):
        assert opened(folder, **change).identity != plain
    assert opened(folder, answer_tokens="7").identity == plain, "decides no image"
    weights = load_file(spoiled / "model.safetensors")
    weights["lm_head.weight"][0, 0] += 1
    save_file(weights, spoiled / "model.safetensors", metadata={"format": "pt"})
    assert opened(spoiled).identity["weights"] != plain["weights"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"guidence": "3"}, "did you mean 'guidance'"),
        ({"steps": "20"}, "known are: answer_tokens"),
        ({"guidance": "0.5"}, "guidance must be 1 or more, not 0.5"),
        ({"temperature": "-1"}, "temperature must be 0 or more"),
        ({"temperature": "nan"}, "takes a finite number"),
        ({"top_k": "0"}, "top_k must be 1 or more"),
        ({"batch_size": "0"}, "batch_size must be 1 or more"),
        ({"dtype": "float8"}, "did you mean"),
        ({"revision": "main"}, "a folder has no revision"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(
    folder: Path, options: Mapping[str, str], words: str
) -> None:
    with pytest.raises(AlphaBenchError, match=words):
        opened(folder, **options)


def test_fewer_layers_than_the_weights_hold_are_refused(spoiled: Path) -> None:
    config = json.loads((spoiled / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] -= 1
    (spoiled / "config.json").write_text(json.dumps(config))
    with pytest.raises(AlphaBenchError, match="that the model does not use"):
        opened(spoiled).model()


def save_adapter(folder: Path, module: str = "model.language_model.layers.1.mlp.down_proj") -> Path:
    """A PEFT folder of rank 2 on one layer of the tiny model."""
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": [module]}
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(config))
    noise = torch.Generator().manual_seed(0)
    values = {
        f"base_model.model.{module}.lora_A.weight": torch.randn(2, 96, generator=noise),
        f"base_model.model.{module}.lora_B.weight": torch.randn(64, 2, generator=noise),
    }
    save_file(values, folder / "adapter_model.safetensors")
    return folder


def test_an_adapter_changes_the_image_and_the_identity(folder: Path, tmp_path: Path) -> None:
    adapter, sample = save_adapter(tmp_path / "lora"), Sample(id="0", prompt="a dog", group="all")
    request = ImageRequest(sample=sample, index=0, seed=3)
    plain = opened(folder)
    adapted, none = (
        open_checkpoint(str(folder), options={**FAST, "lora_scale": scale}, lora=str(adapter))
        for scale in ("1", "0")
    )
    (first,), (second,), (third,) = (one.generate([request]) for one in (plain, adapted, none))
    assert isinstance(first, Image.Image)
    assert isinstance(second, Image.Image)
    assert isinstance(third, Image.Image)
    assert first.tobytes() != second.tobytes()
    assert first.tobytes() == third.tobytes()
    assert "lora" not in plain.identity
    assert adapted.identity["lora"] != none.identity["lora"]


def test_an_adapter_of_another_model_is_refused_before_weights_are_loaded(
    folder: Path, tmp_path: Path
) -> None:
    adapter = save_adapter(tmp_path / "lora", "transformer.blocks.0.attn")
    with pytest.raises(AlphaBenchError, match="does not fit this model"):
        open_checkpoint(str(folder), lora=str(adapter))
    (adapter / "adapter_config.json").unlink()
    with pytest.raises(AlphaBenchError, match=r"adapter_config\.json"):
        open_checkpoint(str(folder), lora=str(adapter))


def test_an_edit_is_refused(folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "source.png")
    with pytest.raises(AlphaBenchError, match="edits an image"):
        opened(folder).generate([edit_request(tmp_path / "source.png")])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("deepseek-community/Janus-Pro-7B", "janus"),
        ("someone/my-janus-tuned@main", "janus"),
        ("janus-lab/sd-turbo", "diffusers"),
        ("diffusers:someone/janus-pipeline", "diffusers"),
    ],
)
def test_a_hub_repository_is_recognised_by_its_name(name: str, kind: str) -> None:
    assert pick_checkpoint_kind(name)[0] == kind


def test_a_folder_is_recognised_by_its_configuration(folder: Path) -> None:
    assert pick_checkpoint_kind(str(folder)) == ("janus", str(folder))


# Incomplete folders.


def _edit(name: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / name
        content = json.loads(path.read_text(encoding="utf-8"))
        change(content)
        path.write_text(json.dumps(content), encoding="utf-8")

    return spoil


def _truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _lose_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _too_large(folder: Path) -> None:
    """Eight TiB that no disk needs to hold."""
    n_bytes = 2**43
    entry = {"dtype": "F32", "shape": [n_bytes // 4], "data_offsets": [0, n_bytes]}
    header = json.dumps({"lm_head.weight": entry}).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + n_bytes)


def _other_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


HEAD = "model.generation_head.proj_out.weight"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_truncate, "is damaged"),
        (_pickle, "only 'pytorch_model.bin', a pickle"),
        (_lose_weights, "holds no weights as safetensors, no weights"),
        (
            _edit("config.json", lambda c: c.update(model_type="multi_modality")),
            "DeepSeek.s layout",
        ),
        (_edit("config.json", lambda c: c.update(model_type="llama")), "no Janus model"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be read"),
    ],
)
def test_an_incomplete_folder_is_refused_when_it_is_opened(
    spoiled: Path, spoil: Callable[[Path], object], words: str
) -> None:
    spoil(spoiled)
    with pytest.raises(AlphaBenchError, match=words):
        open_checkpoint(f"janus:{spoiled}")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_other_weights(lambda w: w.pop(HEAD)), "generation_head"),
        (_other_weights(lambda w: w.update({HEAD: torch.zeros(3, 3)})), "generation_head"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "cannot be loaded as a Janus"),
        (lambda folder: (folder / "chat_template.jinja").unlink(), "no chat template"),
        (
            _edit("config.json", lambda c: c["vision_config"].update(num_image_tokens=9)),
            "9 tokens make no image",
        ),
        (_too_large, r"need 4096\.0 GiB, and cpu has"),
    ],
)
def test_weights_that_do_not_fit_are_refused_when_they_are_loaded(
    spoiled: Path, spoil: Callable[[Path], object], words: str
) -> None:
    spoil(spoiled)
    checkpoint = open_checkpoint(f"janus:{spoiled}")
    assert isinstance(checkpoint, UnifiedCheckpoint)
    with pytest.raises(AlphaBenchError, match=words):
        checkpoint.model()
