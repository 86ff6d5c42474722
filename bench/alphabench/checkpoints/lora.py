"""A LoRA: its file, its content, and adding it to a checkpoint.

Reads what diffusers' `save_lora_weights` and kohya's scripts write, and the adapter folder that
PEFT writes (adapter_config.json beside adapter_model.safetensors). Never a pickle. Every tensor of
the file takes effect, or the LoRA is refused with the first that cannot: added in part, it would
silently be another model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from alphabench.checkpoints.lora_config import Scaling, read_scaling
from alphabench.checkpoints.lora_tensors import (
    AdaptedLayer,
    Convert,
    UntrainedAdapterError,
    check_lora_values,
    layers_of,
)
from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, parse_json
from alphabench.weights import hub, weight_files
from alphabench.weights.digest import digest_file
from alphabench.weights.sizes import METADATA

if TYPE_CHECKING:
    from torch import Tensor, nn

    from alphabench.checkpoints.lora_binding import BoundLayer


_DIFFUSERS_FILE: Final = "pytorch_lora_weights.safetensors"
_PEFT_FILE: Final = "adapter_model.safetensors"
_PEFT_CONFIG: Final = "adapter_config.json"
_DIFFUSERS_CONFIG: Final = "lora_adapter_metadata"
"""The header entry of PEFT's configuration in diffusers' files; keys are prefixed by component."""
_HINT: Final = "give a LoRA that was trained on this base model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """One LoRA file, on this machine and readable."""

    name: str
    """As the user wrote it."""
    file: Path
    config: Path | None
    """PEFT's adapter_config.json, for its layout."""
    strength: float
    layers: tuple[AdaptedLayer, ...]
    scalings: Mapping[str, Scaling] = field(default_factory=dict)
    """Component, or empty in PEFT's layout -> scales by the configuration."""

    @property
    def n_tensors(self) -> int:
        return sum(len(layer.names) for layer in self.layers)

    def identity(self) -> str:
        """Depends on content and strength, not on name or path."""
        parts = [digest_file(self.file)]
        if self.config is not None:
            parts.append(digest_file(self.config))
        n = self.n_tensors
        # All of them: `bind` refuses a LoRA of which a tensor cannot be bound.
        return " ".join([*parts, f"strength {self.strength:g}, bound {n} of {n} tensors"])


def find(name: str, *, file: str | None, strength: float, access: hub.HubAccess) -> Lora:
    """Locate a LoRA and read its header.

    Args:
        name: a safetensors file, a folder, or a hub id `owner/name[@revision]`.
        file: which file, where a folder or repository holds several.
        strength: the factor on the LoRA's scale.
        access: how to reach the hub.

    Raises:
        AlphaBenchError: not there, several and none chosen, a pickle, or damaged.
    """
    path = Path(name).expanduser()
    config = None
    if path.is_file():
        _refuse_pickle(name, [path.name])
        tensors_file = path
        config = path.with_name(_PEFT_CONFIG) if path.name == _PEFT_FILE else None
    elif path.is_dir():
        names = [one.name for one in sorted(path.iterdir()) if one.is_file()]
        selected = _choose(name, names, file)
        tensors_file = path / selected
        config = path / _PEFT_CONFIG if selected == _PEFT_FILE else None
    else:
        tensors_file, config = _find_on_hub(name, file, access)
    if config is not None and not config.is_file():
        raise AlphaBenchError(
            f"the LoRA {name!r} has no {_PEFT_CONFIG} with {_PEFT_FILE}",
            hint="copy both from where it was trained",
        )
    header = weight_files.read_header(tensors_file, name=name)
    try:
        layers = layers_of(key for key in header if key != METADATA)
        if not layers:
            raise ValueError("its file is empty")
        scalings = _scalings(header, config, name=name)
    except ValueError as error:
        raise AlphaBenchError(
            f"{name!r} holds no LoRA that can be used: {error}",
            hint="give a file that save_lora_weights, PEFT or kohya's scripts wrote",
        ) from error
    return Lora(
        name=name,
        file=tensors_file,
        config=config,
        strength=strength,
        layers=tuple(layers),
        scalings=scalings,
    )


def _scalings(header: Mapping[str, Any], config: Path | None, *, name: str) -> dict[str, Scaling]:
    if config is not None:
        return {"": read_scaling(weight_files.read_checkpoint_json(config, name=name))}
    stated = (header.get(METADATA) or {}).get(_DIFFUSERS_CONFIG)
    if stated is None:
        return {}
    try:
        flat = parse_json(stated)
    except UnreadableFileError as error:
        raise ValueError(f"the configuration in its header: {error}") from error
    if not isinstance(flat, dict):
        raise ValueError("the configuration in its header is no table")
    if "lora_alpha" in flat:  # of one network alone, as `save_lora_adapter` writes it
        return {"": read_scaling(flat)}
    by_component: dict[str, dict[str, Any]] = {}
    for key, value in flat.items():
        component, _, setting = key.partition(".")
        by_component.setdefault(component, {})[setting] = value
    return {component: read_scaling(stated) for component, stated in by_component.items()}


def _find_on_hub(name: str, file: str | None, access: hub.HubAccess) -> tuple[Path, Path | None]:
    if name.startswith(("/", ".", "~")) or name.count("/") != 1:
        raise AlphaBenchError(
            f"there is no LoRA {name!r}", hint="give a safetensors file, a folder, or owner/name"
        )
    selected = file or _DIFFUSERS_FILE
    _refuse_pickle(name, [selected])
    snapshot = hub.open_snapshot(name, revision=None, probe=selected, access=access)
    config = snapshot.file(_PEFT_CONFIG) if selected == _PEFT_FILE else None
    return snapshot.file(selected), config


def _choose(name: str, names: list[str], file: str | None) -> str:
    if file is not None:
        if file not in names:
            raise AlphaBenchError(
                f"the LoRA {name!r} holds no file {file!r}", hint=f"it holds: {', '.join(names)}"
            )
        _refuse_pickle(name, [file])
        return file
    safe = [one for one in names if one.endswith(".safetensors")]
    # Where one adapter is stored both ways, PEFT's files also say in which precision it trained.
    both = _PEFT_CONFIG in names
    for usual in (_PEFT_FILE, _DIFFUSERS_FILE) if both else (_DIFFUSERS_FILE, _PEFT_FILE):
        if usual in safe:
            return usual
    if len(safe) == 1:
        return safe[0]
    if not safe:
        _refuse_pickle(name, names)
        raise AlphaBenchError(
            f"the LoRA {name!r} holds no safetensors file", hint="give the file or its folder"
        )
    raise AlphaBenchError(
        f"the LoRA {name!r} holds {len(safe)} files: {', '.join(safe)}",
        hint="choose one with --set lora_file=NAME",
    )


def _refuse_pickle(name: str, names: list[str]) -> None:
    for one in names:
        if one.endswith(weight_files.PICKLES):
            raise AlphaBenchError(
                f"the LoRA {name!r} is a pickle ({one}), which could run any code",
                hint="save it as safetensors",
            )


def check_base(
    lora: Lora,
    modules: Mapping[str, Collection[str] | None],
    *,
    owner: str,
    convertible: bool = True,
) -> None:
    """Refuse a LoRA that the base's files show to be for another model.

    Args:
        lora: from `find`.
        modules: component -> the names of its modules, None where they are not known.
        owner: what it is added to, for the error.
        convertible: names of other layouts may be converted after loading.

    Raises:
        AlphaBenchError: for the first layer of a component or module that does not exist.
    """
    from alphabench.checkpoints.lora_binding import find_module, is_spelled_out, lacks_component

    known = {one: names for one, names in modules.items() if names is not None}
    for layer in lora.layers:
        component = layer.module.partition(".")[0]
        seen = known if not convertible else is_spelled_out(layer.module) and component in known
        if lacks_component(layer.module, modules) or (
            seen and find_module(layer.module, known) is None
        ):
            raise AlphaBenchError(
                f"the LoRA {lora.name!r} does not fit {owner}: the model has no module for "
                f"{layer.down!r}",
                hint=_HINT,
            )


def bind(
    networks: Mapping[str, nn.Module], lora: Lora, *, owner: str, convert: Convert | None = None
) -> int:
    """Add the LoRA to loaded networks, unmerged.

    Args:
        networks: by component; a single one may have any name.
        lora: from `find`.
        owner: what the networks belong to, for the errors.
        convert: used where the file's names are not those of modules.

    Returns:
        The number of adapted modules; never 0.

    Raises:
        AlphaBenchError: a tensor would have no effect, or another than intended.
    """
    import safetensors.torch

    try:
        return _bind(networks, lora, safetensors.torch.load_file(lora.file), owner, convert)
    except ImportError as error:
        raise AlphaBenchError(
            f"a LoRA needs the package peft: {error}", hint="pip install -e '.[lora]'"
        ) from error
    except Exception as error:  # a boundary: two libraries raise any exception
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if isinstance(error, UntrainedAdapterError):
            raise AlphaBenchError(
                f"the LoRA {lora.name!r} changes nothing: {first}",
                hint="give one that was saved after its first training step",
            ) from error
        raise AlphaBenchError(
            f"the LoRA {lora.name!r} does not fit {owner}: {first}", hint=_HINT
        ) from error


def _bind(
    networks: Mapping[str, nn.Module],
    lora: Lora,
    tensors: Mapping[str, Tensor],
    owner: str,
    convert: Convert | None,
) -> int:
    import torch

    from alphabench.checkpoints import lora_binding

    check_lora_values(tensors, lora.layers)
    bound, unbound = _match_layers(networks, lora.layers)
    if unbound and convert is not None:
        from alphabench.checkpoints.lora_conversion import converted

        if (renamed := converted(tensors, lora.layers, convert)) is not None:
            layers = tuple(layers_of(renamed.tensors))
            bound, lost = _match_layers(networks, layers)
            unbound = [renamed.origin(layer) for layer in lost]
            tensors = renamed.tensors
    if unbound:
        n = sum(len(one.layer.names) for one in bound)
        what = f"it changes no module of {owner}: " if not bound else ""
        raise ValueError(
            f"{what}the model has no module for {unbound[0].down!r} "
            f"(bound {n if n < lora.n_tensors else 0} of {lora.n_tensors} tensors)"
        )
    in_folder = lora.scalings.get("")
    lora_binding.add_adapters(
        networks,
        bound,
        tensors,
        scalings=dict.fromkeys(networks, in_folder) if in_folder is not None else lora.scalings,
        strength=lora.strength,
        # As it was trained: PEFT uses float32, diffusers the base's dtype.
        dtype=torch.float32 if lora.config is not None else None,
    )
    return len(bound)


def _match_layers(
    networks: Mapping[str, nn.Module], layers: tuple[AdaptedLayer, ...]
) -> tuple[list[BoundLayer], list[AdaptedLayer]]:
    """Layers with their modules, and those without one."""
    from alphabench.checkpoints.lora_binding import BoundLayer, find_module

    modules = {
        component: {name for name, _ in network.named_modules()}
        for component, network in networks.items()
    }
    bound, unbound = [], []
    for layer in layers:
        target = find_module(layer.module, modules)
        if target is None:
            unbound.append(layer)
        else:
            bound.append(BoundLayer(layer=layer, target=target))
    return bound, unbound
