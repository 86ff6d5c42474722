"""Selects a pipeline's files by their names, and checks that its weights can be read.

Before anything is loaded it refuses pickles and code without consent, missing and truncated files.
Knows safetensors' header, and the file names of diffusers and transformers; imports neither.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from alphabench.core import files
from alphabench.core.errors import AlphaBenchError, from_os_error, is_transient
from alphabench.core.files import UnreadableFileError
from alphabench.weights.sizes import METADATA, check_sizes

PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_STEM: Final = r"(model|diffusion_pytorch_model|pytorch_model)"
_SHARD: Final = r"(-\d{5}-of-\d{5})?"
_MAX_HEADER: Final = 100_000_000
"""Bytes; the safetensors library refuses longer headers."""
_MAX_JSON: Final = 64 * 2**20
"""Bytes; the largest tokenizers have some 20 MB."""
_INTEGER_DTYPES: Final = ("I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64")
_QUANTISERS: Final = {
    "bitsandbytes": "bitsandbytes", "gptq": "gptqmodel", "awq": "gptqmodel", "torchao": "torchao",
    "quanto": "optimum", "gguf": "gguf", "compressed-tensors": "compressed_tensors",
    "modelopt": "modelopt", "auto-round": "auto_round",
}  # fmt: skip
"""What a quantization_config names -> the package with which the model libraries read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineIndex:
    """The content of model_index.json."""

    pipeline_class: str
    components: Mapping[str, str]
    """Component -> class, without those that are left empty."""
    code: str | None
    """The module of a custom pipeline class, which would have to be executed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """Consent of the user to files that can run code on this machine."""

    pickle: bool = False
    code: bool = False


def read_index(path: Path, *, name: str) -> PipelineIndex:
    """Parse a model_index.json.

    Raises:
        AlphaBenchError: it cannot be read or does not describe a pipeline.
    """
    content = read_checkpoint_json(path, name=name)
    declared = content.get("_class_name")
    code = None
    if isinstance(declared, list) and len(declared) == 2:
        code, declared = (str(part) for part in declared)
    if not isinstance(declared, str):
        raise AlphaBenchError(
            f"model_index.json of {name!r} names no pipeline class",
            hint="give a folder that a pipeline's save_pretrained wrote",
        )
    components = {
        key: str(value[1])
        for key, value in content.items()
        if not key.startswith("_")
        and isinstance(value, list)
        and len(value) == 2
        and value[1] is not None
    }
    return PipelineIndex(pipeline_class=declared, components=components, code=code)


def read_checkpoint_json(path: Path, *, name: str) -> dict[str, Any]:
    """The object in a JSON file of the checkpoint `name`.

    Raises:
        AlphaBenchError: no regular file, too large, not JSON, nested too deeply, or not an object.
    """
    try:
        content = files.read_json(path, max_bytes=_MAX_JSON)
    except UnreadableFileError as error:
        raise AlphaBenchError(
            f"{path.name} of {name!r} cannot be read: {error}",
            hint="fetch or save the checkpoint again",
        ) from error
    if not isinstance(content, dict):
        raise AlphaBenchError(
            f"{path.name} of {name!r} holds no JSON object",
            hint="fetch or save the checkpoint again",
        )
    return content


def needed_files(
    names: Collection[str],
    index: PipelineIndex,
    *,
    variant: str | None,
    consent: Consent,
    name: str,
) -> list[str]:
    """The files that decide the images: configurations, tokenizers, and one variant of the weights.

    Args:
        names: all files of the checkpoint, relative, with `/`.
        index: its model_index.json.
        variant: such as `fp16`, in the names of the weights.
        consent: what the user allows.
        name: the checkpoint, for the errors.

    Raises:
        AlphaBenchError: a component or its weights are missing, or consent is.
    """
    _check_code(names, index, consent=consent, name=name)
    needed = ["model_index.json"]
    for component in index.components:
        inside = sorted(one for one in names if one.startswith(f"{component}/"))
        if not inside:
            raise AlphaBenchError(
                f"the component {component!r} of {name!r} is missing",
                hint="fetch or save the checkpoint again",
            )
        needed += [one for one in inside if _is_configuration(one, consent)]
        if f"{component}/config.json" in inside or any(_is_weights(one) for one in inside):
            needed.append(f"{component}/config.json")
            needed += _weights_of(component, inside, variant=variant, consent=consent, name=name)
    return sorted(set(needed))


def _check_code(
    names: Collection[str], index: PipelineIndex, *, consent: Consent, name: str
) -> None:
    code = [
        one
        for one in names
        if one.endswith(".py")
        and (one == "pipeline.py" or one.partition("/")[0] in index.components)
    ]
    if index.code is not None:
        code.insert(0, f"{index.code}.py")
    if code and not consent.code:
        raise AlphaBenchError(
            f"{name!r} contains Python code of its own ({code[0]})",
            hint="read it, and if you trust it to run on this machine as you, "
            "add --set trust_remote_code=true",
        )


def _is_weights(name: str) -> bool:
    return name.endswith((".safetensors", *PICKLES))


def _is_configuration(name: str, consent: Consent) -> bool:
    suffixes = (".json", ".txt", ".model", ".jinja", *((".py",) if consent.code else ()))
    return name.endswith(suffixes) and ".index." not in name


def _weights_of(
    component: str, inside: list[str], *, variant: str | None, consent: Consent, name: str
) -> list[str]:
    inner = [one.removeprefix(f"{component}/") for one in inside]
    for wanted in dict.fromkeys((variant, None)):
        selected = _weights_form(inner, "safetensors", wanted)
        if selected:
            return [f"{component}/{one}" for one in selected]
    pickled = [one for one in inner if one.endswith(PICKLES)]
    if not pickled and any(one.endswith(".gguf") for one in inner):
        raise AlphaBenchError(
            f"the weights of {component!r} in {name!r} are GGUF, which is not supported",
            hint="take the checkpoint as safetensors",
        )
    if not pickled:
        raise AlphaBenchError(
            f"the weights of {component!r} are missing in {name!r}"
            + (f" (variants there: {', '.join(_variants(inner))})" if _variants(inner) else ""),
            hint="choose one with --set variant=NAME"
            if _variants(inner)
            else "fetch or save the checkpoint again",
        )
    if not consent.pickle:
        raise AlphaBenchError(
            f"the weights of {component!r} in {name!r} are a pickle ({pickled[0]}), and opening "
            "a pickle can run any code of its author",
            hint="choose safetensors weights, or, if you trust the author, "
            "add --set allow_pickle=true",
        )
    for wanted in dict.fromkeys((variant, None)):
        selected = _weights_form(inner, "bin", wanted)
        if selected:
            return [f"{component}/{one}" for one in selected]
    return [f"{component}/{one}" for one in pickled]


def _weights_form(names: list[str], suffix: str, variant: str | None) -> list[str]:
    """The weights of one variant with their index; both spellings of sharded variants fit."""
    mark = f"\\.{re.escape(variant)}" if variant else ""
    pattern = re.compile(
        rf"{_STEM}({mark}{_SHARD}|{_SHARD}{mark})\.{suffix}"
        rf"|{_STEM}(\.{suffix}\.index{mark}|{mark}\.{suffix}\.index)\.json"
    )
    matching = [one for one in names if pattern.fullmatch(one)]
    return matching if any(not one.endswith(".json") for one in matching) else []


def _variants(names: list[str]) -> list[str]:
    pattern = re.compile(rf"{_STEM}{_SHARD}\.(?P<variant>\w+){_SHARD}\.safetensors")
    return sorted({m["variant"] for one in names if (m := pattern.fullmatch(one))})


def check_files(root: Path, needed: Collection[str], *, name: str) -> None:
    """Check the files on this machine: headers, lengths, shards, JSON, sizes.

    Raises:
        AlphaBenchError: a file is missing, truncated or garbled, or of an unsupported format.
    """
    headers: dict[str, list[dict[str, Any]]] = {}
    configs: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for one in needed:
        path = root / one
        if not path.is_file():
            raise AlphaBenchError(
                f"the file {one!r} of {name!r} is missing",
                hint="fetch or save the checkpoint again",
            )
        if not os.access(path, os.R_OK):
            raise AlphaBenchError(
                f"the file {one!r} of {name!r} may not be read", hint="change its permissions"
            )
        folder = PurePosixPath(one).parent.as_posix()
        if one.endswith(".safetensors"):
            headers.setdefault(folder, []).append(read_header(path, name=name))
        elif one.endswith("config.json"):
            content = read_checkpoint_json(path, name=name)
            if not one.endswith(("tokenizer_config.json", "generation_config.json")):
                configs.setdefault(folder, []).append((one, content))
        elif one.endswith(".json") and ".index." in one:
            _check_shards(read_checkpoint_json(path, name=name), one, needed, name=name)
    for folder in headers.keys() | configs.keys():
        folder_headers, described = headers.get(folder, []), configs.get(folder, [])
        check_formats(folder_headers, [content for _, content in described], name=name)
        for file, content in described:
            check_sizes(content, folder_headers, file=file, name=name)


def _check_shards(
    index: Mapping[str, Any], file: str, needed: Collection[str], *, name: str
) -> None:
    table = index.get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(one, str) for one in table.values()):
        raise AlphaBenchError(
            f"{file!r} of {name!r} lists no shards", hint="fetch or save the checkpoint again"
        )
    present = {PurePosixPath(other).name for other in needed}
    for shard in sorted(set(table.values()) - present):
        raise AlphaBenchError(
            f"the shard {shard!r}, named by {file!r} of {name!r}, is missing",
            hint="fetch or save the checkpoint again",
        )


def check_formats(
    headers: Iterable[Mapping[str, Any]], configs: Iterable[Mapping[str, Any]], *, name: str
) -> None:
    """Refuse quantised weights in a form that cannot be loaded.

    Args:
        headers: of the safetensors files of one model.
        configs: of the same folders.
        name: the checkpoint, for the errors.

    Raises:
        AlphaBenchError: the package that reads them is missing, or the format is not described.
    """
    for config in configs:
        stated = config.get("quantization_config")
        if isinstance(stated, dict):
            method = str(stated.get("quant_method"))
            package = _QUANTISERS.get(method.partition("_")[0])
            if package is not None and importlib.util.find_spec(package) is None:
                raise AlphaBenchError(
                    f"the weights of {name!r} are quantised with {method}, and the package "
                    f"{package} is not installed",
                    hint=f"pip install {package}, or take the checkpoint in bfloat16",
                )
            return
    for header in headers:
        for key, entry in header.items():
            if key == METADATA or not key.endswith("weight") or len(entry["shape"]) < 2:
                continue
            if entry["dtype"] in _INTEGER_DTYPES:
                raise AlphaBenchError(
                    f"{key!r} of {name!r} holds integers ({entry['dtype']}), and no "
                    "quantization_config describes them",
                    hint="take the checkpoint in bfloat16",
                )


def read_header(path: Path, *, name: str) -> dict[str, Any]:
    """The header of a safetensors file: tensor name -> dtype, shape, offsets.

    Raises:
        AlphaBenchError: the header does not parse, or the file is shorter than stated.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _MAX_HEADER:
                raise ValueError("its header has an invalid length")
            header = files.parse_json(file.read(length))
        size = path.stat().st_size
        end = max(
            (int(v["data_offsets"][1]) for k, v in header.items() if k != METADATA), default=0
        )
        for key, entry in header.items():
            sides = entry["shape"] if key != METADATA else []
            if not all(isinstance(side, int) and side >= 0 for side in sides):
                raise ValueError(f"{key!r} has an invalid shape")
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        UnreadableFileError,
    ) as error:
        hint = "fetch or save the checkpoint again"
        if isinstance(error, OSError) and is_transient(error):
            hint = from_os_error(error).hint
        raise AlphaBenchError(
            f"the weights file {path.name!r} of {name!r} cannot be read: {error}", hint=hint
        ) from error
    if size != 8 + length + end:
        raise AlphaBenchError(
            f"the weights file {path.name!r} of {name!r} is damaged: it has {size} bytes, "
            f"and its header describes {8 + length + end}",
            hint="fetch or save the checkpoint again",
        )
    assert isinstance(header, dict)
    return header
