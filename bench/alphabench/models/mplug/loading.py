"""Loads an mPLUG model from the folder of its release: sizes, weights, vocabulary.

The weights are a pickle of tensors, read with `weights_only` so that it cannot run code. Every
tensor that inference needs must be present, of the right shape and finite; no matrix may be
constant and no norm all 0. The official code loads what fits and leaves the rest random. What only
training needs (momentum copies of each part, CLIP's text encoder) is ignored. Knows no hub.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from alphabench.core.errors import AlphaBenchError
from alphabench.models.mplug.config import read_mplug_config
from alphabench.models.mplug.model import Mplug
from alphabench.models.mplug.tokenizer import MplugTokenizer, load_tokenizer
from alphabench.weights.sizes import check_sizes
from alphabench.weights.strict_loading import unexpected_tensors, unused_error

WEIGHTS_FILE: Final = "pytorch_model.bin"
_HINT: Final = "download the model again, or give another folder"
_NUMBER: Final = re.compile(r"\.\d+\.")
_SAME: Final = {
    "text_decoder.bert.embeddings.word_embeddings.weight": (
        "text_decoder.cls.predictions.decoder.weight"
    ),
    "text_decoder.cls.predictions.bias": "text_decoder.cls.predictions.decoder.bias",
}
"""Tied tensors of the official model -> the name whose value it loads last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedMplug:
    """A model ready to answer, and its vocabulary."""

    model: Mplug
    tokenizer: MplugTokenizer
    device: str


def load_mplug(folder: Path, *, device: str = "cpu") -> LoadedMplug:
    """The model in `folder`, in float32 and in evaluation mode.

    Args:
        folder: config.yaml, config_bert.json, pytorch_model.bin and vocab.txt.
        device: of torch.

    Raises:
        AlphaBenchError: a file is missing or damaged, or the weights do not fit, are not finite,
            are constant, or hold more layers or scales than the model has.
    """
    config = read_mplug_config(folder)
    tokenizer = load_tokenizer(folder, vocab_size=config.text.vocab_size)
    path = folder / WEIGHTS_FILE
    stored = _read(path)
    shapes = {name: {"shape": one.shape} for name, one in stored.items() if isinstance(one, Tensor)}
    for part in (config.vision, config.text):
        check_sizes(asdict(part), [shapes], file="the configuration", name=str(folder))
    with torch.device("meta"):
        model = Mplug(config)
    wanted = model.state_dict()
    tensors = {name: _tensor(stored, name, like, path) for name, like in wanted.items()}
    if unused := unexpected_tensors(_unused(stored, wanted)):
        raise unused_error(str(path), unused)
    model.load_state_dict(tensors, assign=True)
    model.requires_grad_(False)
    return LoadedMplug(model=model.to(device).eval(), tokenizer=tokenizer, device=device)


def _read(path: Path) -> Mapping[str, Any]:
    """The tensors by name, without the wrappers that trainers put around them."""
    try:
        stored = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except FileNotFoundError as error:
        raise AlphaBenchError(
            f"there are no weights at {str(path)!r}",
            hint=f"give the folder as it was released, with {WEIGHTS_FILE}",
        ) from error
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise AlphaBenchError(f"{str(path)!r} cannot be read: {reason[0]}", hint=_HINT) from error
    for wrapper in ("model", "module"):
        if isinstance(stored, Mapping) and wrapper in stored:
            stored = stored[wrapper]
    if not isinstance(stored, Mapping):
        raise AlphaBenchError(f"{str(path)!r} holds no mapping of tensors", hint=_HINT)
    return {str(name).replace("model.", ""): value for name, value in stored.items()}


def _unused(stored: Iterable[str], wanted: Collection[str]) -> list[str]:
    """Stored tensors that belong to modules of the model, or to further layers of their kind.

    What only training needs has other modules, or hangs on those that contain others.
    """
    modules = {name.rpartition(".")[0] for name in wanted}
    modules -= {module.rpartition(".")[0] for module in modules}
    kinds = {_NUMBER.sub(".*.", name) for name in wanted}
    known = {*wanted, *_SAME.values()}
    return [
        name
        for name in stored
        if name not in known
        and (name.rpartition(".")[0] in modules or _NUMBER.sub(".*.", name) in kinds)
    ]


def _tensor(stored: Mapping[str, Any], name: str, like: Tensor, path: Path) -> Tensor:
    """One tensor in float32, checked."""
    value = stored.get(_SAME.get(name, name), stored.get(name))
    if not isinstance(value, Tensor):
        raise AlphaBenchError(f"{str(path)!r} does not contain the tensor {name!r}", hint=_HINT)
    if value.shape != like.shape:
        raise AlphaBenchError(
            f"the tensor {name!r} in {str(path)!r} is {tuple(value.shape)}, "
            f"not {tuple(like.shape)}",
            hint=_HINT,
        )
    value = value.to(torch.float32)
    low, high = value.aminmax()
    if not torch.isfinite(low + high):
        raise AlphaBenchError(f"the tensor {name!r} in {str(path)!r} is not finite", hint=_HINT)
    is_norm = value.ndim == 1 and name.endswith(".weight")
    if low == high and (value.ndim > 1 or (is_norm and low == 0)):
        raise AlphaBenchError(
            f"the tensor {name!r} in {str(path)!r} is {low.item():g} throughout", hint=_HINT
        )
    return value
