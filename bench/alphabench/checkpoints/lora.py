"""A LoRA: where its file is, that it can be read, and how it is put on a pipeline.

Reads two layouts: what diffusers' `save_lora_weights` writes, and the adapter folder that PEFT
writes (adapter_config.json beside adapter_model.safetensors). Never a pickle. A LoRA that changes
no module is an error, since it would silently measure the base model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alphabench.checkpoints import hub, weights
from alphabench.checkpoints.digest import digest_file
from alphabench.checkpoints.loading import quiet
from alphabench.errors import AlphaBenchError

_DIFFUSERS_FILE: Final = "pytorch_lora_weights.safetensors"
_PEFT_FILE: Final = "adapter_model.safetensors"
_PEFT_CONFIG: Final = "adapter_config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """One LoRA file, on this machine and readable."""

    name: str
    """As the user wrote it."""
    file: Path
    config: Path | None
    """PEFT's adapter_config.json, for its layout."""
    strength: float

    def identity(self) -> str:
        """Decided by content and strength, not by name or place."""
        parts = [digest_file(self.file)]
        if self.config is not None:
            parts.append(digest_file(self.config))
        return " ".join([*parts, f"strength {self.strength:g}"])


def find(name: str, *, file: str | None, strength: float, access: hub.HubAccess) -> Lora:
    """Locate a LoRA and read its header.

    Args:
        name: a safetensors file, a folder, or a hub id `owner/name[@revision]`.
        file: which file, where a folder or repository holds several.
        strength: the factor on the LoRA's own scale.
        access: how to reach the hub.

    Raises:
        AlphaBenchError: not there, several and none chosen, a pickle, or damaged.
    """
    path = Path(name).expanduser()
    config = None
    if path.is_file():
        _refuse_pickle(name, [path.name])
        found = path
        config = path.with_name(_PEFT_CONFIG) if path.name == _PEFT_FILE else None
    elif path.is_dir():
        names = [one.name for one in sorted(path.iterdir()) if one.is_file()]
        chosen = _choose(name, names, file)
        found = path / chosen
        config = path / _PEFT_CONFIG if chosen == _PEFT_FILE else None
    else:
        found, config = _find_on_hub(name, file, access)
    if config is not None and not config.is_file():
        raise AlphaBenchError(
            f"the LoRA {name!r} lacks {_PEFT_CONFIG} beside {_PEFT_FILE}",
            hint="copy both from where it was trained",
        )
    header = weights.read_header(found, name=name)
    if not any("lora" in key.casefold() for key in header):
        raise AlphaBenchError(
            f"{name!r} holds no LoRA: none of its {len(header)} tensors is named as one",
            hint="give a file that save_lora_weights or PEFT wrote",
        )
    return Lora(name=name, file=found, config=config, strength=strength)


def _find_on_hub(name: str, file: str | None, access: hub.HubAccess) -> tuple[Path, Path | None]:
    if name.startswith(("/", ".", "~")) or name.count("/") != 1:
        raise AlphaBenchError(
            f"there is no LoRA {name!r}", hint="give a safetensors file, a folder, or owner/name"
        )
    chosen = file or _DIFFUSERS_FILE
    _refuse_pickle(name, [chosen])
    snapshot = hub.open_snapshot(name, revision=None, probe=chosen, access=access)
    config = snapshot.file(_PEFT_CONFIG) if chosen == _PEFT_FILE else None
    return snapshot.file(chosen), config


def _choose(name: str, names: list[str], file: str | None) -> str:
    if file is not None:
        if file not in names:
            raise AlphaBenchError(
                f"the LoRA {name!r} holds no file {file!r}", hint=f"it holds: {', '.join(names)}"
            )
        _refuse_pickle(name, [file])
        return file
    safe = [one for one in names if one.endswith(".safetensors")]
    for usual in (_DIFFUSERS_FILE, _PEFT_FILE):
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
        if one.endswith(weights.PICKLES):
            raise AlphaBenchError(
                f"the LoRA {name!r} is a pickle ({one}), which could run any code",
                hint="save it as safetensors",
            )


def bind(pipeline: Any, lora: Lora) -> int:
    """Put the LoRA on a loaded pipeline.

    Returns:
        How many modules it changes; never 0.

    Raises:
        AlphaBenchError: it fits no module of this pipeline, or not all of its own tensors fit.
    """
    try:
        if lora.config is not None:
            _load_peft_folder(pipeline, lora)
        else:
            # Diffusers remarks on each network that a LoRA leaves alone; we count those it binds.
            with quiet():
                pipeline.load_lora_weights(
                    str(lora.file.parent), weight_name=lora.file.name, adapter_name="lora"
                )
    except (ValueError, KeyError, RuntimeError, AttributeError, ImportError) as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise AlphaBenchError(
            f"the LoRA {lora.name!r} does not fit {type(pipeline).__name__}: {first}",
            hint="give a LoRA that was trained on this base model",
        ) from error
    bound = _count_bound(pipeline)
    if bound == 0:
        raise AlphaBenchError(
            f"the LoRA {lora.name!r} changes no module of {type(pipeline).__name__}",
            hint="give a LoRA that was trained on this base model",
        )
    if lora.strength != 1.0:
        _set_strength(pipeline, lora.strength)
    return bound


def _load_peft_folder(pipeline: Any, lora: Lora) -> None:
    import safetensors.torch
    import torch
    from peft import LoraConfig

    assert lora.config is not None
    network = getattr(pipeline, "transformer", None) or getattr(pipeline, "unet", None)
    if network is None:
        raise ValueError("it has neither a transformer nor a UNet")
    config = LoraConfig.from_pretrained(str(lora.config.parent)).to_dict()
    tensors = {
        key.removeprefix("base_model.model."): tensor
        for key, tensor in safetensors.torch.load_file(lora.file).items()
    }
    config["target_modules"] = sorted({key.partition(".lora_")[0] for key in tensors})
    # These speak of training, or of where the base lay; diffusers passes all to LoraConfig again.
    for key in ("base_model_name_or_path", "inference_mode", "auto_mapping", "revision"):
        config.pop(key, None)
    network.load_lora_adapter(tensors, prefix=None, adapter_name="lora", metadata=config)
    for name, parameter in network.named_parameters():
        if ".lora_" in name:
            # As it was trained: PEFT keeps float32, diffusers rounds to the base's precision.
            value = tensors[name.replace(".lora.", ".")]
            parameter.data = value.to(device=parameter.device, dtype=torch.float32)


def _networks(pipeline: Any) -> list[Any]:
    from torch import nn

    return [part for part in pipeline.components.values() if isinstance(part, nn.Module)]


def _count_bound(pipeline: Any) -> int:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return sum(
        isinstance(module, BaseTunerLayer)
        for network in _networks(pipeline)
        for module in network.modules()
    )


def _set_strength(pipeline: Any, strength: float) -> None:
    from peft.tuners.lora import LoraLayer

    for network in _networks(pipeline):
        for module in network.modules():
            if isinstance(module, LoraLayer):
                module.set_scale("lora", strength)
