"""Loads a BAGEL-type checkpoint folder: sizes, weights and control tokens.

Modules are created on the meta device and take each tensor as it is read, so there is never a
second copy of the weights. Reads safetensors only, and refuses by name each tensor that is missing,
misshapen or truncated. Knows no hub: the folder is there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_json
from alphabench.models.bagel.autoencoder import Autoencoder
from alphabench.models.bagel.config import BagelConfig, read_bagel_config
from alphabench.models.bagel.model import Bagel, ImageMarks
from alphabench.models.bagel.tokenizer import BagelTokens, load_bagel_tokens

MODEL_FILE: Final = "ema.safetensors"
AUTOENCODER_FILE: Final = "ae.safetensors"
LATENT_TABLE: Final = "latent_pos_embed.pos_embed"
PATCH_KERNEL: Final = "vit_model.vision_model.embeddings.patch_embedding.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedBagel:
    """A checkpoint, ready for use."""

    model: Bagel
    autoencoder: Autoencoder
    tokens: BagelTokens
    device: torch.device


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """The tensors of one weights file, or of the shards of its index."""

    name: str
    files: Mapping[str, Path]
    """The file that holds each tensor."""
    shapes: Mapping[str, tuple[int, ...]]


def load_bagel(
    folder: Path,
    *,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    autoencoder_dtype: torch.dtype = torch.float32,
) -> LoadedBagel:
    """Loads the checkpoint in `folder` in evaluation mode.

    Args:
        folder: `llm_config.json`, `vit_config.json`, `ema.safetensors` (or its shards with
            `ema.safetensors.index.json`), `ae.safetensors` and the tokenizer's files.
        device: where the weights go, tensor by tensor.
        dtype: of the model's weights except its heads, which are float32; None takes that of the
            file.
        autoencoder_dtype: float32 for exact images; the autoencoder is small.

    Raises:
        AlphaBenchError: a file, field or tensor is missing, of the wrong shape or truncated, the
            tokenizer does not fit, or the folder holds tensors that the model does not use.
    """
    stored = _read_headers(folder, MODEL_FILE)
    config = _sized(folder, stored)
    tokens = load_bagel_tokens(folder, vocabulary=config.language.vocab_size)
    with torch.device("meta"):
        marks = ImageMarks(start=tokens.start_of_image, end=tokens.end_of_image)
        model = Bagel(config, marks).eval()
        autoencoder = Autoencoder(config.autoencoder)
    target = torch.device(device)
    _fill(model, stored, {name: name for name in model.state_dict()}, config, (target, dtype))
    model.hold_heads()
    names = {autoencoder.stored_name(name): name for name in autoencoder.network.state_dict()}
    autoencoder_tensors = _read_headers(folder, AUTOENCODER_FILE)
    _fill(autoencoder.network, autoencoder_tensors, names, config, (target, autoencoder_dtype))
    return LoadedBagel(model=model, autoencoder=autoencoder, tokens=tokens, device=target)


def read_sizes(folder: Path) -> BagelConfig:
    """The sizes of the checkpoint in `folder`, from its JSON files and one header.

    Raises:
        AlphaBenchError: a file, a field or the latent position table is missing or damaged.
    """
    return _sized(folder, _read_headers(folder, MODEL_FILE))


def _sized(folder: Path, stored: _Stored) -> BagelConfig:
    if LATENT_TABLE not in stored.shapes:
        raise _missing_tensor(stored.name, LATENT_TABLE)
    return read_bagel_config(
        folder, latent_side=round(math.prod(stored.shapes[LATENT_TABLE][:1]) ** 0.5)
    )


def _read_headers(folder: Path, name: str) -> _Stored:
    """Reads headers only."""
    index = folder / f"{name}.index.json"
    paths = [folder / name]
    if not paths[0].is_file() and index.is_file():
        try:
            paths = sorted({folder / part for part in _weight_map(index).values()})
        except (UnreadableFileError, KeyError, TypeError, AttributeError) as error:
            raise AlphaBenchError(
                f"{index.name!r} lists no weights: {error}", hint="fetch that file again"
            ) from error
    files: dict[str, Path] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for path in paths:
        with _open_safetensors(path) as file:
            for key in file.keys():  # noqa: SIM118  (not a mapping)
                files[key] = path
                shapes[key] = tuple(file.get_slice(key).get_shape())
    return _Stored(name=name, files=files, shapes=shapes)


def _weight_map(index: Path) -> Mapping[str, str]:
    weight_map: Mapping[str, str] = read_json(index)["weight_map"]
    return weight_map


@contextmanager
def _open_safetensors(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise AlphaBenchError(
            f"the checkpoint {path.parent.name!r} has no file {path.name!r}",
            hint="fetch the complete checkpoint again",
        )
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise AlphaBenchError(
            f"{path.name!r} in {path.parent.name!r} is damaged or truncated: {error}",
            hint="fetch that file again",
        ) from error


def _fill(
    module: nn.Module,
    stored: _Stored,
    names: Mapping[str, str],
    config: BagelConfig,
    target: tuple[torch.device, torch.dtype | None],
) -> None:
    """Assigns every stored tensor; `names` maps names in the file to those of the module."""
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    for key in names:
        if key not in stored.shapes:
            raise _missing_tensor(stored.name, key)
        _check_shape(stored, key, shapes[names[key]])
    unused = f"vit_model.vision_model.encoder.layers.{config.vision.layers}."
    for key in stored.shapes:
        # The declared last layer of the vision encoder is not used, whether stored or not.
        if key not in names and not key.startswith(unused):
            raise AlphaBenchError(
                f"{stored.name!r} holds {key!r}, which a model of these sizes does not use",
                hint="check that the JSON files belong to these weights",
            )
    for path in sorted(set(stored.files.values())):
        with _open_safetensors(path) as file:
            for key in names:
                if stored.files[key] == path:
                    shape = shapes[names[key]]
                    _assign(module, names[key], _shaped(file.get_tensor(key), shape), target)


def _check_shape(stored: _Stored, key: str, wanted: tuple[int, ...]) -> None:
    shape = stored.shapes[key]
    if shape == wanted or (_as_kernel(shape, wanted) and (key == PATCH_KERNEL or shape[-1] == 1)):
        return
    raise AlphaBenchError(
        f"{key!r} in {stored.name!r} has shape {list(shape)}, not {list(wanted)}",
        hint="check that the JSON files belong to these weights",
    )


def _as_kernel(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a convolution's kernel is equivalent to the wanted linear layer."""
    if len(shape) != 4 or len(wanted) != 2:
        return False
    return (shape[0], shape[1] * shape[2] * shape[3]) == wanted


def _shaped(tensor: Tensor, wanted: tuple[int, ...]) -> Tensor:
    """A kernel becomes a matrix over (row, column, channel)."""
    if tuple(tensor.shape) == wanted:
        return tensor
    return tensor.permute(0, 2, 3, 1).reshape(wanted)


def _assign(
    module: nn.Module,
    name: str,
    tensor: Tensor,
    target: tuple[torch.device, torch.dtype | None],
) -> None:
    parent, _, leaf = name.rpartition(".")
    owner = module.get_submodule(parent)
    before = owner.get_parameter(leaf)
    after = nn.Parameter(tensor.to(*target), requires_grad=before.requires_grad)
    setattr(owner, leaf, after)


def _missing_tensor(file: str, key: str) -> AlphaBenchError:
    return AlphaBenchError(
        f"{file!r} does not contain the tensor {key!r}", hint="fetch the complete checkpoint again"
    )
