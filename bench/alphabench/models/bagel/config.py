"""The sizes of a BAGEL-type model, read from the files of a checkpoint folder.

`llm_config.json` and `vit_config.json` decide the two transformers; `config.json` is optional and
may say more, where the released values stand in for what it leaves out. Knows no weights, except
that the side of the latent position table is passed in: the released `config.json` is stale there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_json

LANGUAGE_FILE: Final = "llm_config.json"
VISION_FILE: Final = "vit_config.json"
GENERAL_FILE: Final = "config.json"
TANH_GELU: Final = "gelu_pytorch_tanh"
HEADS: Final = ("language_model.lm_head", "llm2vae")
"""The modules that make logits and velocities; see `Bagel.hold_heads`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BagelTextConfig:
    """The decoder; both experts have these sizes."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    rope_theta: float
    rms_norm_eps: float

    def __post_init__(self) -> None:
        if self.hidden_size % 4 or self.hidden_size % (2 * self.num_attention_heads):
            raise ValueError("hidden_size is a multiple of 4 and of twice num_attention_heads")
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError("num_attention_heads is a multiple of num_key_value_heads")

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_attention_heads


@dataclass(frozen=True, slots=True, kw_only=True)
class BagelVisionConfig:
    """The encoder of images that are to be understood."""

    hidden_size: int
    intermediate_size: int
    declared_layers: int
    """As stated in the file; the last one is never used and not stored."""
    num_attention_heads: int
    patch_size: int
    image_size: int
    layer_norm_eps: float = 1e-6
    num_channels: int = 3

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError("hidden_size is a multiple of num_attention_heads")
        if self.declared_layers < 2:
            raise ValueError("num_hidden_layers is at least 2, for the last one is dropped")

    @property
    def layers(self) -> int:
        return self.declared_layers - 1

    @property
    def table_side(self) -> int:
        """Patches on a side of the largest image."""
        return self.image_size // self.patch_size

    @property
    def patch_features(self) -> int:
        return self.patch_size**2 * self.num_channels


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoencoderConfig:
    """The FLUX autoencoder; the defaults are the released one's."""

    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    z_channels: int = 16
    norm_groups: int = 32
    """Of every group normalisation; fewer suit a narrow one, whose groups of one would lose the
    brightness of an image."""
    scale_factor: float = 0.3611
    shift_factor: float = 0.1159

    def __post_init__(self) -> None:
        counts = (self.ch, self.num_res_blocks, self.z_channels, self.norm_groups, *self.ch_mult)
        if not all(isinstance(count, int) and count > 0 for count in counts):
            raise ValueError("the autoencoder's sizes are positive integers")
        if self.ch % self.norm_groups:
            raise ValueError("ch is a multiple of norm_groups")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, finest first."""
        return tuple(self.ch * factor for factor in self.ch_mult)

    @property
    def downsample(self) -> int:
        return int(2 ** (len(self.ch_mult) - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class BagelConfig:
    """All sizes of one model."""

    language: BagelTextConfig
    vision: BagelVisionConfig
    autoencoder: AutoencoderConfig
    latent_side: int
    """Latent tokens on a side of the largest image that can be made."""
    latent_patch: int = 2
    """Latent cells on a side of one token."""

    def __post_init__(self) -> None:
        if not isinstance(self.latent_patch, int) or self.latent_patch < 1:
            raise ValueError("latent_patch_size is a positive integer")

    @property
    def latent_features(self) -> int:
        return self.latent_patch**2 * self.autoencoder.z_channels

    @property
    def token_pixels(self) -> int:
        """Pixels on a side of what one latent token covers."""
        return self.latent_patch * self.autoencoder.downsample


BAGEL_7B: Final = BagelConfig(
    language=BagelTextConfig(
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        vocab_size=152064,
        rope_theta=1e6,
        rms_norm_eps=1e-6,
    ),
    vision=BagelVisionConfig(
        hidden_size=1152,
        intermediate_size=4304,
        declared_layers=27,
        num_attention_heads=16,
        patch_size=14,
        image_size=980,
    ),
    autoencoder=AutoencoderConfig(),
    latent_side=64,
)
"""ByteDance-Seed/BAGEL-7B-MoT, from its JSON files."""


def read_bagel_config(folder: Path, *, latent_side: int) -> BagelConfig:
    """The design that the JSON files of `folder` describe.

    Args:
        folder: a checkpoint folder.
        latent_side: of the stored latent position table.

    Raises:
        AlphaBenchError: a file or a field is missing or does not fit, or the model is of a variant
            that is not implemented.
    """
    general_file = folder / GENERAL_FILE
    general = _read(general_file) if general_file.is_file() else {}
    _require(general_file, general, "connector_act", TANH_GELU)
    _require(general_file, general, "interpolate_pos", False)
    vae = general.get("vae_config", {})
    if vae:
        vae = {**vae, "ch_mult": tuple(vae.get("ch_mult", AutoencoderConfig().ch_mult))}
    try:
        return BagelConfig(
            language=_language(folder / LANGUAGE_FILE),
            vision=_vision(folder / VISION_FILE),
            autoencoder=AutoencoderConfig(
                **{key: vae[key] for key in AutoencoderConfig.__dataclass_fields__ if key in vae}
            ),
            latent_side=latent_side,
            latent_patch=general.get("latent_patch_size", 2),
        )
    except (ValueError, TypeError) as error:
        raise AlphaBenchError(
            f"the sizes in {folder.name!r} do not fit together: {error}",
            hint="fetch the checkpoint's JSON files again",
        ) from error


def _language(path: Path) -> BagelTextConfig:
    content = _read(path)
    _require(path, content, "hidden_act", "silu")
    _require(path, content, "use_sliding_window", False)
    _require(path, content, "rope_scaling", None)
    names = BagelTextConfig.__dataclass_fields__
    # Newer writers of the file put the base frequency one level down.
    theta = content.get("rope_theta") or (content.get("rope_parameters") or {}).get("rope_theta")
    content = {**content, "rope_theta": theta}
    return BagelTextConfig(**{name: _number(path, content, name) for name in names})


def _vision(path: Path) -> BagelVisionConfig:
    content = _read(path)
    _require(path, content, "hidden_act", TANH_GELU)
    needed = (
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "patch_size",
        "image_size",
    )
    optional = {
        name: _number(path, content, name)
        for name in ("layer_norm_eps", "num_channels")
        if name in content
    }
    return BagelVisionConfig(
        declared_layers=_number(path, content, "num_hidden_layers"),
        **{name: _number(path, content, name) for name in needed},
        **optional,
    )


def _read(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        raise AlphaBenchError(
            f"the checkpoint {path.parent.name!r} has no file {path.name!r}",
            hint="fetch the complete checkpoint again",
        )
    try:
        content = read_json(path)
    except UnreadableFileError as error:
        raise AlphaBenchError(
            f"{path.name!r} in {path.parent.name!r} cannot be read: {error}",
            hint="fetch that file again",
        ) from error
    if not isinstance(content, dict):
        raise AlphaBenchError(
            f"{path.name!r} in {path.parent.name!r} holds no JSON object",
            hint="fetch that file again",
        )
    return content


def _number(path: Path, content: Mapping[str, Any], name: str) -> Any:
    value = content.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise AlphaBenchError(
            f"{path.name!r} in {path.parent.name!r} has {name} = {value!r}, not a positive number",
            hint="fetch that file again",
        )
    return value


def _require(path: Path, content: Mapping[str, Any], name: str, wanted: object) -> None:
    if content.get(name, wanted) != wanted:
        raise AlphaBenchError(
            f"{path.name!r} in {path.parent.name!r} asks for {name} = {content[name]!r}",
            hint=f"only {name} = {wanted!r} is implemented",
        )
