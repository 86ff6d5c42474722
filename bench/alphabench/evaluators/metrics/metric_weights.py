"""Finds and loads the weights of metrics: CLIPs in two layouts, and files of tensors.

Weights are pinned to a commit. safetensors are read as they are; a pickle is opened only with
`allow_pickle=true`, and then by torch's reader of plain tensors, which runs no code. Knows no
formula.
"""

from __future__ import annotations

import io
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import torch
from torch import Tensor

from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.detection.clip_backends import TransformersClip
from alphabench.weights.digest import digest_file
from alphabench.weights.find import (
    LOADING_ERRORS,
    WeightsFolder,
    WeightsNotFoundError,
    find_descriptions,
    find_weights,
)
from alphabench.weights.hub import HubAccess, open_snapshot
from alphabench.weights.strict_loading import unexpected_tensors, unused_error
from alphabench.weights.weight_files import PICKLES, read_header

CLIP_L: Final = "openai/clip-vit-large-patch14@32bd64288804d66eefd0ccbe215aa642df71cc41"
CLIP_H: Final = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K@1c2b8495b28150b8a4922ee1c8edee224c284c0c"
PICKSCORE: Final = "yuvalkirstain/PickScore_v1@a4e4367c6dfa7288a00c550414478f865b875800"
LICENCES: Final[Mapping[str, str]] = {
    "openai/clip-vit-large-patch14": "MIT (of its code; that of the weights is not verified)",
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": "MIT (not verified)",
    "yuvalkirstain/PickScore_v1": "MIT (of its code; that of the weights is not verified)",
    "xswu/HPSv2": "Apache-2.0 (of its code; that of the weights is not verified)",
    "zai-org/ImageReward": "Apache-2.0 (of its code; that of the weights is not verified)",
    "google-bert/bert-base-uncased": "Apache-2.0 (not verified)",
    "LAION-AI/aesthetic-predictor": "MIT",
}
"""Repository -> licence, as far as it is known to this project."""
_OWN_HINT: Final = "give {option}=FOLDER with a CLIP in the layout of transformers"


def licences_of_sources(*sources: str) -> dict[str, str]:
    """Repository with its commit -> licence for hub ids; the user's own files are `unknown`."""
    parts = [source.partition("@") for source in sources]
    return {
        f"{repository}{at}{commit[:12]}": LICENCES.get(repository, "unknown")
        for repository, at, commit in parts
    }


class ClipWeights(Protocol):
    """Where a CLIP comes from; finding it may download it."""

    @property
    def identity(self) -> Mapping[str, str]: ...

    @property
    def licences(self) -> Mapping[str, str]: ...

    def load(self, *, dtype: torch.dtype, device: str) -> TransformersClip:
        """The network with its tokenizer.

        Raises:
            AlphaBenchError: the files are no CLIP, or another one than their configuration says.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class TransformersWeights:
    """A CLIP in the layout of transformers, as safetensors."""

    model: str
    """Hub id with its commit, or a folder."""
    option: str
    """The option that names it."""
    tokenizer: str | None = None
    """Hub id or folder of the tokenizer; None is the model's own."""

    @property
    def identity(self) -> Mapping[str, str]:
        found = {"weights": self._model.identity}
        if self._tokenizer is not None:
            found["tokenizer"] = self._tokenizer.identity
        return found

    @property
    def licences(self) -> Mapping[str, str]:
        return licences_of_sources(self.model)

    def load(self, *, dtype: torch.dtype, device: str) -> TransformersClip:
        """See `ClipWeights.load`."""
        words = None if self._tokenizer is None else self._tokenizer.folder
        try:
            return TransformersClip(
                self._model.folder, dtype=dtype, device=device, tokenizer_folder=words
            )
        except LOADING_ERRORS as error:
            raise _no_clip(self.model, error, self.option) from error

    @cached_property
    def _model(self) -> WeightsFolder:
        return find_weights(
            self.model, option=self.option, kind="CLIP", pattern="model*.safetensors"
        )

    @cached_property
    def _tokenizer(self) -> WeightsFolder | None:
        if self.tokenizer is None or Path(self.model).expanduser().is_dir():
            return None
        return find_descriptions(self.tokenizer, option="tokenizer", kind="tokenizer")


@dataclass(frozen=True, kw_only=True)
class OpenClipWeights:
    """A CLIP whose tensors have open_clip's names, in one file."""

    file: TensorFile
    network: str
    """Hub id or folder with the configuration and the tokenizer, in transformers' layout."""

    @property
    def identity(self) -> Mapping[str, str]:
        return {"weights": self.file.found.identity, "network": self._network.identity}

    @property
    def licences(self) -> Mapping[str, str]:
        return {**licences_of_sources(self.file.source), **licences_of_sources(self.network)}

    def load(self, *, dtype: torch.dtype, device: str) -> TransformersClip:
        """See `ClipWeights.load`."""
        import transformers

        name, folder = self.file.found.identity, self._network.folder
        try:
            config = transformers.CLIPConfig.from_pretrained(folder)
            network: Any = transformers.CLIPModel(config)
            tensors = from_open_clip(self.file.read())
            missing, unused = network.load_state_dict(tensors, strict=False)
            if missing := [one for one in missing if not one.endswith("position_ids")]:
                raise ValueError(f"{len(missing)} weights are missing, such as {missing[0]!r}")
            if unused := unexpected_tensors(unused):
                raise unused_error(name, unused)
            return TransformersClip(folder, dtype=dtype, device=device, network=network.to(dtype))
        except LOADING_ERRORS as error:
            raise _no_clip(name, error, "clip") from error

    @cached_property
    def _network(self) -> WeightsFolder:
        return find_descriptions(self.network, option="clip", kind="CLIP")


class FoundFile(NamedTuple):
    """A file of tensors on this machine."""

    path: Path
    identity: str
    """`owner/name@commit/file`, or `sha256:...` for a file of the user."""


@dataclass(frozen=True, kw_only=True)
class TensorFile:
    """One file of named tensors: the user's, or the published one on the hub."""

    source: str
    """`owner/name@commit`, or the path of a file."""
    name: str
    """Of the file in the repository."""
    allow_pickle: bool

    @cached_property
    def found(self) -> FoundFile:
        """The file, downloaded where it is on the hub.

        Raises:
            WeightsNotFoundError: it is neither cached nor available.
            AlphaBenchError: no such file, or a pickle without consent.
        """
        path = Path(self.source).expanduser()
        local = path.is_file()
        self._require_consent(path.name if local else self.name)
        if local:
            return FoundFile(path, digest_file(path))
        if "@" not in self.source:
            raise AlphaBenchError(f"there is no file {self.source!r}", hint="correct weights=")
        try:
            snapshot = open_snapshot(
                self.source, revision=None, probe=self.name, access=HubAccess()
            )
            found = snapshot.file(self.name)
        except AlphaBenchError as error:
            raise WeightsNotFoundError(
                f"no weights: {error.message}",
                hint="connect to the hub once, or give weights=FILE with a copy",
            ) from error
        return FoundFile(found, f"{snapshot.repo}@{snapshot.commit}/{self.name}")

    def read(self) -> dict[str, Tensor]:
        """The tensors by name.

        Raises:
            AlphaBenchError: the file is damaged or holds something else.
        """
        path = self.found.path
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            read_header(path, name=str(path))
            return load_file(path)
        return read_pickled_tensors(path, name=path.name)

    def _require_consent(self, name: str) -> None:
        if name.endswith(".safetensors"):
            return
        if not name.endswith(PICKLES):
            raise AlphaBenchError(
                f"{name!r} is neither safetensors nor a pickle of tensors", hint="correct weights="
            )
        if not self.allow_pickle:
            raise AlphaBenchError(
                f"the weights {name!r} are a pickle, and opening a pickle can run any code of its "
                "author",
                hint="convert them to safetensors and give weights=FILE, or, if you trust the "
                "author, add allow_pickle=true",
            )


def read_pickled_tensors(source: Path | bytes, *, name: str) -> dict[str, Tensor]:
    """The tensors of a pickle, without its wrappers; reads plain tensors alone and runs no code.

    Args:
        source: the file or its content.
        name: for errors.

    Raises:
        AlphaBenchError: it is damaged, or holds anything but named tensors.
    """
    opened = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the protocol of old pickles
            stored: Any = torch.load(opened, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its text advises to let the code run
        raise _no_tensors(name, "it is damaged, or holds more than plain tensors") from error
    except (OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise _no_tensors(name, _first_line(error)) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(stored, Mapping) and isinstance(stored.get(wrapper), Mapping):
            stored = stored[wrapper]
    if not isinstance(stored, Mapping) or not stored:
        raise _no_tensors(name, "it holds no mapping")
    for key, value in stored.items():
        if not isinstance(value, Tensor):
            raise _no_tensors(name, f"{str(key)!r} is no tensor")
    return {str(key).removeprefix("module."): value for key, value in stored.items()}


_NAMES: Final = (
    (r"visual\.class_embedding", r"vision_model.embeddings.class_embedding"),
    (r"visual\.positional_embedding", r"vision_model.embeddings.position_embedding.weight"),
    (r"visual\.conv1\.weight", r"vision_model.embeddings.patch_embedding.weight"),
    (r"visual\.ln_pre\.(.*)", r"vision_model.pre_layrnorm.\1"),
    (r"visual\.ln_post\.(.*)", r"vision_model.post_layernorm.\1"),
    (r"visual\.proj", r"visual_projection.weight"),
    (r"visual\.transformer\.resblocks\.(.*)", r"vision_model.encoder.layers.\1"),
    (r"transformer\.resblocks\.(.*)", r"text_model.encoder.layers.\1"),
    (r"token_embedding\.weight", r"text_model.embeddings.token_embedding.weight"),
    (r"positional_embedding", r"text_model.embeddings.position_embedding.weight"),
    (r"ln_final\.(.*)", r"text_model.final_layer_norm.\1"),
    (r"text_projection", r"text_projection.weight"),
)
_INSIDE: Final = (
    (".ln_1.", ".layer_norm1."),
    (".ln_2.", ".layer_norm2."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
    (".attn.", ".self_attn."),
)
_TRANSPOSED: Final = ("visual_projection.weight", "text_projection.weight")
"""open_clip multiplies from the right by these."""


def from_open_clip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same numbers under transformers' names; queries, keys and values apart."""
    found: dict[str, Tensor] = {}
    for theirs, tensor in tensors.items():
        if theirs == "attn_mask":  # the causal mask, which transformers computes
            continue
        name = theirs
        for pattern, ours in _NAMES:
            if match := re.fullmatch(pattern, theirs):
                name = match.expand(ours)
                break
        for old, new in _INSIDE:
            name = name.replace(old, new)
        if stacked := re.fullmatch(r"(.*\.self_attn\.)in_proj_(weight|bias)", name):
            for part, piece in zip("qkv", tensor.chunk(3, dim=0), strict=True):
                found[f"{stacked[1]}{part}_proj.{stacked[2]}"] = piece
            continue
        found[name] = tensor.T if name in _TRANSPOSED else tensor
    return found


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _no_tensors(name: str, reason: str) -> AlphaBenchError:
    return AlphaBenchError(
        f"{name!r} cannot be read as tensors: {reason}", hint="download the file again"
    )


def _no_clip(name: str, error: Exception, option: str) -> AlphaBenchError:
    return AlphaBenchError(
        f"{name!r} cannot be loaded as a CLIP by transformers: {_first_line(error)}",
        hint=_OWN_HINT.format(option=option),
    )
