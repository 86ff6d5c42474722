"""The sizes of an mPLUG model, read from the files of its release.

`config.yaml` holds the vision part and the beam search, `config_bert.json` the language part;
absent fields have the defaults of the official code (modelscope 1.40.2, `configuration_mplug.py`).
Refuses by name what this implementation does not compute.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_json, read_text

CONFIG_FILE: Final = "config.yaml"
BERT_FILE: Final = "config_bert.json"
"""Fixed: an evaluator's identity contains the digest of this file."""
_MOST_BYTES: Final = 2**20
_HINT: Final = "give the folder as it was released, with config.yaml and config_bert.json"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class MplugVisionConfig:
    """Fields of `config.yaml` about the vision part."""

    image_res: int = 504
    """Side of the square that every image is stretched to, in pixels."""
    clip_vision_layers: int = 24
    clip_vision_width: int = 1024
    clip_vision_patch_size: int = 14

    @property
    def n_heads(self) -> int:
        return self.clip_vision_width // 64

    @property
    def n_tokens(self) -> int:
        """Patches plus the class token."""
        return (self.image_res // self.clip_vision_patch_size) ** 2 + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MplugTextConfig:
    """Fields of `config_bert.json`; the three parts share their widths."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    num_hidden_layers: int = 12
    """Of the fusion part as stored; the last `fusion_layers` are used."""
    text_encoder_layers: int = 6
    fusion_layers: int = 6
    text_decode_layers: int = 12
    stride_layer: int = 100
    """At every `stride_layer`-th fusion layer text and patches form one sequence."""

    @property
    def fusion_start(self) -> int:
        return max(0, self.num_hidden_layers - self.fusion_layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class BeamSearchConfig:
    """Beam search: number of beams, and bounds on the answer's length in tokens."""

    beam_size: int = 5
    min_length: int = 1
    max_length: int = 10

    def __post_init__(self) -> None:
        if self.beam_size < 1 or self.max_length < 1:
            raise ValueError("beam_size and max_length are 1 at least")


@dataclass(frozen=True, slots=True, kw_only=True)
class MplugConfig:
    """Shapes of an mPLUG model, and its beam search."""

    vision: MplugVisionConfig
    text: MplugTextConfig
    search: BeamSearchConfig


def read_mplug_config(folder: Path) -> MplugConfig:
    """The configuration of the model in `folder`.

    Raises:
        AlphaBenchError: a file is missing or damaged, or asks for what is not computed here.
    """
    general = _read_yaml(folder / CONFIG_FILE)
    bert = _read_json(folder / BERT_FILE)
    config = MplugConfig(
        vision=_fill(MplugVisionConfig, general, folder / CONFIG_FILE),
        text=_fill(MplugTextConfig, bert, folder / BERT_FILE),
        search=_fill(BeamSearchConfig, general, folder / CONFIG_FILE),
    )
    _refuse_other_kinds(general, bert, config, folder)
    return config


def _refuse_other_kinds(
    general: Mapping[str, Any], bert: Mapping[str, Any], config: MplugConfig, folder: Path
) -> None:
    width = config.text.hidden_size
    expected = {
        "bert_config": (general.get("bert_config", BERT_FILE), BERT_FILE),
        "task": (general.get("task", "visual-question-answering"), "visual-question-answering"),
        "hidden_act": (bert.get("hidden_act", "gelu"), "gelu"),
        "position_embedding_type": (bert.get("position_embedding_type", "absolute"), "absolute"),
        "encoder_width": (bert.get("encoder_width", width), width),
        "vision_width": (general.get("vision_width", 1024), config.vision.clip_vision_width),
    }
    for field, (value, wanted) in expected.items():
        if value != wanted:
            raise AlphaBenchError(
                f"the mPLUG model in {str(folder)!r} has {field} {value!r}, not {wanted!r}",
                hint="give a model for visual question answering, as ModelScope released it",
            )


def _fill(kind: type[T], values: Mapping[str, Any], source: Path) -> T:
    """A `kind` with the fields that `values` has; other keys of `values` are ignored."""
    assert dataclasses.is_dataclass(kind)
    kinds = {field.name: field.type for field in dataclasses.fields(kind)}
    given = {name: _number(values[name], kinds[name]) for name in kinds if name in values}
    for name, number in given.items():
        if number is None or (number < 1 and kinds[name] == "int" and name != "min_length"):
            raise AlphaBenchError(
                f"{str(source)!r} has {values[name]!r} for {name!r}, which is no size", hint=_HINT
            )
    filled: T = kind(**given)
    return filled


def _number(value: Any, kind: Any) -> float | None:
    """A value for a field of that type: an integer from 0, or a number above 0; None otherwise."""
    if kind == "int":
        return value if type(value) is int and value >= 0 else None
    try:
        number = float(value)  # YAML reads 1e-12 as text
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _read_yaml(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(read_text(path, max_bytes=_MOST_BYTES))
    except (UnreadableFileError, yaml.YAMLError, RecursionError) as error:
        raise _unreadable(path, error) from error
    return _table(path, content)


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = read_json(path, max_bytes=_MOST_BYTES)
    except UnreadableFileError as error:
        raise _unreadable(path, error) from error
    return _table(path, content)


def _table(path: Path, content: Any) -> Mapping[str, Any]:
    if not isinstance(content, dict):
        raise AlphaBenchError(f"{str(path)!r} is not a mapping", hint=_HINT)
    return content


def _unreadable(path: Path, error: Exception) -> AlphaBenchError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return AlphaBenchError(f"{str(path)!r} cannot be read: {reason}", hint=_HINT)
