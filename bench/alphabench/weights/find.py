"""Finds a model's files: a folder on this machine, or a repository of the Hugging Face hub.

Guarantees safetensors, and an identity that changes when the weights do. Knows no model class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError

from alphabench.core.errors import AlphaBenchError
from alphabench.weights.digest import digest_files
from alphabench.weights.hub import HubAccess, open_snapshot
from alphabench.weights.sizes import check_sizes
from alphabench.weights.strict_loading import unexpected_tensors, unused_error
from alphabench.weights.weight_files import check_formats, read_checkpoint_json, read_header

DESCRIPTIONS: Final = ("*.json", "*.txt")
"""Configuration, tokenizer."""

LOADING_ERRORS: Final = (
    OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError,
)  # fmt: skip
"""What model libraries raise on files that are missing, truncated or of another kind."""


class WeightsNotFoundError(AlphaBenchError):
    """A model whose weights are not on this machine and cannot be fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFolder:
    """A folder with a model in it."""

    folder: Path
    identity: str
    """`owner/name@commit` for the hub, `sha256:...` over the files for a folder."""


def find_weights(
    source: str,
    *,
    option: str,
    kind: str,
    pattern: str = "*.safetensors",
    descriptions: Sequence[str] = DESCRIPTIONS,
) -> WeightsFolder:
    """The files of a hub id (`owner/name` or `owner/name@revision`) or a folder.

    Args:
        source: as the user wrote it, or the default.
        option: the option that takes a folder instead, for the hint: `detector`.
        kind: what the weights are, for the error: `detector`.
        pattern: which safetensors of the repository are wanted.
        descriptions: which other files belong to the model.

    Raises:
        WeightsNotFoundError: the hub's files are neither cached nor available.
        AlphaBenchError: no such folder, or no safetensors in it.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        files = _checked(folder, source, option=option, pattern=pattern)
        files += [path for one in descriptions for path in sorted(folder.glob(one))]
        return WeightsFolder(folder=folder, identity=digest_files(folder, files))
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise AlphaBenchError(
            f"there is no folder {source!r} with {kind} weights",
            hint=f"give {option}=FOLDER, or a hub id such as owner/name",
        )
    try:
        snapshot = open_snapshot(source, revision=None, probe="config.json", access=HubAccess())
        path = snapshot.folder([*descriptions, pattern])
    except AlphaBenchError as error:
        raise WeightsNotFoundError(
            f"no {kind} weights: {error.message}",
            hint=f"connect to the hub once, or give {option}=FOLDER with a copy of them",
        ) from error
    _checked(path, source, option=option, pattern=pattern)
    return WeightsFolder(folder=path, identity=f"{snapshot.repo}@{snapshot.commit}")


def find_descriptions(source: str, *, option: str, kind: str) -> WeightsFolder:
    """Configuration and tokenizer of a hub id or a folder, without its weights.

    Args:
        source: as the user wrote it, or the default.
        option: the option that takes a folder instead, for the hint.
        kind: what it is, for the error: `tokenizer`.

    Raises:
        WeightsNotFoundError: the hub's files are neither cached nor available.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        files = [path for one in DESCRIPTIONS for path in sorted(folder.glob(one))]
        return WeightsFolder(folder=folder, identity=digest_files(folder, files))
    try:
        snapshot = open_snapshot(source, revision=None, probe="config.json", access=HubAccess())
        path = snapshot.folder(DESCRIPTIONS)
    except AlphaBenchError as error:
        raise WeightsNotFoundError(
            f"no {kind}: {error.message}",
            hint=f"connect to the hub once, or give {option}=FOLDER with a copy",
        ) from error
    return WeightsFolder(folder=path, identity=f"{snapshot.repo}@{snapshot.commit}")


def load_complete(
    model_class: Any, folder: Path, *, dtype: Any, unused: Sequence[str] = (), **settings: Any
) -> Any:
    """A transformers model whose trained weights all come from the folder, and that uses them all.

    Args:
        model_class: a class with transformers' `from_pretrained`.
        folder: config.json and safetensors.
        dtype: of torch, or `auto` for the stored one.
        unused: parts of names of weights that the class declares but never uses.
        settings: further arguments of `from_pretrained`.

    Raises:
        ValueError: weights are missing or of another shape, which transformers would initialise at
            random.
        AlphaBenchError: damaged, quantised in an unknown way, or not of the sizes in config.json;
            or weights that the model does not use, which transformers would ignore.
    """
    name = str(folder)
    headers = [read_header(path, name=name) for path in sorted(folder.glob("*.safetensors"))]
    config = read_checkpoint_json(folder / "config.json", name=name)
    check_formats(headers, [config], name=name)
    check_sizes(config, headers, file="config.json", name=name)
    network, loading = model_class.from_pretrained(
        folder, use_safetensors=True, dtype=dtype, output_loading_info=True, **settings
    )
    computed = {name for name, _ in network.named_buffers()}
    needed = set(loading["missing_keys"]) - computed
    missing = sorted(name for name in needed if not any(part in name for part in unused))
    if missing:
        raise ValueError(f"{len(missing)} weights are missing, such as {missing[0]!r}")
    if loading["mismatched_keys"]:
        raise ValueError(f"weights of another shape: {loading['mismatched_keys']}")
    if unexpected := unexpected_tensors(loading["unexpected_keys"]):
        raise unused_error(name, unexpected)
    return network


def _checked(folder: Path, source: str, *, option: str, pattern: str) -> list[Path]:
    """The weights, refused when they are a pickle."""
    weights = sorted(folder.glob(pattern))
    if weights:
        return weights
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix in {".bin", ".pth", ".pt"})
    problem = f"only {pickles[0]!r}, a pickle that can run code" if pickles else "no weights"
    raise AlphaBenchError(
        f"{source!r} has no weights as safetensors, {problem}",
        hint=f"convert them with the library safetensors and give {option}=FOLDER",
    )
