"""A trained adapter as diffusers' `load_lora_weights` reads it, beside PEFT's two files.

The same matrices under the names of the pipeline's component, with their configuration in the
file's header: without it, diffusers would take alpha for the rank. Loads no pipeline.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from safetensors.torch import load_file, save_file

from alphabench.checkpoints import pick_checkpoint_kind
from alphabench.core.options import split_spec

PIPELINE_LORA: Final = "pytorch_lora_weights.safetensors"
_PEFT_PREFIX: Final = "base_model.model."
_COMPONENT: Final = "transformer"
_CONFIG: Final = ("r", "lora_alpha", "target_modules")
"""What of PEFT's configuration decides the result."""


def write_pipeline_lora(adapter: Path, base: str | None) -> bool:
    """Writes the file into the folder of an adapter, if its base is a diffusers pipeline.

    Args:
        adapter: holds adapter_config.json and adapter_model.safetensors.
        base: the checkpoint it was trained on, as `--ckpt` takes it.

    Returns:
        Whether it was written.
    """
    if base is None or pick_checkpoint_kind(split_spec(base)[0])[0] != "diffusers":
        return False
    stated = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    config = {f"{_COMPONENT}.{key}": stated[key] for key in _CONFIG}
    stored = load_file(adapter / "adapter_model.safetensors")
    save_file(
        {f"{_COMPONENT}.{key.removeprefix(_PEFT_PREFIX)}": value for key, value in stored.items()},
        adapter / PIPELINE_LORA,
        metadata={"format": "pt", "lora_adapter_metadata": json.dumps(config, sort_keys=True)},
    )
    return True
