"""The sizes of an mPLUG model, read from the files of its release.

`config.yaml` holds the picture side and how answers are searched, `config_bert.json` the language
side; fields that are absent have the defaults of the official code (modelscope 1.40.2,
`configuration_mplug.py`). Refuses by name whatever this implementation does not compute.
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
"""No other name will do: an evaluator's identity is taken of this file."""
_MOST_BYTES: Final = 2**20
_HINT: Final = "give the folder as it was released, with config.yaml and config_bert.json"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureDesign:
    """Fields of `config.yaml` that concern pictures."""

    image_res: int = 504
    """Side of the square that every picture is stretched to."""
    clip_vision_layers: int = 24
    clip_vision_width: int = 1024
    clip_vision_patch_size: int = 14

    @property
    def n_heads(self) -> int:
        return self.clip_vision_width // 64

    @property
    def n_tokens(self) -> int:
        """Patches, and the class token before them."""
        return (self.image_res // self.clip_vision_patch_size) ** 2 + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageDesign:
    """Fields of `config_bert.json`; the three parts share their widths."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    num_hidden_layers: int = 12
    """Of the fusion part as it is stored; the last `fusion_layers` are in use."""
    text_encoder_layers: int = 6
    fusion_layers: int = 6
    text_decode_layers: int = 12
    stride_layer: int = 100
    """Every so many fusion layers, words and patches attend to each other in one sequence."""

    @property
    def fusion_start(self) -> int:
        return max(0, self.num_hidden_layers - self.fusion_layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchDesign:
    """How an answer is searched: beams, and bounds on its length in tokens."""

    beam_size: int = 5
    min_length: int = 1
    max_length: int = 10

    def __post_init__(self) -> None:
        if self.beam_size < 1 or self.max_length < 1:
            raise ValueError("a search needs a beam and a token")


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """All that decides the shapes of an mPLUG model, and how it answers."""

    picture: PictureDesign
    language: LanguageDesign
    search: SearchDesign


def read_design(folder: Path) -> Design:
    """The design of the model in `folder`.

    Raises:
        AlphaBenchError: a file is missing or damaged, or asks for what is not computed here.
    """
    config = _read_yaml(folder / CONFIG_FILE)
    stored = _read_json(folder / BERT_FILE)
    design = Design(
        picture=_fill(PictureDesign, config, folder / CONFIG_FILE),
        language=_fill(LanguageDesign, stored, folder / BERT_FILE),
        search=_fill(SearchDesign, config, folder / CONFIG_FILE),
    )
    _refuse_other_kinds(config, stored, design, folder)
    return design


def _refuse_other_kinds(
    config: Mapping[str, Any], stored: Mapping[str, Any], design: Design, folder: Path
) -> None:
    width = design.language.hidden_size
    unlike = {
        "bert_config": (config.get("bert_config", BERT_FILE), BERT_FILE),
        "task": (config.get("task", "visual-question-answering"), "visual-question-answering"),
        "hidden_act": (stored.get("hidden_act", "gelu"), "gelu"),
        "position_embedding_type": (stored.get("position_embedding_type", "absolute"), "absolute"),
        "encoder_width": (stored.get("encoder_width", width), width),
        "vision_width": (config.get("vision_width", 1024), design.picture.clip_vision_width),
    }
    for field, (found, wanted) in unlike.items():
        if found != wanted:
            raise AlphaBenchError(
                f"the mPLUG model in {str(folder)!r} has {field} {found!r}, not {wanted!r}",
                hint="give a model for visual question answering, as ModelScope released it",
            )


def _fill(design: type[T], values: Mapping[str, Any], source: Path) -> T:
    """The design with the fields that `values` has; others of its fields are not ours."""
    assert dataclasses.is_dataclass(design)
    kinds = {field.name: field.type for field in dataclasses.fields(design)}
    given = {name: _number(values[name], kinds[name]) for name in kinds if name in values}
    for name, number in given.items():
        if number is None or (number < 1 and kinds[name] == "int" and name != "min_length"):
            raise AlphaBenchError(
                f"{str(source)!r} has {values[name]!r} for {name!r}, which is no size", hint=_HINT
            )
    filled: T = design(**given)
    return filled


def _number(value: Any, kind: Any) -> float | None:
    """What a field of that kind can hold: a whole number from 0, or a number above 0."""
    if kind == "int":
        return value if type(value) is int and value >= 0 else None
    try:
        number = float(value)  # some writers store 1e-12 as a word
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
        raise AlphaBenchError(f"{str(path)!r} is no table of settings", hint=_HINT)
    return content


def _unreadable(path: Path, error: Exception) -> AlphaBenchError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return AlphaBenchError(f"{str(path)!r} cannot be read: {reason}", hint=_HINT)
