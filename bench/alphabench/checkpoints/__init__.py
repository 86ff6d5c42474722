"""Checkpoints, one module for each kind, and the resolver that picks the kind from a name.

Imports no model library: a kind's module is loaded when a checkpoint of that kind is opened. Does
not know the options of the kinds.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from alphabench import registry
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.files import UnreadableFileError, read_json
from alphabench.core.options import split_spec
from alphabench.core.secret_options import refuse_secret
from alphabench.interfaces import Generator
from alphabench.remote.endpoint import refuse_bare_host
from alphabench.types import ImageRequest

FORMS: Final = (
    "a pipeline folder with model_index.json",
    "a BAGEL folder with llm_config.json",
    "a Janus folder in transformers' layout",
    "a hub id owner/name or owner/name@revision",
    "images:DIR",
    "https://host/v1#model",
    "python:module:factory",
    "scene:",
    "nano",
)
"""How a checkpoint can be named, for error messages."""

_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
_FORMS: Final = "; ".join(FORMS)
_UNIFIED_NAMES: Final = {"bagel": "bagel", "janus": "janus"}
"""Part of a hub repository's name -> kind; any other is treated as a pipeline."""
_BAGEL_FILES: Final = ("llm_config.json", "ema.safetensors")
"""Either marks the folder as BAGEL; other missing files are then named."""
_BUNDLED: Final = ("nano",)
"""Kinds that are one checkpoint in this package, named without a colon."""
_OF_A_LOCATION: Final = ("bagel", "diffusers", "janus")
_WITHOUT_THINKING: Final = ("diffusers", "http", "images", "janus", "scene")
_IMAGE_PATTERNS: Final = ("*.png", "*/*.png", "*/samples/*.png")


def open_checkpoint(
    spec: str,
    *,
    options: Mapping[str, str] | None = None,
    lora: str | None = None,
    device: str = "cpu",
) -> Generator:
    """Open the checkpoint that `spec` names; cheap, since weights load at the first `generate`.

    Args:
        spec: one of `FORMS`, followed by options as `?key=value&key=value`; a further kind from an
            installed package is written `kind:location`.
        options: more options, as text; each is checked by the kind that reads it.
        lora: a LoRA to put on the weights: file, folder or hub id.
        device: the device to run on: `cpu`, `cuda`, `cuda:1`.

    Raises:
        AlphaBenchError: nothing of that name, an unknown or repeated option, or a checkpoint that
            is found unusable before its weights are loaded.
    """
    name, spec_options = split_spec(spec)
    other_options = dict(options or {})
    for option, value in other_options.items():
        refuse_secret(option, value)
    repeated = sorted(spec_options.keys() & other_options.keys())
    if repeated:
        raise AlphaBenchError(
            f"option {repeated[0]!r} of {name!r} is given twice", hint="give it once"
        )
    kind, location = pick_checkpoint_kind(name)
    if "think" in {**spec_options, **other_options} and kind in _WITHOUT_THINKING:
        raise AlphaBenchError(
            f"{name!r} does not think before it generates",
            hint="leave out --think, or choose a checkpoint that can, such as BAGEL",
        )
    factory = registry.load("checkpoint", kind)
    generator: Generator = factory(
        location, options={**spec_options, **other_options}, lora=lora, device=device
    )
    return generator


def pick_checkpoint_kind(name: str) -> tuple[str, str]:
    """`"images:out"` -> `("images", "out")`; the kind is a name in the registry.

    Raises:
        AlphaBenchError: the name fits no form.
    """
    prefix, colon, location = name.partition(":")
    if prefix in ("http", "https") and colon:
        return "http", name
    if colon and prefix in registry.known("checkpoint"):
        if prefix in _OF_A_LOCATION and not location.strip():
            raise AlphaBenchError(
                f"{name!r} names no checkpoint",
                hint=f"write {prefix}:FOLDER or {prefix}:owner/name",
            )
        return prefix, location
    refuse_bare_host(name)
    if name in _BUNDLED:
        return name, ""
    path = Path(name).expanduser()
    if name and path.is_dir():
        return _pick_folder(name, path)
    if path.is_file():
        raise AlphaBenchError(
            f"{name!r} is a file; a checkpoint is a folder",
            hint="give the pipeline folder with model_index.json (a LoRA file goes to --lora)",
        )
    if _HUB_ID.fullmatch(name):
        parts = name.partition("/")[2].casefold()
        kinds = (kind for part, kind in _UNIFIED_NAMES.items() if part in parts)
        return next(kinds, "diffusers"), name
    raise _no_such_checkpoint(name)


def _looks_like_path(name: str) -> bool:
    """`./x`, `~/x`, `a/b/c`, `C:/x`: no other form of a checkpoint looks so."""
    return bool(re.match(r"[.~/\\]|[A-Za-z]:[\\/]", name)) or name.count("/") > 1


def _pick_folder(name: str, path: Path) -> tuple[str, str]:
    if (path / "model_index.json").is_file():
        return "diffusers", name
    if any((path / file).is_file() for file in _BAGEL_FILES):
        return "bagel", name
    if _model_type(path) == "janus":
        return "janus", name
    hint = "give the folder that a pipeline's save_pretrained wrote"
    if (path / "adapter_config.json").is_file():
        hint = f"this is a LoRA: give its base model to --ckpt, and --lora {name}"
    elif any(next(path.glob(pattern), None) for pattern in _IMAGE_PATTERNS):
        hint = f"to score the images in it, write images:{name}"
    raise AlphaBenchError(f"the folder {name!r} holds no model_index.json", hint=hint)


def _model_type(folder: Path) -> str | None:
    """As transformers writes it into config.json; None without a readable one."""
    try:
        config = read_json(folder / "config.json")
    except UnreadableFileError:
        return None
    return config.get("model_type") if isinstance(config, dict) else None


def _no_such_checkpoint(name: str) -> AlphaBenchError:
    prefix, colon, _ = name.partition(":")
    known = registry.known("checkpoint")
    if not name.strip():
        return AlphaBenchError("the checkpoint's name is empty", hint=f"it can be: {_FORMS}")
    if _looks_like_path(name):
        return AlphaBenchError(
            f"the path {name!r} does not exist",
            hint=f"relative paths start at {str(Path.cwd())!r}; a hub id is written owner/name",
        )
    if colon:
        error = unknown_name("kind of checkpoint", prefix, known)
        return AlphaBenchError(f"{error.message} (in {name!r})", hint=error.hint)
    near = difflib.get_close_matches(name.casefold(), sorted(known), n=1, cutoff=0.6)
    hint = f"it can be: {_FORMS}"
    if near:
        hint = f"did you mean {near[0] if near[0] in _BUNDLED else near[0] + ':'!r}?"
    return AlphaBenchError(
        f"there is no checkpoint {name!r}, and no folder of this name here", hint=hint
    )


def refuse_lora(lora: str | None, kind: str) -> None:
    """For kinds without weights that a LoRA could adapt.

    Raises:
        AlphaBenchError: a LoRA was given.
    """
    if lora is not None:
        raise AlphaBenchError(
            f"a {kind} checkpoint takes no LoRA, but {lora!r} was given", hint="leave out --lora"
        )


def refuse_edits(requests: Sequence[ImageRequest], kind: str) -> None:
    """For text-to-image kinds, which must not silently ignore a source image.

    Raises:
        AlphaBenchError: a request edits an image.
    """
    for request in requests:
        if request.sample.source_image is not None:
            raise AlphaBenchError(
                f"{request.id!r} edits an image, and a {kind} checkpoint only generates from text",
                hint="use a checkpoint that edits, or a text-to-image benchmark",
            )
