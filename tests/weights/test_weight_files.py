from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.weights.location import CheckpointFiles
from alphabench.weights.weight_files import (
    Consent,
    PipelineIndex,
    check_files,
    needed_files,
    read_header,
    read_index,
)

INDEX = PipelineIndex(pipeline_class="P", components={"net": "Net"}, code=None)
STEM = "diffusion_pytorch_model"


def chosen(*files: str, variant: str | None = None, pickle: bool = False) -> set[str]:
    names = {"model_index.json", "net/config.json", *(f"net/{one}" for one in files)}
    needed = needed_files(
        names, INDEX, variant=variant, consent=Consent(pickle=pickle), name="tiny"
    )
    return {one.removeprefix("net/") for one in needed} - {"model_index.json", "config.json"}


def test_of_several_forms_of_the_weights_one_is_taken() -> None:
    files = (f"{STEM}.safetensors", f"{STEM}.fp16.safetensors", f"{STEM}.bin", "other.safetensors")
    assert chosen(*files) == {f"{STEM}.safetensors"}
    assert chosen(*files, variant="fp16") == {f"{STEM}.fp16.safetensors"}
    assert chosen(*files, variant="bf16") == {f"{STEM}.safetensors"}


@pytest.mark.parametrize(
    ("shard", "index", "variant"),
    [
        ("model-{}-of-00002.safetensors", "model.safetensors.index.json", None),
        ("model.fp16-{}-of-00002.safetensors", "model.safetensors.index.fp16.json", "fp16"),
        ("model-{}-of-00002.fp16.safetensors", "model.fp16.safetensors.index.json", "fp16"),
    ],
)
def test_shards_come_with_their_index(shard: str, index: str, variant: str | None) -> None:
    files = {shard.format("00001"), shard.format("00002"), index}
    assert chosen(*files, variant=variant) == files


def test_a_component_without_weights_needs_its_configuration_alone() -> None:
    index = PipelineIndex(pipeline_class="P", components={"tokenizer": "T"}, code=None)
    names = {"model_index.json", "tokenizer/vocab.json", "tokenizer/notes.md"}
    needed = needed_files(names, index, variant=None, consent=Consent(), name="tiny")
    assert needed == ["model_index.json", "tokenizer/vocab.json"]


def test_a_custom_pipeline_class_is_code_and_needs_consent(tmp_path: Path) -> None:
    content = {"_class_name": ["own_pipeline", "OwnPipeline"], "net": ["own", "Net"]}
    (tmp_path / "model_index.json").write_text(json.dumps(content))
    index = read_index(tmp_path / "model_index.json", name="tiny")
    names = {"model_index.json", "net/config.json", "net/model.safetensors"}
    with pytest.raises(AlphaBenchError, match=r"Python code of its own \(own_pipeline.py\)"):
        needed_files(names, index, variant=None, consent=Consent(), name="tiny")
    assert needed_files(names, index, variant=None, consent=Consent(code=True), name="tiny")


def test_pickles_are_taken_only_with_consent_and_only_where_nothing_safe_is() -> None:
    with pytest.raises(AlphaBenchError, match="are a pickle"):
        chosen("pytorch_model.bin")
    assert chosen("pytorch_model.bin", pickle=True) == {"pytorch_model.bin"}
    assert chosen("pytorch_model.bin", "model.safetensors", pickle=True) == {"model.safetensors"}


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}  # fmt: skip  # noqa: E501
    (tmp_path / "net" / "model.safetensors.index.json").write_text(json.dumps(index))
    write_tensors(tmp_path / "net" / "model-00001-of-00002.safetensors", b"abcd")
    needed = ["net/model.safetensors.index.json", "net/model-00001-of-00002.safetensors"]
    with pytest.raises(AlphaBenchError, match=r"shard 'model-00002-of-00002.safetensors'"):
        check_files(tmp_path, needed, name="tiny")


def write_tensors(path: Path, content: bytes) -> None:
    header = {"t": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)


def test_a_complete_file_passes_and_a_cut_at_any_byte_does_not(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_tensors(path, b"abcd")
    assert "t" in read_header(path, name="tiny")
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(AlphaBenchError, match=r"cannot be read|is damaged"):
            read_header(path, name="tiny")


@pytest.mark.parametrize(
    "header", [b"[]", b"{}", b'{"t": 1}', b'{"t": {"data_offsets": []}}', b'"text"', b"\xff"]
)
def test_a_header_of_another_form_is_refused(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"extra")
    with pytest.raises(AlphaBenchError, match=r"cannot be read|is damaged"):
        read_header(path, name="tiny")


def folder_of(tmp_path: Path, config: dict[str, object], dtype: str) -> Path:
    size = {"F8_E4M3": 1, "I8": 1, "U8": 1, "F32": 4}[dtype]
    header = {"a.weight": {"dtype": dtype, "shape": [2, 3], "data_offsets": [0, 6 * size]}}
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text)) + text + bytes(6 * size)
    (tmp_path / "model.safetensors").write_bytes(content)
    (tmp_path / "config.json").write_text("\ufeff" + json.dumps(config), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("config", "dtype", "words"),
    [
        ({}, "I8", r"'a\.weight' of 'tiny' holds integers \(I8\)"),
        ({}, "U8", "holds integers"),
        ({"quantization_config": {"quant_method": "gguf"}}, "U8", "quantised with gguf, and the"),
        ({"hidden_size": 10**9}, "F32", "hidden_size=1000000000"),
        ({}, "F8_E4M3", None),
        ({}, "F32", None),
        ({"quantization_config": {"quant_method": "fp8"}}, "F8_E4M3", None),
    ],
)
def test_weights_in_a_form_that_nothing_would_undo_are_refused(
    config: dict[str, object], dtype: str, words: str | None, tmp_path: Path
) -> None:
    folder, needed = folder_of(tmp_path, config, dtype), ("config.json", "model.safetensors")
    if words is None:
        check_files(folder, needed, name="tiny")
        return
    with pytest.raises(AlphaBenchError, match=words):
        check_files(folder, needed, name="tiny")


def test_gguf_is_named() -> None:
    with pytest.raises(AlphaBenchError, match="'net' in 'tiny' are GGUF"):
        chosen(f"{STEM}.gguf")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", "[" * 100_000),
        ("model.safetensors.index.json", '{"weight_map": [1]}'),
        ("model.safetensors.index.json", "{}"),
        ("config.json", "null"),
    ],
)
def test_json_of_any_shape_is_refused_by_one_sentence(
    file: str, content: str, tmp_path: Path
) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(AlphaBenchError, match=file):
        check_files(tmp_path, [file], name="tiny")


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 100_000,
        b'{"a": {"shape": [-1], "data_offsets": [0, 4]}}',
        b'{"a": {"shape": [1], "data_offsets": [0, NaN]}}',
        b'{"a": {"shape": [1], "data_offsets": ["a", "b"]}}',
        b"[1, 2]",
    ],
)
def test_a_garbled_header_is_refused_by_one_sentence(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(AlphaBenchError, match=r"'x\.safetensors' of 'tiny'"):
        read_header(path, name="tiny")


def test_a_device_is_no_file_of_a_checkpoint(tmp_path: Path) -> None:
    for name in ("config.json", "README.md"):
        (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(AlphaBenchError, match=r"'config\.json' of 'tiny' is missing"):
        check_files(tmp_path, ["config.json"], name="tiny")
    assert (
        CheckpointFiles(name="tiny", folder=tmp_path, snapshot=None, needed=()).licence()
        == "unknown"
    )
